"""Operators' pages of planned changes, and the move of a plan's subscribers to its present price after a dry run."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, F, Q, QuerySet
from django.http import HttpRequest

from accounts.roles import is_admin
from payflow.core import clock
from payflow.core.admin_actions import Act, Confirmed, ConfirmedActions
from payflow.core.admin_base import CREATED, LogAdmin, ReadOnlyAdmin
from subscriptions.models import LIVE, SoldPlan, SubscriptionChange
from subscriptions.services.price_moves import MovePlan, price_move, price_move_preview

#: The confirmation names so many; `manage.py price_move` lists all.
LISTED = 100


def _dry_run(plan: SoldPlan) -> str:
    found = price_move_preview(plan=plan, now=clock.now())
    return "\n".join([*_totals(found), *_rows(found)])


def _totals(found: MovePlan) -> list[str]:
    lines = [f"{len(found.moves)} would move at their next renewal, {len(found.skipped)} stay."]
    for currency, before in found.mrr_before.items():
        after = found.mrr_after[currency]
        lines.append(f"MRR of those who move: {before} → {after} (change {after - before})")
    return lines


def _rows(found: MovePlan) -> list[str]:
    lines = [f"{move.email}: {move.before} → {move.after} from {move.at:%Y-%m-%d}" for move in found.moves]
    lines += [f"{skipped.email} stays: {skipped.reason}" for skipped in found.skipped]
    more = len(lines) - LISTED
    return [*lines[:LISTED], f"… and {more} more"] if more > 0 else lines


def _move(plan: SoldPlan, confirmed: Confirmed) -> str:
    moved = price_move(plan=plan, actor=confirmed.actor, now=clock.now())
    return f"{moved} move at their next renewal"


@admin.register(SoldPlan)
class SoldPlanAdmin(ConfirmedActions, ReadOnlyAdmin):
    acts = (
        Act(
            name="move_subscribers",
            title="Move to the present price",
            question="Move these subscribers at their next renewal? This is what each would pay.",
            permission="move",
            will=_dry_run,
            run=_move,
            applies=lambda plan: plan.elsewhere > 0,
            icon="price_change",
        ),
    )
    list_display = ("name", "code", "price", "billing_cycle", "subscribers", "at_another_price", "is_active")
    list_filter = ("is_active", "billing_cycle")
    search_fields = ("name__icontains", "code__istartswith")
    fields = (
        "name",
        "code",
        "price",
        "currency",
        "billing_cycle",
        "billing_interval",
        "subscribers",
        "at_another_price",
    )
    readonly_fields = ("subscribers", "at_another_price")

    def get_queryset(self, request: HttpRequest) -> QuerySet[SoldPlan]:
        live = Q(subscriptions__status__in=LIVE, subscriptions__end_date__isnull=False)
        own = Q(subscriptions__currency=F("currency")) & ~Q(subscriptions__amount=F("price"))
        rows: QuerySet[SoldPlan] = super().get_queryset(request)
        return rows.annotate(
            paying=Count("subscriptions", filter=live), elsewhere=Count("subscriptions", filter=live & own)
        )

    @admin.display(description="subscribers", ordering="paying")
    def subscribers(self, plan: Any) -> int:
        return int(plan.paying)

    @admin.display(description="at another price", ordering="elsewhere")
    def at_another_price(self, plan: Any) -> int:
        return int(plan.elsewhere)

    def has_move_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_admin(request.user)


@admin.register(SubscriptionChange)
class SubscriptionChangeAdmin(LogAdmin):
    list_display = (
        "created_at",
        "subscription",
        "reason",
        "status",
        "from_plan",
        "plan",
        "amount",
        "effective",
        "effective_at",
    )
    list_filter = ("status", "reason", "effective", CREATED)
    list_select_related = ("subscription", "plan", "from_plan")
    search_fields = ("subscription__user__email__icontains",)
    search_ids = ("pk", "subscription_id", "invoice_id")
