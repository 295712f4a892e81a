"""Whatever a subscriber does in whatever order: what he has paid in the end is the price of the time that he had."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest

from payments.models import LineKind, PaymentTransaction, TaxRate
from tests.conftest import Api
from tests.depth import depth
from tests.factories import PlanFactory
from tests.flows import DAY, START, credit, fresh, give_credit, ledger, part, periods

STEPS = 7
#: Each change rounds its charge and its credit once.
ROUNDING = Fraction(STEPS * 2, 100)


@pytest.fixture(autouse=True)
def _customers_refund_themselves(settings):
    settings.CUSTOMER_REFUNDS = True


@pytest.fixture
def plans(db):
    monthly = [PlanFactory(price=Decimal(price)) for price in ("29.00", "58.00", "11.11")]
    return [*monthly, PlanFactory(price=Decimal("365.00"), billing_cycle="yearly")]


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(depth(sample=2, full=12)))
def test_time_is_paid_once_whatever_is_changed_paused_or_resumed(shop, user, plans, seed):
    chance = Random(seed)
    percent = chance.choice([0, 10])
    if percent:
        TaxRate.objects.create(country="DE", name="VAT", percent=Decimal(percent))
        type(user).objects.filter(pk=user.pk).update(country="DE")
    given = chance.choice([0, 0, 7])
    if given:
        give_credit(user, str(given))
    subscription = shop.buy(user, plans[chance.randrange(4)])

    for _ in range(STEPS):
        days_go_by(shop, subscription, chance.randint(1, 14))
        row = fresh(subscription)
        wish = chance.choice(["change", "change", "change", "pause"])
        if row.status == "paused":
            assert shop.post(row, "resume").status_code == 200
        elif wish == "pause":
            assert shop.post(row, "pause").status_code == 200
        else:
            others = [plan for plan in plans if plan.pk != row.plan_id]
            plan = chance.choice(others)
            preview = shop.preview(row, plan, when="now")
            answer = shop.change(row, plan, when="now", quoted_at=preview["quoted_at"], total=preview["total"])
            assert answer.status_code == 200, answer.content
    days_go_by(shop, subscription, 1)
    answer = Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}?when=now&refund=true")
    assert answer.status_code == 200, answer.content

    spans = periods(subscription)
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))
    books = ledger()
    kept = books.get("provider_clearing", Decimal(0)) + given - credit(user)
    assert abs(Fraction(kept) - price_of_lived_time(subscription) * (100 + percent) / 100) <= ROUNDING
    assert "receivable" not in books
    for charge in PaymentTransaction.objects.filter(type="charge"):
        assert 0 <= charge.refunded_amount <= charge.amount


def days_go_by(shop, subscription, days: int) -> None:
    """With everything that falls due on the way, at noon of the last."""
    until = (shop.now + days * DAY).replace(hour=12, minute=0)
    while (due := fresh(subscription).next_action_at) is not None and due <= until:
        shop.run(due + timedelta(seconds=1))
    shop.at(until)


def price_of_lived_time(subscription) -> Fraction:
    """By the time of every period that was had, at the price of the plan that it was had under."""
    total = Fraction(0)
    for row in subscription.periods.filter(superseded_at=None).select_related("invoice"):
        line = row.invoice.lines.get(kind__in=[LineKind.PLAN, LineKind.PRORATION_CHARGE])
        cycle = line.explanation["cycle"]
        first, last = (
            [datetime.fromisoformat(moment) for moment in cycle]
            if isinstance(cycle, list)
            else [line.period_start, line.period_end]
        )
        total += Fraction(line.unit_amount) * part(row.end - row.start, last - first)
    return total


def test_time_begins_with_the_purchase(shop, user, plans):
    """The measure above, by hand: two days of 29.00 for 29."""
    subscription = shop.buy(user, plans[0])
    shop.at(START + 2 * DAY)
    Api().as_user(user).delete("/api/v1/subscriptions/me?when=now&refund=true")
    assert abs(price_of_lived_time(subscription) - 2) < Fraction(1, 1000)
    assert ledger()["provider_clearing"] == 2
