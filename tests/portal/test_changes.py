"""Changing the plan, pausing, and paying with another method, from the account page."""

from __future__ import annotations

import re

import pytest

from payments.models import CreditAccount, PaymentMethod
from subscriptions.models import Status
from tests.factories import PlanFactory, UserFactory
from tests.flows import DAY, START, fresh, nothing_changes
from tests.providers.sandbox_support import press

pytestmark = pytest.mark.django_db


def quote(page: str) -> dict[str, str]:
    return {
        name: re.search(rf'name="{name}" value="([^"]*)"', page)[1] for name in ("quoted_at", "total", "next_amount")
    }


def test_to_a_dearer_plan_at_what_was_shown(shop, plans, client, user):
    subscription = shop.buy(user, plans["premium"])
    shop.at(START + DAY)
    client.force_login(user)
    assert "Change plan" in client.get("/account").text
    assert 'href="/change/pro"' in client.get("/pricing").text

    page = client.get("/change/pro").text
    assert "Premium, unused time" in page and "Due today" in page and "Becomes your credit" not in page
    shown = quote(page)
    with nothing_changes():
        assert "The price is another by now" in client.post("/change/pro", {**shown, "total": "1"}, follow=True).text
        for broken in ({}, {**shown, "total": "much"}, {**shown, "quoted_at": "2040-02-01"}):
            assert client.post("/change/pro", broken)["Location"] == "/change/pro"

    assert "You have Pro Plan now" in client.post("/change/pro", shown, follow=True).text
    assert fresh(subscription).plan == plans["pro"]


def test_to_a_cheaper_plan_later_and_back(shop, plans, client, user):
    subscription = shop.buy(user, plans["pro"])
    client.force_login(user)

    page = client.get("/change/premium").text
    assert "You keep Pro Plan until" in page and "Feb 29, 2040" in page and "Nothing" in page
    told = client.post("/change/premium", quote(page), follow=True).text
    assert "Premium follows at the period&#x27;s end" in told
    assert fresh(subscription).plan == plans["pro"]


def test_where_nothing_can_change(shop, plans, client, user):
    client.force_login(user)
    assert client.get("/change/pro")["Location"] == client.post("/change/pro")["Location"] == "/subscribe/pro"
    assert client.get("/change/nowhere").status_code == 404
    shop.buy(user, plans["premium"])
    assert "This is the plan you have" in client.get("/change/premium", follow=True).text
    other = PlanFactory(family="other", price=5)
    assert client.get(f"/change/{other.code}")["Location"] == f"/subscribe/{other.code}"
    client.logout()
    assert client.get("/change/pro")["Location"].startswith("/login")


def test_pausing_and_resuming(shop, plans, client, user):
    subscription = shop.buy(user, plans["premium"])
    client.force_login(user)
    url = f"/account/subscriptions/{subscription.pk}"
    assert f"{url}/pause" in client.get("/account").text

    page = client.post(f"{url}/pause", follow=True).text
    assert "is your credit now" in page and f"{url}/resume" in page and f"{url}/pause" not in page
    assert fresh(subscription).status == Status.PAUSED
    assert CreditAccount.objects.get().balance > 6
    assert "is paused cannot be paused" in client.post(f"{url}/pause", follow=True).text
    assert "paused cannot change its plan" in client.get("/change/pro", follow=True).text

    assert "Your subscription goes on" in client.post(f"{url}/resume", follow=True).text
    assert fresh(subscription).status == Status.ACTIVE
    assert "cannot be resumed" in client.post(f"{url}/resume", follow=True).text


def test_a_declined_card_gives_way_to_another(shop, plans, client, user):
    subscription = shop.buy(user, plans["premium"], card="decline")
    shop.run(subscription.end_date)
    client.force_login(user)
    url = f"/account/subscriptions/{subscription.pk}"
    assert f"{url}/pay-otherwise" in client.get("/account").text

    response = client.post(f"{url}/pay-otherwise")

    assert response.status_code == 303 and "/checkout/" in response["Location"]
    press(response["Location"], outcome="pay", card="ok")
    shop.drain()
    row = fresh(subscription)
    assert (row.status, row.payment_method) == (Status.ACTIVE, PaymentMethod.objects.latest("pk"))
    assert f"{url}/pay-otherwise" not in client.get("/account").text


def test_nothing_is_due_so_the_method_stays(shop, plans, client, user):
    subscription = shop.buy(user, plans["premium"])
    client.force_login(user)
    told = client.post(f"/account/subscriptions/{subscription.pk}/pay-otherwise", follow=True).text
    assert "Nothing is due" in told
    assert fresh(subscription).payment_method is not None
    client.force_login(UserFactory())
    assert client.post(f"/account/subscriptions/{subscription.pk}/pause").status_code == 404
