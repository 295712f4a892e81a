"""What units of actions cost beyond what is included: told before the plan is bought."""

from __future__ import annotations

import html
import re

import pytest

from plans.models import ActionPrice
from subscriptions.models import Subscription
from tests.factories import PlanFactory
from tests.flows import START, fresh
from tests.usage.metered import metered_plan, reprice

pytestmark = pytest.mark.django_db
TIERS = [
    {"up_to": 1000, "unit_amount": "0.01", "flat_amount": "1"},
    {"up_to": 5000, "unit_amount": "0.008"},
    {"up_to": None, "unit_amount": "0.0055"},
]


def told(page: str) -> list[str]:
    """The lines about usage, steps among them."""
    blocks = re.findall(r'<div class="metered">(.*?)</div>', page, re.DOTALL)
    lines = [line for block in blocks for line in re.findall(r"<(?:p|li)>(.*?)</(?:p|li)>", block, re.DOTALL)]
    return [html.unescape(" ".join(line.split())) for line in lines]


@pytest.mark.parametrize(
    ("row", "lines"),
    [
        ({"included": 10}, ["10 words per month included, then $0.50 each"]),
        ({"unit_amount": "0.0025"}, ["Words: $0.0025 each"]),
        ({"unit_amount": "0.000000001"}, ["Words: $0.000000001 each"]),
        ({"unit_amount": 2, "included": 1}, ["1 word per month included, then $2 each"]),
        ({"unit_amount": 0, "included": 1000}, ["1,000 words per month included, then free"]),
        ({"unit_amount": 3, "model": "package", "package_size": 60}, ["Words: $3 for every 60"]),
        ({"settlement": "credit", "included": 5}, ["5 words per month included, then $0.50 each, from your credit"]),
        (
            {"model": "graduated", "tiers": TIERS, "included": 100},
            [
                "100 words per month included, then by steps:",
                "The first 1,000: $0.01 each and $1 once",
                "The next 4,000: $0.008 each",
                "All further: $0.0055 each",
            ],
        ),
        (
            {"model": "volume", "tiers": TIERS},
            [
                "Words: one price for all, by how many they are:",
                "Up to 1,000: $0.01 each and $1 once",
                "Up to 5,000: $0.008 each",
                "More: $0.0055 each",
            ],
        ),
        ({"model": "graduated", "tiers": [{"up_to": None, "unit_amount": "0.10"}]}, ["Words: $0.10 each"]),
    ],
)
def test_the_shop_window_and_the_order_tell_what_a_unit_costs(client, user, plans, row, lines):
    plan = metered_plan(row, name="Writer")
    client.force_login(user)

    assert told(client.get("/pricing").text) == lines
    assert told(client.get(f"/subscribe/{plan.code}").text) == lines


def test_another_cycle_and_currency(client, db):
    plan = PlanFactory(price=900, currency="JPY", billing_interval=3)
    reprice(plan, {"unit_amount": "0.5", "included": 20}, {"action": "api_calls", "unit_amount": 3}, at=START)
    ActionPrice.objects.create(plan=plan, action="words", currency="USD", unit_amount=9, starts_at=START)

    assert told(client.get("/pricing").text) == [
        "API calls: ¥3 each",
        "20 words every 3 months included, then ¥0.5 each",
    ]


def test_a_retired_price_is_not_told(client, user, plans):
    plan = metered_plan(name="Writer")
    reprice(plan, {"unit_amount": "0.75"}, at=START)
    client.force_login(user)

    for page in ("/pricing", f"/subscribe/{plan.code}"):
        assert told(client.get(page).text) == ["Words: $0.75 each"]
    assert told(client.get("/subscribe/premium").text) == []


def test_where_the_provider_charges_the_same_every_time_nothing_beyond_is_offered(client, user, plans, settings):
    plan = metered_plan({"included": 10}, {"action": "pages"}, {"action": "faxes", "settlement": "credit"})
    client.force_login(user)
    both = client.get(f"/subscribe/{plan.code}").text
    assert "With Lava no more can be used than is included." in both
    assert "With Lava" not in client.get("/subscribe/premium").text

    settings.PAYFLOW_PROVIDERS = {"lava": settings.PAYFLOW_PROVIDERS["lava"]}

    assert told(client.get("/pricing").text) == ["Faxes: $0.50 each, from your credit", "10 words per month included"]
    assert "With Lava" not in client.get(f"/subscribe/{plan.code}").text


def test_who_is_shown_one_price_is_not_sold_another(shop, client, user):
    plan = metered_plan()
    client.force_login(user)
    [shown] = re.findall(r'name="shown" value="([^"]*)"', client.get(f"/subscribe/{plan.code}").text)
    order = {"provider": "sandbox", "shown": html.unescape(shown)}
    reprice(plan, {"unit_amount": "0.75"}, at=START)

    page = client.post(f"/subscribe/{plan.code}", order)

    assert "The price is another now" in page.text and told(page.text) == ["Words: $0.75 each"]
    assert not Subscription.objects.exists()
    [shown] = re.findall(r'name="shown" value="([^"]*)"', page.text)
    assert client.post(f"/subscribe/{plan.code}", {**order, "shown": html.unescape(shown)}).status_code == 303


def test_who_changes_is_told_too_and_not_sold_another(shop, client, user):
    subscription = shop.buy(user, PlanFactory(price=5))
    plan = metered_plan(price=20)
    client.force_login(user)
    page = client.get(f"/change/{plan.code}").text
    assert told(page) == ["10 words per month included, then $0.50 each"]
    names = ("quoted_at", "total", "units", "next_amount")
    shown = {name: html.unescape(re.search(rf'name="{name}" value="([^"]*)"', page)[1]) for name in names}
    reprice(plan, {"unit_amount": "0.75"}, at=shop.now)

    again = client.post(f"/change/{plan.code}", shown, follow=True).text

    assert "The price is another by now" in again and told(again) == ["Words: $0.75 each"]
    assert fresh(subscription).plan_id != plan.pk
    assert "You have" in client.post(f"/change/{plan.code}", {**shown, "units": "Words: $0.75 each"}, follow=True).text
    assert fresh(subscription).plan_id == plan.pk


def test_as_many_queries_however_many_plans_have_prices(client, db, django_assert_max_num_queries):
    for _ in range(2):
        metered_plan()
    with django_assert_max_num_queries(50) as few:
        client.get("/pricing")
    for _ in range(4):
        metered_plan({"included": 10}, {"action": "pages"})
    with django_assert_max_num_queries(len(few)):
        client.get("/pricing")
