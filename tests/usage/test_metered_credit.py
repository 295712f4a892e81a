"""Pay as you go: each unit is paid from credit when it is used; without credit there is none."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import timedelta
from decimal import Decimal

import pytest

from payflow.core import clock
from payflow.core.errors import ValidationFailed
from payments.models import CreditAccount, CreditUse
from payments.services.ledger_check import ledger_check_run
from plans.services import plan_update
from tests.conftest import Api
from tests.factories import UserFactory
from tests.flows import credit, give_credit
from tests.usage.factories import NOON, plan, subscription
from tests.usage.race import callers
from tests.usage.support import counters
from usage.errors import CreditExhausted, UsageLimitExceeded
from usage.models import UsageEvent, UsageLog, UsageMeter
from usage.services import usage_log

pytestmark = pytest.mark.django_db(transaction=True)
D = Decimal
BEFORE = NOON - timedelta(days=90)


def words(price="0.10", **terms):
    return {"action": "words", "settlement": "credit", "unit_amount": D(price), **terms}


def paying(user, *rows, **fields):
    """Subscribed to a plan on which each word costs 0.10, paid from credit."""
    bought = plan(**fields)
    plan_update(plan_id=bought.pk, actor="test", at=BEFORE, action_prices=list(rows) or [words()])
    bought.refresh_from_db()
    return subscription(user, bought, created_at=BEFORE, start_date=BEFORE, anchor=BEFORE)


def use(user, quantity=1, **fields):
    return usage_log(user_id=user.pk, action="words", quantity=quantity, now=NOON, **fields)


def books_agree():
    return ledger_check_run(actor="system", wall=clock.wall()).faults == []


def test_a_unit_is_counted_and_its_price_drawn(user):
    paying(user)
    give_credit(user, "1.00")

    logged = use(user, 3)

    assert str(logged.charge) == "0.30 USD"
    assert credit(user) == D("0.70")
    assert CreditUse.objects.get().key == f"drawn:usage:{logged.id}"
    meter = UsageMeter.objects.get()
    assert (meter.used, meter.billed, meter.charged) == (3, 3, D("0.30"))
    assert books_agree()


def test_what_there_is_no_credit_for_is_refused_and_leaves_nothing(user):
    paying(user)
    give_credit(user, "0.25")
    use(user, 2)
    before = counters()

    with pytest.raises(CreditExhausted) as refused:
        use(user, event_id="e-1")

    assert refused.value.http_status == 402
    assert refused.value.details == {"action": "words", "needed": D("0.10"), "available": D("0.05"), "currency": "USD"}
    assert counters() == before
    assert (UsageLog.objects.count(), UsageEvent.objects.count(), UsageMeter.objects.get().used) == (1, 0, 2)
    assert credit(user) == D("0.05")


def test_the_answer_of_the_api(user):
    paying(user)
    give_credit(user, "0.10")
    client, now = Api().as_user(user), clock.now()
    row = user.subscriptions.get()
    row.end_date = now + timedelta(days=20)
    row.save()

    asked = client.post("/api/v1/usage/log", {"action": "words", "dry_run": True})
    done = client.post("/api/v1/usage/log", {"action": "words"})
    refused = client.post("/api/v1/usage/log", {"action": "words"})
    asked_again = client.post("/api/v1/usage/log", {"action": "words", "dry_run": True})

    assert (asked.status_code, asked.json()["data"]["charge"]) == (200, {"amount": 0.1, "currency": "USD"})
    assert (done.status_code, done.json()["data"]["charge"]) == (201, {"amount": 0.1, "currency": "USD"})
    for answer in (refused, asked_again):
        assert (answer.status_code, answer.json()["code"]) == (402, "INSUFFICIENT_CREDIT")
        assert answer.json()["details"]["available"] == 0
    assert client.post("/api/v1/usage/log", {"action": "books"}).json()["data"]["charge"] is None


def test_the_same_event_draws_once_and_gets_its_answer_when_nothing_is_left(user):
    paying(user)
    give_credit(user, "0.10")
    first = use(user, event_id="e-1")
    again = use(user, event_id="e-1")
    assert (again.id, again.charge, again.replayed) == (first.id, first.charge, True)
    assert CreditUse.objects.count() == 1


def test_what_is_included_needs_no_credit_and_the_next_unit_does(user):
    paying(user, words(included=5))
    assert str(use(user, 5).charge) == "0.00 USD"
    with pytest.raises(CreditExhausted):
        use(user)
    give_credit(user, "1.00")
    assert str(use(user, 2).charge) == "0.20 USD"


def test_fractions_of_a_cent_add_up_and_are_not_had_for_nothing(user):
    paying(user, words("0.004"))
    with pytest.raises(CreditExhausted):
        use(user)
    give_credit(user, "1.00")
    drawn = [use(user).charge.amount for _ in range(10)]
    assert (sum(drawn), credit(user)) == (D("0.04"), D("0.96"))


def test_packages_and_tiers_are_priced_by_what_was_used_before(user):
    paying(
        user,
        words("5", model="package", package_size=10),
        {
            "action": "pages",
            "settlement": "credit",
            "model": "graduated",
            "tiers": [{"up_to": 2, "unit_amount": D("1")}, {"up_to": None, "unit_amount": D("0.5")}],
        },
    )
    give_credit(user, "20.00")
    assert [use(user, count).charge.amount for count in (1, 9, 1)] == [5, 0, 5]
    pages = [usage_log(user_id=user.pk, action="pages", quantity=n, now=NOON).charge.amount for n in (1, 3)]
    assert pages == [1, D("2.00")]


def test_a_limit_that_refuses_draws_nothing(user):
    paying(user, features={"words_per_day": 2})
    give_credit(user, "1.00")
    with pytest.raises(UsageLimitExceeded):
        use(user, 3)
    assert credit(user) == 1


def test_the_plan_of_everybody_sells_by_credit(user, settings):
    everybody = plan(code="everybody", price=0)
    plan_update(plan_id=everybody.pk, actor="test", at=BEFORE, action_prices=[words()])
    settings.PAYFLOW_DEFAULT_PLAN = "everybody"
    with pytest.raises(ValidationFailed):
        usage_log(user_id=uuid.uuid4(), action="words", now=NOON)
    assert not UsageMeter.objects.exists()
    with pytest.raises(CreditExhausted):
        use(user)
    give_credit(user, "0.20")
    use(user, 2)
    meter = UsageMeter.objects.get()
    assert (meter.subscription_id, meter.used, credit(user)) == (None, 2, 0)


def test_a_change_of_price_is_for_who_subscribes_after_it(user):
    row = paying(user)
    plan_update(plan_id=row.plan_id, actor="test", at=NOON - timedelta(days=1), action_prices=[words("9")])
    give_credit(user, "1.00")
    assert use(user).charge.amount == D("0.10")
    other = UserFactory()
    subscription(other, row.plan, created_at=NOON)
    with pytest.raises(CreditExhausted):
        use(other)


# --- races ------------------------------------------------------------------------------------------------------------

CALLERS, LEFT = 64, 10


@pytest.fixture(scope="module")
def race(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock(), callers() as started:
        yield started


def test_sixty_four_callers_want_the_last_ten_units_of_credit(race, user):
    paying(user)
    give_credit(user, "1.05")
    call = {"user_id": user.pk, "action": "words", "now": NOON}

    outcomes = race([{**call, "event_id": f"e-{n}"} for n in range(CALLERS)])

    assert outcomes.pop("CreditExhausted") == CALLERS - LEFT
    assert set(outcomes.values()) == {1}
    assert len(outcomes) == UsageLog.objects.count() == UsageEvent.objects.count() == LEFT
    assert set(counters().values()) == {LEFT}
    assert UsageMeter.objects.values_list("used", "billed", "charged").get() == (LEFT, LEFT, 1)
    assert {use.key for use in CreditUse.objects.all()} == {f"drawn:usage:{log_id}" for log_id in outcomes}
    assert (CreditAccount.objects.get().balance, credit(user)) == (D("0.05"), D("0.05"))
    assert books_agree()


def test_many_events_of_two_actions_and_one_event_many_times_never_wait_in_a_circle(race, user):
    paying(user, words(), {**words(), "action": "pages"})
    give_credit(user, "2.00")
    call = {"user_id": user.pk, "now": NOON}
    calls = [{**call, "action": ["words", "pages"][n % 2], "event_id": f"e-{n % 32}"} for n in range(CALLERS)]

    outcomes = race(calls)

    exhausted = outcomes.pop("CreditExhausted", 0)
    assert len(outcomes) == UsageLog.objects.count() == 20
    assert sum(outcomes.values()) + exhausted == CALLERS
    assert Counter(UsageLog.objects.values_list("event_id", flat=True)).most_common(1)[0][1] == 1
    assert credit(user) == 0
    assert books_agree()
