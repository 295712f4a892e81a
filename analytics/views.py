from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from analytics.selectors import plan_figures
from payflow.api.json import answer
from payflow.api.permissions import IsStaff
from payflow.api.views import ApiView
from payflow.core import clock
from plans.selectors import plan_get


class PlanFiguresSerializer(serializers.Serializer[Any]):
    """The shape of the answer; money by currency."""

    plan_id = serializers.UUIDField()
    plan_code = serializers.CharField()
    subscriptions = serializers.DictField(child=serializers.IntegerField())
    live = serializers.IntegerField()
    started = serializers.IntegerField()
    ended = serializers.IntegerField()
    churn_rate = serializers.FloatField(allow_null=True)
    mrr = serializers.DictField(child=serializers.FloatField())
    revenue = serializers.DictField(child=serializers.FloatField())
    refunded = serializers.DictField(child=serializers.FloatField())


class PlanAnalyticsView(ApiView):
    """How a plan does: subscribers, MRR, churn of the last 30 days, money in and back."""

    permission_classes = [IsStaff]

    @extend_schema(responses={200: PlanFiguresSerializer})
    def get(self, request: Request, plan: str) -> Response:
        row = plan_get(plan)
        figures = asdict(plan_figures(row, now=clock.now()))
        return answer({"plan_id": row.pk, "plan_code": row.code, **figures})
