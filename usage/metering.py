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
from typing import NamedTuple

from accounts.models import User
from plans.models import ActionPrice, Settlement
from plans.pricing import Pricing, pricing_of
from plans.selectors import action_price_at, action_prices_ever
from subscriptions.access import Access, AccessRow
from subscriptions.models import BillingPeriod, Subscription
from subscriptions.periods import Period, period_containing
from subscriptions.state import renews_by_itself
from subscriptions.terms import changes_applied, terms_at
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


class Wanted(NamedTuple):
    """Units of `action` that the user takes, or has taken, at `at` by this access. Its subscription is read whole."""

    user_id: uuid.UUID
    entry: Access
    action: str
    at: datetime


def may_be_priced(entry: Access | AccessRow, action: str) -> bool:
    """False, without a query, where there was never a price for it."""
    left = entry.subscription is not None and entry.subscription.had_priced_actions
    return left or action in entry.plan.priced_actions


def priced(user_id: uuid.UUID, entry: Access, action: str, at: datetime) -> Priced | None:
    """How units of `action` that are used at `at` are priced; None, without a query, where there was never a price for it.

    Three queries otherwise. `at` may be past: the plan of then is asked.
    """
    if not may_be_priced(entry, action):
        return None
    return next(iter(_uses(user_id, entry, [action], at)), None)


def priced_all(user_id: uuid.UUID, entry: Access, at: datetime) -> Sequence[Priced]:
    """Every priced action of the access, by name: three queries, none where its plan prices nothing."""
    return _uses(user_id, entry, entry.plan.priced_actions, at) if entry.plan.priced_actions else []


def priced_many(wanted: Sequence[Wanted]) -> list[Priced | None]:
    """How each of these is priced: three queries however many they are, one more for what was before an anchor.

    The users of the plan of everybody are known to exist.
    """
    return _Facts(wanted).priced() if wanted else []


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
    if entry.subscription is None and not User.objects.filter(pk=user_id).exists():
        return []  # the plan of everybody is nobody's: the statement refuses it
    found = priced_many([Wanted(user_id, entry, action, at) for action in actions])
    return [use for use in found if use is not None]


#: Whose cycles: user, subscription, price.
_Holder = tuple[uuid.UUID, uuid.UUID | None, uuid.UUID]


