"""Operators' pages of subscriptions: what was agreed, billed and tried. What changes is done by confirmed actions."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.formats import date_format

from payflow.core import clock
from payflow.core.admin_actions import Act, Confirmed, ConfirmedActions
from payflow.core.admin_base import CREATED, LogAdmin, ProviderFilter, ReadOnlyAdmin, ReadOnlyInline
from payments.admin import InvoiceInline, TransactionInline
from subscriptions import admin_moves as admin_moves  # its pages register themselves
from subscriptions import admin_plans as admin_plans
from subscriptions import admin_providers as admin_providers
from subscriptions.models import (
    BillingPeriod,
    Checkout,
    CouponRedemption,
    ProviderLink,
    Status,
    Subscription,
    SubscriptionEvent,
    TrialRedemption,
)
from subscriptions.services.cancel import RUNNING, subscription_cancel, subscription_uncancel
from subscriptions.services.reconciliation import can_be_asked, subscription_reconcile
from subscriptions.services.review import subscription_reviewed

ENDED = frozenset({Status.CANCELLED, Status.EXPIRED})


class PeriodInline(ReadOnlyInline):
    model = BillingPeriod
    fields = ("start", "end", "plan", "amount", "invoice", "source", "superseded_at")
    related = ("plan", "invoice")
    ordering = ("-start", "-pk")


class EventInline(ReadOnlyInline):
    model = SubscriptionEvent
    has_page = False
    fields = ("sequence", "from_status", "to_status", "reason", "actor", "at")
    ordering = ("-sequence",)


class CheckoutInline(ReadOnlyInline):
    model = Checkout
    fields = ("created_at", "purpose", "status", "amount", "provider", "plan", "invoice", "expires_at", "paid_at")
    related = ("plan", "invoice")


class LinkInline(ReadOnlyInline):
    model = ProviderLink
    has_page = False
    fields = ("provider", "provider_sub_id", "created_at")


class RedemptionInline(ReadOnlyInline):
    model = CouponRedemption
    fields = ("created_at", "coupon", "status", "cycles_used", "cycles")
    related = ("coupon",)


class OutlookFilter(admin.SimpleListFilter):
    """What becomes of it, beyond its status."""

    title = "outlook"
    parameter_name = "outlook"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("ending", "Cancelled, running out"),
            ("overdue", "Action overdue"),
            ("overlap", "Overlaps another"),
            ("review", "Waits for review"),
            ("disputed", "Dispute open"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Subscription]) -> QuerySet[Subscription]:
        match self.value():
            case "ending":
                return queryset.filter(status__in=RUNNING, cancelled_at__isnull=False)
            case "overdue":
                return queryset.filter(next_action_at__lte=clock.now())
            case "overlap":
                return queryset.filter(overlaps__isnull=False)
            case "review":
                return queryset.exclude(review_reason="")
            case "disputed":
                return queryset.filter(disputed_at__isnull=False)
        return queryset


def _keeps_time(subscription: Subscription) -> bool:
    return subscription.status in RUNNING and subscription.end_date is not None


def _end_will(subscription: Subscription) -> str:
    if subscription.status in ENDED:
        return f"Nothing: it is already {subscription.status}"
    if _keeps_time(subscription):
        return f"{_who(subscription)} keeps access until {_moment(subscription.end_date)}, then it ends."
    return (
        f"It is {subscription.get_status_display()}, so it ends now for {_who(subscription)}; nothing is charged again."
    )


def _now_will(subscription: Subscription) -> str:
    if subscription.status in ENDED:
        return f"Nothing: it is already {subscription.status}"
    return f"{_who(subscription)} loses access now. Nothing is refunded; an unpaid invoice becomes void."


def _uncancel_will(subscription: Subscription) -> str:
    if not _is_ending(subscription):
        return "Nothing: there is no cancellation to take back"
    return f"It renews for {_who(subscription)} on {_moment(subscription.end_date)}."


def _is_ending(subscription: Subscription) -> bool:
    return subscription.cancelled_at is not None and _keeps_time(subscription)


def _who(subscription: Subscription) -> str:
    return str(subscription.user)


def _moment(moment: Any) -> str:
    return f"{date_format(moment, 'DATETIME_FORMAT')} UTC"


def _cancel(subscription: Subscription, confirmed: Confirmed, *, at_once: bool) -> str:
    row = subscription_cancel(subscription_id=subscription.pk, at_once=at_once, actor=confirmed.actor, now=clock.now())
    return f"ends {_moment(row.end_date)}" if row.status in RUNNING else str(row.get_status_display()).lower()


def _uncancel(subscription: Subscription, confirmed: Confirmed) -> str:
    subscription_uncancel(subscription_id=subscription.pk, actor=confirmed.actor, now=clock.now())
    return "the cancellation is taken back"


def _reviewed_will(subscription: Subscription) -> str:
    if not subscription.review_reason:
        return "Nothing: it does not wait for a review"
    return f"“{subscription.review_reason}” is taken off the list. Nothing else changes."


def _reviewed(subscription: Subscription, confirmed: Confirmed) -> str:
    subscription_reviewed(subscription_id=subscription.pk, actor=confirmed.actor, now=clock.now())
    return "reviewed"


def _ask(subscription: Subscription, confirmed: Confirmed) -> str:
    drift = subscription_reconcile(subscription_id=subscription.pk, now=clock.now())
    return "the provider agrees" if drift is None else "the provider disagrees: see Provider drifts"


@admin.register(Subscription)
class SubscriptionAdmin(ConfirmedActions, ReadOnlyAdmin):
    acts = (
        Act(
            name="cancel_at_period_end",
            title="Cancel at period end",
            question="Cancel, keeping what is paid for?",
            permission="cancel",
            will=_end_will,
            run=lambda row, confirmed: _cancel(row, confirmed, at_once=False),
            applies=lambda row: row.status not in ENDED and row.cancelled_at is None and _keeps_time(row),
            icon="event_busy",
        ),
        Act(
            name="cancel_now",
            title="Cancel now",
            question="Cancel at once? This cannot be taken back.",
            permission="cancel",
            will=_now_will,
            run=lambda row, confirmed: _cancel(row, confirmed, at_once=True),
            applies=lambda row: row.status not in ENDED,
            icon="cancel",
            dangerous=True,
        ),
        Act(
            name="take_cancellation_back",
            title="Take cancellation back",
            question="Take the cancellation back?",
            permission="cancel",
            will=_uncancel_will,
            run=_uncancel,
            applies=_is_ending,
            icon="undo",
        ),
        Act(
            name="reviewed",
            title="Reviewed",
            question="Is what it waited for dealt with?",
            permission="cancel",
            will=_reviewed_will,
            run=_reviewed,
            applies=lambda row: bool(row.review_reason),
            icon="task_alt",
        ),
        Act(
            name="ask_provider",
            title="Ask the provider",
            question="Ask the provider about it?",
            permission="cancel",
            will=lambda row: (
                f"What {row.provider or 'nobody'} tells that is missing here is applied; nothing is changed there."
            ),
            run=_ask,
            applies=can_be_asked,
            icon="sync",
        ),
    )
    list_display = (
        "customer",
        "plan",
        "status",
        "amount",
        "provider",
        "end_date",
        "auto_renew",
        "cancelled_at",
        "next_action_at",
    )
    list_filter = ("status", OutlookFilter, "plan", ProviderFilter, "billing_cycle", CREATED)
    list_select_related = ("user", "plan")
    search_fields = ("user__email__icontains", "user__name__icontains", "provider_sub_id__exact")
    search_help_text = "E-mail address, name, the provider's id, or the id of a subscription or user"
    search_ids = ("pk", "user_id", "plan_id")
    inlines = (
        PeriodInline,
        InvoiceInline,
        TransactionInline,
        EventInline,
        CheckoutInline,
        RedemptionInline,
        LinkInline,
    )
    fieldsets = (
        (None, {"fields": ("user", "plan", "status", "family", "amount", "billing_cycle", "billing_interval")}),
        (
            "Time",
            {
                "classes": ("tab",),
                "fields": (
                    "start_date",
                    "current_period_start",
                    "end_date",
                    "trial_ends_at",
                    "grace_until",
                    "cancelled_at",
                    "suspended_at",
                    "paused_at",
                    "resumes_at",
                    "anchor",
                    "timezone",
                ),
            },
        ),
        (
            "Renewal",
            {
                "classes": ("tab",),
                "fields": (
                    "auto_renew",
                    "next_action_at",
                    "dunning_from",
                    "dunning_step",
                    "payment_method",
                    "provider",
                    "provider_sub_id",
                    "provider_seen_at",
                    "renewal_seen_at",
                    "provider_checked_at",
                    "overlaps",
                    "disputed_at",
                    "review_reason",
                ),
            },
        ),
        ("Row", {"classes": ("tab",), "fields": ("id", "created_at", "updated_at")}),
    )

    def named(self, row: Subscription) -> str:
        return f"{row.plan} of {row.user}"

    @admin.display(description="customer", ordering="user__email")
    def customer(self, row: Subscription) -> str:
        return str(row.user)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        return super().get_queryset(request).select_related("user", "plan")

    def has_cancel_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("subscriptions.change_subscription"))


@admin.register(BillingPeriod)
class BillingPeriodAdmin(LogAdmin):
    list_display = ("start", "end", "subscription", "plan", "amount", "invoice", "source", "superseded_at")
    list_filter = ("source", "cycle", CREATED)
    list_select_related = ("subscription", "plan", "invoice")
    search_fields = ("subscription__user__email__icontains", "invoice__number__exact")
    search_ids = ("pk", "subscription_id", "invoice_id")


@admin.register(Checkout)
class CheckoutAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "user", "purpose", "status", "amount", "plan", "provider", "expires_at", "paid_at")
    list_filter = ("status", "purpose", ProviderFilter, CREATED)
    list_select_related = ("user", "plan")
    search_fields = ("user__email__icontains", "order_ref__exact")
    search_help_text = "E-mail address, order reference, or the id of a checkout, user, subscription or invoice"
    search_ids = ("pk", "user_id", "subscription_id", "invoice_id")


@admin.register(SubscriptionEvent)
class SubscriptionEventAdmin(LogAdmin):
    list_display = ("at", "subscription", "from_status", "to_status", "reason", "actor", "sequence")
    list_select_related = ("subscription",)
    search_fields = ("subscription__user__email__icontains", "reason__startswith", "actor__startswith")
    search_ids = ("pk", "subscription_id")


@admin.register(ProviderLink)
class ProviderLinkAdmin(LogAdmin):
    list_display = ("provider_sub_id", "provider", "subscription", "created_at")
    list_filter = (ProviderFilter, CREATED)
    list_select_related = ("subscription",)
    search_fields = ("provider_sub_id__exact", "subscription__user__email__icontains")
    search_ids = ("pk", "subscription_id")


@admin.register(TrialRedemption)
class TrialRedemptionAdmin(LogAdmin):
    list_display = ("created_at", "user", "family", "subscription")
    list_select_related = ("user", "subscription")
    search_fields = ("user__email__icontains", "family__exact")
    search_ids = ("pk", "user_id", "subscription_id")


@admin.register(CouponRedemption)
class CouponRedemptionAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "user", "coupon", "status", "cycles_used", "cycles", "subscription")
    list_filter = ("status", CREATED)
    list_select_related = ("user", "coupon", "subscription")
    search_fields = ("coupon__code__iexact", "user__email__icontains")
    search_help_text = "Code, e-mail address, or the id of a redemption, coupon, user or subscription"
    search_ids = ("pk", "coupon_id", "user_id", "subscription_id")
