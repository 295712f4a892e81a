"""coupons/validate: what a code is worth to the customer who asks. Here, because his history decides."""

from __future__ import annotations

import uuid

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from payflow.api.json import answer
from payflow.api.permissions import IsPerson
from payflow.api.strict import body
from payflow.api.views import ApiView
from payflow.core import clock
from payflow.core.errors import NotFound, ValidationFailed
from plans.models import Plan
from plans.selectors import plan_get
from subscriptions.serializers_coupons import CouponQuoteSerializer, CouponValidateSerializer
from subscriptions.services.redemptions import coupon_quote


class CouponValidateView(ApiView):
    permission_classes = [IsPerson]

    @extend_schema(request=CouponValidateSerializer, responses={200: CouponQuoteSerializer})
    def post(self, request: Request) -> Response:
        """What the first invoice of a plan would cost with this code. Nothing is reserved."""
        data = body(CouponValidateSerializer, request)
        quote = coupon_quote(
            code=data["code"],
            user_id=_person(request),
            plan=_plan(data["plan_id"]),
            currency=data.get("currency"),
            now=clock.now(),
        )
        return answer(CouponQuoteSerializer(quote).data, message="This coupon can be used")


def _person(request: Request) -> uuid.UUID:
    assert request.user.pk is not None, "IsPerson"
    return request.user.pk


def _plan(id_or_code: str) -> Plan:
    try:
        return plan_get(id_or_code)
    except NotFound as error:
        raise ValidationFailed.field("plan_id", "There is no such plan") from error
