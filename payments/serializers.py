from __future__ import annotations

from typing import Any

from rest_framework import serializers

from payflow.api.fields import MoneyAmountField, SelectedFields
from payments.models import Invoice, InvoiceLine, PaymentMethod, PaymentTransaction


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


class PaySerializer(serializers.Serializer[Any]):
    """The amount is the invoice's: it never comes from the client."""

    invoice_id = serializers.UUIDField()
    payment_method = serializers.UUIDField(required=False, allow_null=True)


class RefundSerializer(serializers.Serializer[Any]):
    """Without `amount`: the whole rest."""

    amount = MoneyAmountField(required=False, allow_null=True, allow_zero=False)
    reason = serializers.CharField(max_length=255)
