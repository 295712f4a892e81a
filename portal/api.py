"""`sandbox/clock`: business time for demos and tests, refused where time travel is off."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from payflow.api.json import answer
from payflow.api.permissions import IsStaff
from payflow.api.strict import KnownFieldsOnly, body
from payflow.api.views import ApiView
from payflow.core import clock
from payflow.core.time_travel import MAX_DAYS, clock_advance


class AdvanceSerializer(KnownFieldsOnly):
    advance_days = serializers.DecimalField(max_digits=10, decimal_places=6, min_value=0, max_value=MAX_DAYS)


class ClockSerializer(serializers.Serializer[Any]):
    now = serializers.DateTimeField()


class ClockView(ApiView):
    """Business time, and moving it forward."""

    permission_classes = [IsStaff]

    @extend_schema(responses={200: ClockSerializer})
    def get(self, request: Request) -> Response:
        return answer(ClockSerializer({"now": clock.now()}).data)

    @extend_schema(request=AdvanceSerializer, responses={200: ClockSerializer})
    def post(self, request: Request) -> Response:
        """Advances by `advance_days`, running everything that falls due on the way."""
        moment = clock_advance(by=timedelta(days=float(body(AdvanceSerializer, request)["advance_days"])))
        return answer(ClockSerializer({"now": moment}).data, message="Advanced")
