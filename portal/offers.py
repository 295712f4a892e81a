"""The shop window: what can be bought, as one reader sees it. Reads only; pages show what is made here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.utils.text import get_text_list

from accounts.models import User
from payflow.core.money import Money
from payments.selectors import has_tax_rates, tax_rate_of
from plans.models import ActionPrice, Plan, Settlement
from plans.selectors import plans_on_sale
from portal import wording
from portal.wording import UsagePrice
from providers import registry
from providers.base import Provider
from subscriptions.models import LIVE, Status, Subscription, TrialRedemption
from subscriptions.selectors import subscriptions_with_plan
from subscriptions.services.move_rules import provider_default
from subscriptions.services.subscribe import trial_days_at
from subscriptions.services.subscribe_quotes import subscription_quote


class Offer(StrEnum):
    """What the reader can do with a plan."""

    SUBSCRIBE = "subscribe"
    CONTINUE = "continue"
    CURRENT = "current"
    OTHER_PLAN_RUNS = "other_plan_runs"
    NOT_SOLD = "not_sold"


@dataclass(frozen=True, slots=True)
class PlanCard:
    """`runs` names the plan that stands in the way, `capped` the providers through whom no unit beyond the included is sold."""

    code: str
    name: str
    description: str
    is_free: bool
    price: str
    cycle: str
    every: str
    trial: str
    features: Sequence[str]
    usage: Sequence[UsagePrice]
    offer: Offer
    runs: str = ""
    capped: str = ""


@dataclass(frozen=True, slots=True)
class OrderQuote:
    """An order's first invoice in words. `shown` names its price, so that no other is ordered; `trial` puts it off.

    A trial that `ends_by_itself` keeps no method, and charges nothing.
    """

    lines: Sequence[tuple[str, str]]
    total: str
    shown: str
    trial: str
    ends_by_itself: bool


@dataclass(frozen=True, slots=True)
class _Holdings:
    """What a reader has, by family."""

    live: dict[str, Subscription]
    pending: dict[str, Subscription]
    tried: frozenset[str]


def plan_cards(user: User | None) -> list[PlanCard]:
    """The active plans in the order of the shop window."""
    has = _holdings(user)
    return [_card(plan, has) for plan in plans_on_sale()]


def plan_card(plan: Plan, user: User) -> PlanCard:
    return _card(plan, _holdings(user))


def order_quote(plan: Plan, user: User, *, provider: str, coupon: str, country: str, now: datetime) -> OrderQuote:
    """What ordering a plan that has a price costs. Raises as `subscription_quote`."""
    quote = subscription_quote(
        user_id=user.pk,
        plan=plan,
        provider=provider or None,
        currency=None,
        coupon=coupon or None,
        country=country or None,
        now=now,
    )
    invoice = quote.claim.invoice
    return OrderQuote(
        lines=wording.lines(quote.claim.lines),
        total=wording.money(invoice.total, invoice.currency),
        shown=f"{Money(invoice.total, invoice.currency)}; {usage_shown(plan, plan.currency)}",
        trial=_days_free(quote.trial_days),
        ends_by_itself=bool(quote.trial_days) and not plan.trial_needs_method,
    )


def usage_prices(plan: Plan, currency: str) -> list[UsagePrice]:
    """What units cost beyond what is included, as it is sold now; by the name of the action.

    Where every seller charges the same amount every time, nothing beyond it is sold on invoices.
    """
    every = wording.cycle(plan.billing_cycle, plan.billing_interval)
    sellers = _sellers(plan)
    only_capped = bool(sellers) and all(map(_is_capped, sellers))
    told = [
        wording.usage_price(row, every, is_sold=not only_capped or row.settlement == Settlement.CREDIT)
        for row in _unit_prices(plan, currency)
    ]
    return [price for price in told if price is not None]


def usage_shown(plan: Plan, currency: str) -> str:
    """All of it in one text: what a page has shown, so that nothing else is sold."""
    return "; ".join([", ".join([price.text, *price.steps]) for price in usage_prices(plan, currency)])


def tax_note(user: User | None) -> str:
    """What the prices of the shop window say nothing of; empty where the reader's country has no tax."""
    if user is not None and user.country:
        rate = tax_rate_of(user.country)
        return f"Prices {'include' if rate.inclusive else 'are without'} {wording.tax(rate)}." if rate else ""
    return "Tax depends on your country; you see it before you pay." if has_tax_rates() else ""


