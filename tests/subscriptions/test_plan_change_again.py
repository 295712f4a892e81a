"""A request for a change that comes again: its process had died after the commit, and it is answered as it was."""

from __future__ import annotations

import uuid

import pytest

from payflow.core.errors import InvalidTransition
from subscriptions.services.plan_change import plan_change
from tests.flows import credit, fresh, give_credit, nothing_changes
from tests.subscriptions.february import END, page_of, plan, statuses

REQUEST = uuid.UUID("01960000-0000-7000-8000-000000000001")


@pytest.fixture
def ask(shop):
    """Returns how to ask for a plan with one request's id, as the view does."""

    def ask(subscription, target, *, when=None, request_id=REQUEST):
        return plan_change(
            subscription_id=subscription.pk,
            plan=target,
            when=when,
            currency=None,
            quoted_at=None,
            total=None,
            actor="test",
            now=shop.now,
            request_id=request_id,
        )

    return ask


def same(ask, subscription, target, **wish):
    """Asks twice; the second answers what the first did, and does nothing."""
    first = ask(subscription, target, **wish)
    with nothing_changes():
        again = ask(subscription, target, **wish)
    assert (again.change, again.checkout) == (first.change, first.checkout)
    assert again.subscription.plan_id == first.subscription.plan_id
    return again


def test_what_credit_had_paid(user, bought, pro, ask):
    subscription = bought()
    give_credit(user, "25.00")

    assert same(ask, subscription, pro).change.status == "applied"

    assert (fresh(subscription).plan, credit(user), statuses(subscription)) == (pro, 6, ["applied"])


def test_what_costs_nothing_now(bought, ask):
    subscription = bought()
    assert same(ask, subscription, plan("5.00"), when="now").change.status == "applied"


def test_what_follows_at_the_end(shop, bought, ask):
    subscription, least = bought(), plan("5.00")
    assert same(ask, subscription, least).change.status == "open"
    # and after it has happened too
    shop.run(END)
    with nothing_changes():
        assert ask(subscription, least).change.status == "applied"


def test_a_trial(shop, user, ask, pro):
    checkout = shop.checkout(user, plan(trial_days=7))
    shop.pay(checkout)
    assert same(ask, fresh(checkout.subscription), pro).change.status == "applied"


def test_what_waits_on_a_page(shop, bought, pro, ask):
    subscription = bought()
    shop.no_card(subscription)
    again = same(ask, subscription, pro)
    assert again.checkout is not None
    assert again.checkout.url == page_of(subscription).url


def test_what_was_taken_back(bought, basic, ask):
    subscription = bought()
    ask(subscription, plan("5.00"), request_id=uuid.uuid4())
    again = same(ask, subscription, basic)
    assert (again.change, statuses(subscription)) == (None, ["cancelled"])


def test_what_was_given_up_meanwhile_is_told_so(bought, basic, ask):
    subscription, least = bought(), plan("5.00")
    ask(subscription, least)
    ask(subscription, basic, request_id=uuid.uuid4())
    with nothing_changes(), pytest.raises(InvalidTransition):
        ask(subscription, least)


def test_another_request_is_another(bought, ask):
    subscription, least = bought(), plan("5.00")
    ask(subscription, least)
    ask(subscription, least, request_id=uuid.uuid4())
    assert statuses(subscription) == ["cancelled", "open"]
