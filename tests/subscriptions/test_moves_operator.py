"""What an operator does with a move: pause, share, end; and what is sent once, whoever dies or asks twice."""

from __future__ import annotations

from decimal import Decimal

import pytest

from payflow.core.errors import InvalidTransition, ValidationFailed
from payflow.core.models import AuditEntry, OutboxEvent
from payments.models import Invoice
from subscriptions.models import Checkout, ProviderMove, ProviderMoveMember, Status
from subscriptions.services.move_rules import candidates, provider_default, slot
from subscriptions.services.moves import (
    Progress,
    move_end,
    move_pause,
    move_progress,
    move_resume,
    move_widen,
)
from tests.conftest import Api
from tests.factories import PlanFactory, UserFactory
from tests.flows import DAY, fresh
from tests.providers.sandbox_support import OTHER_KEY, OTHER_SECRET, at_once, config
from tests.subscriptions.moves_world import END, NEXT, invited, member_of, plan, refunds, second, start, sweep

__all__ = ["plan", "second"]

pytestmark = pytest.mark.django_db(transaction=True)


# --- the operator ----------------------------------------------------------------------------------------------------


def test_paused_nobody_else_is_invited_and_links_stay_good(shop, user, plan):
    invited(shop, user, plan)
    other = shop.buy(UserFactory(), plan, provider="sandbox")
    move = ProviderMove.objects.get()
    move_pause(move_id=move.pk, actor="test")

    shop.at(fresh(other).end_date - 3 * DAY - DAY)
    sweep(shop)
    assert ProviderMoveMember.objects.count() == 1
    assert provider_default(user.pk, "USD") == "sandbox"
    move_resume(move_id=move.pk, actor="test")
    shop.at(fresh(other).end_date - 3 * DAY)
    sweep(shop)
    assert member_of(other).status == "invited"


def test_a_link_of_a_paused_move_is_paid_and_one_of_an_ended_is_given_back(shop, plan):
    ann, bob = UserFactory(), UserFactory()
    first, last = shop.buy(ann, plan), shop.buy(bob, plan)
    move = start(shop)
    shop.at(END - 3 * DAY)
    sweep(shop)
    move_pause(move_id=move.pk, actor="test")
    shop.pay(member_of(first).checkout)
    assert fresh(first).provider == "second"
    link = member_of(last).checkout

    move_end(move_id=move.pk, actor="test", now=shop.now)
    sweep(shop)
    shop.pay(link)
    shop.sweep("payments_unapplied")
    shop.drain()

    assert (fresh(last).provider, member_of(last).status, member_of(last).reason) == (
        "sandbox",
        "left",
        "the move was ended",
    )
    assert refunds() == [("second", "completed", 29)]
    assert move_progress(fresh(move), now=shop.now) == Progress(0, 0, 1, 1, 0)


def test_a_share_is_the_same_in_python_and_in_the_database(shop, plan):
    rows = [shop.buy(UserFactory(), plan) for _ in range(6)]
    move = start(shop, percent=1)

    for percent in range(2, 101, 7):
        move_widen(move_id=move.pk, percent=percent, actor="test")
        found = set(candidates(fresh(move), now=shop.now).values_list("pk", flat=True))
        assert found == {row.pk for row in rows if slot(row.pk) < percent}


def test_new_subscribers_of_the_share_begin_at_the_new_provider(shop, plan):
    users = [UserFactory() for _ in range(4)]
    move = start(shop, percent=max(1, slot(users[0].pk)))

    for user in users:
        expected = "second" if slot(user.pk) < move.percent else "sandbox"
        assert shop.checkout(user, plan).provider == expected
        assert shop.checkout(user, plan).subscription.checkouts.count() == 1  # resumed, not begun again
    named = UserFactory()
    assert shop.checkout(named, plan, provider="sandbox").provider == "sandbox"


def test_two_sweeps_at_once_make_one_link(shop, user, plan):
    subscription = shop.buy(user, plan)
    start(shop)
    shop.at(END - 3 * DAY)

    at_once(lambda: shop.sweep("provider_moves"), 2)
    sweep(shop)

    assert Checkout.objects.filter(purpose="move").count() == 1
    assert OutboxEvent.objects.filter(type="subscription.move_offered").count() == 1
    assert Invoice.objects.filter(subscription=subscription, status="draft").count() == 1


def test_a_provider_without_an_answer_is_asked_again_under_the_same_key(shop, user, plan, settings):
    subscription = shop.buy(user, plan)
    start(shop)
    shop.at(END - 3 * DAY)
    reachable = settings.PAYFLOW_PROVIDERS
    settings.PAYFLOW_PROVIDERS = {
        **reachable,
        "second": config("http://127.0.0.1:9/sandbox", api_key=OTHER_KEY, webhook_secret=OTHER_SECRET),
    }
    sweep(shop)
    waiting = member_of(subscription)
    assert (waiting.status, waiting.checkout.url, waiting.reason) == (
        "preparing",
        "",
        "the new provider made no page",
    )

    settings.PAYFLOW_PROVIDERS = reachable
    shop.sweep("provider_moves", later=DAY / 24)

    done = member_of(subscription)
    assert (done.status, done.checkout_id, done.reason) == ("invited", waiting.checkout_id, "")
    assert done.checkout.url


