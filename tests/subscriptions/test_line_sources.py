"""What a period owes beyond its price stands on the invoice of the next one, from whoever meters it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from payflow.core.money import Money
from payments import invoices
from payments.composition import LineDraft
from payments.models import LineKind, TaxRate
from tests.conftest import Api
from tests.factories import PlanFactory, UserFactory
from tests.flows import START, fresh, ledger, periods

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)


@pytest.fixture
def meter(monkeypatch):
    """Bills three units of 0.50 for every period that it is asked about; answers what it was asked."""
    asked = []

    def usage(lived, at):
        asked.append(sorted((row.start, row.end) for row in lived))
        half = Money(Decimal("0.50"), "USD")
        return {
            row.pk: [
                LineDraft(
                    kind=LineKind.USAGE,
                    description="Translations",
                    amount=Money(Decimal("1.50"), "USD"),
                    quantity=Decimal(3),
                    unit_amount=half,
                    period_start=row.start,
                    period_end=row.end,
                    explanation={"formula": "quantity * price", "quantity": "3", "price": "0.50"},
                )
            ]
            for row in lived
        }

    monkeypatch.setattr(invoices, "_line_sources", [])
    invoices.register_line_source(usage)
    return asked


def test_the_lived_period_is_metered_and_the_next_is_billed_in_advance(shop, user, meter):
    subscription = shop.buy(user, PlanFactory(priced_actions=["translations"]))
    other = shop.buy(UserFactory(), PlanFactory(priced_actions=["translations"]))
    shop.buy(UserFactory())  # nothing is metered here: nobody is asked about it
    TaxRate.objects.create(country="DE", name="VAT", percent=20)
    type(user).objects.filter(pk=user.pk).update(country="DE")

    shop.run(END)

    # one question for the whole batch
    [asked] = meter
    assert len(asked) == 2
    invoice = subscription.invoices.latest("pk")
    lines = Api().as_user(user).get(f"/api/v1/invoices/{invoice.pk}").json()["data"]["lines"]
    assert [(line["kind"], line["amount"]) for line in lines] == [("plan", 10.0), ("usage", 1.5), ("tax", 2.3)]
    assert (lines[1]["quantity"], lines[1]["explanation"]["price"]) == (3.0, "0.50")
    assert (invoice.subtotal, invoice.tax, invoice.total) == (Decimal("11.50"), Decimal("2.30"), Decimal("13.80"))
    assert fresh(other).invoices.latest("pk").total == Decimal("11.50")
    # usage is no part of the period's own price
    assert [row.amount for row in subscription.periods.order_by("start")] == [10, 10]
    assert periods(subscription)[0] == (START, END)
    assert ledger() == {"provider_clearing": Decimal("65.30"), "revenue": -63, "tax": Decimal("-2.30")}
