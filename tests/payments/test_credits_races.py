"""Races for credit: competitors injected at the worst moment, and threads with connections of their own."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from payflow.core import clock
from payflow.core.errors import DomainError, ValidationFailed
from payments.errors import InsufficientCredit
from payments.models import CreditAccount, CreditUse, LedgerPosting
from payments.services.credits import credit_revoke, credits_expire
from subscriptions.services.due import due_sweep
from tests.factories import PlanFactory, UserFactory
from tests.flows import DAY, START, fresh
from tests.payments.credit_support import balance, books_agree, give, spend

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*calls) -> list:
    """Each call in a thread with its own connection, all from one moment; what each returned, or the name of its refusal."""
    outcomes, start = [None] * len(calls), threading.Barrier(len(calls))

    def run(place, call):
        try:
            connection.ensure_connection()
            start.wait(timeout=60)
            outcomes[place] = call()
        except DomainError as error:
            outcomes[place] = type(error).__name__
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return outcomes


@contextmanager
def before_statement(text: str, competitor):
    """Runs `competitor` once, in another connection and to its end, right before the first statement that has `text`."""
    raised, done = [], []

    def elsewhere():
        try:
            competitor()
        except Exception as error:  # noqa: BLE001  raised again where the test sees it
            raised.append(error)
        finally:
            connection.close()

    def wrap(execute, sql, params, many, context):
        if text in sql and not done:
            done.append(True)
            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join(timeout=60)
            assert not thread.is_alive(), "the competitor waits for a lock that is held already"
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrap):
        yield
    assert done, f"nothing said {text}"
    if raised:
        raise raised[0]


LOCKS_THE_ACCOUNT = 'FROM "credit_accounts" WHERE ("credit_accounts"."currency"'


def test_of_many_spends_of_the_last_amount_exactly_one_happens():
    user = UserFactory()
    give(user, 5)
    give(user, 5, expires=START + DAY)

    outcomes = at_once(*(lambda n=n: spend(user, 10, f"k{n}") for n in range(12)))

    assert Counter(type(outcome).__name__ for outcome in outcomes) == {"Spent": 1, "str": 11}
    assert {outcome for outcome in outcomes if isinstance(outcome, str)} == {"InsufficientCredit"}
    assert (balance(user), CreditUse.objects.count()) == (0, 2)


def test_many_small_spends_take_all_there_is_and_no_more():
    user = UserFactory()
    for n in range(4):
        give(user, "2.50", expires=START + (n + 1) * DAY)

    outcomes = at_once(*(lambda n=n: spend(user, "1.50", f"k{n}") for n in range(10)))

    assert Counter(type(outcome).__name__ for outcome in outcomes) == {"Spent": 6, "str": 4}
    assert balance(user) == 1


@pytest.mark.parametrize("amount", [5, 10], ids=["half", "all"])
def test_one_key_at_once_is_spent_once_and_answered_alike(amount):
    user = UserFactory()
    give(user, 10)

    outcomes = at_once(*(lambda: spend(user, amount, "k") for _ in range(8)))

    assert set(outcomes) == {outcomes[0]}
    assert outcomes[0].amount == amount
    assert balance(user) == 10 - amount


def test_one_key_in_two_currencies_at_once_is_spent_in_one():
    user = UserFactory()
    give(user, 5)
    give(user, 500, currency="JPY")

    outcomes = at_once(lambda: spend(user, 1, "k"), lambda: spend(user, 100, "k", currency="JPY"))

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Spent", "str"]
    assert "ValidationFailed" in outcomes
    assert LedgerPosting.objects.filter(kind="credit_spent").count() == 1
    books_agree()


def test_the_other_currency_wins_after_our_look():
    user = UserFactory()
    give(user, 5)
    give(user, 500, currency="JPY")

    with pytest.raises(ValidationFailed) as refusal:
        with before_statement('UPDATE "credit_accounts"', lambda: spend(user, 100, "k", currency="JPY")):
            spend(user, 1, "k")

    assert refusal.value.details == {"key": ["It was used to spend 100 JPY"]}
    assert (balance(user), balance(user, "JPY")) == (5, 400)


def test_a_spend_that_is_overtaken_before_its_lock_sees_what_is_left():
    user = UserFactory()
    give(user, 10)
    with pytest.raises(InsufficientCredit) as refusal:
        with before_statement(LOCKS_THE_ACCOUNT, lambda: spend(user, 6, "first")):
            spend(user, 6, "second")
    assert refusal.value.details["available"] == "4.00"
    assert balance(user) == 4


def test_a_grant_against_expiry():
    user = UserFactory()
    give(user, 5, expires=START + DAY)
    end = START + DAY

    outcomes = at_once(
        lambda: credits_expire(now=end, wall=end),
        lambda: give(user, 3, at=end).amount,
        lambda: credits_expire(now=end, wall=end),
        lambda: give(user, 4, at=end).amount,
    )

    assert (outcomes[1], outcomes[3]) == (3, 4)
    credits_expire(now=end, wall=end)  # where a grant held the account the sweep had skipped it
    assert balance(user) == 7


def test_first_grants_at_once_make_one_account():
    user = UserFactory()
    at_once(*(lambda: give(user, 1) for _ in range(6)))
    assert (CreditAccount.objects.count(), balance(user)) == (1, 6)


def test_one_request_at_once_is_one_grant():
    user = UserFactory()
    outcomes = at_once(*(lambda: give(user, 1, request_id=user.pk) for _ in range(6)))
    assert (len({grant.pk for grant in outcomes}), balance(user)) == (1, 1)


def test_spending_against_taking_back_and_expiry():
    user = UserFactory()
    grants = [give(user, 2, expires=START + DAY) for _ in range(3)]

    outcomes = at_once(
        *(lambda n=n: spend(user, 1, f"k{n}") for n in range(4)),
        *(lambda g=g: credit_revoke(grant_id=g.pk, reason="x", actor="test", at=START).pk for g in grants[:2]),
        lambda: credits_expire(now=START + DAY, wall=START),
    )

    spent = sum(type(outcome).__name__ == "Spent" for outcome in outcomes[:4])
    assert 0 <= spent <= 4
    credits_expire(now=START + DAY, wall=START)
    assert balance(user) == 0
    uses = CreditUse.objects.values_list("amount", flat=True)
    assert sum(uses, start=Decimal(0)) == spent


# --- renewals ---------------------------------------------------------------------------------------------------------


def due(shop) -> int:
    return due_sweep(now=shop.now, wall=clock.wall())


def totals(*subscriptions) -> list[Decimal]:
    return [row.invoices.order_by("-pk")[0].total for row in subscriptions]


def test_a_renewal_that_a_spend_overtakes_charges_the_more(shop):
    user = UserFactory()
    subscription = shop.buy(user)
    give(user, 10)
    shop.at(END)

    # right before it locks the account
    with before_statement(
        'FROM "credit_accounts" WHERE "credit_accounts"."id" IN', lambda: spend(user, 7, "k", at=END)
    ):
        due(shop)
    shop.drain()

    assert totals(subscription) == [7]
    assert balance(user) == 0


def test_renewals_against_spends(shop):
    user = UserFactory()
    subscription = shop.buy(user)
    give(user, 12)
    shop.at(END)

    outcomes = at_once(lambda: due(shop), *(lambda n=n: spend(user, 4, f"k{n}", at=END) for n in range(3)))
    shop.drain()

    spent = 4 * sum(type(outcome).__name__ == "Spent" for outcome in outcomes)
    [total] = totals(subscription)
    assert fresh(subscription).status == "active"
    assert balance(user) == 12 - spent - (10 - total) >= 0


def test_two_families_of_one_user_renew_out_of_one_account(shop, settings):
    settings.SWEEP_BATCH = 1
    user = UserFactory()
    first = shop.buy(user, PlanFactory(family="one"))
    second = shop.buy(user, PlanFactory(family="two"))
    give(user, 14)
    shop.at(END)

    outcomes = at_once(lambda: due(shop), lambda: due(shop))
    due(shop)
    shop.drain()

    assert sum(outcomes) >= 1
    assert sorted(totals(first, second)) == [0, 6]
    assert balance(user) == 0
    assert [fresh(row).end_date for row in (first, second)] == [END + timedelta(days=31)] * 2


def test_two_families_in_one_batch_share_it_as_well(shop):
    user = UserFactory()
    first = shop.buy(user, PlanFactory(family="one"))
    second = shop.buy(user, PlanFactory(family="two"))
    give(user, 14)
    shop.run(END)
    assert sorted(totals(first, second)) == [0, 6]
    assert balance(user) == 0
