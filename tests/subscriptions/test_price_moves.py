"""Price changes leave subscribers alone; an operator moves them at their next renewal, after a dry run."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from payflow.core.money import Money
from plans.models import Plan
from subscriptions.models import SubscriptionChange
from subscriptions.services.cancel import subscription_cancel
from subscriptions.services.price_moves import price_move, price_move_preview
from tests.conftest import Api
from tests.factories import PlanFactory, UserFactory
from tests.flows import DAY, START, fresh, ledger, nothing_changes, paid, periods

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)


def usd(amount: str) -> Money:
    return Money(Decimal(amount), "USD")


def dearer(plan: Plan, price: str = "12.00") -> Plan:
    Plan.objects.filter(pk=plan.pk).update(price=price)
    return fresh(plan)


def test_a_new_price_alone_moves_nobody(shop, user):
    subscription = shop.buy(user, plan := PlanFactory())
    dearer(plan)

    shop.run(END)

    assert fresh(subscription).amount == 10
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_the_dry_run_says_what_each_would_pay_and_changes_nothing(shop, user):
    plan = PlanFactory()
    moving, _ = paid(user, plan)
    ending, _ = paid(UserFactory(email="ending@example.com"), plan)
    subscription_cancel(subscription_id=ending.pk, at_once=False, actor="test", now=shop.now)
    others = PlanFactory(code="other")
    paid(UserFactory(), others)
    plan = dearer(plan)

    with nothing_changes():
        found = price_move_preview(plan=plan, now=shop.now + DAY)

    [move] = found.moves
    assert (move.subscription_id, move.email, move.before, move.after) == (
        moving.pk,
        user.email,
        usd("10.00"),
        usd("12.00"),
    )
    assert move.at == moving.end_date
    assert [(skipped.email, skipped.reason) for skipped in found.skipped] == [
        ("ending@example.com", "it does not renew")
    ]
    assert (found.mrr_before, found.mrr_after) == ({"USD": usd("10.00")}, {"USD": usd("12.00")})


def test_who_is_moved_pays_the_new_price_from_his_next_renewal(shop, user):
    subscription = shop.buy(user, plan := PlanFactory())
    plan = dearer(plan)
    shop.at(START + DAY)

    assert price_move(plan=plan, actor="user:1", now=shop.now) == 1
    # again is harmless
    assert price_move(plan=plan, actor="user:1", now=shop.now) == 0

    assert fresh(subscription).amount == 10
    planned = Api().as_user(user).get("/api/v1/subscriptions/me").json()["data"]["planned_change"]
    assert (planned["amount"], planned["reason"], planned["effective_at"]) == (
        12.0,
        "price_move",
        "2040-02-29T10:00:00Z",
    )
    shop.run(END)
    row = fresh(subscription)
    assert (row.amount, row.plan_id, row.anchor) == (Decimal("12.00"), plan.pk, START)
    assert next(end for _, end in periods(row)) == END
    assert ledger() == {"provider_clearing": 22, "revenue": -22}
    assert fresh(SubscriptionChange.objects.get()).status == "applied"


def test_somebody_who_cancels_or_changes_meanwhile_is_not_moved(shop, user):
    subscription = shop.buy(user, plan := PlanFactory())
    price_move(plan=dearer(plan), actor="user:1", now=shop.now)

    Api().as_user(user).delete("/api/v1/subscriptions/me")

    # planned still: the cancellation may be taken back
    assert SubscriptionChange.objects.get().status == "open"
    shop.run(END)
    assert SubscriptionChange.objects.get().status == "cancelled"
    assert (fresh(subscription).status, fresh(subscription).amount) == ("cancelled", 10)


def test_the_command_lists_and_then_moves(shop, user):
    paid(user, plan := PlanFactory(code="basic"))
    dearer(plan)

    out = StringIO()
    with nothing_changes():
        call_command("price_move", "basic", stdout=out)
    assert f"10.00 USD -> 12.00 USD  {user.email}" in out.getvalue()
    assert "1 would move, 0 stay." in out.getvalue()
    assert "MRR of those who move: 10.00 USD -> 12.00 USD (change 2.00 USD)" in out.getvalue()

    call_command("price_move", "basic", "--apply", stdout=out)
    assert "1 will move at their next renewal." in out.getvalue()
    assert SubscriptionChange.objects.get().amount == 12
    with pytest.raises(CommandError, match="no such plan"):
        call_command("price_move", "nothing")
