"""`POST subscriptions/` with a store's purchase: bound to its user once, never moved, nothing changed by a failure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from django.db import connections

from payments.models import PaymentTransaction
from providers.base import EventType
from subscriptions.models import ProviderLink, Subscription
from tests.conftest import Api
from tests.factories import UserFactory
from tests.store import Books
from tests.subscriptions.store_world import HOUR, MONTHS, T0, news, paid, state

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def user() -> Any:
    return UserFactory()


@pytest.fixture
def purchase(plans: Any, books: Books, user: Any) -> Books:
    """Bought and renewed in the store, by an app that told it nothing of our user."""
    books.states["sub-1"] = state(period_end=MONTHS[2])
    told = [paid(user, *MONTHS[0:2]), paid(user, *MONTHS[1:3])]
    books.events["sub-1"] = [replace(event, user_ref=None) for event in told]
    return books


def attach(user: Any, token: str = "sub-1", **body: Any) -> Any:
    return Api().as_user(user).post("/api/v1/subscriptions/", {"provider": "store", "purchase_token": token, **body})


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """The answers of calls that begin together, each on a connection of its own."""
    start = threading.Barrier(len(calls))

    def one(call: Callable[[], Any]) -> Any:
        start.wait()
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(one, calls))


def test_a_purchase_is_attached_with_all_that_was_paid(purchase: Books, user: Any) -> None:
    answer = attach(user)

    assert answer.status_code == 201, answer.json()
    assert answer.json()["data"]["subscription"]["status"] == "active"
    subscription = Subscription.objects.get()
    assert (subscription.user_id, subscription.end_date) == (user.pk, MONTHS[2])
    assert PaymentTransaction.objects.filter(invoice__isnull=False).count() == 2


def test_restoring_it_answers_the_same(purchase: Books, user: Any) -> None:
    first = attach(user)
    again = attach(user)

    assert (again.status_code, again.json()["message"]) == (200, "Purchase restored")
    assert again.json()["data"]["subscription"]["id"] == first.json()["data"]["subscription"]["id"]
    assert (Subscription.objects.count(), PaymentTransaction.objects.count()) == (1, 2)


def test_somebody_elses_purchase_is_a_conflict(purchase: Books, user: Any) -> None:
    attach(user)
    answer = attach(UserFactory())

    assert (answer.status_code, answer.json()["code"]) == (409, "PURCHASE_TAKEN")
    assert ProviderLink.objects.get().subscription.user_id == user.pk


def test_what_the_app_named_another_for_is_a_conflict(purchase: Books, user: Any) -> None:
    purchase.states["sub-1"] = replace(purchase.states["sub-1"], user_ref=str(UserFactory().pk))

    answer = attach(user)

    assert (answer.status_code, answer.json()["code"]) == (409, "PURCHASE_TAKEN")
    assert not Subscription.objects.exists()


def test_two_devices_at_once_attach_it_once(purchase: Books, user: Any) -> None:
    answers = at_once(*[lambda: attach(user)] * 3)

    assert {answer.status_code for answer in answers} <= {200, 201}
    assert (Subscription.objects.count(), PaymentTransaction.objects.count()) == (1, 2)


def test_two_users_at_once_get_it_once(purchase: Books, user: Any) -> None:
    other = UserFactory()
    answers = at_once(lambda: attach(user), lambda: attach(other))

    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert Subscription.objects.count() == 1


def test_a_store_that_does_not_answer_changes_nothing(purchase: Books, user: Any) -> None:
    purchase.down = True

    answer = attach(user)

    assert (answer.status_code, answer.json()["code"]) == (503, "PROVIDER_UNAVAILABLE")
    assert not Subscription.objects.exists()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"purchase_token": "forged"}, "purchase_token"),
        ({"provider": "lava"}, "purchase_token"),
        ({"provider": "nobody"}, "provider"),
        ({"provider": None}, "provider"),
        ({"plan_id": "gold"}, "plan_id"),
        ({"purchase_token": ""}, "purchase_token"),
    ],
)
def test_bad_input_says_what_is_wrong(purchase: Books, user: Any, body: dict[str, Any], field: str) -> None:
    answer = attach(user, **body)

    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert field in answer.json()["details"]
    assert not Subscription.objects.exists()


def test_a_test_purchase_grants_nothing_beside_real_money(purchase: Books, user: Any) -> None:
    purchase.states["sub-1"] = replace(purchase.states["sub-1"], is_test=True)

    assert attach(user).status_code == 400
    assert not Subscription.objects.exists()


def test_its_state_comes_with_it(purchase: Books, user: Any) -> None:
    purchase.events["sub-1"].append(news(user, EventType.SUBSCRIPTION_CANCELED, T0 + HOUR * 1000, user_ref=None))

    answer = attach(user)

    assert answer.json()["data"]["subscription"]["auto_renew"] is False
