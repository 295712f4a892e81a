"""payments/, invoices/, payment-methods/: thin edges over the services."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.permissions import may_act_for
from accounts.roles import BILLING_ADMIN, FINANCE, SUPPORT, has_role
from payflow.api.idempotency import idempotency_id
from payflow.api.json import answer
from payflow.api.permissions import ServicesInScope
from payflow.api.principals import has_scope, is_service, principal_key
from payflow.api.router import UUID_PATTERN
from payflow.api.views import ReadViewSet
from payflow.core import clock
from payflow.core.errors import Forbidden, ValidationFailed
from payments.models import Invoice, PaymentMethod, PaymentTransaction
from payments.pdf import invoice_download
from payments.selectors import invoices_visible, payment_methods_visible, payments_visible
from payments.serializers import (
    InvoiceSerializer,
    PaymentMethodSerializer,
    PaymentSerializer,
    PaySerializer,
    RefundSerializer,
)
from payments.services.pay import invoice_pay
from payments.services.refunds import refund_create


class MayRefund(BasePermission):
    """Operators whose role handles money, and services with the scope `refunds`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if is_service(request.user):
            return has_scope(request.user, "refunds")
        return bool(request.user.is_staff) and has_role(request.user, BILLING_ADMIN, SUPPORT, FINANCE)


class PaymentViewSet(ReadViewSet):
    """Payments and refunds: one's own, all for operators and services."""

    queryset = PaymentTransaction.objects.none()
    serializer_class = PaymentSerializer
    permission_classes = [ServicesInScope]
    required_scope = "subscriptions"
    filterset_fields = ["status", "type", "provider", "invoice", "subscription"]
    lookup_value_regex = UUID_PATTERN

    def get_queryset(self) -> Any:
        return payments_visible(self.request.user)

    @extend_schema(request=PaySerializer, responses={201: PaymentSerializer})
    def create(self, request: Request) -> Response:
        """Pays an open invoice with a stored method."""
        serializer = PaySerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        invoice_id = serializer.validated_data["invoice_id"]
        invoice = invoices_visible(request.user).filter(pk=invoice_id).first()
        if invoice is None:
            raise ValidationFailed.field("invoice_id", "There is no such invoice")
        if not may_act_for(request.user, invoice.user_id):
            raise Forbidden
        payment = invoice_pay(
            invoice_id=invoice_id,
            method_id=serializer.validated_data.get("payment_method"),
            actor=principal_key(request.user) or "",
            now=clock.now(),
            request_id=idempotency_id(request),
        )
        return answer(PaymentSerializer(payment).data, message="Paid", status=201)

    @extend_schema(request=RefundSerializer, responses={201: PaymentSerializer})
    @action(detail=True, methods=["post"], permission_classes=[MayRefund])
    def refund(self, request: Request, pk: str) -> Response:
        """Refunds a payment, in full without `amount`."""
        serializer = RefundSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        refund = refund_create(
            charge_id=self.get_object().pk,
            amount=serializer.validated_data.get("amount"),
            reason=serializer.validated_data["reason"],
            actor=principal_key(request.user) or "",
            at=clock.now(),
            request_id=idempotency_id(request),
        )
        return answer(PaymentSerializer(refund).data, message="Refunded", status=201)


class InvoiceViewSet(ReadViewSet):
    """Invoices with their lines, each line with the explanation of its amount."""

    queryset = Invoice.objects.none()
    serializer_class = InvoiceSerializer
    permission_classes = [ServicesInScope]
    required_scope = "subscriptions"
    filterset_fields = ["status", "subscription"]
    lookup_value_regex = UUID_PATTERN

    def get_queryset(self) -> Any:
        return invoices_visible(self.request.user)

    @extend_schema(responses={(200, "application/pdf"): OpenApiTypes.BINARY, 409: None})
    @action(detail=True, methods=["get"])
    def pdf(self, request: Request, pk: str) -> HttpResponse:
        """The invoice as a PDF; 409 before it is issued."""
        return invoice_download(self.get_object())


class PaymentMethodViewSet(ReadViewSet):
    """Stored methods: never a card number."""

    queryset = PaymentMethod.objects.none()
    serializer_class = PaymentMethodSerializer
    permission_classes = [ServicesInScope]
    required_scope = "subscriptions"
    lookup_value_regex = UUID_PATTERN

    def get_queryset(self) -> Any:
        return payment_methods_visible(self.request.user)
