"""Choosing a plan, ordering it, and coming back from the provider."""

from __future__ import annotations

import re

import pytest

from accounts.models import User
from plans.models import Plan
from subscriptions.models import Status, Subscription
from tests.conftest import Api
from tests.factories import PlanFactory, UserFactory
from tests.flows import DAY, START, paid
from tests.providers.sandbox_support import press

PAGES = [
    "",
    "pricing",
    "login",
    "signup",
    "account",
    "subscribe/premium",
    "subscription/success",
    "subscription/cancel",
]


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("slash", ["", "/"])
def test_every_page_answers_with_and_without_the_slash(plans, client, user, path, slash):
    client.force_login(user)
    expected = 303 if path in ("login", "signup") else 200

    assert client.get(f"/{path}{slash}" if path else "/").status_code == expected


@pytest.mark.parametrize("path", ["account", "subscribe/premium"])
def test_the_anonymous_log_in_first(plans, client, path):
    entry = "login" if path == "account" else "signup"
    assert client.get(f"/{path}")["Location"] == f"/{entry}?next=/{path}"


@pytest.mark.parametrize("path", ["/", "/pricing"])
def test_the_shop_window(plans, client, path):
    PlanFactory(code="old", name="Withdrawn", is_active=False)

    page = client.get(path).text

    assert "$6.99" in page and "per month" in page
    for line in ("300 translations per day", "Unlimited books", "Offline", "2 books", "10,000 API calls", "100GB"):
        assert line in page
    assert 'href="/subscribe/premium"' in page and 'href="/subscribe/free"' in page
    assert "Withdrawn" not in page
    assert "Your plan" not in page


def test_an_empty_shop_window(client, db):
    assert "There is nothing to buy yet" in client.get("/").text


def test_other_cycles_and_currencies(client, db):
    PlanFactory(price="4800", currency="JPY", billing_cycle="monthly", billing_interval=3)

    page = client.get("/").text

    assert "¥4,800" in page and "every 3 months" in page


def test_the_current_plan_is_marked_and_others_wait_for_its_end(plans, client, user):
    paid(user, plans["premium"])
    client.force_login(user)

    page = client.get("/pricing").text

    assert page.count("Your plan") == 1
    assert page.count("Change to this plan") == 2
    assert "/subscribe/" not in page


def test_a_free_plan_is_no_obstacle_and_an_order_can_go_on(shop, plans, client, user):
    assert shop.subscribe(user, plans["free"]).status_code == 201
    shop.checkout(user, plans["premium"])
    client.force_login(user)

    page = client.get("/pricing").text

    assert "Continue to payment" in page and 'href="/subscribe/premium"' in page
    assert 'href="/subscribe/pro"' in page


def test_a_trial_is_offered_once(shop, plans, client, user):
    Plan.objects.filter(code="premium").update(trial_days=14)
    client.force_login(user)
    assert "14 days free, then $6.99 per month" in client.get("/pricing").text
    assert "Start free trial" in client.get("/subscribe/premium").text

    shop.pay(shop.checkout(user, plans["premium"]))
    assert Api().as_user(user).delete("/api/v1/subscriptions/me").status_code == 200
    shop.run(START + 14 * DAY)

    page = client.get("/pricing").text
    assert 'href="/subscribe/premium"' in page and "14 days free" not in page
    assert "Start free trial" not in client.get("/subscribe/premium").text


def test_a_trial_without_a_method_is_one_everywhere_and_asks_for_none(plans, client, user, settings):
    settings.PAYFLOW_PROVIDERS = {"lava": settings.PAYFLOW_PROVIDERS["lava"]}  # which keeps no method uncharged
    Plan.objects.filter(code="premium").update(trial_days=14)
    client.force_login(user)
    assert "14 days free" not in client.get("/pricing").text

    Plan.objects.filter(code="premium").update(trial_needs_method=False)

    assert "14 days free, no payment method needed" in client.get("/pricing").text
    order = client.get("/subscribe/premium").text
    assert "If you subscribe after the trial" in order and "the trial ends by itself" in order
    assert "You pay on the provider" not in order and "Start free trial" in order
    assert client.post("/subscribe/premium")["Location"] == "/account"
    assert Subscription.objects.get().status == Status.TRIAL


def test_the_order_names_plan_price_and_providers(plans, client, user):
    client.force_login(user)

    page = client.get("/subscribe/premium").text

    assert "Premium" in page and "$6.99" in page and "It renews every month" in page
    assert re.findall(r'name="provider" value="(\w+)"', page) == ["sandbox", "lava"]
    assert re.search(r'value="sandbox"[^>]* checked', page)


def test_with_one_provider_there_is_no_choice(plans, client, user, settings):
    settings.PAYFLOW_PROVIDERS = {"sandbox": settings.PAYFLOW_PROVIDERS["sandbox"]}
    client.force_login(user)

    assert 'name="provider"' not in client.get("/subscribe/premium").text


def test_without_a_provider_nothing_is_sold(plans, client, user, settings):
    settings.PAYFLOW_PROVIDERS = {}
    client.force_login(user)

    assert "not sold online" in client.get("/subscribe/premium").text
    response = client.post("/subscribe/premium", follow=True)
    assert response.status_code == 200 and not Subscription.objects.exists()


