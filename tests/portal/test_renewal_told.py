"""The account card tells the renewal that will be: with tax, coupon, credit and the planned change."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from payflow.core.models import AuditEntry
from payments.models import Invoice
from payments.services.tax_rates import tax_rate_create
from portal.cards import subscription_cards, subscriptions_of
from subscriptions.models import Checkout, Status, SubscriptionChange
from subscriptions.services.price_moves import price_move
from tests.factories import CouponFactory, PlanFactory, UserFactory
from tests.flows import START, fresh, give_credit, nothing_changes

pytestmark = pytest.mark.django_db


@pytest.fixture
def dutch(db):
    tax_rate_create(country="NL", name="VAT", percent=Decimal(21), inclusive=False, actor="test")
    return UserFactory(country="NL")


def card(user, now=START):
    [made] = subscription_cards(list(subscriptions_of(user)), "UTC", now)
    return made


def renewed(shop, subscription) -> Invoice:
    """The invoice that the renewal makes."""
    shop.run(fresh(subscription).end_date)
    return Invoice.objects.filter(subscription=subscription).latest("created_at")


def told(invoice: Invoice) -> str:
    return f"for ${invoice.total.quantize(Decimal('0.01'))}."


def test_tax_coupon_and_credit_are_in_it_as_in_the_invoice_that_comes(shop, plans, dutch):
    CouponFactory(code="HALF", percent=50, duration="cycles", cycles=2)
    subscription = shop.buy(dutch, plans["premium"], coupon="HALF")
    give_credit(dutch, "1.00")
    give_credit(dutch, "2.00", expires_at=subscription.end_date)  # gone by then
    with nothing_changes():
        shown = card(dutch)

    invoice = renewed(shop, subscription)

    assert shown.note == "Renews on Feb 29, 2040 for $3.22." and shown.note.endswith(told(invoice))
    assert shown.bill == [
        ("Premium (monthly)", "$6.99"),
        ("Coupon HALF", "-$3.50"),
        ("VAT 21 %", "$0.73"),
        ("Credit", "-$1.00"),
        ("Next renewal", "$3.22"),
    ]
    assert card(dutch, shop.now).note.endswith("for $8.46.")  # the coupon is used up


def test_without_tax_there_is_nothing_to_break_down(shop, plans, user):
    shop.buy(user, plans["premium"])
    assert (card(user).note, card(user).bill) == ("Renews on Feb 29, 2040 for $6.99.", [])


def test_what_could_not_be_collected_is_told_with_its_tax(shop, plans, dutch, client):
    subscription = shop.buy(dutch, plans["premium"], card="decline")
    shop.run(subscription.end_date)
    client.force_login(dutch)
    assert "We could not collect $8.46." in client.get("/account").text


def test_a_planned_downgrade_is_told_billed_and_taken_back(shop, plans, dutch, client):
    subscription = shop.buy(dutch, plans["pro"])
    assert shop.change(subscription, plans["premium"]).status_code == 200
    client.force_login(dutch)
    url = f"/account/subscriptions/{subscription.pk}/keep-plan"

    page = client.get("/account").text
    assert "Premium follows ($6.99 per month)" in page and "Feb 29, 2040" in page and "Keep Pro Plan" in page
    assert "Renews on Feb 29, 2040 for $8.46." in page and url in page

    page = client.post(url, follow=True).text
    assert "You keep Pro Plan." in page and "follows" not in page and url not in page
    assert "Renews on Feb 29, 2040 for $24.19." in page
    change = SubscriptionChange.objects.get()
    assert change.status == "cancelled"
    entry = AuditEntry.objects.get(action="subscription.change_cancel")
    assert (entry.actor, entry.data) == (f"user:{dutch.pk}", {"plan": "premium"})
    with nothing_changes():
        assert "There is no planned change to take back" in client.post(url, follow=True).text
    assert told(renewed(shop, subscription)) == "for $24.19."


def test_the_downgrade_that_stays_is_billed_as_told(shop, plans, dutch):
    yearly = PlanFactory(code="yearly", name="Yearly", price="60.00", billing_cycle="yearly")
    subscription = shop.buy(dutch, plans["pro"])
    shop.change(subscription, yearly)
    shown = card(dutch)

    assert shown.note.endswith(told(renewed(shop, subscription)))
    assert shown.note == "Renews on Feb 29, 2040 for $72.60."
    assert fresh(subscription).end_date == START.replace(year=2041, month=2, day=28)


def test_a_downgrade_to_a_free_plan_charges_nothing(shop, plans, user):
    subscription = shop.buy(user, plans["premium"])
    shop.change(subscription, plans["free"])
    assert card(user).note == "You have access until Feb 29, 2040. Nothing is charged after that."
    assert card(user).planned.text == "Free follows (Free)"


def test_an_upgrade_that_waits_for_its_payment_can_be_paid_or_left(shop, plans, user, client):
    subscription = shop.buy(user, plans["premium"])
    shop.no_card(subscription)
    page = shop.change(subscription, plans["pro"]).json()["data"]["checkout_url"]
    client.force_login(user)
    shown = client.get("/account").text
    assert "Pro Plan begins as soon as it is paid." in shown and page in shown

    client.post(f"/account/subscriptions/{subscription.pk}/keep-plan")

    assert Checkout.objects.get(purpose="change").status == "expired"
    assert page not in client.get("/account").text
    assert fresh(subscription).plan == plans["premium"]


def test_what_an_operator_planned_for_the_price_is_told_and_stays(shop, plans, user, client):
    subscription = shop.buy(user, plans["premium"])
    plans["premium"].price = Decimal("8.00")
    plans["premium"].save()
    assert price_move(plan=plans["premium"], now=START, actor="test") == 1
    client.force_login(user)
    page = client.get("/account").text
    assert "Its price becomes $8 per month" in page and "keep-plan" not in page
    assert "Renews on Feb 29, 2040 for $8.00." in page
    with nothing_changes():
        answer = client.post(f"/account/subscriptions/{subscription.pk}/keep-plan", follow=True)
        assert "There is no planned change to take back" in answer.text


def test_a_trial_tells_its_first_payment_with_tax(shop, dutch):
    plan = PlanFactory(trial_days=14)
    shop.pay(shop.checkout(dutch, plan))
    assert card(dutch).note == "Your trial runs until Feb 14, 2040. Then you pay $12.10."


def test_two_renewals_share_the_credit_in_their_order(shop, dutch):
    for cycle in ("monthly", "weekly"):
        shop.checkout(dutch, PlanFactory(family=cycle, billing_cycle=cycle, name=cycle, price="100.00"))
    for checkout in Checkout.objects.all():
        shop.pay(checkout)
    give_credit(dutch, "5.00", expires_at=START + timedelta(days=20))
    give_credit(dutch, "3.00")

    notes = {each.plan: each.note for each in subscription_cards(list(subscriptions_of(dutch)), "UTC", START)}

    assert notes == {
        "weekly": "Renews on Feb 7, 2040 for $113.00.",
        "monthly": "Renews on Feb 29, 2040 for $121.00.",
    }


def test_somebody_elses_planned_change_is_404(shop, plans, client, user):
    subscription = shop.buy(user, plans["pro"])
    shop.change(subscription, plans["premium"])
    client.force_login(UserFactory())
    with nothing_changes():
        assert client.post(f"/account/subscriptions/{subscription.pk}/keep-plan").status_code == 404
    assert client.get(f"/account/subscriptions/{subscription.pk}/keep-plan").status_code == 405
    assert fresh(subscription).status == Status.ACTIVE
