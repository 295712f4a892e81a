"""Moving those who have subscribed to a plan's present price, at their next renewal. Nobody is moved by a price change alone."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from payflow.core import audit, outbox
from payflow.core.locks import lock_rows
from payflow.core.money import Money
from payflow.core.sets import batches, rows_insert
from plans.models import Plan
from subscriptions.models import Status, Subscription, SubscriptionChange
from subscriptions.quotes import per_month
from subscriptions.services.changes import change_fact
from subscriptions.state import renews, renews_by_itself

#: Rows of one transaction: a plan may have many subscribers.
BATCH = 500


@dataclass(frozen=True, slots=True)
class Move:
    """One subscriber's: what he pays now, what he will, from when."""

    subscription_id: uuid.UUID
    user_id: uuid.UUID
    email: str
    before: Money
    after: Money
    at: datetime


@dataclass(frozen=True, slots=True)
class Skipped:
    """Who stays, and why."""

    subscription_id: uuid.UUID
    email: str
    reason: str


@dataclass(frozen=True, slots=True)
class MovePlan:
    """A dry run: the moves, who is left out, and the change in monthly recurring revenue by currency."""

    moves: list[Move]
    skipped: list[Skipped]
    mrr_before: dict[str, Money]
    mrr_after: dict[str, Money]


def price_move_preview(*, plan: Plan, now: datetime) -> MovePlan:
    """What `price_move` would do now. Changes nothing."""
    prices = _prices(plan)
    moves: list[Move] = []
    skipped: list[Skipped] = []
    for row in _candidates(plan).select_related("user").iterator(chunk_size=2000):
        if (reason := _obstacle(row, prices, now)) is not None:
            skipped.append(Skipped(row.pk, row.user.email, reason))
        elif row.amount != prices[row.currency].amount:
            assert row.end_date is not None
            moves.append(
                Move(
                    row.pk,
                    row.user_id,
                    row.user.email,
                    Money(row.amount, row.currency),
                    prices[row.currency],
                    row.end_date,
                )
            )
    return MovePlan(moves, skipped, _mrr(plan, moves, "before"), _mrr(plan, moves, "after"))


def price_move(*, plan: Plan, actor: str, now: datetime) -> int:
    """Plans the move of every subscriber whom the preview lists, at his next renewal; returns how many.

    Again is harmless: who is planned already is left out. Each batch is a transaction of its own.
    """
    prices = _prices(plan)
    moved = 0
    for keys in batches([move.subscription_id for move in price_move_preview(plan=plan, now=now).moves], BATCH):
        with transaction.atomic():
            rows = lock_rows(_candidates(plan).filter(pk__in=keys))
            due = [
                row for row in rows if _obstacle(row, prices, now) is None and row.amount != prices[row.currency].amount
            ]
            changes = [_change(row, prices[row.currency], actor, now) for row in due]
            rows_insert(changes)
            outbox.emit_all([change_fact("subscription.change_scheduled", change) for change in changes], at=now)
            moved += len(due)
    audit.record(
        actor=actor, action="plan.price_move", subject_type="plan", subject_id=plan.pk, data={"subscriptions": moved}
    )
    return moved


def _prices(plan: Plan) -> dict[str, Money]:
    others = {price.currency: Money(price.amount, price.currency) for price in plan.prices.all()}
    return {plan.currency: Money(plan.price, plan.currency)} | others


def _candidates(plan: Plan) -> QuerySet[Subscription]:
    """Live subscriptions of the plan for which nothing else is planned."""
    planned = SubscriptionChange.objects.filter(subscription=OuterRef("pk"), status=SubscriptionChange.Status.OPEN)
    live = [Status.TRIAL, Status.ACTIVE, Status.PAST_DUE, Status.PAUSED]
    return Subscription.objects.filter(~Exists(planned), plan=plan, status__in=live, end_date__isnull=False).order_by(
        "pk"
    )


def _obstacle(row: Subscription, prices: dict[str, Money], now: datetime) -> str | None:
    if row.currency not in prices:
        return f"the plan has no price in {row.currency}"
    if not prices[row.currency]:
        return "the plan is free now"
    if renews_by_itself(row):
        return "its provider sets the price"
    if not renews(row):
        return "it does not renew"
    if row.status in (Status.PAST_DUE, Status.PAUSED) or (row.end_date is not None and row.end_date <= now):
        return f"it is {row.get_status_display().lower()} or its renewal is under way"
    return None


def _change(row: Subscription, price: Money, actor: str, now: datetime) -> SubscriptionChange:
    assert row.end_date is not None
    return SubscriptionChange(
        subscription_id=row.pk,
        reason=SubscriptionChange.Reason.PRICE_MOVE,
        effective=SubscriptionChange.Effective.PERIOD_END,
        effective_at=row.end_date,
        from_plan_id=row.plan_id,
        plan_id=row.plan_id,
        amount=price.amount,
        currency=price.currency,
        billing_cycle=row.billing_cycle,
        billing_interval=row.billing_interval,
        actor=actor,
        created_at=now,
        quote={"before": str(row.amount), "after": str(price.amount)},
    )


def _mrr(plan: Plan, moves: Sequence[Move], which: str) -> dict[str, Money]:
    totals: dict[str, Fraction] = {}
    for move in moves:
        money: Money = getattr(move, which)
        totals[money.currency] = totals.get(money.currency, Fraction(0)) + Fraction(money.amount)
    return {
        currency: Money.of_fraction(per_month(total, plan.billing_cycle, plan.billing_interval), currency)
        for currency, total in sorted(totals.items())
    }
