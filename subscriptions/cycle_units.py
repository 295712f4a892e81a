"""By what a cycle is divided: its time or its days. One cycle, one unit, for what is credited and what is charged.

A day that is credited whole and charged by the second would be had for nothing, night after night.
"""

from __future__ import annotations

from django.conf import settings

from payments.models import CreditGrant, Invoice, LineKind
from plans.models import Plan
from subscriptions.models import BillingPeriod, Subscription
from subscriptions.periods import Period
from subscriptions.proration import Unit


def unit_of_cycle(subscription: Subscription, whole: Period) -> Unit:
    """How `whole`, the present cycle, is divided: as a change or a pause has done, else by the plan's rule or the setting."""
    rows = BillingPeriod.objects.filter(subscription=subscription, superseded_at=None, end__gt=whole.start)
    for row in rows.select_related("invoice").prefetch_related("invoice__lines").order_by("-start"):
        if (unit := _divided_by(row.invoice)) is not None:
            return unit
    given = CreditGrant.objects.filter(
        account__user=subscription.user_id, key__startswith=pause_key(subscription), created_at__gte=whole.start
    )
    told = given.order_by("-created_at", "pk").values_list("explanation__unit", flat=True).first()
    return proration_unit(subscription.plan) if told is None else _unit(told)


def unit_of(period: BillingPeriod) -> Unit:
    """How the charge of `period` is divided: as it was itself, else by its plan's own rule, else by the setting."""
    return unit_of_invoice(period.invoice, period.plan)


def unit_of_invoice(invoice: Invoice | None, plan: Plan) -> Unit:
    """How the charge for `plan` on `invoice` is divided."""
    return _divided_by(invoice) or proration_unit(plan)


def proration_unit(plan: Plan) -> Unit:
    """How a cycle of the plan is divided first: by its own rule, else by the setting."""
    return _unit(plan.proration_unit or settings.PRORATION_UNIT)


def pause_key(subscription: Subscription) -> str:
    """How the keys of the credit begin that its pauses give."""
    return f"pause:{subscription.pk}:"


def _divided_by(invoice: Invoice | None) -> Unit | None:
    for line in invoice.lines.all() if invoice else ():
        if line.kind == LineKind.PRORATION_CHARGE:
            return _unit(line.explanation["unit"])
    return None


def _unit(name: str) -> Unit:
    return "day" if name == "day" else "second"