def test_a_page_that_was_never_made_has_failed_when_the_period_ends(shop, user, plan, settings):
    subscription = shop.buy(user, plan)
    move = start(shop)
    settings.PAYFLOW_PROVIDERS = {
        **settings.PAYFLOW_PROVIDERS,
        "second": config("http://127.0.0.1:9/sandbox", api_key=OTHER_KEY, webhook_secret=OTHER_SECRET),
    }
    shop.at(END - 3 * DAY)
    sweep(shop)

    shop.run(END)
    sweep(shop)

    assert (fresh(subscription).end_date, member_of(subscription).status) == (NEXT, "failed")
    assert move_progress(move, now=shop.now) == Progress(0, 0, 0, 0, 1)


def test_a_page_is_made_anew_before_it_closes_and_nobody_is_told_twice(shop, user, plan):
    subscription, link = invited(shop, user, plan)

    shop.sweep("provider_moves", later=DAY)
    shop.drain()

    fresh_page = member_of(subscription).checkout
    assert fresh_page.pk != link.pk
    assert fresh_page.url not in ("", link.url)
    assert (fresh(link).status, fresh_page.invoice_id) == ("superseded", link.invoice_id)
    assert OutboxEvent.objects.filter(type="subscription.move_offered").count() == 1
    # who still pays on the page before has paid all the same
    shop.pay(fresh(link))
    assert fresh(subscription).provider == "second"
    assert (fresh(link).status, fresh(fresh_page).status) == ("paid", "superseded")
    shop.pay(fresh_page)
    shop.sweep("payments_unapplied")
    shop.drain()
    assert refunds() == [("second", "completed", 29)]
    assert fresh(subscription).end_date == NEXT


@pytest.mark.parametrize("state", ["cancelled", "no renewal", "past_due"])
def test_who_does_not_run_on_is_not_invited(shop, user, plan, state):
    subscription = shop.buy(user, plan)
    start(shop)
    url = f"/api/v1/subscriptions/{subscription.pk}"
    match state:
        case "cancelled":
            assert Api().as_user(user).delete(url).status_code == 200
        case "no renewal":
            assert Api().as_user(user).put(url, {"auto_renew": False}).status_code == 200
        case "past_due":
            shop.card(subscription, "decline")
            shop.run(END)
            assert fresh(subscription).status == Status.PAST_DUE
    if state != "past_due":
        shop.at(END - 3 * DAY)

    sweep(shop)

    assert not ProviderMoveMember.objects.exists()


def test_a_planned_change_is_left_to_the_old_provider_first(shop, user, plan):
    subscription = shop.buy(user, plan)
    start(shop)
    assert shop.change(subscription, PlanFactory(price=Decimal("58.00")), when="period_end").status_code == 200
    shop.at(END - 3 * DAY)

    sweep(shop)

    left = member_of(subscription)
    assert (left.status, left.reason, left.checkout) == ("left", "a change of it is planned", None)
    shop.run(END)
    shop.at(NEXT - 3 * DAY)
    sweep(shop)
    assert (member_of(subscription).status, member_of(subscription).checkout.amount) == ("invited", 58)


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"target": "nowhere"}, "to_provider"),
        ({"target": "sandbox"}, "to_provider"),
        ({"target": "store"}, "to_provider"),
        ({"percent": 0}, "percent"),
        ({"percent": 101}, "percent"),
        ({"days_before": 0}, "days_before"),
        ({"days_before": 31}, "days_before"),
    ],
)
def test_terms_that_move_nobody_are_refused(shop, books, terms, field):
    with pytest.raises(ValidationFailed) as refusal:
        start(shop, **terms)
    assert set(refusal.value.details) == {field}
    assert not ProviderMove.objects.exists()


def test_one_move_away_from_a_provider_and_none_that_goes_round(shop):
    start(shop)
    for terms in (
        {},
        {"target": "lava"},
        {"source": "second", "target": "sandbox"},
        {"source": "lava", "target": "sandbox"},
    ):
        with pytest.raises(ValidationFailed):
            start(shop, **terms)


def test_an_ended_move_stays_ended(shop):
    move = start(shop)
    move_end(move_id=move.pk, actor="test", now=shop.now)

    for act in (
        lambda: move_resume(move_id=move.pk, actor="test"),
        lambda: move_pause(move_id=move.pk, actor="test"),
        lambda: move_widen(move_id=move.pk, percent=100, actor="test"),
    ):
        with pytest.raises(InvalidTransition):
            act()
    actions = AuditEntry.objects.order_by("pk").values_list("action", flat=True)
    assert list(actions) == ["provider_move.start", "provider_move.end"]
