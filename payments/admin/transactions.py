"""Operators' pages of payments, refunds, disputes and stored methods: to look at. A refund is a confirmed action."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.roles import BILLING_ADMIN, FINANCE, SUPPORT, has_role
from payflow.core import clock
from payflow.core.admin_actions import Act, AmountForm, Confirmed, ConfirmedActions
from payflow.core.admin_base import CREATED, ProviderFilter, ReadOnlyAdmin, ReadOnlyInline, amount_text
from payments.admin.ledger import PostingInline
from payments.models import PaymentMethod, PaymentTransaction
from payments.selectors import is_disputed, payments_unapplied
from payments.services.refunds import refund_create, refund_record_manual, refund_settle
from payments.services.unkeyed_refunds import is_looked_for
from providers import registry

Status = PaymentTransaction.Status
Type = PaymentTransaction.Type


class TransactionInline(ReadOnlyInline):
    """Also on the subscription's page."""

    model = PaymentTransaction
    fields: tuple[str, ...] = (
        "created_at",
        "type",
        "status",
        "amount",
        "refunded_amount",
        "provider",
        "provider_txn_id",
        "failure_code",
    )
    verbose_name_plural = "payments"


class ReversalInline(TransactionInline):
    fk_name = "parent"
    fields = ("created_at", "type", "status", "amount", "reason", "provider_txn_id", "failure_code")
    verbose_name_plural = "refunds and chargebacks"
    tab = False


class UnappliedFilter(admin.SimpleListFilter):
    """Money that came in, settled nothing and became nobody's credit: an operator decides."""

    title = "unapplied"
    parameter_name = "unapplied"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Settles no invoice")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PaymentTransaction]) -> QuerySet[PaymentTransaction]:
        if self.value() != "yes":
            return queryset
        return queryset.filter(pk__in=payments_unapplied().values("pk"))


class DisputeFilter(admin.SimpleListFilter):
    """Chargebacks by what became of them."""

    title = "dispute"
    parameter_name = "dispute"
    STATUSES = {"open": Status.PENDING, "lost": Status.COMPLETED, "won": Status.FAILED}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name.capitalize()) for name in self.STATUSES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PaymentTransaction]) -> QuerySet[PaymentTransaction]:
        status = self.STATUSES.get(self.value() or "")
        return queryset.filter(type=Type.CHARGEBACK, status=status) if status else queryset


def _refund_will(payment: PaymentTransaction) -> str:
    if not _refundable(payment):
        return _cannot(payment)
    return f"{_rest(payment)} goes back to {payment.user} through {payment.provider}. {_AFTER[settings.FULL_REFUND]}"


def _part_will(payment: PaymentTransaction) -> str:
    if not _refundable(payment):
        return _cannot(payment)
    then = _AFTER[settings.PARTIAL_REFUND]
    return f"A part of {_rest(payment)} goes back to {payment.user} through {payment.provider}. {then}"


def _manual_will(payment: PaymentTransaction) -> str:
    if not _refundable(payment):
        return _cannot(payment)
    return f"{payment.provider} is not asked: {_rest(payment)}, or a part of it, has gone back by hand."


_AFTER = {
    "cancel": "What it paid for ends now, if that is the period under way.",
    "nothing": "Access stays as it is.",
}


def _cannot(payment: PaymentTransaction) -> str:
    disputed = payment.type == Type.CHARGE and is_disputed(payment)
    return f"Cannot be refunded: a {payment.type} that is {'disputed' if disputed else payment.status}"


def _rest(payment: PaymentTransaction) -> str:
    return amount_text(payment.amount - payment.refunded_amount, payment.currency)


def _refundable(payment: PaymentTransaction) -> bool:
    return (
        payment.type == Type.CHARGE
        and payment.status == Status.COMPLETED
        and payment.refunded_amount < payment.amount
        and not is_disputed(payment)
    )


def _without_api(payment: PaymentTransaction) -> bool:
    if not _refundable(payment):
        return False
    if payment.provider not in registry.names():
        return True
    caps = registry.get(payment.provider).capabilities
    return not (caps.refund_full and caps.refund_partial)


def _refund_manual(payment: PaymentTransaction, confirmed: Confirmed) -> str:
    refund = refund_record_manual(
        charge_id=payment.pk,
        amount=confirmed.data.get("amount"),
        reason=confirmed.reason,
        actor=confirmed.actor,
        at=clock.now(),
        request_id=confirmed.request_id_of(payment),
    )
    return f"{amount_text(refund.amount, refund.currency)} recorded as refunded"


def _refund(payment: PaymentTransaction, confirmed: Confirmed) -> str:
    refund = refund_create(
        charge_id=payment.pk,
        amount=confirmed.data.get("amount"),
        reason=confirmed.reason,
        actor=confirmed.actor,
        at=clock.now(),
        request_id=confirmed.request_id_of(payment),
    )
    return f"{amount_text(refund.amount, refund.currency)} refunded"