class _Facts:
    """All that the pricing of some uses follows from, read at once."""

    def __init__(self, wanted: Sequence[Wanted]) -> None:
        self._wanted = wanted
        self._subscriptions = {use.entry.subscription.pk for use in wanted if use.entry.subscription is not None}
        self._earliest, self._latest = min(use.at for use in wanted), max(use.at for use in wanted)
        self._changes = changes_applied(self._subscriptions) if self._subscriptions else {}
        plans = {use.entry.plan.pk for use in wanted}
        plans |= {use.entry.subscription.plan_id for use in wanted if use.entry.subscription is not None}
        for changes in self._changes.values():
            plans |= {plan for change in changes for plan in (change.plan_id, change.from_plan_id)}
        self._prices = action_prices_ever(plans, {use.action for use in wanted})
        self._lived: dict[uuid.UUID, list[BillingPeriod]] | None = None
        self._pricings: dict[uuid.UUID, Pricing] = {}

    def priced(self) -> list[Priced | None]:
        sold = [self._price(use) for use in self._wanted]
        known: dict[_Holder, list[UsageMeter]] = {}
        prices = {price.pk for price in sold if price is not None}
        if prices:
            rows = UsageMeter.objects.filter(
                user__in={use.user_id for use in self._wanted},
                price__in=prices,
                period_start__lte=self._latest,
                period_end__gt=self._earliest,
            )
            for row in rows.order_by("-period_start"):
                known.setdefault((row.user_id, row.subscription_id, row.price_id), []).append(row)
        computed: dict[_Holder, list[Period]] = {}
        return [
            None if price is None else self._use(use, price, known, computed)
            for use, price in zip(self._wanted, sold, strict=True)
        ]

    def _price(self, use: Wanted) -> ActionPrice | None:
        subscription, plan = use.entry.subscription, use.entry.plan
        if subscription is None:
            return action_price_at(self._prices, plan.pk, currency=plan.currency, action=use.action, at=use.at)
        terms = terms_at(subscription, self._changes.get(subscription.pk, ()), use.at)
        price = action_price_at(
            self._prices, terms.plan_id, currency=subscription.currency, action=use.action, at=terms.sold_at
        )
        free = price is not None and price.settlement == Settlement.INVOICE and _is_in_trial(subscription, use.at)
        return None if free else price

    def _use(
        self,
        use: Wanted,
        price: ActionPrice,
        known: dict[_Holder, list[UsageMeter]],
        computed: dict[_Holder, list[Period]],
    ) -> Priced:
        subscription = use.entry.subscription
        holder = (use.user_id, subscription.pk if subscription else None, price.pk)
        meter = next(
            (row for row in known.get(holder, ()) if _is_of(subscription, row.period_start, row.period_end, use.at)),
            None,
        )
        if meter is not None:
            cycle = Period(meter.period_start, meter.period_end)
        else:
            # What was computed for one use is as good as a meter for the next.
            cycles = computed.setdefault(holder, [])
            found = next((each for each in cycles if _is_of(subscription, each.start, each.end, use.at)), None)
            cycle = found or self._cycle(use)
            if found is None:
                cycles.append(cycle)
        if price.pk not in self._pricings:
            self._pricings[price.pk] = pricing_of(price)
        return Priced(
            user_id=use.user_id,
            subscription_id=holder[1],
            price=price,
            pricing=self._pricings[price.pk],
            cycle=cycle,
            meter=meter,
            cap=None if price.settlement == Settlement.CREDIT or _is_billed(subscription) else price.included,
        )

    def _cycle(self, use: Wanted) -> Period:
        subscription, plan, at = use.entry.subscription, use.entry.plan, use.at
        if subscription is None:
            return period_containing(EVERYBODYS_ANCHOR, plan.billing_cycle, at, interval=plan.billing_interval)
        start, end = subscription.current_period_start, subscription.end_date
        if renews_by_itself(subscription) and start and end and start <= at < end:
            return Period(start, end)
        if at < subscription.anchor:  # late, and of another rhythm maybe
            for lived in self._periods_lived().get(subscription.pk, ()):
                if lived.start <= at < lived.end:
                    return Period(lived.start, lived.end)
        return period_containing(
            subscription.anchor,
            subscription.billing_cycle,
            at,
            interval=subscription.billing_interval,
            tz=subscription.timezone,
        )

    def _periods_lived(self) -> dict[uuid.UUID, list[BillingPeriod]]:
        if self._lived is None:
            self._lived = {}
            rows = BillingPeriod.objects.filter(
                subscription__in=self._subscriptions,
                superseded_at=None,
                start__lte=self._latest,
                end__gt=self._earliest,
            )
            for row in rows:
                self._lived.setdefault(row.subscription_id, []).append(row)
        return self._lived


def _is_of(subscription: Subscription | None, start: datetime, end: datetime, at: datetime) -> bool:
    """Is this the cycle that `at` lies in?

    Asked of the cycles that there are before one is computed: a change of the time zone moves boundaries by hours, and
    makes no cycle anew. A new anchor does: a whole period was paid from there.
    """
    if not start <= at < end:
        return False
    return subscription is None or (start >= subscription.anchor) == (at >= subscription.anchor)


def _is_in_trial(subscription: Subscription | None, at: datetime) -> bool:
    ends = subscription.trial_ends_at if subscription else None
    return ends is not None and at < ends


def _is_billed(subscription: Subscription | None) -> bool:
    """Can an invoice of ours ask for more than the price? Not where a provider charges the same amount every time."""
    return subscription is not None and not subscription.is_free and not renews_by_itself(subscription)
