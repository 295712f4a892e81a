"""plans/{id}/analytics: figures that agree with the rows, for operators only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from analytics.selectors import plan_figures
from subscriptions.models import Status, Subscription
from subscriptions.state import subscription_move, subscription_start
from tests.factories import PlanFactory, UserFactory

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)


def subscribed(plan, *, amount="10.00", cycle="monthly", interval=1, started=NOW - timedelta(days=5), currency="USD"):
    row = Subscription(
        user=UserFactory(),
        plan=plan,
        status=Status.ACTIVE,
        provider="sandbox",
        start_date=started,
        end_date=started + timedelta(days=400),
        anchor=started,
        amount=Decimal(amount),
        currency=currency,
        billing_cycle=cycle,
        billing_interval=interval,
    )
    subscription_start(row, reason="subscribed", actor="system", at=started)
    return row


def test_mrr_normalises_every_cycle_and_keeps_currencies_apart():
    plan = PlanFactory()
    subscribed(plan, amount="10.00")
    subscribed(plan, amount="120.00", cycle="yearly")
    subscribed(plan, amount="30.00", cycle="monthly", interval=3)
    subscribed(plan, amount="1000", currency="JPY", cycle="weekly")

    figures = plan_figures(plan, now=NOW)

    assert figures.mrr == {"JPY": Decimal("4333"), "USD": Decimal("30.00")}
    assert (figures.live, figures.started, figures.ended) == (4, 4, 0)


def test_churn_is_the_share_of_those_live_thirty_days_ago():
    plan = PlanFactory()
    old = [subscribed(plan, started=NOW - timedelta(days=90)) for _ in range(4)]
    subscribed(plan)
    subscription_move(old[0], Status.CANCELLED, reason="cancelled", actor="system", at=NOW - timedelta(days=1))

    figures = plan_figures(plan, now=NOW)

    assert (figures.started, figures.ended, figures.churn_rate) == (1, 1, Decimal("0.2500"))
    assert figures.subscriptions["cancelled"] == 1


@pytest.mark.parametrize("slash", ["", "/"])
def test_operators_see_it_and_nobody_else(api, user, staff, slash):
    plan = PlanFactory(code="seen")
    path = f"/api/v1/plans/seen/analytics{slash}"

    assert api.get(path).status_code == 401
    assert api.as_user(user).get(path).status_code == 403
    answer = api.as_user(staff).get(path)

    assert answer.status_code == 200
    assert answer.json()["data"]["plan_id"] == str(plan.pk)
    assert answer.json()["data"]["mrr"] == {}
    assert api.as_user(staff).get("/api/v1/plans/nosuch/analytics").status_code == 404
