"""Changes of plan that meet something else at the same moment: each outcome is one of the two orders, whole."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection, connections, transaction

from providers.sandbox.models import SandboxRefund
from subscriptions.locks import subscription_lock
from subscriptions.state import subscription_update
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import credit, fresh, ledger, periods
from tests.live.stack import eventually
from tests.subscriptions.february import END, TENTH, taken


@pytest.fixture(autouse=True)
def _customers_refund_themselves(settings):
    settings.CUSTOMER_REFUNDS = True


def at_once(*calls):
    """The calls, begun together in threads with connections of their own; their results in order."""
    gate = threading.Barrier(len(calls))

    def run(call):
        gate.wait(30)
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


def touching(subscription) -> None:
    spans = periods(subscription)
    assert [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]


def test_an_upgrade_clicked_four_times_is_charged_once(shop, user, basic, pro):
    subscription = shop.buy(user, basic)
    shop.at(TENTH)

    answers = at_once(*[lambda: shop.change(subscription, pro)] * 4)

    # who comes second finds a payment under way, or has the plan already
    outcomes = sorted((answer.status_code, answer.json()["code"]) for answer in answers if answer.status_code != 200)
    assert len(outcomes) == 3
    assert set(outcomes) <= {(400, "VALIDATION_ERROR"), (409, "PAYMENT_IN_PROGRESS")}
    shop.drain()
    assert (taken(), fresh(subscription).plan) == ([19], pro)
    assert list(subscription.changes.values_list("status", flat=True)) == ["applied"]
    assert ledger() == {"provider_clearing": 48, "revenue": -48}
    touching(subscription)


def test_two_different_upgrades_at_once(shop, user, basic, pro):
    subscription = shop.buy(user, basic)
    best = PlanFactory(price=Decimal("87.00"))
    shop.at(TENTH)

    answers = at_once(lambda: shop.change(subscription, pro), lambda: shop.change(subscription, best))
    shop.drain()

    codes = [answer.status_code for answer in answers]
    assert set(codes) <= {200, 409}
    applied = list(subscription.changes.filter(status="applied").order_by("pk").values_list("plan", flat=True))
    row = fresh(subscription)
    match codes:
        case [200, 200] if row.plan == best:  # one after the other, each from where the one before stood
            assert (taken(), applied) == ([19, 19], [pro.pk, best.pk])
        case [200, 200]:  # the cheaper one second: it waits for the end
            assert (taken(), applied, row.plan) == ([38], [best.pk], best)
        case [200, 409]:
            assert (taken(), applied, row.plan) == ([19], [pro.pk], pro)
        case _:
            assert (taken(), applied, row.plan) == ([38], [best.pk], best)
    touching(row)
    assert ledger() == {"provider_clearing": 29 + sum(taken()), "revenue": -29 - sum(taken())}


def test_an_upgrade_and_the_renewal_at_once(shop, user, basic, pro):
    subscription = shop.buy(user, basic)
    quoted_at = (END - timedelta(minutes=15)).isoformat()
    shop.at(END)

    answer, _ = at_once(lambda: shop.change(subscription, pro, quoted_at=quoted_at, total=0), shop.due)
    shop.drain()

    row = fresh(subscription)
    if answer.status_code == 200:  # for its last minutes it was Pro: they cost nothing, the next month does
        shop.due()
        assert (fresh(row).plan, taken()) == (pro, [58])
    else:
        assert answer.json()["code"] in ("VALIDATION_ERROR", "PAYMENT_IN_PROGRESS", "INVALID_TRANSITION")
        assert (row.plan, taken()) == (basic, [29])
    touching(row)
    assert fresh(row).end_date == datetime(2040, 3, 31, 10, tzinfo=UTC)
    assert ledger() == {"provider_clearing": 29 + sum(taken()), "revenue": -29 - sum(taken())}


@pytest.mark.parametrize("when", ["period_end", "now"])
def test_an_upgrade_and_a_cancellation_at_once(shop, user, basic, pro, when):
    subscription = shop.buy(user, basic)
    shop.at(TENTH)

    changed, cancelled = at_once(
        lambda: shop.change(subscription, pro),
        lambda: Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}?when={when}"),
    )
    shop.drain()

    assert cancelled.status_code == 200
    row = fresh(subscription)
    assert (row.cancelled_at is not None, row.status) == (True, "active" if when == "period_end" else "cancelled")
    books = {"provider_clearing": 29, "revenue": -29}
    if changed.status_code == 200:
        assert (row.plan, taken()) == (pro, [19])
        books = {"provider_clearing": 48, "revenue": -48}
    else:
        assert (changed.status_code, changed.json()["code"], row.plan) == (409, "INVALID_TRANSITION", basic)
        if taken():  # its charge was on the way when it was cancelled: the money is kept apart, to go back
            books = {"provider_clearing": 48, "revenue": -29, "unapplied_payments": -19}
    assert ledger() == books
    touching(row)
    assert credit(user) == 0
    assert not subscription.changes.filter(status="open").exists()


def test_a_refund_of_the_unused_time_clicked_four_times_goes_back_once(shop, user, basic):
    subscription = shop.buy(user, basic)
    shop.at(TENTH)
    url = f"/api/v1/subscriptions/{subscription.pk}?when=now&refund=true"

    answers = at_once(*[lambda: Api().as_user(user).delete(url)] * 4)

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert list(SandboxRefund.objects.values_list("amount", flat=True)) == [19]
    assert (ledger(), credit(user)) == ({"provider_clearing": 10, "refunds": 19, "revenue": -29}, 0)


def test_a_pause_clicked_four_times_is_credited_once_and_a_resume_billed_once(shop, user, basic):
    subscription = shop.buy(user, basic)
    shop.at(TENTH)

    answers = at_once(*[lambda: shop.post(subscription, "pause")] * 4)

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert credit(user) == 19
    # when it is resumed as often, for more than the credit: 31 of the 31 days to the end of March
    shop.at(END)
    answers = at_once(*[lambda: shop.post(subscription, "resume")] * 4)
    shop.drain()

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert (taken(), credit(user), fresh(subscription).status) == ([10], 0, "active")
    assert ledger() == {"provider_clearing": 39, "revenue": -39}


def test_who_waits_for_a_subscription_gets_it_though_its_plan_has_changed(shop, user, basic, pro):
    """A join in the locking query would lose the row: its plan is not the one that was looked up before the wait."""
    subscription = shop.buy(user, basic)
    card = shop.second_card(user)

    def other():
        try:
            with transaction.atomic():
                row = subscription_lock(subscription.pk)
                return row.plan, row.payment_method
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            subscription_update(subscription_lock(subscription.pk), plan=pro, payment_method=card)
            waiting = pool.submit(other)
            eventually(somebody_waits, "the other one to wait for the row")
        assert waiting.result(30) == (pro, card)


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchone()[0])
