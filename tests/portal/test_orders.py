"""The order's page: tax by country, a coupon, and that what was shown is what is ordered."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest

from accounts.models import User
from payments.models import Invoice
from payments.services.tax_rates import tax_rate_create
from plans.models import Plan
from subscriptions.models import Checkout, CouponRedemption, Status, Subscription
from tests.factories import CouponFactory, UserFactory
from tests.flows import START, fresh, give_credit, nothing_changes

pytestmark = pytest.mark.django_db
PAGE = "/subscribe/premium"


@pytest.fixture
def vat(db):
    """21 percent on top in the Netherlands, 19 percent contained in Germany."""
    for country, percent, inclusive in (("NL", "21", False), ("DE", "19", True)):
        tax_rate_create(country=country, name="VAT", percent=Decimal(percent), inclusive=inclusive, actor="test")


def order(page: str) -> list[str]:
    """The amounts of the order, its total last."""
    box = re.search(r'<div class="order">(.*?)</div>\s*(?:<p|<form)', page, re.DOTALL)[1]
    return re.findall(r'class="(?:sum|total)">([^<]*)<', box)


def look(client, **fields):
    with nothing_changes():
        return client.post(PAGE, {"look": "1", "provider": "sandbox", **fields})


def shown(page: str) -> str:
    return re.search(r'name="shown" value="([^"]*)"', page)[1]


def test_the_country_decides_the_tax_and_is_kept_with_the_order(shop, plans, client, user, vat):
    client.force_login(user)
    page = client.get(PAGE).text
    assert order(page) == ["$6.99", "$6.99"] and "Please choose" in page

    page = look(client, country="NL").text
    assert order(page) == ["$6.99", "$1.47", "$8.46"] and "VAT 21 %" in page
    assert '<option value="NL" selected>' in page
    assert fresh(user).country == ""
    assert order(look(client, country="DE").text) == ["$6.99", "", "$6.99"]

    response = client.post(PAGE, {"country": "NL", "provider": "sandbox", "shown": shown(page)})

    assert "/checkout/" in response["Location"]
    assert (fresh(user).country, Checkout.objects.get().amount) == ("NL", Decimal("8.46"))
    # The order goes on where it was left, and the country is no question any more
    page = client.get(PAGE).text
    assert order(page) == ["$6.99", "$1.47", "$8.46"] and "Please choose" not in page
    assert client.post(PAGE, {"provider": "sandbox"})["Location"] == response["Location"]


def test_a_coupon_lowers_the_price_that_is_shown_and_paid(shop, plans, client, user, vat):
    coupon = CouponFactory(code="SPRING", percent=50)
    client.force_login(user)

    page = look(client, coupon="spring", country="NL").text

    assert order(page) == ["$6.99", "-$3.50", "$0.73", "$4.22"] and "Coupon SPRING" in page
    assert 'value="spring"' in page
    client.post(PAGE, {"coupon": "spring", "country": "NL", "provider": "sandbox", "shown": shown(page)})
    assert CouponRedemption.objects.get().coupon == coupon
    checkout = Checkout.objects.get()
    assert checkout.amount == Decimal("4.22")
    shop.pay(checkout)
    assert fresh(checkout.subscription).status == Status.ACTIVE
    assert Invoice.objects.get().total == Decimal("4.22")


@pytest.mark.parametrize(
    ("coupon", "told"),
    [
        ("NOTHING", "There is no such coupon."),
        ("OLD", "This coupon has expired."),
        ("OTHER", "This coupon is not for this plan."),
        ("x" * 51, "at most 50 characters"),
    ],
)
@pytest.mark.parametrize("button", [{"look": "1"}, {}])
def test_a_refused_coupon_is_told_at_its_field_and_nothing_is_ordered(plans, client, user, coupon, told, button):
    CouponFactory(code="OLD", ends_at=START - timedelta(days=1))
    CouponFactory(code="OTHER", plans=[plans["pro"]])
    client.force_login(user)

    with nothing_changes():
        response = client.post(PAGE, {"coupon": coupon, "provider": "sandbox", **button})

    assert response.status_code == 400 and told in response.text
    assert f'value="{coupon}"' in response.text and 'aria-invalid="true"' in response.text
    assert order(response.text) == ["$6.99", "$6.99"]
    assert not Subscription.objects.exists()


def test_no_country_of_this_world_is_refused(plans, client, user):
    client.force_login(user)
    with nothing_changes():
        response = client.post(PAGE, {"country": "XX", "provider": "sandbox"})
    assert (response.status_code, "not one of the available choices" in response.text) == (400, True)


def test_another_price_than_the_one_shown_is_not_ordered(shop, plans, client, user, vat):
    client.force_login(user)
    page = client.get(PAGE).text
    with nothing_changes():
        answer = client.post(PAGE, {"country": "NL", "provider": "sandbox", "shown": shown(page)})
    assert answer.status_code == 200 and "The price is another now" in answer.text
    assert order(answer.text)[-1] == "$8.46"

    answer = client.post(PAGE, {"country": "NL", "provider": "sandbox", "shown": shown(answer.text)})

    assert answer.status_code == 303
    assert Checkout.objects.get().amount == Decimal("8.46")


def test_credit_is_part_of_the_price_also_what_an_earlier_order_holds(shop, plans, client, user):
    give_credit(user, "2.00")
    client.force_login(user)
    page = client.get(PAGE).text
    assert order(page) == ["$6.99", "-$2.00", "$4.99"]
    client.post(PAGE, {"provider": "sandbox", "shown": shown(page)})
    assert Checkout.objects.get().amount == Decimal("4.99")

    assert order(client.get(PAGE).text) == ["$6.99", "-$2.00", "$4.99"]  # the order that waits
    other = client.get("/subscribe/pro").text  # which another supersedes
    assert order(other)[-1] == "$17.99"


def test_the_shop_window_says_what_its_prices_are_without(plans, client, user, vat):
    def told(country: str) -> list[str]:
        User.objects.filter(pk=user.pk).update(country=country)
        return re.findall(r"Prices [^<]*VAT[^<]*|Tax depends[^<]*", client.get("/pricing").text)

    depends = ["Tax depends on your country; you see it before you pay."]
    assert told("") == depends
    client.force_login(user)
    assert (told(""), told("SG")) == (depends, [])
    assert (told("NL"), told("DE")) == (["Prices are without VAT 21 %."], ["Prices include VAT 19 %."])


def test_a_trial_puts_the_price_off(shop, plans, client, user, vat):
    Plan.objects.filter(code="premium").update(trial_days=14)
    client.force_login(user)

    page = look(client, country="NL").text

    assert order(page) == ["$6.99", "$1.47", "$8.46", "Nothing"]
    assert "After the trial" in page and "14 days free" in page and "Start free trial" in page


def test_a_free_plan_asks_for_neither(plans, client, user):
    client.force_login(user)
    page = client.get("/subscribe/free").text
    assert 'name="coupon"' not in page and 'name="country"' not in page and "Nothing" in page
    client.post("/subscribe/free")
    assert Subscription.objects.get().status == Status.ACTIVE


def test_looking_at_a_price_keeps_nothing_of_anybody(shop, plans, client, vat):
    first, second = UserFactory(), User.objects.create_user("de@example.com", "x", country="DE")
    CouponFactory(code="ONE", max_redemptions=1)
    for person in (first, second):
        client.force_login(person)
        assert "Coupon ONE" in look(client, coupon="ONE", country="NL").text
    assert (fresh(first).country, fresh(second).country) == ("", "DE")
