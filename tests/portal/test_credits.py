"""What the account page tells of credit."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payflow.core import clock
from tests.factories import UserFactory
from tests.flows import DAY
from tests.payments.credit_support import give, spend

pytestmark = pytest.mark.django_db


def page(client, user) -> str:
    client.force_login(user)
    return client.get("/account").text


def test_who_has_none_reads_nothing_of_it(client, user, admin):
    give(UserFactory(), 5)
    give(user, 5)
    spend(user, 5, "k")
    for reader in (user, admin):
        assert 'id="credit"' not in page(client, reader)


def test_the_balance_and_what_is_lost_first(shop, client):
    user = UserFactory(timezone="Asia/Tokyo")
    now = clock.now()
    for amount, days in ((5, 2), ("2.50", 2), (3, 9)):
        give(user, amount, expires=now + days * DAY, at=now)
    give(user, "1.25", at=now)
    give(user, 3000, currency="JPY", at=now)

    text = page(client, user)
    assert "$11.75" in text and "¥3,000" in text
    assert "$7.50 until" in text and "Feb 2, 2040" in text

    # when the first of it is over, the sweep need not have been
    shop.at(now + 2 * DAY)
    text = page(client, user)
    assert "$4.25" in text and "$3.00 until" in text
    shop.at(now + 9 * DAY)
    text = page(client, user)
    assert "$1.25" in text and "until <time" not in text


def test_it_takes_the_same_queries_however_much_there_is(client, user):
    give(user, 5)
    page(client, user)
    with CaptureQueriesContext(connection) as few:
        client.get("/account")
    for currency in ("USD", "EUR", "GBP"):
        for _ in range(3):
            give(user, 5, currency=currency)
    with CaptureQueriesContext(connection) as many:
        client.get("/account")
    assert len(many) == len(few)
