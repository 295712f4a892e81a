"""Priced actions: by which price, and in which cycle, a unit is counted beside its limits.

The price is that of the plan at the moment of use as it was when that was agreed upon (`subscriptions.terms`). The cycle is the
subscription's own, counted from its anchor, whole: a plan that is left and taken again within it, or a pause, does not
make what is included anew. Trials are not charged on invoices.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from accounts.models import User
from plans.models import ActionPrice, Plan, Settlement
from plans.pricing import Pricing, pricing_of
from plans.selectors import action_prices_at
from subscriptions.access import Access
from subscriptions.models import BillingPeriod, Subscription
from subscriptions.periods import Period, period_containing
from subscriptions.state import renews_by_itself
from subscriptions.terms import terms_at
from usage.limits import LimitState
from usage.models import UsageMeter, Window

#: From where the cycles of the plan of everybody are counted, in UTC.
EVERYBODYS_ANCHOR = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Priced:
    """A use of a priced action. `meter` is None where nothing was used in this cycle yet.

    `cap` is how much may be used at all: what is included, where no invoice of ours could ask for more.
    """

    user_id: uuid.UUID
    subscription_id: uuid.UUID | None
    price: ActionPrice
    pricing: Pricing
    cycle: Period
    meter: UsageMeter | None
    cap: int | None

    @property
    def is_drawn(self) -> bool:
        """Is it paid from credit at the moment of use?"""
        return bool(self.price.settlement == Settlement.CREDIT)

    @property
    def used(self) -> int:
        return self.meter.used if self.meter else 0

    def state(self, used: int) -> LimitState:
        """What is included, as a limit: where nothing beyond it can be had."""
        cap = self.price.included
        end = self.cycle.end
        name = f"{self.price.action}_included"
        return LimitState(name, self.price.action, Window.PERIOD, cap, used, max(0, cap - used), end)


def priced(user_id: uuid.UUID, entry: Access, action: str, at: datetime) -> Priced | None:
    """How units of `action` that are used at `at` are priced; None, without a query, where there was never a price for it.

    Three queries otherwise. `at` may be past: the plan of then is asked.
    """
    left = entry.subscription is not None and entry.subscription.had_priced_actions
    if not left and action not in entry.plan.priced_actions:
        return None
    return next(iter(_uses(user_id, entry, [action], at)), None)


def priced_all(user_id: uuid.UUID, entry: Access, at: datetime) -> Sequence[Priced]:
    """Every priced action of the access, by name: three queries, none where its plan prices nothing."""
    return _uses(user_id, entry, entry.plan.priced_actions, at) if entry.plan.priced_actions else []


def meter_of(use: Priced, *, at: datetime) -> UsageMeter:
    """The meter of the use, made where there is none yet: whoever comes at the same moment finds the same."""
    if use.meter is not None:
        return use.meter
    key = {
        "user_id": use.user_id,
        "subscription_id": use.subscription_id,
        "price_id": use.price.pk,
        "period_start": use.cycle.start,
    }
    row = UsageMeter(**key, period_end=use.cycle.end, currency=use.price.currency, created_at=at)
    UsageMeter.objects.bulk_create([row], ignore_conflicts=True)
    return UsageMeter.objects.get(**key)


def _uses(user_id: uuid.UUID, entry: Access, actions: Sequence[str], at: datetime) -> Sequence[Priced]:
    subscription, plan = entry.subscription, entry.plan
    prices = _prices(user_id, subscription, plan, actions, at)
    meters = _meters(user_id, subscription, prices, at)
    uses = []
    for price in prices:
        meter = meters.get(price.pk)
        uses.append(
            Priced(
                user_id=user_id,
                subscription_id=subscription.pk if subscription else None,
                price=price,
                pricing=pricing_of(price),
                cycle=Period(meter.period_start, meter.period_end) if meter else _cycle(subscription, plan, at),
                meter=meter,
                cap=None if price.settlement == Settlement.CREDIT or _is_billed(subscription) else price.included,
            )
        )
    return uses


def _prices(
    user_id: uuid.UUID, subscription: Subscription | None, plan: Plan, actions: Sequence[str], at: datetime
) -> list[ActionPrice]:
    if subscription is None:
        if not User.objects.filter(pk=user_id).exists():
            return []  # the plan of everybody is nobody's: the statement refuses it
        rows = action_prices_at(plan.pk, currency=plan.currency, at=at)
    else:
        terms = terms_at(subscription, at)
        rows = action_prices_at(terms.plan_id, currency=subscription.currency, at=terms.sold_at)
    found: dict[str, ActionPrice] = {}
    for row in rows.filter(action__in=actions):
        found.setdefault(row.action, row)
    free = _is_in_trial(subscription, at)
    return [row for row in found.values() if not (free and row.settlement == Settlement.INVOICE)]


def _meters(
    user_id: uuid.UUID, subscription: Subscription | None, prices: Sequence[ActionPrice], at: datetime
) -> dict[uuid.UUID, UsageMeter]:
    """The meters, by price, whose cycle `at` lies in.

    Looked for before the cycle is computed: a change of the time zone moves boundaries by hours, and makes no cycle anew.
    A new anchor does: a whole period was paid from there.
    """
    rows = UsageMeter.objects.filter(
        user_id=user_id, subscription=subscription, price__in=prices, period_start__lte=at, period_end__gt=at
    )
    if subscription is not None:
        since = subscription.anchor
        rows = rows.filter(period_start__gte=since) if at >= since else rows.filter(period_start__lt=since)
    return {row.price_id: row for row in rows.order_by("period_start")} if prices else {}


def _cycle(subscription: Subscription | None, plan: Plan, at: datetime) -> Period:
    if subscription is None:
        return period_containing(EVERYBODYS_ANCHOR, plan.billing_cycle, at, interval=plan.billing_interval)
    start, end = subscription.current_period_start, subscription.end_date
    if renews_by_itself(subscription) and start and end and start <= at < end:
        return Period(start, end)
    if at < subscription.anchor:  # late, and of another rhythm maybe
        lived = BillingPeriod.objects.filter(
            subscription=subscription, superseded_at=None, start__lte=at, end__gt=at
        ).first()
        if lived is not None:
            return Period(lived.start, lived.end)
    return period_containing(
        subscription.anchor,
        subscription.billing_cycle,
        at,
        interval=subscription.billing_interval,
        tz=subscription.timezone,
    )


def _is_in_trial(subscription: Subscription | None, at: datetime) -> bool:
    ends = subscription.trial_ends_at if subscription else None
    return ends is not None and at < ends


def _is_billed(subscription: Subscription | None) -> bool:
    """Can an invoice of ours ask for more than the price? Not where a provider charges the same amount every time."""
    return subscription is not None and not subscription.is_free and not renews_by_itself(subscription)