def provider_choices(plan: Plan, user: User) -> list[tuple[str, str]]:
    """Through whom the plan can be bought: name and label, the default first. Empty for a free plan."""
    if plan.is_free:
        return []
    tried = TrialRedemption.objects.filter(user=user, family=plan.family).exists()
    default = provider_default(user.pk, plan.currency)
    sellers = sorted(_sellers(plan), key=lambda each: each.name != default)
    return [(seller.name, _label(seller, _trial_days([seller], plan, tried))) for seller in sellers]


def _holdings(user: User | None) -> _Holdings:
    if user is None:
        return _Holdings({}, {}, frozenset())
    rows = subscriptions_with_plan().filter(user=user, status__in=[*LIVE, Status.PENDING], overlaps=None)
    live: dict[str, Subscription] = {}
    pending: dict[str, Subscription] = {}
    for row in rows:
        (pending if row.status == Status.PENDING else live)[row.family] = row
    tried = frozenset(TrialRedemption.objects.filter(user=user).values_list("family", flat=True))
    return _Holdings(live, pending, tried)


def _card(plan: Plan, has: _Holdings) -> PlanCard:
    sellers = [] if plan.is_free else _sellers(plan)
    offer = _offer(plan, has, sellers)
    days = _days_free(_trial_days(sellers, plan, plan.family in has.tried))
    price, cycle = wording.price(plan.price, plan.currency), wording.cycle(plan.billing_cycle, plan.billing_interval)
    after = f"then {price} {cycle}" if plan.trial_needs_method else "no payment method needed"
    return PlanCard(
        code=plan.code,
        name=plan.name,
        description=plan.description or "",
        is_free=plan.is_free,
        price=price,
        cycle=cycle,
        every=wording.every(plan.billing_cycle, plan.billing_interval),
        trial=f"{days}, {after}" if days else "",
        features=wording.plan_features(plan),
        usage=usage_prices(plan, plan.currency),
        offer=offer,
        runs=has.live[plan.family].plan.name if offer is Offer.OTHER_PLAN_RUNS else "",
        capped=_capped(plan, sellers),
    )


def _offer(plan: Plan, has: _Holdings, sellers: Sequence[Provider]) -> Offer:
    live, pending = has.live.get(plan.family), has.pending.get(plan.family)
    if live is not None and live.plan_id == plan.pk:
        return Offer.CURRENT
    if live is not None and not live.is_free:
        return Offer.OTHER_PLAN_RUNS
    if not plan.is_free and not sellers:
        return Offer.NOT_SOLD
    if pending is not None and pending.plan_id == plan.pk:
        return Offer.CONTINUE
    return Offer.SUBSCRIBE


def _sellers(plan: Plan) -> list[Provider]:
    configured = map(registry.get, registry.names())
    return [each for each in configured if each.capabilities.create and each.supports_currency(plan.currency)]


def _trial_days(sellers: Iterable[Provider], plan: Plan, tried: bool) -> int:
    """One trial per user and family, where any of the sellers has it."""
    return 0 if tried else max((trial_days_at(seller, plan) for seller in sellers), default=0)


def _unit_prices(plan: Plan, currency: str) -> list[ActionPrice]:
    rows = [row for row in plan.action_prices.all() if row.retired_at is None and row.currency == currency]
    return sorted(rows, key=lambda row: row.action)


def _capped(plan: Plan, sellers: Sequence[Provider]) -> str:
    """Through whom less is sold than through others; empty where it is all the same."""
    names = [wording.provider(each.name) for each in sellers if _is_capped(each)]
    invoiced = any(row.settlement == Settlement.INVOICE for row in _unit_prices(plan, plan.currency))
    return get_text_list(names, "and") if invoiced and len(names) < len(sellers) else ""


def _is_capped(seller: Provider) -> bool:
    """Does it charge the same amount every time, so that no invoice can ask for more?"""
    return seller.capabilities.renewal_driver == "provider"


def _days_free(days: int) -> str:
    return f"{days} days free" if days > 1 else "1 day free" if days else ""


def _label(seller: Provider, trial_days: int) -> str:
    name = wording.provider(seller.name)
    return f"{name} (with {trial_days} days free)" if trial_days else name