def _settle_will(payment: PaymentTransaction) -> str:
    if not is_looked_for(payment):
        return "Nothing to be said: it does not wait for that"
    return f"{payment.provider} is not asked, and {amount_text(payment.amount, payment.currency)} is booked as you say."


def _made(payment: PaymentTransaction, confirmed: Confirmed) -> str:
    return _settled(payment, confirmed, made=True)


def _not_made(payment: PaymentTransaction, confirmed: Confirmed) -> str:
    return _settled(payment, confirmed, made=False)


def _settled(payment: PaymentTransaction, confirmed: Confirmed, *, made: bool) -> str:
    refund = refund_settle(
        refund_id=payment.pk, made=made, reason=confirmed.reason, actor=confirmed.actor, at=clock.now()
    )
    return f"{amount_text(refund.amount, refund.currency)} {'refunded' if made else 'not refunded'}"


@admin.register(PaymentTransaction)
class PaymentTransactionAdmin(ConfirmedActions, ReadOnlyAdmin):
    acts = (
        Act(
            name="refund_in_full",
            title="Refund in full",
            question="Give the money back? This cannot be taken back.",
            permission="refund",
            will=_refund_will,
            run=_refund,
            applies=_refundable,
            icon="undo",
            asks_reason=True,
            dangerous=True,
        ),
        Act(
            name="refund_a_part",
            title="Refund a part",
            question="How much goes back? This cannot be taken back.",
            permission="refund",
            will=_part_will,
            run=_refund,
            applies=_refundable,
            icon="undo",
            form=AmountForm,
            dangerous=True,
        ),
        Act(
            name="record_manual_refund",
            title="Record a manual refund",
            question="Has the money gone back by hand? This cannot be taken back.",
            permission="manual_refund",
            will=_manual_will,
            run=_refund_manual,
            applies=_without_api,
            icon="edit_note",
            form=AmountForm,
            dangerous=True,
        ),
        Act(
            name="refund_was_made",
            title="It was made",
            question="Does the provider's own page say that this refund was made? This cannot be taken back.",
            permission="manual_refund",
            will=_settle_will,
            run=_made,
            applies=is_looked_for,
            icon="done",
            asks_reason=True,
            dangerous=True,
        ),
        Act(
            name="refund_was_not_made",
            title="It was not made",
            question="Does the provider's own page say that this refund was not made? Then it can be asked for anew.",
            permission="manual_refund",
            will=_settle_will,
            run=_not_made,
            applies=is_looked_for,
            icon="block",
            asks_reason=True,
            dangerous=True,
        ),
    )
    list_display = (
        "created_at",
        "type",
        "status",
        "amount",
        "refunded_amount",
        "user",
        "provider",
        "invoice",
        "failure_code",
        "provider_txn_id",
    )
    list_filter = ("type", "status", UnappliedFilter, DisputeFilter, ProviderFilter, CREATED)
    list_select_related = ("user", "invoice")
    list_defer = ("gateway_response", "metadata")
    search_fields = ("provider_txn_id__exact", "idempotency_key__exact", "user__email__icontains")
    search_help_text = "The provider's id, our key, an e-mail address, or the id of a payment, user or subscription"
    search_ids = ("pk", "user_id", "subscription_id", "invoice_id", "parent_id")
    inlines = (ReversalInline, PostingInline)
    fieldsets = (
        (
            None,
            {"fields": ("type", "status", "amount", "refunded_amount", "user", "subscription", "invoice", "parent")},
        ),
        (
            "At the provider",
            {
                "classes": ("tab",),
                "fields": (
                    "provider",
                    "provider_txn_id",
                    "method",
                    "payment_method",
                    "idempotency_key",
                    "attempt",
                    "failure_code",
                    "recoverable",
                    "reason",
                ),
            },
        ),
        ("What it said", {"classes": ("tab",), "fields": ("gateway_response", "metadata")}),
        ("Row", {"classes": ("tab",), "fields": ("id", "created_at", "completed_at", "updated_at")}),
    )

    def named(self, row: PaymentTransaction) -> str:
        return f"{row.type} of {amount_text(row.amount, row.currency)}, {row.user}"

    def has_refund_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return has_role(request.user, BILLING_ADMIN, SUPPORT, FINANCE)

    def has_manual_refund_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return has_role(request.user, BILLING_ADMIN, FINANCE)


@admin.register(PaymentMethod)
class PaymentMethodAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "user", "provider", "kind", "is_active", "created_at")
    list_filter = ("is_active", ProviderFilter, CREATED)
    list_select_related = ("user",)
    search_fields = ("user__email__icontains", "method_ref__exact", "customer_ref__exact", "last4__exact")
    search_ids = ("pk", "user_id")
