"""Pages, counts, selected fields, amounts."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from decimal import Decimal

import pytest

from accounts.models import ApiKey
from payflow.core import clock
from tests.api.urls import PriceSerializer
from tests.factories import ApiKeyFactory

pytestmark = [pytest.mark.urls("tests.api.urls"), pytest.mark.django_db]

LIST = "/api/v1/keys/"


def names(page):
    return [row["name"] for row in page["results"]]


def make(count):
    # Made in one transaction, all have the same created_at: the id alone orders them.
    for number in range(count):
        ApiKeyFactory(name=f"key {number}")


def follow(api, link):
    return api.get(link).json()["data"]


def test_pages_forward_and_back_meet_every_row_once(api):
    make(5)
    first = follow(api, f"{LIST}?page_size=2")
    assert names(first) == ["key 4", "key 3"]
    assert (first["previous"], first["count"]) == (None, 5)
    second = follow(api, first["next"])
    assert names(second) == ["key 2", "key 1"]
    third = follow(api, second["next"])
    assert (names(third), third["next"]) == (["key 0"], None)
    back = follow(api, third["previous"])
    assert names(back) == ["key 2", "key 1"]
    start = follow(api, back["previous"])
    assert (names(start), start["previous"]) == (["key 4", "key 3"], None)
    assert names(follow(api, start["next"])) == ["key 2", "key 1"]


def test_a_row_added_meanwhile_moves_nothing(api):
    make(4)
    first = follow(api, f"{LIST}?page_size=2")
    ApiKeyFactory(name="late")
    assert names(follow(api, first["next"])) == ["key 1", "key 0"]


def test_the_moment_comes_before_the_id(api):
    make(4)
    # The older the row, the later its moment: the order of the ids is reversed.
    for hours, row in enumerate(ApiKey.objects.order_by("-id")):
        ApiKey.objects.filter(pk=row.pk).update(created_at=clock.wall() - timedelta(hours=9 - hours))
    first = follow(api, f"{LIST}?page_size=2")
    second = follow(api, first["next"])
    assert names(first) + names(second) == ["key 0", "key 1", "key 2", "key 3"]
    assert names(follow(api, second["previous"])) == ["key 0", "key 1"]


def test_an_empty_list(api):
    assert follow(api, LIST) == {"results": [], "next": None, "previous": None, "count": 0}


def test_the_page_size_is_50_and_at_most_200(api):
    make(201)
    assert len(follow(api, LIST)["results"]) == 50
    assert len(follow(api, f"{LIST}?page_size=1000")["results"]) == 200


def test_the_count_is_exact_to_1000_else_null_unless_asked_for(api):
    ApiKey.objects.bulk_create(ApiKey(name="k", prefix=f"p{number}", digest="0", scopes=[]) for number in range(1000))
    assert follow(api, f"{LIST}?page_size=1")["count"] == 1000
    ApiKeyFactory()
    assert follow(api, f"{LIST}?page_size=1")["count"] is None
    assert follow(api, f"{LIST}?page_size=1&count=exact")["count"] == 1001


def test_a_list_takes_two_queries(api, django_assert_num_queries):
    make(3)
    with django_assert_num_queries(2):
        api.get(LIST)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_size=0", "page_size"),
        ("page_size=-1", "page_size"),
        ("page_size=x", "page_size"),
        ("page_size=²", "page_size"),
        ("count=yes", "count"),
        ("cursor=x", "cursor"),
        ("cursor=é", "cursor"),
        ("cursor=" + base64.urlsafe_b64encode(b"[]").decode(), "cursor"),
        ("cursor=" + base64.urlsafe_b64encode(b"[false,1]").decode(), "cursor"),
        ("cursor=" + base64.urlsafe_b64encode(json.dumps([False, "2026-01-01", "x"]).encode()).decode(), "cursor"),
        ("cursor=" + base64.urlsafe_b64encode(json.dumps([False, None, None]).encode()).decode(), "cursor"),
    ],
)
def test_what_was_not_offered_is_refused(api, query, field):
    response = api.get(f"{LIST}?{query}")
    assert response.status_code == 400
    assert (response.json()["code"], list(response.json()["details"])) == ("VALIDATION_ERROR", [field])


def test_selected_fields_of_a_list_and_a_row(api):
    row = ApiKeyFactory(name="one")
    assert follow(api, f"{LIST}?fields=name")["results"] == [{"name": "one"}]
    assert follow(api, f"{LIST}{row.pk}?fields=name,prefix") == {"name": "one", "prefix": row.prefix}


def test_an_unknown_field_is_refused_even_where_the_list_is_empty(api):
    response = api.get(f"{LIST}?fields=name,digest")
    assert response.status_code == 400
    assert response.json()["details"] == {"fields": ["Unknown field: digest"]}


def test_an_id_that_is_none_is_404(api):
    assert api.get(f"{LIST}not-a-uuid").status_code == 404


@pytest.mark.parametrize(
    ("amount", "currency", "rendered"),
    [("6.9000", "USD", "6.90"), ("690.0000", "JPY", "690"), ("1.5000", "KWD", "1.500"), ("0.1234", "USD", "0.1234")],
)
def test_an_amount_has_the_digits_of_its_currency(amount, currency, rendered):
    data = PriceSerializer({"amount": Decimal(amount), "currency": currency}).data
    assert str(data["amount"]) == rendered


@pytest.mark.parametrize("given", [5, "5", "6.90", Decimal("6.9"), "999999999999999.9999"])
def test_an_amount_comes_in_as_number_or_digits(given):
    serializer = PriceSerializer(data={"amount": given, "currency": "USD"})
    assert serializer.is_valid()
    assert serializer.validated_data["amount"] == Decimal(str(given))


@pytest.mark.parametrize(
    "given",
    [
        True,
        6.9,
        "-1",
        -1,
        "1e3",
        Decimal("1E+3"),
        "NaN",
        "Infinity",
        Decimal("NaN"),
        "1.23456",
        "1_0",
        "٣",
        " 1",
        "",
        "1" * 16,
        [],
        {},
        None,
    ],
)
def test_anything_else_is_no_amount(given):
    assert not PriceSerializer(data={"amount": given, "currency": "USD"}).is_valid()
