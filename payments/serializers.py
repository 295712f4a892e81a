from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from payflow.api.fields import MoneyAmountField, SelectedFields
from payflow.api.strict import KnownFieldsOnly
from payments.credits import REVOKED
from payments.models import (
    CreditAccount,
    CreditGrant,
    CreditSource,
    Invoice,
    InvoiceLine,
    PaymentMethod,
    PaymentTransaction,
)


class PaymentSerializer(SelectedFields, serializers.ModelSerializer[PaymentTransaction]):
    """Both documents' fields; `gateway_transaction_id` is the first document's word for `provider_txn_id`."""

    user_id = serializers.UUIDField(read_only=True)
    subscription_id = serializers.UUIDField(read_only=True, allow_null=True)
    invoice_id = serializers.UUIDField(read_only=True, allow_null=True)
    parent_id = serializers.UUIDField(read_only=True, allow_null=True)
    gateway_transaction_id = serializers.CharField(source="provider_txn_id", read_only=True, allow_null=True)
    amount = MoneyAmountField(read_only=True)
    refunded_amount = MoneyAmountField(read_only=True)

    class Meta:
        model = PaymentTransaction
        fields = [
            "id",
            "subscription_id",
            "user_id",
            "invoice_id",
            "parent_id",
            "provider",
            "provider_txn_id",
            "gateway_transaction_id",
            "type",
            "status",
            "amount",
            "currency",
            "refunded_amount",
            "payment_method",
            "attempt",
            "failure_code",
            "reason",
            "metadata",
            "completed_at",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields


class InvoiceLineSerializer(serializers.ModelSerializer[InvoiceLine]):
    unit_amount = MoneyAmountField(read_only=True)
    amount = MoneyAmountField(read_only=True)

    class Meta:
        model = InvoiceLine
        fields = [
            "kind",
            "description",
            "quantity",
            "unit_amount",
            "amount",
            "period_start",
            "period_end",
            "explanation",
        ]


class InvoiceSerializer(SelectedFields, serializers.ModelSerializer[Invoice]):
    user_id = serializers.UUIDField(read_only=True)
    subscription_id = serializers.UUIDField(read_only=True, allow_null=True)
    subtotal = MoneyAmountField(read_only=True)
    discount = MoneyAmountField(read_only=True)
    tax = MoneyAmountField(read_only=True)
    tax_included = MoneyAmountField(read_only=True)
    credit = MoneyAmountField(read_only=True)
    total = MoneyAmountField(read_only=True)
    lines = InvoiceLineSerializer(many=True, read_only=True)

    class Meta:
        model = Invoice
        fields = [
            "id",
            "number",
            "user_id",
            "subscription_id",
            "status",
            "reason",
            "currency",
            "subtotal",
            "discount",
            "tax",
            "tax_included",
            "credit",
            "total",
            "period_start",
            "period_end",
            "issued_at",
            "due_at",
            "paid_at",
            "lines",
            "created_at",
        ]
        read_only_fields = fields


class PaymentMethodSerializer(SelectedFields, serializers.ModelSerializer[PaymentMethod]):
    class Meta:
        model = PaymentMethod
        fields = ["id", "provider", "kind", "brand", "last4", "created_at"]
        read_only_fields = fields


class PaySerializer(KnownFieldsOnly):
    """The amount is the invoice's: it never comes from the client."""

    invoice_id = serializers.UUIDField()
    payment_method = serializers.UUIDField(required=False, allow_null=True)


class RefundSerializer(KnownFieldsOnly):
    """Without `amount`: the whole rest."""

    amount = MoneyAmountField(required=False, allow_null=True, allow_zero=False)
    reason = serializers.CharField(max_length=255)


class CreditGrantSerializer(serializers.ModelSerializer[CreditGrant]):
    """`expired_at`: when what was left of it was taken out; `revoked_at`: when it was taken back.

    `explanation`: the inputs of the formula that made unused time so much credit; of other credit nothing.
    """

    explanation = serializers.SerializerMethodField()
    amount = MoneyAmountField(read_only=True)
    remaining = MoneyAmountField(read_only=True)
    revoked_at = serializers.SerializerMethodField()

    class Meta:
        model = CreditGrant
        fields = [
            "id",
            "source",
            "reason",
            "amount",
            "remaining",
            "currency",
            "expires_at",
            "expired_at",
            "revoked_at",
            "explanation",
            "created_at",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_revoked_at(self, grant: CreditGrant) -> str | None:
        revoked = grant.explanation.get(REVOKED)
        return revoked["at"] if revoked else None

    def get_explanation(self, grant: CreditGrant) -> dict[str, Any]:
        if grant.source != CreditSource.UNUSED_TIME:
            return {}  # an operator's name, and whose payment it was, are no formula
        return {name: each for name, each in grant.explanation.items() if name != REVOKED}


class CreditAccountSerializer(SelectedFields, serializers.ModelSerializer[CreditAccount]):
    user_id = serializers.UUIDField(read_only=True)
    balance = MoneyAmountField(read_only=True)
    grants = CreditGrantSerializer(many=True, read_only=True)

    class Meta:
        model = CreditAccount
        fields = ["id", "user_id", "currency", "balance", "grants", "created_at", "updated_at"]
        read_only_fields = fields


class GrantSerializer(KnownFieldsOnly):
    """Without `expires_at`: for ever."""

    user_id = serializers.UUIDField()
    amount = MoneyAmountField(allow_zero=False)
    currency = serializers.CharField(max_length=3)
    reason = serializers.CharField(max_length=255)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)


class SpendSerializer(KnownFieldsOnly):
    """`key` may be left out where `Idempotency-Key` is sent."""

    user_id = serializers.UUIDField()
    amount = MoneyAmountField(allow_zero=False)
    currency = serializers.CharField(max_length=3)
    key = serializers.CharField(required=False, max_length=150)
    reason = serializers.CharField(max_length=255)


class SpentSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    user_id = serializers.UUIDField()
    amount = MoneyAmountField()
    currency = serializers.CharField()
    created_at = serializers.DateTimeField()
