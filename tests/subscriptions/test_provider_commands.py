"""What a provider must do is committed with the wish, sent after it, and again until the provider confirms."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest

from payflow.core import clock
from payflow.core.errors import ValidationFailed
from payflow.core.models import OutboxEvent
from payments.models import CreditGrant
from providers.base import SubStatus
from subscriptions.errors import ProviderManaged
from subscriptions.models import ProviderCommand, Status, Subscription
from subscriptions.services.cancel import subscription_cancel, subscription_uncancel
from subscriptions.services.commands import commands_sweep
from subscriptions.services.pauses import subscription_pause, subscription_resume
from subscriptions.services.plan_change import plan_change
from subscriptions.services.preferences import preferences_update
from tests.factories import UserFactory
from tests.store import Books
from tests.subscriptions.store_world import HOUR, MONTHS, T0, apply, paid, state

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def bought(plans: Any, books: Books) -> Subscription:
    apply(paid(UserFactory(), MONTHS[0], MONTHS[1]))
    books.states["sub-1"] = state()
    return Subscription.objects.get()


def send(now: datetime = T0 + HOUR, *, later: timedelta = timedelta(0)) -> None:
    commands_sweep(now=now, wall=clock.wall() + later)


def cancel(subscription: Subscription, **how: Any) -> None:
    subscription_cancel(subscription_id=subscription.pk, **{"at_once": False, "actor": "u", "now": T0 + HOUR, **how})


def test_a_cancel_is_told_to_the_provider_after_it_is_committed(bought: Subscription, books: Books) -> None:
    cancel(bought)
    assert (ProviderCommand.objects.get().status, books.calls) == ("pending", [])

    send()

    assert books.calls == [("cancel", "sub-1")]
    assert ProviderCommand.objects.get().status == "confirmed"
    bought.refresh_from_db()
    assert (bought.status, bought.end_date) == (Status.ACTIVE, MONTHS[1])
    send(later=timedelta(days=1))
    assert len(books.calls) == 1


def test_no_answer_sends_it_again_and_alarms_before_the_end(bought: Subscription, books: Books) -> None:
    books.down = True
    cancel(bought)
    send()
    send()  # not before its pause is over
    assert len(books.calls) == 1

    send(MONTHS[1] - 12 * HOUR, later=timedelta(hours=1))

    bought.refresh_from_db()
    assert "does not answer" in bought.review_reason
    send(MONTHS[1] - 11 * HOUR, later=timedelta(hours=9))
    assert OutboxEvent.objects.filter(type="provider_command.late").count() == 1
    books.down = False
    send(MONTHS[1] - 10 * HOUR, later=timedelta(hours=18))
    assert ProviderCommand.objects.get().status == "confirmed"


def test_what_is_taken_back_is_not_sent(bought: Subscription, books: Books) -> None:
    cancel(bought)
    subscription_uncancel(subscription_id=bought.pk, actor="u", now=T0 + 2 * HOUR)

    send()

    assert books.calls == [("resume", "sub-1")]
    assert list(ProviderCommand.objects.order_by("created_at").values_list("kind", "status")) == [
        ("cancel", "withdrawn"),
        ("resume", "confirmed"),
    ]


def test_a_wish_waits_while_an_earlier_one_may_be_on_its_way(bought: Subscription, books: Books) -> None:
    cancel(bought)
    books.down = True
    send()
    books.down = False
    subscription_uncancel(subscription_id=bought.pk, actor="u", now=T0 + 2 * HOUR)
    waiting = ProviderCommand.objects.get(status="pending")

    assert waiting.next_attempt_at is not None and waiting.next_attempt_at > clock.wall()


def test_the_provider_is_told_of_an_end_now(bought: Subscription, books: Books) -> None:
    cancel(bought, at_once=True)
    send()

    assert books.calls == [("cancel_now", "sub-1")]


def test_what_is_gone_at_the_provider_is_cancelled(bought: Subscription, books: Books) -> None:
    books.states.clear()
    cancel(bought)

    send()

    assert ProviderCommand.objects.get().status == "confirmed"


def test_renewal_is_turned_off_and_on_at_the_provider(bought: Subscription, books: Books) -> None:
    for wanted in (False, True):
        preferences_update(subscription_id=bought.pk, changes={"auto_renew": wanted}, actor="u", now=T0 + HOUR)
        send()

    assert [call for call, _ in books.calls] == ["cancel", "resume"]


def test_a_pause_stands_when_the_provider_confirms_it(bought: Subscription, books: Books) -> None:
    subscription_pause(subscription_id=bought.pk, resumes_at=None, actor="u", now=T0 + HOUR)
    bought.refresh_from_db()
    assert bought.status == Status.ACTIVE

    send()

    bought.refresh_from_db()
    assert (bought.status, CreditGrant.objects.count()) == (Status.PAUSED, 0)
    subscription_resume(subscription_id=bought.pk, actor="u", now=T0 + 2 * HOUR)
    send(T0 + 2 * HOUR)
    bought.refresh_from_db()
    assert (bought.status, bought.end_date) == (Status.ACTIVE, MONTHS[1])


def test_where_only_the_store_can_nothing_changes(bought: Subscription, books: Books, settings: Any) -> None:
    settings.PAYFLOW_PROVIDERS = {**settings.PAYFLOW_PROVIDERS, "store": {"adapter": "tests.store:DeafStore"}}

    with pytest.raises(ProviderManaged) as raised:
        cancel(bought)

    assert raised.value.details["manage_url"] == "https://store.example/account"
    assert not ProviderCommand.objects.exists()
    bought.refresh_from_db()
    assert bought.cancelled_at is None


def test_a_purchase_is_acknowledged_once(plans: Any, books: Books) -> None:
    user = UserFactory()
    for start, end in itertools.pairwise(MONTHS):
        apply(paid(user, start, end, unacknowledged=True))

    send()
    send(later=timedelta(days=1))

    assert books.calls == [("acknowledge", "sub-1")]


def test_a_provider_that_charges_all_the_same_is_told_again(bought: Subscription, books: Books) -> None:
    cancel(bought)
    apply(paid(bought.user, MONTHS[1], MONTHS[2]))

    bought.refresh_from_db()
    assert (bought.end_date, bought.cancelled_at) == (MONTHS[2], T0 + HOUR)
    send(MONTHS[1])
    assert books.states["sub-1"].status == SubStatus.CANCELED


def change(subscription: Subscription, plan: Any, **how: Any) -> Any:
    wish = {"when": None, "currency": None, "quoted_at": None, "total": None, "actor": "u", "now": T0 + HOUR}
    return plan_change(subscription_id=subscription.pk, plan=plan, **{**wish, **how})


def test_a_change_is_asked_of_the_provider_and_happens_with_its_money(
    bought: Subscription, books: Books, plans: Any
) -> None:
    change(bought, plans["gold"])
    send()

    assert books.calls == [("change", "product.gold 9.00")]
    bought.refresh_from_db()
    assert bought.plan == plans["basic"]

    apply(paid(bought.user, MONTHS[1], MONTHS[2], plan="gold"))

    bought.refresh_from_db()
    assert (bought.plan, bought.changes.get().status) == (plans["gold"], "applied")


def test_a_change_that_is_taken_back_is_taken_back_there(bought: Subscription, books: Books, plans: Any) -> None:
    change(bought, plans["gold"])
    send()
    change(bought, plans["basic"], now=T0 + 2 * HOUR)
    send()

    assert [what for _, what in books.calls] == ["product.gold 9.00", "product.basic 4.99"]
    assert bought.changes.get().status == "cancelled"


@pytest.mark.parametrize(
    ("how", "product", "field"),
    [({"when": "now"}, True, "when"), ({}, False, "plan_id")],
)
def test_what_the_provider_cannot_change_is_refused(
    bought: Subscription, plans: Any, how: dict[str, Any], product: bool, field: str
) -> None:
    if not product:
        plans["gold"].provider_refs.all().delete()

    with pytest.raises(ValidationFailed) as raised:
        change(bought, plans["gold"], **how)

    assert field in raised.value.details
    assert not ProviderCommand.objects.exists()
    assert not bought.changes.exists()


def test_a_command_that_cannot_be_sent_holds_up_no_other(bought: Subscription, books: Books) -> None:
    apply(paid(UserFactory(), *MONTHS[0:2], provider_sub_id="sub-2", provider_payment_id="pay-2"))
    books.states["sub-2"] = state()
    books.broken.add("sub-1")
    for subscription in Subscription.objects.order_by("created_at", "pk"):
        cancel(subscription)

    send()

    statuses = dict(ProviderCommand.objects.values_list("provider_sub_id", "status"))
    assert statuses == {"sub-1": "pending", "sub-2": "confirmed"}
    assert ProviderCommand.objects.get(provider_sub_id="sub-1").error == "ValueError"
