"""Whatever changes what somebody may do (a webhook, a renewal, an operator) changes the kept answer at once."""

from __future__ import annotations

import pytest

from tests.conftest import Api
from tests.factories import AdminFactory, PlanFactory
from tests.flows import DAY, START, fresh
from usage.cache import answer_find, answer_keep, answer_lease
from usage.selectors import entitlement

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def kept(user, settings, running_redis):
    """Answers are kept from here on, in real time; the reader's own is."""

    def keep():
        settings.PAYFLOW_TIME_TRAVEL, settings.ENTITLEMENT_CACHE_SECONDS = False, 60
        lease = answer_lease(user.pk)
        answer_keep(lease, b"old", proof="p", now=START, until=None)
        assert answer_find(user.pk, proof="p") == b"old"

    return keep


def test_a_webhook_changes_the_answer_at_once(shop, user, kept):
    checkout = shop.checkout(user, PlanFactory())
    assert not entitlement(user.pk, shop.now).entitled
    kept()

    shop.pay(checkout)

    assert answer_find(user.pk, proof="p") is None
    told = entitlement(user.pk, fresh(checkout.subscription).start_date)
    assert (told.entitled, told.subscription_id) == (True, checkout.subscription.pk)


def test_a_refund_that_the_provider_reports_changes_it_at_once(shop, user, kept):
    subscription = shop.buy(user)
    kept()

    shop.refund(subscription.transactions.get())

    assert answer_find(user.pk, proof="p") is None
    assert not entitlement(user.pk, shop.now + DAY).entitled


@pytest.mark.parametrize("card", ["ok", "decline"])
def test_a_renewal_changes_it_at_once(shop, user, kept, card):
    subscription = shop.buy(user, card=card)
    end = shop.at(subscription.end_date)
    before = entitlement(user.pk, end)
    kept()

    shop.due()

    assert answer_find(user.pk, proof="p") is None
    after = entitlement(user.pk, end)
    assert (after.entitled, after.status) == (True, "active" if card == "ok" else "past_due")
    assert before.access_until is not None and after.access_until is not None
    assert after.access_until > before.access_until


def test_an_operator_changes_it_at_once(shop, user, kept):
    subscription = shop.buy(user)
    operator = Api().as_user(AdminFactory())
    kept()

    answer = operator.delete(f"/api/v1/subscriptions/{subscription.pk}?when=now")

    assert answer.status_code == 200, answer.content
    assert answer_find(user.pk, proof="p") is None
    assert not entitlement(user.pk, shop.now).entitled
