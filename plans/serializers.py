"""Plans as JSON. In comes the shape only: what a plan may be is `plans.rules`, for every caller alike."""

from __future__ import annotations

from decimal import Decimal
from functools import cached_property
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from payflow.api.fields import CurrencyField, MoneyAmountField, OneOf, SelectedFields
from payflow.api.strict import KnownFieldsOnly
from payflow.core.errors import ValidationFailed
from plans.features import MAX_FEATURES
from plans.models import ActionPrice, Cycle, Plan, PlanPrice, PlanProviderRef, PriceModel, ProrationUnit, Settlement
from plans.permissions import sees_all
from plans.pricing import plain
from plans.rules import MAX_DESCRIPTION, MAX_INTERVAL, MAX_SORT_ORDER, MAX_TRIAL_DAYS, MAX_USAGE

#: What PUT resets where the body lacks it: the document's fields, with the defaults of its table. Those that the
#: document does not know (code, family, prices, …) stay as they are: a client of the document cannot mean to drop them.
RESET_BY_PUT: dict[str, Any] = {
    "description": None,
    "features": {},
    "max_usage_per_day": Plan._meta.get_field("max_usage_per_day").get_default(),
    "max_usage_per_month": Plan._meta.get_field("max_usage_per_month").get_default(),
    "is_active": True,
}


class PlanPriceSerializer(KnownFieldsOnly, serializers.ModelSerializer[PlanPrice]):
    amount = MoneyAmountField()

    class Meta:
        model = PlanPrice
        fields = ["currency", "amount"]


class PlanProviderRefSerializer(KnownFieldsOnly, serializers.ModelSerializer[PlanProviderRef]):
    currency = serializers.CharField(max_length=3, required=False, allow_blank=True)

    class Meta:
        model = PlanProviderRef
        fields = ["provider", "ref", "currency"]
        validators: list[Any] = []


@extend_schema_field({"type": "number", "format": "decimal", "example": 0.0025})
class UnitAmountField(serializers.Field[Any, Any, Any, Any]):
    """What a unit costs: a JSON number, finer than the currency where it has to be. What it may be is `plans.pricing_rules`."""

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Decimal:
        return Decimal(plain(Decimal(value)))


class TierSerializer(KnownFieldsOnly, serializers.Serializer[Any]):
    up_to = serializers.IntegerField(
        allow_null=True, required=False, help_text="units beyond what is included; null: no end"
    )
    unit_amount = UnitAmountField()
    flat_amount = UnitAmountField(required=False)


class ActionPriceSerializer(KnownFieldsOnly, serializers.ModelSerializer[ActionPrice]):
    """`tiers` are those of graduated and volume, `unit_amount` of the others."""

    action = serializers.CharField()
    currency = CurrencyField(required=False, help_text="the plan's own unless it is given")
    settlement = OneOf(Settlement.choices, required=False)
    model = OneOf(PriceModel.choices, required=False)
    included = serializers.IntegerField(min_value=0, required=False)
    unit_amount = UnitAmountField(required=False, allow_null=True)
    package_size = serializers.IntegerField(min_value=1, required=False, allow_null=True)
    tiers = TierSerializer(many=True, required=False)

    class Meta:
        model = ActionPrice
        fields = ["action", "currency", "settlement", "model", "included", "unit_amount", "package_size", "tiers"]
        validators: list[Any] = []


class PlanSerializer(SelectedFields, serializers.ModelSerializer[Plan]):
    """The document's plan response and more. `provider_refs` are for operators only."""

    price = MoneyAmountField()
    active = serializers.BooleanField(source="is_active", read_only=True)
    prices = PlanPriceSerializer(many=True)
    provider_refs = PlanProviderRefSerializer(many=True, required=False)
    action_prices = ActionPriceSerializer(many=True, help_text="what units of actions cost who subscribes now")

    class Meta:
        model = Plan
        fields = [
            "id",
            "code",
            "name",
            "description",
            "price",
            "currency",
            "billing_cycle",
            "billing_interval",
            "trial_days",
            "trial_needs_method",
            "proration_unit",
            "features",
            "max_usage_per_day",
            "max_usage_per_month",
            "family",
            "is_active",
            "active",
            "sort_order",
            "prices",
            "provider_refs",
            "action_prices",
            "created_at",
            "updated_at",
        ]

    @property
    def _readable_fields(self) -> Any:
        for field in super()._readable_fields:
            if field.field_name != "provider_refs" or self._for_operator:
                yield field

    @cached_property
    def _for_operator(self) -> bool:
        request = self.context.get("request")
        return request is not None and sees_all(request.user)


class PlanWriteSerializer(KnownFieldsOnly):
    """The document's create request, with our own fields. `confirm` agrees to lower what subscribers have."""

    read_only_names = frozenset({"id", "active", "created_at", "updated_at"})

    code = serializers.SlugField(max_length=50, required=False, allow_null=True)
    name = serializers.CharField(max_length=100)
    description = serializers.CharField(max_length=MAX_DESCRIPTION, required=False, allow_null=True, allow_blank=True)
    price = MoneyAmountField()
    currency = CurrencyField()
    billing_cycle = OneOf(Cycle.choices)
    billing_interval = serializers.IntegerField(min_value=1, max_value=MAX_INTERVAL, required=False)
    trial_days = serializers.IntegerField(min_value=0, max_value=MAX_TRIAL_DAYS, required=False)
    trial_needs_method = serializers.BooleanField(required=False)
    proration_unit = OneOf(ProrationUnit.choices, required=False, allow_null=True)
    features = serializers.DictField(required=False, help_text=f"At most {MAX_FEATURES} switches, limits and texts")
    max_usage_per_day = serializers.IntegerField(min_value=0, max_value=MAX_USAGE, required=False, allow_null=True)
    max_usage_per_month = serializers.IntegerField(min_value=0, max_value=MAX_USAGE, required=False, allow_null=True)
    family = serializers.SlugField(max_length=50, required=False)
    is_active = serializers.BooleanField(required=False)
    sort_order = serializers.IntegerField(min_value=-MAX_SORT_ORDER, max_value=MAX_SORT_ORDER, required=False)
    prices = PlanPriceSerializer(many=True, required=False)
    provider_refs = PlanProviderRefSerializer(many=True, required=False)
    action_prices = ActionPriceSerializer(many=True, required=False)
    confirm = serializers.BooleanField(required=False, write_only=True)

    def to_internal_value(self, data: Any) -> Any:
        """`active` is another name for `is_active`, in and out."""
        if isinstance(data, dict) and "active" in data:
            if data.get("is_active", data["active"]) != data["active"]:
                raise ValidationFailed.field("active", "This is another name for is_active, and says the opposite")
            data = {**data, "is_active": data["active"]}
        return super().to_internal_value(data)


class ActivePlansSerializer(serializers.Serializer[Any]):
    """A list like every other, whole on its one page."""

    results = PlanSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    count = serializers.IntegerField()


class ComparedFeatureSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    values = serializers.DictField(help_text="By plan code; null where the plan lacks the feature")


class ComparisonSerializer(serializers.Serializer[Any]):
    plans = PlanSerializer(many=True)
    features = ComparedFeatureSerializer(many=True)