@pytest.mark.parametrize("code", ["nothing", "old"])
def test_what_is_not_sold_is_no_page(plans, client, user, code):
    PlanFactory(code="old", is_active=False)
    client.force_login(user)

    assert client.get(f"/subscribe/{code}").status_code == 404
    assert client.post(f"/subscribe/{code}").status_code == 404


def test_a_free_plan_starts_at_once(plans, client, user):
    client.force_login(user)

    response = client.post("/subscribe/free", follow=True)

    assert response.redirect_chain == [("/account", 303)]
    assert "Welcome to Free." in response.text
    assert Subscription.objects.get().events.get().actor == f"user:{user.pk}"


def test_a_paid_plan_goes_to_the_chosen_provider(shop, plans, client, user):
    client.force_login(user)

    response = client.post("/subscribe/premium", {"provider": "lava"})

    checkout = Subscription.objects.get(user=user).checkouts.get()
    assert (response.status_code, response["Location"]) == (303, checkout.url)
    assert checkout.provider == "lava" and checkout.url.startswith(shop.lava.origin)
    assert checkout.success_url == "http://testserver/subscription/success"
    assert checkout.cancel_url == "http://testserver/subscription/cancel"


def test_an_unknown_provider_is_an_error_of_the_form(plans, client, user):
    client.force_login(user)

    response = client.post("/subscribe/premium", {"provider": "nobody"})

    assert response.status_code == 400
    assert not Subscription.objects.exists()


def test_whoever_has_a_plan_is_told(plans, client, user):
    paid(user, plans["premium"])
    client.force_login(user)

    refused = client.post("/subscribe/pro", {"provider": "sandbox"}, follow=True)
    same = client.get("/subscribe/premium", follow=True)

    assert refused.redirect_chain == [("/account", 303)]
    assert "You already have a subscription" in refused.text
    assert "Premium is your plan already" in same.text
    assert Subscription.objects.count() == 1


def test_a_silent_provider_is_told_and_the_attempt_is_kept(shop, plans, client, user):
    shop.unreachable()
    client.force_login(user)

    response = client.post("/subscribe/premium", {"provider": "sandbox"}, follow=True)

    assert response.redirect_chain == [("/subscribe/premium", 303)]
    assert "The payment provider did not answer" in response.text
    attempt = Subscription.objects.get()
    assert attempt.status == Status.PENDING
    # and once it answers, the same attempt goes on
    shop.reachable()
    page = client.post("/subscribe/premium", {"provider": "sandbox"})["Location"]
    assert page == attempt.checkouts.get().url
    assert Subscription.objects.get() == attempt


def test_after_paying_the_page_waits_until_it_is_confirmed(shop, plans, client, user):
    checkout = shop.checkout(user, plans["premium"])
    client.force_login(user)
    press(checkout.url, outcome="pay")

    waiting = client.get("/subscription/success").text
    shop.drain()
    done = client.get("/subscription/success?try=1").text

    assert '<meta http-equiv="refresh" content="2; url=/subscription/success?try=1">' in waiting
    assert "waiting for the provider’s confirmation" in waiting
    assert "http-equiv" not in done and "You’re all set" in done and "Renews on Feb 29, 2040 for $6.99." in done


@pytest.mark.parametrize(
    ("tried", "content"),
    [("29", "2; url=/subscription/success?try=30"), ("30", "10; url=/subscription/success?try=31"), ("90", None)]
    + [(bad, "2; url=/subscription/success?try=1") for bad in ("x", "-1", "²", "99999999999", '"><script>')],
)
def test_the_page_asks_ever_less_often(shop, plans, client, user, tried, content):
    shop.checkout(user, plans["premium"])
    client.force_login(user)

    page = client.get("/subscription/success", {"try": tried}).text

    found = re.search(r'http-equiv="refresh" content="([^"]*)"', page)
    assert (found and found[1]) == content


def test_the_page_after_paying_without_a_session_or_an_order(client, user):
    assert "You can close this page" in client.get("/subscription/success").text
    client.force_login(user)
    assert "Nothing is waiting" in client.get("/subscription/success").text


def test_leaving_without_paying(shop, plans, client, user):
    assert 'href="/pricing"' in client.get("/subscription/cancel").text
    shop.checkout(user, plans["premium"])
    client.force_login(user)

    page = client.get("/subscription/cancel").text

    assert "Nothing was charged" in page and 'href="/subscribe/premium"' in page


def test_somebody_else_is_never_shown(plans, client, user):
    paid(UserFactory(), plans["pro"])
    client.force_login(user)

    assert "Your plan" not in client.get("/pricing").text
    assert "Nothing is waiting" in client.get("/subscription/success").text


def test_from_signing_up_to_a_paid_plan(shop, plans, client):
    """When somebody signs up and pays on the sandbox's page, then the account says so."""
    client.post("/signup", {"email": "ann@example.com", "password": "correct horse battery", "next": "/pricing"})

    page = client.post("/subscribe/premium", {"provider": "sandbox"})["Location"]
    assert page.startswith(f"{shop.url}/sandbox/checkout/")
    assert client.post("/subscribe/premium", {"provider": "sandbox"})["Location"] == page
    answer = press(page, outcome="pay")
    assert answer.headers["location"] == "http://testserver/subscription/success"
    shop.drain()

    assert "You’re all set" in client.get("/subscription/success").text
    assert "INV-" in client.get("/account").text
    assert Subscription.objects.get(user=User.objects.get()).status == Status.ACTIVE
