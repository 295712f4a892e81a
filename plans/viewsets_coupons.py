"""coupons/*: for admins. Thin edges over selectors and services; what a customer asks is in the subscriptions."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from payflow.api.json import answer
from payflow.api.pagination import CursorPages
from payflow.api.principals import principal_key
from payflow.api.router import UUID_PATTERN
from payflow.api.strict import NoFields, body
from payflow.api.views import ReadViewSet
from plans import selectors, services_coupons
from plans.coupon_rules import DEFAULTS
from plans.models import Coupon
from plans.permissions import AdminsOnly
from plans.serializers_coupons import CouponSerializer, CouponWriteSerializer


class CouponPages(CursorPages):
    ordering = ("code",)


class CouponViewSet(ReadViewSet):
    """Discounts, by code. `?code=` finds one."""

    queryset = Coupon.objects.none()
    serializer_class = CouponSerializer
    permission_classes = [AdminsOnly]
    pagination_class = CouponPages
    filterset_fields = ("code", "kind", "duration", "is_active")
    # By id only: beside them `coupons/validate` is a path of its own.
    lookup_value_regex = UUID_PATTERN

    def get_queryset(self) -> QuerySet[Coupon]:
        return selectors.coupons_all()

    @extend_schema(request=CouponWriteSerializer, responses={201: CouponSerializer})
    def create(self, request: Request) -> Response:
        coupon = services_coupons.coupon_create(**_values(request), actor=_actor(request))
        return self._answer(coupon, "Coupon created", status=201)

    @extend_schema(request=CouponWriteSerializer, responses={200: CouponSerializer})
    def update(self, request: Request, pk: str) -> Response:
        """Replaces the coupon: what the body lacks is as in a new one."""
        return self._update(request, {**DEFAULTS, **_values(request)})

    @extend_schema(request=CouponWriteSerializer(partial=True), responses={200: CouponSerializer})
    def partial_update(self, request: Request, pk: str) -> Response:
        return self._update(request, _values(request, partial=True))

    @extend_schema(responses={200: CouponSerializer})
    def destroy(self, request: Request, pk: str) -> Response:
        """Removes it, and answers no data; where somebody has redeemed it, deactivates it, and answers it."""
        coupon = self.get_object()
        body(NoFields, request)
        kept = services_coupons.coupon_delete(coupon_id=coupon.pk, actor=_actor(request))
        if kept is None:
            return answer(message="Coupon deleted")
        return self._answer(kept, "Coupon deactivated: it has been redeemed")

    def _update(self, request: Request, changes: dict[str, Any]) -> Response:
        coupon = services_coupons.coupon_update(coupon_id=self.get_object().pk, actor=_actor(request), **changes)
        return self._answer(coupon, "Coupon updated")

    def _answer(self, coupon: Coupon, message: str, *, status: int = 200) -> Response:
        written = selectors.coupons_all().get(pk=coupon.pk)
        return answer(self.get_serializer(written).data, message=message, status=status)


def _values(request: Request, *, partial: bool = False) -> dict[str, Any]:
    return body(CouponWriteSerializer, request, partial=partial)


def _actor(request: Request) -> str:
    return principal_key(request.user) or "system"
