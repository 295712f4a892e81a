"""Coupons as JSON. In comes the shape only: what a coupon may be is `plans.coupon_rules`, for every caller alike."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from payflow.api.fields import MoneyAmountField, OneOf, SelectedFields
from payflow.api.strict import KnownFieldsOnly
from plans.coupon_rules import MAX_CYCLES, MAX_REDEMPTIONS
from plans.models import Coupon, CouponDuration, CouponKind


@extend_schema_field({"type": "number", "format": "decimal", "example": 12.5})
class PercentField(MoneyAmountField):
    """A percentage: a JSON number with the digits that it has."""

    default_error_messages = {"invalid": "A valid number is required", "negative": "It is not negative"}

    def get_attribute(self, instance: Any) -> Any:
        return serializers.Field.get_attribute(self, instance)

    def to_representation(self, value: Any) -> Decimal:
        return Decimal(format(Decimal(value).normalize(), "f"))


class CouponSerializer(SelectedFields, serializers.ModelSerializer[Coupon]):
    """Rows of `selectors.coupons_all`. `plans` are ids; none means every plan."""

    percent = PercentField(allow_null=True)
    amount = MoneyAmountField(allow_null=True)
    plans = serializers.ListField(source="plan_ids", child=serializers.UUIDField())

    class Meta:
        model = Coupon
        fields = [
            "id",
            "code",
            "name",
            "kind",
            "percent",
            "amount",
            "currency",
            "duration",
            "cycles",
            "starts_at",
            "ends_at",
            "max_redemptions",
            "redemptions",
            "first_time_only",
            "plans",
            "is_active",
            "created_at",
            "updated_at",
        ]


class CouponWriteSerializer(KnownFieldsOnly):
    """`plans` are ids or codes; none means every plan."""

    read_only_names = frozenset({"id", "redemptions", "created_at", "updated_at"})

    code = serializers.CharField(max_length=50)
    name = serializers.CharField(max_length=100, required=False, allow_blank=True)
    kind = OneOf(CouponKind.choices)
    percent = PercentField(required=False, allow_null=True)
    amount = MoneyAmountField(required=False, allow_null=True)
    currency = serializers.CharField(max_length=3, required=False, allow_blank=True)
    duration = OneOf(CouponDuration.choices, required=False)
    cycles = serializers.IntegerField(min_value=1, max_value=MAX_CYCLES, required=False, allow_null=True)
    starts_at = serializers.DateTimeField(required=False, allow_null=True)
    ends_at = serializers.DateTimeField(required=False, allow_null=True)
    max_redemptions = serializers.IntegerField(min_value=1, max_value=MAX_REDEMPTIONS, required=False, allow_null=True)
    first_time_only = serializers.BooleanField(required=False)
    plans = serializers.ListField(child=serializers.CharField(max_length=64), required=False)
    is_active = serializers.BooleanField(required=False)
