"""What a change of plan costs, line by line, before anybody commits to it. The preview and the change itself ask here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from typing import Any

from payflow.core.errors import InvalidTransition, UnsupportedCurrency, ValidationFailed
from payflow.core.money import Money
from payments.composition import LineDraft
from payments.models import InvoiceLine, InvoiceReason
from payments.selectors import can_be_charged
from plans.models import Plan
from providers import registry
from subscriptions.billing import Bill, periods_ahead
from subscriptions.cycle_units import unit_of_cycle
from subscriptions.day_of_change import change_divide
from subscriptions.errors import ProviderManaged
from subscriptions.manage_page import manage_url
from subscriptions.models import Status, Subscription
from subscriptions.periods import Period, period_at
from subscriptions.quotes import per_month, plan_price, price_line, rest_line
from subscriptions.services.redemptions import discount_line, redemptions_of
from subscriptions.state import is_priced_by_provider, renews_by_itself, unpaid_period
from subscriptions.unused import Unused, whole_cycle

Kind = InvoiceLine.Kind


class Effective(StrEnum):
    NOW = "now"
    PERIOD_END = "period_end"
    ON_PAYMENT = "on_payment"


@dataclass(frozen=True, slots=True)
class ChangeQuote:
    """A change as it would happen where it is asked for at `quoted_at`. `bill` is empty where nothing is charged now.

    `period` is what the subscription runs for from then on (None: a free plan, for ever). `rest` is the unused time that the
    new charges don't use up, which becomes credit; `rest_tax` of it is tax no longer owed.
    """

    plan: Plan
    price: Money
    effective: Effective
    quoted_at: datetime
    effective_at: datetime
    period: Period | None
    new_anchor: bool
    bill: Bill | None
    rest: Money
    rest_tax: Money
    explanation: dict[str, Any]


def change_quote(
    subscription: Subscription, plan: Plan, *, when: str | None, currency: str | None, at: datetime
) -> ChangeQuote:
    """The change to `plan`: now for what costs more a day, at the end of the period otherwise, unless `when` says.

    Raises ValidationFailed (the same plan, not sold, another family), UnsupportedCurrency (another currency, or none of
    its prices), InvalidTransition (only trial and active change plans), ProviderManaged.
    """
    _refuse(subscription, plan, currency, at)
    price = plan_price(plan, subscription.currency)
    assert subscription.end_date is not None
    if renews_by_itself(subscription):
        _refuse_at_provider(subscription, plan, price, when)
        return _unbilled(subscription, plan, price, Effective.PERIOD_END, at, subscription.end_date)
    if subscription.status == Status.TRIAL:
        if not price:
            raise ValidationFailed.field("plan_id", "A trial cannot become a free plan: cancel it and subscribe")
        return _unbilled(subscription, plan, price, Effective.NOW, at, at)
    chosen = when or (Effective.NOW if _is_dearer(subscription, plan, price) else Effective.PERIOD_END)
    if chosen == Effective.PERIOD_END:
        return _unbilled(subscription, plan, price, Effective.PERIOD_END, at, subscription.end_date)
    if not price:
        raise ValidationFailed.field("when", "A free plan begins where the paid time ends")
    return _now(subscription, plan, price, at)


def _refuse(subscription: Subscription, plan: Plan, currency: str | None, at: datetime) -> None:
    if subscription.status not in (Status.TRIAL, Status.ACTIVE):
        raise InvalidTransition(f"A subscription that is {subscription.status} cannot change its plan")
    if subscription.is_free:
        raise InvalidTransition("A free subscription is replaced by subscribing to another plan")
    if subscription.disputed_at is not None:
        raise InvalidTransition("A payment is disputed: nothing is charged until that has ended")
    if plan.pk == subscription.plan_id:
        raise ValidationFailed.field("plan_id", "This is the plan you have")
    if not plan.is_active:
        raise ValidationFailed.field("plan_id", "This plan is not sold any more")
    if plan.family != subscription.family:
        raise ValidationFailed.field("plan_id", "This plan is not of the same family")
    if currency is not None and currency != subscription.currency:
        raise UnsupportedCurrency(
            f"A subscription in {subscription.currency} stays in it", details={"currency": [currency]}
        )
    if renews_by_itself(subscription):
        assert subscription.provider is not None
        if not registry.get(subscription.provider).capabilities.change:
            raise ProviderManaged(details={"manage_url": manage_url(subscription)})
    if subscription.cancelled_at is not None or not subscription.auto_renew:
        raise InvalidTransition("The subscription ends: take its cancellation back first")
    if subscription.end_date is not None and subscription.end_date <= at:
        raise InvalidTransition("The renewal is under way; try again when it is done")


def _refuse_at_provider(subscription: Subscription, plan: Plan, price: Money, when: str | None) -> None:
    """A provider that renews by itself asks the new price from its next renewal on, in the same rhythm."""
    if when == Effective.NOW:
        raise ValidationFailed.field("when", "This payment provider changes plans at the next renewal")
    if not price:
        raise ValidationFailed.field("plan_id", "This is free: cancel, and subscribe to it when the paid time is over")
    if not _same_cycle(subscription, plan):
        raise ValidationFailed.field("plan_id", "This payment provider keeps the length of the period")
    product = plan.provider_refs.filter(provider=subscription.provider)
    if is_priced_by_provider(subscription.provider) and not product.exists():
        raise ValidationFailed.field("plan_id", "This payment provider does not sell this plan")


def _is_dearer(subscription: Subscription, plan: Plan, price: Money) -> bool:
    present = per_month(Fraction(subscription.amount), subscription.billing_cycle, subscription.billing_interval)
    return per_month(Fraction(price.amount), plan.billing_cycle, plan.billing_interval) > present


def _unbilled(
    subscription: Subscription, plan: Plan, price: Money, effective: Effective, at: datetime, effective_at: datetime
) -> ChangeQuote:
    """Nothing is charged and nothing given back: a trial changes at once, a paid period is lived to its end first.

    So does a change for which no time is left: on the last day, where the cycle is divided by days.
    """
    assert subscription.end_date is not None
    period: Period | None
    if effective == Effective.NOW:
        period = Period(at, subscription.end_date)
    else:
        period = _first(subscription, plan, effective_at) if price else None
    zero = Money.zero(price.currency)
    new_anchor = not _same_cycle(subscription, plan)
    return ChangeQuote(plan, price, effective, at, effective_at, period, new_anchor, None, zero, zero, {})


def _now(subscription: Subscription, plan: Plan, price: Money, at: datetime) -> ChangeQuote:
    assert subscription.end_date is not None
    ahead = periods_ahead(subscription, at)
    if not ahead or ahead[0].start > at:
        raise InvalidTransition("There is no period under way")
    row = ahead[0]
    if len(ahead) > 1:
        raise InvalidTransition("Further periods are paid: the change can follow at their end (when=period_end)")
    whole = whole_cycle(subscription)
    unit = unit_of_cycle(subscription, whole)
    left, since = change_divide(subscription, row, plan=plan, price=price, unit=unit, at=at)
    new_anchor = not _same_cycle(subscription, plan)
    if new_anchor:
        period, share = _first(subscription, plan, at), Fraction(1)
        charge = price_line(plan, price, period)
    else:
        period = Period(at, subscription.end_date)
        charge, share = rest_line(plan, price, whole, since=since, unit=unit, tz=subscription.timezone)
    if not charge.amount and not any(each.net for _, each in left):
        return _unbilled(subscription, plan, price, Effective.NOW, at, at)  # no time is left to pay for
    charges = [charge]
    owed = charge.amount
    redemption = redemptions_of([subscription.pk]).get(subscription.pk)
    discount = discount_line(redemption, charge.amount, plan.pk, share=share) if redemption else None
    if discount is not None:
        charges.append(discount)
        owed += discount.amount
    rest = rest_tax = Money.zero(price.currency)
    told = []
    for had, each in left:
        used = min(each.net, owed)
        if used:
            charges.append(_credit_line(had, each, used))
            owed -= used
        gross, tax = each.gross_of(each.net - used)
        if gross:
            rest, rest_tax = rest + gross, rest_tax + tax
            told.append(each.explanation)
    bill = Bill(subscription, InvoiceReason.CHANGE, charges, period, share, discounted=True)
    effective = Effective.NOW if can_be_charged(subscription.payment_method) else Effective.ON_PAYMENT
    explanation = told[0] if len(told) == 1 else {"parts": told} if told else {}
    return ChangeQuote(plan, price, effective, at, at, period, new_anchor, bill, rest, rest_tax, explanation)


def _credit_line(plan: Plan, left: Unused, used: Money) -> LineDraft:
    return LineDraft(
        kind=Kind.PRORATION_CREDIT,
        description=f"{plan.name}, unused time",
        amount=-used,
        period_start=left.since,
        period_end=left.until,
        explanation=left.explanation | {"worth": str(left.net.amount), "used": str(used.amount)},
    )


def _same_cycle(subscription: Subscription, plan: Plan) -> bool:
    return (subscription.billing_cycle, subscription.billing_interval) == (plan.billing_cycle, plan.billing_interval)


def _first(subscription: Subscription, plan: Plan, at: datetime) -> Period:
    """The first period under the new plan that begins at `at`: on the old grid where the cycle stays."""
    if _same_cycle(subscription, plan):
        return unpaid_period(subscription)
    return period_at(at, plan.billing_cycle, 0, interval=plan.billing_interval, tz=subscription.timezone)
