"""Operators' pages of what providers keep: commands on their way, and where their state and ours disagree."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from payflow.core import clock
from payflow.core.admin_actions import Act, Confirmed, ConfirmedActions
from payflow.core.admin_base import CREATED, LogAdmin, ProviderFilter, ReadOnlyAdmin
from subscriptions.models import ProviderCommand, ProviderDrift, ProviderFeed
from subscriptions.services.drifts import drift_adopt_ours, drift_adopt_theirs
from subscriptions.services.reconciliation import subscription_reconcile


class OpenFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("resolved", "Resolved")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ProviderDrift]) -> QuerySet[ProviderDrift]:
        match self.value():
            case "open":
                return queryset.filter(resolved_at=None)
            case "resolved":
                return queryset.exclude(resolved_at=None)
        return queryset


def _told(side: dict[str, Any]) -> str:
    """One side of a drift in words: `active, does not renew, until 2031-02-28 09:00 UTC`."""
    words = [str(side.get("status", "")).replace("_", " ")]
    if "auto_renew" in side:
        words.append("renews" if side["auto_renew"] else "does not renew")
    if "period_end" in side:
        words.append(f"until {datetime.fromisoformat(side['period_end']):%Y-%m-%d %H:%M %Z}")
    return ", ".join(words)


def _theirs_will(drift: ProviderDrift) -> str:
    return f"The subscription becomes what {drift.provider} says: {_told(drift.theirs)}. No money is booked for it."


def _ours_will(drift: ProviderDrift) -> str:
    return f"{drift.provider} is told to make it what it is here: {_told(drift.ours)}."


def _theirs(drift: ProviderDrift, confirmed: Confirmed) -> str:
    drift_adopt_theirs(drift_id=drift.pk, actor=confirmed.actor, now=clock.now())
    return "the provider's state is adopted"


def _ours(drift: ProviderDrift, confirmed: Confirmed) -> str:
    drift_adopt_ours(drift_id=drift.pk, actor=confirmed.actor, now=clock.now())
    return "the provider is told"


def _again(drift: ProviderDrift, confirmed: Confirmed) -> str:
    left = subscription_reconcile(subscription_id=drift.subscription_id, now=clock.now())
    return "they still disagree" if left else "they agree"


def _is_open(drift: ProviderDrift) -> bool:
    return drift.resolved_at is None


@admin.register(ProviderDrift)
class ProviderDriftAdmin(ConfirmedActions, ReadOnlyAdmin):
    acts = (
        Act(
            name="ask_again",
            title="Ask again",
            question="Ask the provider again?",
            permission="adopt",
            will=lambda row: f"What {row.provider} tells that is missing here is applied.",
            run=_again,
            applies=_is_open,
            icon="sync",
        ),
        Act(
            name="adopt_theirs",
            title="Adopt the provider's",
            question="Adopt the provider's state?",
            permission="adopt",
            will=_theirs_will,
            run=_theirs,
            applies=_is_open,
            icon="download",
        ),
        Act(
            name="adopt_ours",
            title="Adopt ours",
            question="Tell the provider ours?",
            permission="adopt",
            will=_ours_will,
            run=_ours,
            applies=_is_open,
            icon="upload",
        ),
    )
    list_display = (
        "created_at",
        "subscription",
        "provider",
        "our_side",
        "their_side",
        "seen_at",
        "resolution",
        "actor",
    )
    fields = (
        "subscription",
        "provider",
        "our_side",
        "their_side",
        "created_at",
        "seen_at",
        "resolved_at",
        "resolution",
        "actor",
    )
    readonly_fields = ("our_side", "their_side")
    list_filter = (OpenFilter, ProviderFilter, CREATED)
    list_select_related = ("subscription",)
    search_fields = ("subscription__user__email__icontains",)
    search_help_text = "E-mail address, or the id of a drift or subscription"
    search_ids = ("pk", "subscription_id")

    @admin.display(description="ours")
    def our_side(self, row: ProviderDrift) -> str:
        return _told(row.ours)

    @admin.display(description="the provider's")
    def their_side(self, row: ProviderDrift) -> str:
        return _told(row.theirs)

    def named(self, row: ProviderDrift) -> str:
        return f"{row.subscription} at {row.provider}"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProviderDrift]:
        return super().get_queryset(request).select_related("subscription")

    def has_adopt_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("subscriptions.change_subscription"))


@admin.register(ProviderCommand)
class ProviderCommandAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "subscription", "provider", "kind", "status", "attempts", "next_attempt_at", "error")
    list_filter = ("status", "kind", ProviderFilter, CREATED)
    list_select_related = ("subscription",)
    search_fields = ("subscription__user__email__icontains", "provider_sub_id__exact")
    search_help_text = "E-mail address, the provider's id, or the id of a command or subscription"
    search_ids = ("pk", "subscription_id")


@admin.register(ProviderFeed)
class ProviderFeedAdmin(LogAdmin):
    list_display = ("provider", "read_until")
    search_fields = ("provider__exact",)
