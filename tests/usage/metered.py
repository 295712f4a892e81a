"""A world in which a plan prices an action: plans, use, and what the invoices say of it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from payflow.core.money import Money
from payments.models import Invoice, InvoiceLine
from plans.pricing import price, pricing_of
from plans.services import plan_update
from tests.factories import PlanFactory
from usage.models import UsageMeter
from usage.services import usage_log

#: Before every story of the flows begins.
EARLY = datetime(2040, 1, 1, tzinfo=UTC)
TIERS = [{"up_to": 100, "unit_amount": "0.10"}, {"up_to": None, "unit_amount": "0.05"}]


def metered_plan(*rows, at=EARLY, **fields):
    """A plan with prices of actions; without any named, 10 words are included and each further one costs 0.50."""
    plan = PlanFactory(**{"max_usage_per_day": None, "max_usage_per_month": None} | fields)
    reprice(plan, *(rows or ({"included": 10},)), at=at)
    plan.refresh_from_db()
    return plan


def reprice(plan, *rows, at):
    terms = [{"action": "words", **row} for row in rows]
    for row in terms:
        if "tiers" not in row:
            row.setdefault("unit_amount", Decimal("0.50"))
    plan_update(plan_id=plan.pk, actor="test", at=at, action_prices=terms)


def use(user, quantity=1, *, at, action="words", **fields):
    return usage_log(user_id=user.pk, action=action, quantity=quantity, now=at, **fields)


def usage_lines(subscription, *, statuses=("open", "paid", "uncollectible")):
    """(quantity used by then, amount) of the usage lines on invoices that stand, oldest first."""
    rows = InvoiceLine.objects.filter(invoice__subscription=subscription, kind="usage", invoice__status__in=statuses)
    return [(row.explanation["used"], row.amount) for row in rows.order_by("pk")]


def all_is_billed_once(subscription):
    """Every meter's lines, on invoices that stand, sum to the price of its use; a meter knows what was billed."""
    standing = InvoiceLine.objects.filter(invoice__subscription=subscription, kind="usage").exclude(
        invoice__status=Invoice.Status.VOID
    )
    for meter in UsageMeter.objects.filter(subscription=subscription).select_related("price"):
        lines = [line for line in standing if line.explanation["meter"] == str(meter.pk)]
        whole = price(pricing_of(meter.price), meter.used)
        assert Money(sum((line.amount for line in lines), start=Decimal(0)), meter.currency) == whole
        assert (meter.billed, meter.charged) == (meter.used, whole.amount)
    return True
