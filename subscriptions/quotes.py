"""What a plan costs somebody, before he commits to it."""

from __future__ import annotations

from payflow.core.errors import UnsupportedCurrency
from payflow.core.money import Money, currency_digits
from payments.invoices import LineDraft
from payments.models import InvoiceLine
from plans.models import Plan
from subscriptions.models import Subscription
from subscriptions.periods import Period


def plan_price(plan: Plan, currency: str | None) -> Money:
    """The plan's price in `currency` (None: its own). Raises UnsupportedCurrency where it has none."""
    if currency is None or currency == plan.currency:
        return Money(plan.price, plan.currency)
    currency_digits(currency)
    price = plan.prices.filter(currency=currency).first()
    if price is None:
        raise UnsupportedCurrency(f"{plan.name} is not sold in {currency}", details={"currency": [currency]})
    return Money(price.amount, price.currency)


def cycle_line(subscription: Subscription, period: Period | None) -> LineDraft:
    """The line of one whole cycle. Its explanation names what the amount was taken from."""
    amount = Money(subscription.amount, subscription.currency)
    return LineDraft(
        kind=InvoiceLine.Kind.PLAN,
        description=f"{subscription.plan.name} ({subscription.get_billing_cycle_display().lower()})",
        amount=amount,
        unit_amount=amount,
        period_start=period.start if period else None,
        period_end=period.end if period else None,
        explanation={
            "formula": "price of one cycle",
            "plan": subscription.plan.code,
            "price": str(amount.amount),
            "currency": amount.currency,
            "cycle": subscription.billing_cycle,
            "interval": subscription.billing_interval,
        },
    )
