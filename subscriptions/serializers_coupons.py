"""What a customer asks and learns about a coupon. Its limits are the operators' (`plans.serializers_coupons`)."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from payflow.api.fields import CurrencyField, MoneyAmountField
from payflow.api.strict import KnownFieldsOnly
from plans.models import Coupon, CouponDuration, CouponKind
from plans.serializers_coupons import PercentField


class CouponValidateSerializer(KnownFieldsOnly):
    """`plan_id` is a plan's id or code; without `currency` the plan's own."""

    code = serializers.CharField(max_length=50)
    plan_id = serializers.CharField(max_length=64)
    currency = CurrencyField(required=False, allow_null=True)


class OfferedCouponSerializer(serializers.ModelSerializer[Coupon]):
    kind = serializers.ChoiceField(CouponKind.choices)
    percent = PercentField(allow_null=True)
    amount = MoneyAmountField(allow_null=True)
    duration = serializers.ChoiceField(CouponDuration.choices)

    class Meta:
        model = Coupon
        fields = ["code", "name", "kind", "percent", "amount", "currency", "duration", "cycles"]


class CouponQuoteSerializer(serializers.Serializer[Any]):
    """`total` is what the first invoice would cost, before tax and customer credit."""

    coupon = OfferedCouponSerializer()
    currency = serializers.CharField(source="price.currency")
    price = MoneyAmountField(source="price.amount", currency_field="price.currency")
    discount = MoneyAmountField(source="discount.amount", currency_field="price.currency")
    total = MoneyAmountField(source="total.amount", currency_field="price.currency")
