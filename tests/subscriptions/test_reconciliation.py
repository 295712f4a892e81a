"""The provider's state against ours: what was missed is applied, what disagrees is a drift, either side can be adopted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from payflow.core import clock
from payflow.core.errors import InvalidTransition, ProviderUnavailable
from payments.models import PaymentTransaction
from providers.base import EventType, SubStatus
from subscriptions.models import BillingPeriod, ProviderCommand, ProviderDrift, ProviderFeed, Status, Subscription
from subscriptions.services.drifts import drift_adopt_ours, drift_adopt_theirs
from subscriptions.services.due import ASK_AGAIN, due_sweep
from subscriptions.services.reconciliation import (
    CHECK_EVERY,
    feeds_sweep,
    subscription_reconcile,
    subscriptions_reconcile_sweep,
)
from tests.factories import UserFactory
from tests.store import Books
from tests.subscriptions.store_world import HOUR, MONTHS, T0, apply, news, paid, state

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bought(plans: Any, books: Books) -> Subscription:
    user = UserFactory()
    books.events["sub-1"] = [paid(user, *MONTHS[0:2])]
    apply(books.events["sub-1"][0])
    books.states["sub-1"] = state()
    return Subscription.objects.get()


def reconcile(subscription: Subscription, now: Any = T0 + HOUR) -> ProviderDrift | None:
    return subscription_reconcile(subscription_id=subscription.pk, now=now)


def test_what_agrees_leaves_nothing_behind(bought: Subscription) -> None:
    assert reconcile(bought) is None
    assert not ProviderDrift.objects.exists()


def test_a_renewal_that_was_missed_is_found_when_it_is_due(bought: Subscription, books: Books) -> None:
    books.events["sub-1"].append(paid(bought.user, *MONTHS[1:3]))
    books.states["sub-1"] = state(period_end=MONTHS[2])
    due = MONTHS[1] + 25 * HOUR

    due_sweep(now=due, wall=clock.wall())

    bought.refresh_from_db()
    assert (bought.status, bought.end_date) == (Status.ACTIVE, MONTHS[2])
    apply(books.events["sub-1"][1], due)  # its webhook comes after all
    assert PaymentTransaction.objects.count() == 2


def test_a_provider_that_knows_of_no_renewal_is_asked_again(bought: Subscription, books: Books) -> None:
    due = MONTHS[1] + 25 * HOUR
    due_sweep(now=due, wall=clock.wall())

    bought.refresh_from_db()
    assert bought.next_action_at == due + ASK_AGAIN
    asked = len(books.calls)
    due_sweep(now=due + ASK_AGAIN, wall=clock.wall())
    assert len(books.calls) > asked


def test_a_provider_that_does_not_answer_changes_nothing(bought: Subscription, books: Books) -> None:
    books.down = True

    with pytest.raises(ProviderUnavailable):
        reconcile(bought)

    bought.refresh_from_db()
    assert bought.status == Status.ACTIVE


def test_the_daily_check_takes_each_once_a_day(bought: Subscription, books: Books) -> None:
    wall = clock.wall()
    assert subscriptions_reconcile_sweep(now=T0, wall=wall) == 1
    assert subscriptions_reconcile_sweep(now=T0, wall=wall) == 0
    assert subscriptions_reconcile_sweep(now=T0, wall=wall + CHECK_EVERY) == 1


def test_one_that_could_not_be_asked_is_tried_again_soon(bought: Subscription, books: Books) -> None:
    books.down = True
    wall = clock.wall()
    subscriptions_reconcile_sweep(now=T0, wall=wall)
    books.down = False

    assert subscriptions_reconcile_sweep(now=T0, wall=wall + timedelta(hours=2)) == 1


def test_a_list_of_news_brings_what_nobody_knew_of(plans: Any, books: Books) -> None:
    books.events["sub-9"] = [paid(UserFactory(), *MONTHS[0:2], provider_sub_id="sub-9")]

    feeds_sweep(now=T0 + HOUR, wall=clock.wall())
    feeds_sweep(now=T0 + HOUR, wall=clock.wall() + HOUR)

    assert Subscription.objects.get().provider_sub_id == "sub-9"
    assert PaymentTransaction.objects.count() == 1
    assert books.calls == [("feed", "")] * 2


def test_a_list_of_news_is_not_read_at_every_moment_of_a_journey(books: Books) -> None:
    wall = clock.wall()
    for days in range(5):
        feeds_sweep(now=T0 + days * 24 * HOUR, wall=wall)
    assert books.calls == [("feed", "")]


def test_a_disagreement_is_one_drift_until_it_is_gone(bought: Subscription, books: Books) -> None:
    books.states["sub-1"] = state(SubStatus.ON_HOLD)
    first = reconcile(bought)
    again = reconcile(bought, T0 + 2 * HOUR)
    assert first is not None and again is not None and first.pk == again.pk
    assert (again.ours["status"], again.theirs["status"]) == ("active", "on_hold")

    apply(news(bought.user, EventType.SUBSCRIPTION_ON_HOLD, T0 + 3 * HOUR))

    assert reconcile(bought, T0 + 4 * HOUR) is None
    assert ProviderDrift.objects.get().resolution == "agrees"


@pytest.mark.parametrize(
    ("theirs", "status", "end"),
    [
        (state(SubStatus.ON_HOLD), Status.SUSPENDED, MONTHS[1]),
        (state(SubStatus.PAST_DUE), Status.PAST_DUE, MONTHS[1]),
        (state(SubStatus.PAUSED), Status.PAUSED, MONTHS[1]),
        (state(SubStatus.EXPIRED), Status.EXPIRED, T0 + 2 * HOUR),
        (state(SubStatus.REVOKED), Status.CANCELLED, T0 + 2 * HOUR),
        (state(period_end=MONTHS[2]), Status.ACTIVE, MONTHS[2]),
        (state(period_end=T0 + 100 * HOUR), Status.ACTIVE, T0 + 100 * HOUR),
    ],
)
def test_their_side_is_adopted(bought: Subscription, books: Books, theirs: Any, status: str, end: Any) -> None:
    books.states["sub-1"] = theirs
    drift = reconcile(bought)
    assert drift is not None

    drift_adopt_theirs(drift_id=drift.pk, actor="operator", now=T0 + 2 * HOUR)

    bought.refresh_from_db()
    assert (bought.status, bought.end_date) == (status, end)
    last = BillingPeriod.objects.filter(superseded_at=None).order_by("start").last()
    assert last is not None and last.end == end
    assert reconcile(bought, T0 + 3 * HOUR) is None


def test_their_renewal_is_adopted(bought: Subscription, books: Books) -> None:
    books.states["sub-1"] = state(auto_renew=False)
    drift = reconcile(bought)
    assert drift is not None and drift.ours["auto_renew"] is True

    drift_adopt_theirs(drift_id=drift.pk, actor="operator", now=T0 + 2 * HOUR)

    bought.refresh_from_db()
    assert bought.auto_renew is False


def test_our_side_is_told_to_them(bought: Subscription, books: Books) -> None:
    books.states["sub-1"] = state(auto_renew=False)
    drift = reconcile(bought)
    assert drift is not None

    drift_adopt_ours(drift_id=drift.pk, actor="operator", now=T0 + 2 * HOUR)

    assert ProviderCommand.objects.get().kind == "resume"
    with pytest.raises(InvalidTransition):
        drift_adopt_theirs(drift_id=drift.pk, actor="operator", now=T0 + 2 * HOUR)


def test_a_command_on_its_way_is_no_drift(bought: Subscription, books: Books) -> None:
    drift = reconcile(bought)
    assert drift is None
    from subscriptions.services.cancel import subscription_cancel

    subscription_cancel(subscription_id=bought.pk, at_once=False, actor="u", now=T0 + HOUR)

    assert reconcile(bought, T0 + 2 * HOUR) is None


def told_by_command(provider: str = "store") -> str:
    out = StringIO()
    call_command("provider_reconcile", provider, stdout=out)
    return out.getvalue().strip()


def test_all_that_a_provider_keeps_is_asked_about_on_demand(bought: Subscription, books: Books) -> None:
    books.events["sub-1"].append(paid(bought.user, *MONTHS[1:3]))
    books.states["sub-1"] = state(period_end=MONTHS[2])
    books.events["sub-2"] = [paid(UserFactory(), *MONTHS[0:2], provider_sub_id="sub-2", provider_payment_id="pay-2")]
    apply(books.events["sub-2"][0])
    books.states["sub-2"] = state(SubStatus.ON_HOLD)

    assert told_by_command() == "2 asked about, 1 disagree, 0 without an answer"

    bought.refresh_from_db()
    assert bought.end_date == MONTHS[2]
    assert ProviderDrift.objects.get().subscription.provider_sub_id == "sub-2"
    books.down = True
    assert told_by_command() == "2 asked about, 0 disagree, 2 without an answer"


@pytest.mark.parametrize("provider", ["nowhere", "lava"])
def test_who_cannot_be_asked_is_told(books: Books, provider: str) -> None:
    with pytest.raises(CommandError, match=r"is not a configured|cannot be asked"):
        told_by_command(provider)


def test_what_is_gone_there_has_expired(bought: Subscription, books: Books) -> None:
    books.states.clear()
    books.events.clear()

    drift = reconcile(bought)

    assert drift is not None and drift.theirs["status"] == "expired"
    assert replace(state(), status=SubStatus.EXPIRED).status == drift.theirs["status"]


def test_one_that_cannot_be_handled_holds_up_no_other(bought: Subscription, books: Books) -> None:
    books.broken.add("sub-1")
    books.events["sub-2"] = [paid(UserFactory(), *MONTHS[0:2], provider_sub_id="sub-2", provider_payment_id="pay-2")]
    apply(books.events["sub-2"][0])
    books.states["sub-2"] = state(SubStatus.ON_HOLD)
    wall = clock.wall()

    assert subscriptions_reconcile_sweep(now=T0 + HOUR, wall=wall) == 2

    assert ProviderDrift.objects.get().subscription.provider_sub_id == "sub-2"
    assert subscriptions_reconcile_sweep(now=T0 + HOUR, wall=wall + timedelta(hours=2)) == 1


def test_news_that_cannot_be_applied_keep_the_list_where_it_was(bought: Subscription, books: Books) -> None:
    late = paid(bought.user, *MONTHS[1:3])
    books.events["sub-1"] = [replace(late, provider_payment_id="x" * 300), late]  # longer than any column

    feeds_sweep(now=T0 + HOUR, wall=clock.wall())

    assert PaymentTransaction.objects.filter(provider_txn_id=late.provider_payment_id).exists()
    assert ProviderFeed.objects.get().read_until < clock.wall() - timedelta(days=1)
