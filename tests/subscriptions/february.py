"""The month in which changes, pauses and cancels are tried: 31 January to 29 February 2040, 29 days to the hour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.sandbox.models import SandboxPayment
from subscriptions.access import has_access
from subscriptions.models import Checkout
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import DAY, START, fresh, periods

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
NEXT = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)
#: 19 of the 29 days are left.
TENTH = datetime(2040, 2, 10, 10, 0, tzinfo=UTC)
#: 9 of the 29 days are left.
TWENTIETH = datetime(2040, 2, 20, 10, 0, tzinfo=UTC)
#: After which a charge without an answer is asked about (real time).
LATER = timedelta(minutes=3)


def plan(price: str = "29.00", **fields: Any) -> Any:
    """A monthly plan, a day of which costs a 29th: figures are exact."""
    return PlanFactory(price=Decimal(price), **fields)


# --- looking


def amounts(lines: Any) -> list[tuple[str, float]]:
    return [(line["kind"], line["amount"]) for line in lines]


def newest(subscription: Any) -> Any:
    """The invoice that was made last."""
    return subscription.invoices.latest("pk")


def same_as_invoice(preview: Any, invoice: Any) -> None:
    """Every figure and every line of the preview, on the invoice that was made."""
    sums = ("subtotal", "discount", "tax", "tax_included", "credit", "total")
    assert {name: Decimal(str(preview[name])) for name in sums} == {name: getattr(invoice, name) for name in sums}
    shown = [
        (each["kind"], each["description"], Decimal(str(each["amount"])), each["explanation"])
        for each in preview["lines"]
    ]
    written = invoice.lines.order_by("position")
    assert shown == [(line.kind, line.description, line.amount, line.explanation) for line in written]


def taken() -> list[Decimal]:
    """What the sandbox took from stored methods."""
    rows = SandboxPayment.objects.filter(kind="charge", status="succeeded").order_by("pk")
    return list(rows.values_list("amount", flat=True))


def statuses(subscription: Any) -> list[str]:
    """Those of the subscription's changes, oldest first."""
    return list(subscription.changes.order_by("pk").values_list("status", flat=True))


def untouched(subscription: Any) -> None:
    """Plan, period and access are what was bought for 29.00."""
    row = fresh(subscription)
    assert (row.plan_id, row.amount, row.status, row.end_date) == (subscription.plan_id, 29, "active", END)
    assert periods(row) == [(START, END)]
    assert has_access(row, END - DAY)


def page_of(subscription: Any) -> Checkout:
    """Where the newest change is paid."""
    return Checkout.objects.filter(subscription=subscription, purpose="change").latest("pk")


def keyed(user: Any) -> Api:
    """The user's client, which sends the same Idempotency-Key with every request."""
    client = Api().as_user(user)
    client.defaults["HTTP_IDEMPOTENCY_KEY"] = "up-1"
    return client
