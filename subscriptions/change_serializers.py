from __future__ import annotations

from typing import Any

from rest_framework import serializers

from payflow.api.fields import CurrencyField, MoneyAmountField, OneOf
from payflow.api.strict import KnownFieldsOnly
from payments.models import InvoiceLine
from payments.serializers import InvoiceLineSerializer
from subscriptions.change_quotes import Effective
from subscriptions.serializers import ChangeSerializer, SubscriptionSerializer
from subscriptions.services.plan_change import Preview


class PlanPreviewSerializer(KnownFieldsOnly):
    """`plan_id` is a plan's id or code."""

    plan_id = serializers.CharField(max_length=64)
    when = OneOf(choices=["now", "period_end"], required=False, allow_null=True)
    currency = CurrencyField(required=False, allow_null=True)


class PlanChangeSerializer(PlanPreviewSerializer):
    """What a preview had shown is what happens: `quoted_at` with its `total`, and its `next_amount`."""

    quoted_at = serializers.DateTimeField(required=False, allow_null=True)
    total = MoneyAmountField(required=False, allow_null=True)
    next_amount = MoneyAmountField(required=False, allow_null=True)


class PauseSerializer(KnownFieldsOnly):
    resumes_at = serializers.DateTimeField(required=False, allow_null=True)


class ChangedSerializer(serializers.Serializer[Any]):
    """`change` is null where a planned one was taken back; `checkout_url` is set where the change waits for its payment."""

    subscription = SubscriptionSerializer()
    change = ChangeSerializer(allow_null=True)
    checkout_url = serializers.CharField(allow_null=True)


class PreviewSerializer(serializers.Serializer[Any]):
    """The invoice that the change would make, and what follows. `credit_granted` is unused time that becomes credit."""

    plan_id = serializers.UUIDField()
    plan_code = serializers.CharField()
    effective = serializers.ChoiceField(choices=[str(each) for each in Effective])
    effective_at = serializers.DateTimeField()
    quoted_at = serializers.DateTimeField()
    currency = serializers.CharField()
    lines = InvoiceLineSerializer(many=True)
    subtotal = MoneyAmountField()
    discount = MoneyAmountField()
    tax = MoneyAmountField()
    tax_included = MoneyAmountField()
    credit = MoneyAmountField()
    total = MoneyAmountField()
    credit_granted = MoneyAmountField()
    next_charge_at = serializers.DateTimeField(allow_null=True)
    next_amount = MoneyAmountField()


def preview_data(preview: Preview) -> dict[str, Any]:
    """A preview as its serializer reads it. Amounts are those of the invoice; zero where there is none."""
    quote, claim = preview.quote, preview.claim
    lines: list[InvoiceLine] = claim.lines if claim else []
    sums = ("subtotal", "discount", "tax", "tax_included", "credit", "total")
    follows = quote.effective == Effective.PERIOD_END or quote.period is None
    next_charge_at = quote.effective_at if follows or quote.period is None else quote.period.end
    return {
        "plan_id": quote.plan.pk,
        "plan_code": quote.plan.code,
        "effective": str(quote.effective),
        "effective_at": quote.effective_at,
        "quoted_at": quote.quoted_at,
        "currency": quote.price.currency,
        "lines": lines,
        **{name: getattr(claim.invoice, name) if claim else 0 for name in sums},
        "credit_granted": quote.rest.amount,
        "next_charge_at": next_charge_at if quote.price else None,
        "next_amount": quote.price.amount,
    }
