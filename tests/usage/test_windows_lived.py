"""Limits as a subscriber meets them over HTTP: at midnight and month ends of his zone, over DST, through real changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import fresh

pytestmark = pytest.mark.django_db(transaction=True)
D = timedelta(days=1)
NO_TOTALS = {"max_usage_per_day": None, "max_usage_per_month": None}
#: The clocks of Berlin go forward on 25 March 2040 and back on 28 October.
SPRING, AUTUMN = datetime(2040, 3, 25, tzinfo=UTC), datetime(2040, 10, 28, tzinfo=UTC)


class Reader:
    """A subscriber who reads books, one request each."""

    def __init__(self, shop, user, plan, *, since, zone="Europe/Berlin"):
        type(user).objects.filter(pk=user.pk).update(timezone=zone)
        user.refresh_from_db()
        shop.at(since)
        self.shop, self.client, self.zone = shop, Api().as_user(user), zone
        self.subscription = shop.buy(user, plan)
        assert fresh(self.subscription).timezone == zone

    def reads(self, count=1, *, at=None):
        """What remains, or the refusal's limit and when it starts anew."""
        if at is not None:
            self.shop.at(at)
        answer = self.client.post("/api/v1/usage/log", {"action": "books", "quantity": count})
        if answer.status_code == 201:
            return answer.json()["data"]["remaining"]
        assert answer.status_code == 429, answer.content
        assert int(answer["Retry-After"]) > 0
        details = answer.json()["details"]
        return details["limit"], details["resets_at"]

    def is_shown(self, limit):
        data = self.client.get("/api/v1/entitlements/").json()["data"]
        return next(
            (row["used"], row["remaining"], row["resets_at"]) for row in data["limits"] if row["limit"] == limit
        )


def plan(price=10, **limits):
    return PlanFactory(price=price, features=limits, **NO_TOTALS)


@pytest.mark.parametrize(
    ("day", "ends"),
    [(SPRING, SPRING + timedelta(hours=22)), (AUTUMN, AUTUMN + timedelta(hours=23))],
    ids=["23 hours", "25 hours"],
)
def test_a_day_on_which_the_clocks_change_ends_at_midnight_of_the_zone(shop, user, day, ends):
    reader = Reader(shop, user, plan(books_per_day=3), since=day - D)

    assert reader.reads(2, at=day + timedelta(minutes=10)) == 1
    assert reader.reads(1, at=day + timedelta(hours=1, minutes=30)) == 0, "after the clocks were changed"
    assert reader.reads(at=ends - timedelta(minutes=2)) == ("books_per_day", f"{ends:%Y-%m-%dT%H:%M:%SZ}")
    assert reader.is_shown("books_per_day") == (3, 0, f"{ends:%Y-%m-%dT%H:%M:%SZ}")
    assert reader.reads(at=ends) == 2


def test_a_month_ends_at_midnight_of_the_zone(shop, user):
    end = datetime(2040, 3, 31, 22, tzinfo=UTC)  # summer time since a week
    reader = Reader(shop, user, plan(books_per_month=3), since=SPRING - D)

    assert reader.reads(3) == 0
    assert reader.reads(at=end - timedelta(minutes=2)) == ("books_per_month", "2040-03-31T22:00:00Z")
    assert reader.reads(at=end) == 2
    assert reader.is_shown("books_per_month") == (1, 2, "2040-04-30T22:00:00Z")


def test_an_upgrade_in_mid_window_raises_the_limit_and_keeps_what_is_used(shop, user):
    small, big = plan(books_per_day=2, books_per_month=4), plan(30, books_per_day=5, books_per_month=9)
    reader = Reader(shop, user, small, since=SPRING - D)
    assert reader.reads(2) == 0
    assert reader.reads(2, at=SPRING + timedelta(minutes=10)) == 0
    assert reader.reads()[0] == "books_per_month", "the one that lasts longer is told"

    changed = shop.change(fresh(reader.subscription), big, when="now")
    assert changed.status_code == 200, changed.content

    assert reader.is_shown("books_per_day") == (2, 3, "2040-03-25T22:00:00Z")
    assert reader.is_shown("books_per_month") == (4, 5, "2040-03-31T22:00:00Z")
    assert reader.reads(3) == 0
    assert reader.reads() == ("books_per_day", "2040-03-25T22:00:00Z")
    assert reader.reads(2, at=SPRING + timedelta(hours=22)) == 0
    assert reader.reads() == ("books_per_month", "2040-03-31T22:00:00Z")


def test_a_downgrade_at_the_periods_end_lowers_it_in_mid_window(shop, user):
    small, big = plan(books_per_day=2), plan(30, books_per_day=5)
    reader = Reader(shop, user, big, since=datetime(2040, 2, 25, 10, tzinfo=UTC))
    changed = shop.change(fresh(reader.subscription), small)
    assert changed.json()["data"]["change"]["effective"] == "period_end", changed.content
    end = fresh(reader.subscription).end_date  # 25 March, in the middle of the day that has 23 hours
    assert reader.reads(3, at=end - timedelta(hours=1)) == 2

    shop.run(end)

    assert fresh(reader.subscription).plan == small
    assert reader.is_shown("books_per_day") == (3, 0, "2040-03-25T22:00:00Z")
    assert reader.reads() == ("books_per_day", "2040-03-25T22:00:00Z")
    assert reader.reads(2, at=SPRING + timedelta(hours=22)) == 0


def test_another_zone_gives_no_unit_of_any_date_twice(shop, user):
    evening = datetime(2040, 3, 10, 20, tzinfo=UTC)  # the 10th in Berlin, the 11th in Tokyo
    reader = Reader(shop, user, plan(books_per_day=3), since=evening - D)
    address = f"/api/v1/subscriptions/{reader.subscription.pk}"
    assert reader.reads(3, at=evening) == 0

    assert reader.client.put(address, {"timezone": "Asia/Tokyo"}).status_code == 200
    assert reader.reads(3) == 0, "of the 11th, which it is there"
    assert reader.client.put(address, {"timezone": "Europe/Berlin"}).status_code == 200

    assert reader.reads() == ("books_per_day", "2040-03-10T23:00:00Z")
    assert reader.reads(at=evening + timedelta(hours=3)) == ("books_per_day", "2040-03-11T23:00:00Z")
    assert reader.reads(at=evening + timedelta(hours=27)) == 2
