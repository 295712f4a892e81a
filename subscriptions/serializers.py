from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from payflow.api.fields import CurrencyField, MoneyAmountField, SelectedFields
from payflow.api.strict import KnownFieldsOnly
from payflow.core.countries import COUNTRY_HINT
from payments.serializers import PaymentSerializer
from subscriptions.access import access_until
from subscriptions.models import Checkout, Subscription, SubscriptionChange


class CheckoutSerializer(serializers.ModelSerializer[Checkout]):
    amount = MoneyAmountField(read_only=True)

    class Meta:
        model = Checkout
        fields = ["id", "purpose", "status", "order_ref", "amount", "currency", "trial_days", "url", "expires_at"]


class ChangeSerializer(serializers.ModelSerializer[SubscriptionChange]):
    """A planned or applied change."""

    plan_id = serializers.UUIDField(read_only=True)
    plan_code = serializers.CharField(source="plan.code", read_only=True)
    from_plan_id = serializers.UUIDField(read_only=True)
    invoice_id = serializers.UUIDField(read_only=True, allow_null=True)
    amount = MoneyAmountField(read_only=True)

    class Meta:
        model = SubscriptionChange
        fields = [
            "id",
            "status",
            "reason",
            "effective",
            "effective_at",
            "from_plan_id",
            "plan_id",
            "plan_code",
            "amount",
            "currency",
            "billing_cycle",
            "billing_interval",
            "invoice_id",
            "created_at",
        ]
        read_only_fields = fields


class SubscriptionSerializer(SelectedFields, serializers.ModelSerializer[Subscription]):
    """Both documents' fields under their names; `trial_end` is the first document's word for `trial_ends_at`."""

    user_id = serializers.UUIDField(read_only=True)
    plan_id = serializers.UUIDField(read_only=True)
    plan_code = serializers.CharField(source="plan.code", read_only=True)
    payment_method_id = serializers.UUIDField(read_only=True, allow_null=True)
    overlaps_id = serializers.UUIDField(read_only=True, allow_null=True)
    amount = MoneyAmountField(read_only=True)
    trial_end = serializers.DateTimeField(source="trial_ends_at", read_only=True, allow_null=True)
    access_until = serializers.SerializerMethodField()
    checkout = serializers.SerializerMethodField()
    planned_change = serializers.SerializerMethodField()
    move_checkout = serializers.SerializerMethodField()

    class Meta:
        model = Subscription
        fields = [
            "id",
            "user_id",
            "plan_id",
            "plan_code",
            "family",
            "status",
            "provider",
            "provider_sub_id",
            "start_date",
            "end_date",
            "current_period_start",
            "trial_ends_at",
            "trial_end",
            "grace_until",
            "access_until",
            "cancelled_at",
            "paused_at",
            "resumes_at",
            "auto_renew",
            "payment_method_id",
            "amount",
            "currency",
            "billing_cycle",
            "billing_interval",
            "timezone",
            "overlaps_id",
            "checkout",
            "planned_change",
            "move_checkout",
            "created_at",
            "updated_at",
        ]

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_access_until(self, row: Subscription) -> str | None:
        until = access_until(row)
        return until.isoformat().replace("+00:00", "Z") if until else None

    @extend_schema_field(CheckoutSerializer(allow_null=True))
    def get_checkout(self, row: Subscription) -> Any:
        """The page on which to pay, while there is something to pay."""
        owed = [page for page in _open_pages(row) if page.purpose != Checkout.Purpose.MOVE]
        return CheckoutSerializer(owed[0]).data if owed else None

    @extend_schema_field(CheckoutSerializer(allow_null=True))
    def get_move_checkout(self, row: Subscription) -> Any:
        """The page on which to pay the next period at another provider, until the present one ends; nobody has to."""
        links = [page for page in _open_pages(row) if page.purpose == Checkout.Purpose.MOVE and page.url]
        return CheckoutSerializer(links[0]).data if links else None

    @extend_schema_field(ChangeSerializer(allow_null=True))
    def get_planned_change(self, row: Subscription) -> Any:
        """What it will be at the end of its period, or once the change is paid."""
        planned: list[SubscriptionChange] = getattr(row, "open_changes", [])
        return ChangeSerializer(planned[0]).data if planned else None


def _open_pages(row: Subscription) -> list[Checkout]:
    pages: list[Checkout] = getattr(row, "open_checkouts", [])  # prefetched
    return pages


class SubscribedSerializer(serializers.Serializer[Any]):
    """The answer to a subscribe: `checkout_url` is where to send the customer, null for a free plan."""

    subscription = SubscriptionSerializer()
    checkout_url = serializers.CharField(allow_null=True)
    checkout = CheckoutSerializer(allow_null=True)


class CurrentSubscriptionSerializer(SubscriptionSerializer):
    """`pending` is a checkout under way beside the live subscription."""

    pending = serializers.SerializerMethodField()

    class Meta(SubscriptionSerializer.Meta):
        fields = [*SubscriptionSerializer.Meta.fields, "pending"]

    @extend_schema_field(SubscriptionSerializer(allow_null=True))
    def get_pending(self, row: Subscription) -> Any:
        pending = self.context.get("pending")
        return SubscriptionSerializer(pending).data if pending else None


def _http_url(value: str) -> None:
    """A browser is sent there: nothing that it reads differently than `urlsplit` does (spaces, controls, backslashes)."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if value and (not usable or not value.isprintable() or any(c in ' \\"<>' for c in value)):
        raise serializers.ValidationError("An http or https address")


class SubscribeSerializer(KnownFieldsOnly):
    """`plan_id` is a plan's id or code; `user_id` is for services.

    Of a store (`provider` apple or google) only `purchase_token` is sent: the signed transaction, or the purchase token;
    the plan is that of its product.
    """

    plan_id = serializers.CharField(max_length=64, required=False)
    purchase_token = serializers.CharField(max_length=20_000, required=False, trim_whitespace=True)
    provider = serializers.CharField(max_length=50, required=False, allow_null=True)
    currency = CurrencyField(required=False, allow_null=True)
    coupon = serializers.CharField(max_length=50, required=False, allow_null=True)
    country = serializers.RegexField(
        r"^[A-Za-z]{2}$", required=False, allow_null=True, error_messages={"invalid": COUNTRY_HINT}
    )
    success_url = serializers.CharField(max_length=2000, required=False, allow_blank=True, validators=[_http_url])
    cancel_url = serializers.CharField(max_length=2000, required=False, allow_blank=True, validators=[_http_url])
    user_id = serializers.UUIDField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "purchase_token" not in attrs:
            if "plan_id" not in attrs:
                raise serializers.ValidationError({"plan_id": ["This field is required."]})
            return attrs
        if not attrs.get("provider"):
            raise serializers.ValidationError({"provider": ["The store that the purchase was made in"]})
        if surplus := sorted(set(attrs) - {"purchase_token", "provider", "user_id"}):
            raise serializers.ValidationError({name: ["The store has decided this"] for name in surplus})
        return attrs


class SubscriptionChangeSerializer(KnownFieldsOnly):
    unknown_fault = "This field cannot be changed"

    auto_renew = serializers.BooleanField(required=False)
    payment_method_id = serializers.UUIDField(required=False, allow_null=True)
    timezone = serializers.CharField(max_length=64, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("One of auto_renew, payment_method_id, timezone")
        return attrs


class RetriedSerializer(serializers.Serializer[Any]):
    """Exactly one is set."""

    payment = PaymentSerializer(allow_null=True)
    checkout_url = serializers.CharField(allow_null=True)
