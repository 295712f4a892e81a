"""The reports of usage: sums of a range, and its days by pages, from counters."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection

from accounts.models import User
from payflow.core import clock
from payflow.core.errors import ValidationFailed
from tests.usage.factories import plan, subscribed, subscription
from usage.batch.service import usage_batch
from usage.models import UsageCounter, Window
from usage.reports import days_of, span_of, statistics
from usage.services import usage_log

NOON = datetime(2040, 3, 15, 12, 0, tzinfo=UTC)
FIRST = date(2040, 1, 1)


@pytest.fixture
def history(user):
    """40 days ago 5 books, 20 days ago 1, yesterday 7 words, today 2 books."""
    subscribed(user, now=NOON)
    for days_ago, action, quantity in [(40, "books", 5), (20, "books", 1), (1, "words", 7), (0, "books", 2)]:
        usage_log(user_id=user.pk, action=action, quantity=quantity, now=NOON - timedelta(days=days_ago))


def sums(user, *, action=None, since=None, until=None):
    return statistics(user.pk, span_of(since, until, NOON), action=action)


def days(user, *, action=None, since=None, until=None):
    rows = days_of(user.pk, span_of(since, until, NOON), action=action).order_by("local_date")
    return [(row.local_date, row.total) for row in rows]


def test_sums_by_action_and_month_and_days(user, history, django_assert_num_queries):
    with django_assert_num_queries(1) as queries:
        found = sums(user)

    assert "usage_logs" not in queries.captured_queries[0]["sql"]
    assert found.span == (date(2040, 2, 15), date(2040, 3, 16))
    assert found.total == 10
    assert found.actions == {"books": 3, "words": 7}
    assert found.months == {date(2040, 2, 1): 6, date(2040, 3, 1): 9}
    assert days(user) == [(date(2040, 2, 24), 1), (date(2040, 3, 14), 7), (date(2040, 3, 15), 2)]


def test_one_action_in_a_range(user, history):
    asked = {"action": "books", "since": date(2040, 2, 1), "until": date(2040, 3, 14)}

    found = sums(user, **asked)

    assert (found.total, found.actions) == (6, {"books": 6})
    assert found.months == {date(2040, 2, 1): 6, date(2040, 3, 1): 2}
    assert days(user, **asked) == [(date(2040, 2, 4), 5), (date(2040, 2, 24), 1)]


def test_families_are_added_up_and_others_left_out(user, other_user, history):
    subscription(user, plan(price=99, family="extra", features={"words": True}), now=NOON)
    usage_log(user_id=user.pk, action="words", now=NOON)
    subscribed(other_user, now=NOON)
    usage_log(user_id=other_user.pk, action="words", quantity=100, now=NOON)

    found = sums(user)

    assert found.actions == {"books": 3, "words": 8}
    assert found.total == sum(found.actions.values())
    assert days(user)[-1] == (date(2040, 3, 15), 3)
    assert days(user, action="words")[-1] == (date(2040, 3, 15), 1)


def test_no_usage_is_empty(user):
    found = sums(user)

    assert (found.total, found.actions, found.months, days(user)) == (0, {}, {}, [])


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("2039-12-31", "2040-03-01"),
        ("2040-01-01", "2040-02-29"),
        ("2040-01-01", "2040-01-31"),
        ("2040-01-31", "2040-02-01"),
        ("2040-01-02", "2040-03-30"),
        ("2040-01-15", "2040-01-15"),
        ("1970-01-01", "9998-12-31"),
    ],
)
def test_the_sums_of_any_range_are_those_of_its_days(user, since, until):
    subscribed(user)
    for number in range(0, 100, 3):
        for action in ("*", "books" if number % 2 else "words"):
            for window, day in ((Window.DAY, FIRST + timedelta(number)), (Window.MONTH, FIRST + timedelta(number))):
                key = day if window == Window.DAY else day.replace(day=1)
                row, _ = UsageCounter.objects.get_or_create(
                    user=user, family="main", action=action, window=window, local_date=key
                )
                row.used += number + 1
                row.save()
    since, until = date.fromisoformat(since), date.fromisoformat(until)
    lived = [(FIRST + timedelta(n), n) for n in range(0, 100, 3) if since <= FIRST + timedelta(n) <= until]

    found = sums(user, since=since, until=until)

    assert found.total == sum(n + 1 for _, n in lived)
    assert found.actions.get("books", 0) == sum(n + 1 for _, n in lived if n % 2)
    assert found.actions.get("words", 0) == sum(n + 1 for _, n in lived if not n % 2)
    assert sum(used for _, used in days(user, since=since, until=until)) == found.total


@pytest.mark.parametrize(
    ("since", "until"), [("2040-03-02", "2040-03-01"), ("0001-01-01", None), (None, "9999-12-31"), (None, "0001-01-01")]
)
def test_a_range_is_in_order_and_of_dates_that_a_day_of_use_can_have(since, until):
    with pytest.raises(ValidationFailed):
        span_of(since and date.fromisoformat(since), until and date.fromisoformat(until), NOON)


def test_days_are_found_by_the_counters_primary_key(user):
    subscribed(user)
    crowd = User.objects.bulk_create(User(email=f"crowd{n}@example.com", password="!") for n in range(200))
    UsageCounter.objects.bulk_create(
        UsageCounter(user=each, family="main", action="*", window="day", local_date=FIRST + timedelta(day))
        for each in (*crowd, user)
        for day in range(100)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE usage_counters")
    span = span_of(FIRST, date(2040, 4, 1), NOON)

    explained = days_of(user.pk, span).order_by("-local_date")[:50].explain()

    assert "usage_counters_pkey" in explained, explained
    assert "Seq Scan" not in explained, explained


# --- over HTTP ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def client(api, user):
    """Five days of use, the last of them today; business time stands at noon, so that no test runs over a midnight."""
    clock.move_to(NOON)
    subscribed(user, now=NOON)
    for days_ago in range(5):
        moment = NOON - timedelta(days=days_ago)
        usage_log(user_id=user.pk, action="books", quantity=10 + days_ago, now=moment)
    return api.as_user(user)


def get(client, address):
    response = client.get(address)
    assert response.status_code == 200, response.content
    return response.json()["data"]


def dates(page):
    return [row["date"][-2:] for row in page["results"]]


def test_the_answer(client, user):
    usage_log(user_id=user.pk, action="words", now=NOON)

    answer = get(client, "/api/v1/usage/")

    assert answer == {
        "user_id": str(user.pk),
        "since": "2040-02-15",
        "until": "2040-03-16",
        "total": 61,
        "actions": [{"action": "books", "used": 60}, {"action": "words", "used": 1}],
        "months": [{"month": "2040-03-01", "used": 61}],
        "results": [
            {"date": "2040-03-15", "used": 11},
            {"date": "2040-03-14", "used": 11},
            {"date": "2040-03-13", "used": 12},
            {"date": "2040-03-12", "used": 13},
            {"date": "2040-03-11", "used": 14},
        ],
        "next": None,
        "previous": None,
        "count": 5,
    }
    path = f"/api/v1/usage/user/{user.pk}?action=books&from=2040-03-15&to=2040-03-15&fields=total,results"
    assert get(client, path) == {"total": 10, "results": [{"date": "2040-03-15", "used": 10}]}


def test_pages_meet_every_day_once_however_much_is_used_meanwhile(client, user):
    first = get(client, "/api/v1/usage/?page_size=2&action=books")
    assert (dates(first), first["previous"], first["count"]) == (["15", "14"], None, 5)

    # Of today more, of another action, and a late day between those that were shown and those that come.
    usage_log(user_id=user.pk, action="books", now=NOON)
    usage_log(user_id=user.pk, action="words", now=NOON - timedelta(days=2))
    clock.move_to(NOON + timedelta(days=1))
    late = {"user_id": str(user.pk), "action": "books", "event_id": "late", "occurred_at": "2040-03-01T12:00:00Z"}
    assert usage_batch(events=[late], now=clock.now()).accepted == 1

    second = get(client, first["next"])
    third = get(client, second["next"])
    assert (dates(second), dates(third), third["next"]) == (["13", "12"], ["11", "01"], None)
    assert dates(get(client, third["previous"])) == dates(second)
    assert dates(get(client, get(client, third["previous"])["previous"])) == dates(first)
    # A page that is asked for tomorrow reads on in the days of today.
    assert {(page["since"], page["until"]) for page in (first, second, third)} == {("2040-02-15", "2040-03-16")}
    assert second["total"] == third["total"] == 62


def test_a_cursor_of_another_list_is_refused(client, staff, api):
    subscribed(staff, now=NOON)
    link = get(api.as_user(staff), "/api/v1/subscriptions?page_size=1")["next"]
    [foreign] = parse_qs(urlsplit(link).query)["cursor"]

    for query in (f"cursor={foreign}", "cursor=x", "page_size=0", "count=many"):
        response = client.get(f"/api/v1/usage/?{query}")
        assert (response.status_code, list(response.json()["details"])) == (400, [query.split("=")[0]])


def test_as_many_queries_however_long_the_range(client, django_assert_num_queries):
    query = "?from=1970-01-01&page_size=1"
    get(client, "/api/v1/usage/")
    with django_assert_num_queries(5) as asked:  # who asks, the clock, the count, the days, the sums
        page = get(client, f"/api/v1/usage/{query}")
    with django_assert_num_queries(5):
        get(client, page["next"])
    assert not [each for each in asked.captured_queries if "usage_logs" in each["sql"]]


@pytest.mark.parametrize(
    "query",
    ["from=yesterday", "to=2040-13-01", "from=2040-05-17&to=2040-05-16", "to=0001-01-01", "from=2040-W01-1", "to=99"],
)
def test_a_bad_range_is_400(client, query):
    response = client.get(f"/api/v1/usage/?{query}")

    assert (response.status_code, response.json()["code"]) == (400, "VALIDATION_ERROR")
