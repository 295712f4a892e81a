"""What a plan costs somebody, before he commits to it."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

from payflow.core.errors import UnsupportedCurrency
from payflow.core.money import Money, currency_digits
from payments.composition import LineDraft
from payments.models import InvoiceLine
from plans.models import Cycle, Plan
from subscriptions.models import Subscription
from subscriptions.periods import Period
from subscriptions.proration import Unit, share_of

#: Days of a cycle on the average, to compare what plans of different cycles cost.
_DAYS = {"daily": Fraction(1), "weekly": Fraction(7), "monthly": Fraction(365, 12), "yearly": Fraction(365)}


def plan_price(plan: Plan, currency: str | None) -> Money:
    """The plan's price in `currency` (None: its own). Raises UnsupportedCurrency where it has none."""
    if currency is None or currency == plan.currency:
        return Money(plan.price, plan.currency)
    currency_digits(currency)
    price = plan.prices.filter(currency=currency).first()
    if price is None:
        raise UnsupportedCurrency(f"{plan.name} is not sold in {currency}", details={"currency": [currency]})
    return Money(price.amount, price.currency)


def per_month(amount: Fraction, cycle: str, interval: int) -> Fraction:
    """What `amount` a cycle comes to in an average month: how prices of different cycles are compared and summed."""
    return amount * _DAYS["monthly"] / (_DAYS[cycle] * interval)


def cycle_line(subscription: Subscription, period: Period | None) -> LineDraft:
    """The line of one whole cycle at the price that the subscription carries."""
    return _line(
        subscription.plan,
        Money(subscription.amount, subscription.currency),
        subscription.billing_cycle,
        subscription.billing_interval,
        period,
    )


def price_line(plan: Plan, price: Money, period: Period) -> LineDraft:
    """The line of one whole cycle of a plan at its present price."""
    return _line(plan, price, plan.billing_cycle, plan.billing_interval, period)


def rest_line(
    plan: Plan, price: Money, whole: Period, *, since: datetime, unit: Unit, tz: str
) -> tuple[LineDraft, Fraction]:
    """The line of what is left at `since` of the cycle `whole`, whose price is `price`, and its share of that."""
    since = min(since, whole.end)
    share = share_of(whole, since, whole.end, unit=unit, tz=tz)
    line = LineDraft(
        kind=InvoiceLine.Kind.PRORATION_CHARGE,
        description=f"{plan.name}, the rest of the period",
        amount=Money.of_fraction(Fraction(price.amount) * share, price.currency),
        unit_amount=price,
        period_start=since,
        period_end=whole.end,
        explanation={
            "formula": "price * share",
            "plan": plan.code,
            "price": str(price.amount),
            "currency": price.currency,
            "share": f"{share.numerator}/{share.denominator}",
            "unit": unit,
            "cycle": [whole.start.isoformat(), whole.end.isoformat()],
        },
    )
    return line, share


def _line(plan: Plan, price: Money, cycle: str, interval: int, period: Period | None) -> LineDraft:
    """Its explanation names what the amount was taken from."""
    return LineDraft(
        kind=InvoiceLine.Kind.PLAN,
        description=f"{plan.name} ({Cycle(cycle).label.lower()})",
        amount=price,
        unit_amount=price,
        period_start=period.start if period else None,
        period_end=period.end if period else None,
        explanation={
            "formula": "price of one cycle",
            "plan": plan.code,
            "price": str(price.amount),
            "currency": price.currency,
            "cycle": cycle,
            "interval": interval,
        },
    )
