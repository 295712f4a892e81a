"""payments/, invoices/, payment-methods/, credits/: thin edges over the services."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.permissions import may_act_for, may_refund
from payflow.api.idempotency import idempotency_id
from payflow.api.json import answer
from payflow.api.permissions import ServicesInScope
from payflow.api.principals import has_scope, is_service, principal_key
from payflow.api.router import UUID_PATTERN
from payflow.api.strict import body
from payflow.api.views import ApiViewSet, ReadViewSet
from payflow.core import clock
from payflow.core.errors import Forbidden, ValidationFailed
from payments.models import CreditAccount, Invoice, PaymentMethod, PaymentTransaction
from payments.pdf import invoice_download
from payments.selectors import credit_accounts_visible, invoices_visible, payment_methods_visible, payments_visible
from payments.serializers import (
    CreditAccountSerializer,
    CreditGrantSerializer,
    GrantSerializer,
    InvoiceSerializer,
    PaymentMethodSerializer,
    PaymentSerializer,
    PaySerializer,
    RefundSerializer,
    SpendSerializer,
    SpentSerializer,
)
from payments.services.credits import credit_grant, credit_spend
from payments.services.pay import invoice_pay
from payments.services.refunds import refund_create
from payments.support_limits import may_grant_credit


class MayRefund(BasePermission):
    """Who `may_refund`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return may_refund(request.user)


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
        wanted = body(PaySerializer, request)
        invoice_id = wanted["invoice_id"]
        invoice = invoices_visible(request.user).filter(pk=invoice_id).first()
        if invoice is None:
            raise ValidationFailed.field("invoice_id", "There is no such invoice")
        if not may_act_for(request.user, invoice.user_id):
            raise Forbidden
        payment = invoice_pay(
            invoice_id=invoice_id,
            method_id=wanted.get("payment_method"),
            actor=principal_key(request.user) or "",
            now=clock.now(),
            request_id=idempotency_id(request),
        )
        return answer(PaymentSerializer(payment).data, message="Paid", status=201)

    @extend_schema(request=RefundSerializer, responses={201: PaymentSerializer})
    @action(detail=True, methods=["post"], permission_classes=[MayRefund])
    def refund(self, request: Request, pk: str) -> Response:
        """Refunds a payment, in full without `amount`."""
        wanted = body(RefundSerializer, request)
        refund = refund_create(
            charge_id=self.get_object().pk,
            amount=wanted.get("amount"),
            reason=wanted["reason"],
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


class MayGrantCredit(BasePermission):
    """Billing admins, finance, services with the scope `refunds`, and support where it has a limit."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if is_service(request.user):
            return has_scope(request.user, "refunds")
        return bool(request.user.is_staff) and may_grant_credit(request.user)


class MaySpendCredit(BasePermission):
    """Services that sell by use: nobody spends his own credit by himself, and no operator that of a customer."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return has_scope(request.user, "usage") or has_scope(request.user, "subscriptions")


class CreditFilter(filters.FilterSet):  # type: ignore[misc]
    # By the id alone: a choice of users would tell which of them exist.
    user = filters.UUIDFilter(field_name="user_id")

    class Meta:
        model = CreditAccount
        fields = ["currency"]


class CreditViewSet(ListModelMixin, ApiViewSet):
    """What customers may still spend, by currency, with the grants that it is made of: those spent first come first."""

    queryset = CreditAccount.objects.none()
    serializer_class = CreditAccountSerializer
    permission_classes = [ServicesInScope]
    required_scope = "subscriptions"
    filterset_class = CreditFilter

    def get_queryset(self) -> Any:
        return credit_accounts_visible(self.request.user)

    def get_permissions(self) -> Any:
        return [MayGrantCredit()] if self.action == "create" else super().get_permissions()

    @extend_schema(request=GrantSerializer, responses={201: CreditGrantSerializer})
    def create(self, request: Request) -> Response:
        """Grants goodwill credit."""
        grant = credit_grant(
            **body(GrantSerializer, request),
            actor=principal_key(request.user) or "",
            at=clock.now(),
            request_id=idempotency_id(request),
        )
        return answer(CreditGrantSerializer(grant).data, message="Credit granted", status=201)

    @extend_schema(request=SpendSerializer, responses={201: SpentSerializer})
    @action(detail=False, methods=["post"], permission_classes=[MaySpendCredit])
    def spend(self, request: Request) -> Response:
        """Spends credit for something without an invoice, once per user and `key` (or `Idempotency-Key`)."""
        wanted = body(SpendSerializer, request)
        request_id = idempotency_id(request)
        key = wanted.pop("key", "") or (str(request_id) if request_id else "")
        if not key:
            raise ValidationFailed.field("key", "What makes it happen once: a key, or the header Idempotency-Key")
        spent = credit_spend(**wanted, key=key, actor=principal_key(request.user) or "", at=clock.now())
        return answer(SpentSerializer(spent).data, message="Spent", status=201)
