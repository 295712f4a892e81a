"""The account page and what one can do there."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payflow.core import clock
from payflow.core.models import AuditEntry
from payments.models import Invoice, PaymentMethod, PaymentTransaction
from plans.models import Plan
from portal.cards import subscription_cards, subscriptions_of
from providers.sandbox.models import SandboxPayment
from subscriptions.models import Checkout, Status, Subscription
from tests.factories import AdminFactory, PlanFactory, UserFactory
from tests.flows import DAY, START, fresh, paid
from tests.providers.sandbox_support import press
from usage.services import usage_log

pytestmark = pytest.mark.django_db


def card_of(subscription: Subscription, now):
    [card] = subscription_cards([subscriptions_of(subscription.user).get(pk=subscription.pk)], "UTC", now)
    return card


def act(client, subscription: Subscription, what: str, **options):
    return client.post(f"/account/subscriptions/{subscription.pk}/{what}", **options)


def test_an_account_without_anything(client, user):
    client.force_login(user)

    page = client.get("/account").text

    for text in (
        "No subscription",
        "Your invoices will be here",
        "No payments yet",
        "Stored payment methods",
        user.email,
    ):
        assert text in page
    assert "<progress" not in page


def test_an_account_with_everything(shop, plans, client):
    user = UserFactory(name="Zoë <b>", timezone="Asia/Tokyo")
    shop.buy(user, plans["premium"])
    usage_log(user_id=user.pk, action="translations", quantity=250, now=clock.now())
    client.force_login(user)

    page = client.get("/account").text

    assert "Hello, Zoë &lt;b&gt;" in page
    assert "Times are in Asia/Tokyo" in page and "Jan 31, 2040, 7:00 PM" in page
    assert "Renews on Feb 29, 2040 for $6.99." in page
    assert "Translations today" in page and "250 of 300" in page and 'value="250" max="300"' in page
    assert Invoice.objects.get().number in page
    assert "Visa\u00a0••\u00a04242" in page
    assert "Completed" in page and "Paid" in page


def test_nobody_sees_what_is_somebody_elses(shop, plans, client, user):
    theirs = shop.buy(UserFactory(name="Somebody Else"), plans["premium"])
    number = Invoice.objects.get().number
    for reader in (user, AdminFactory()):
        client.force_login(reader)
        page = client.get("/account").text
        assert number not in page and "4242" not in page and "Premium" not in page
        for what in ("cancel", "keep", "pay", "pay-otherwise", "pause", "resume"):
            assert act(client, theirs, what).status_code == 404
    assert (fresh(theirs).status, fresh(theirs).cancelled_at) == (Status.ACTIVE, None)


def test_the_page_takes_the_same_queries_however_much_there_is(plans, client, user):
    paid(user, plans["premium"])
    client.force_login(user)
    client.get("/account")
    with CaptureQueriesContext(connection) as few:
        client.get("/account")
    for n in range(1, 5):
        paid(user, PlanFactory(family=f"family-{n}"))

    with CaptureQueriesContext(connection) as many:
        page = client.get("/account").text

    assert page.count("INV-") == 5
    assert len(many) == len(few) <= 18


@pytest.mark.parametrize("path", ["/account", "/subscription/success", "/subscribe/premium"])
def test_private_pages_are_not_kept_by_anybody(plans, client, user, path):
    client.force_login(user)

    assert "no-store" in client.get(path)["Cache-Control"]


def test_cancelling_keeps_the_paid_time_and_can_be_undone(plans, client, user):
    subscription, _ = paid(user, plans["premium"])
    client.force_login(user)

    page = act(client, subscription, "cancel", follow=True).text
    assert "You have access until Feb 29, 2040. It will not renew." in page
    assert "Active until it ends" in page and "Keep my subscription" in page and "Cancel subscription" not in page

    page = act(client, subscription, "keep", follow=True).text
    assert "Renews on Feb 29, 2040" in page and "Keep my subscription" not in page
    assert set(AuditEntry.objects.filter(subject_id=subscription.pk).values_list("actor", flat=True)) == {
        f"user:{user.pk}"
    }


def test_undoing_nothing_is_told(plans, client, user):
    subscription, _ = paid(user, plans["premium"])
    client.force_login(user)

    assert "There is no cancellation to take back" in act(client, subscription, "keep", follow=True).text


def test_discarding_an_order(shop, plans, client, user):
    checkout = shop.checkout(user, plans["premium"])
    client.force_login(user)
    page = client.get("/account").text
    assert "Waiting for payment" in page and checkout.url in page and "Discard this order" in page

    page = act(client, checkout.subscription, "cancel", follow=True).text

    assert "No subscription" in page
    assert "ended on" not in page, "an order that was never paid is no subscription that ended"


def test_the_end_is_told(shop, plans, client, user):
    subscription, _ = paid(user, plans["premium"])
    client.force_login(user)
    act(client, subscription, "cancel")
    shop.run(subscription.end_date)

    assert "Your Premium subscription ended on Feb 29, 2040." in client.get("/account").text
    assert "already cancelled" in act(client, subscription, "cancel", follow=True).text


def test_paying_what_is_due(shop, plans, client, user):
    subscription = shop.buy(user, plans["premium"], card="decline")
    shop.run(subscription.end_date)
    client.force_login(user)
    page = client.get("/account").text
    assert "Payment due" in page and "We could not collect $6.99. You keep access until Mar 7, 2040." in page

    assert "The payment was declined" in act(client, subscription, "pay", follow=True).text
    shop.unreachable()
    assert "did not answer" in act(client, subscription, "pay", follow=True).text
    assert "already under way" in act(client, subscription, "pay", follow=True).text


def test_paying_with_success(shop, plans, client, user):
    subscription = shop.buy(user, plans["premium"], card="decline")
    shop.run(subscription.end_date)
    shop.card(subscription, "ok")
    client.force_login(user)

    page = act(client, subscription, "pay", follow=True).text

    assert "Paid. Thank you." in page and "Renews on Mar 31, 2040" in page
    assert "Nothing is due" in act(client, subscription, "pay", follow=True).text


def test_the_bank_wants_a_confirmation(shop, plans, client, user):
    subscription = shop.buy(user, plans["premium"], card="decline")
    shop.run(subscription.end_date)
    shop.card(subscription, "action")
    client.force_login(user)

    response = act(client, subscription, "pay")

    token = SandboxPayment.objects.get(status="requires_action").action_token
    assert (response.status_code, response["Location"]) == (303, f"{shop.url}/sandbox/checkout/{token}")
    press(response["Location"], outcome="pay")
    shop.drain()
    assert "Renews on Mar 31, 2040" in client.get("/account").text


def test_without_a_card_paying_goes_to_the_page(shop, plans, client, user):
    subscription = shop.buy(user, plans["premium"])
    shop.no_card(subscription)
    shop.run(subscription.end_date)
    client.force_login(user)

    response = act(client, subscription, "pay")

    page = Checkout.objects.get(purpose=Checkout.Purpose.INVOICE)
    assert (response.status_code, response["Location"]) == (303, page.url)
    assert page.url.startswith(f"{shop.url}/sandbox/checkout/")


def test_refunds_and_void_invoices_are_shown(shop, plans, client, user):
    subscription = shop.buy(user, plans["premium"], card="decline")
    shop.run(subscription.end_date)
    shop.refund(PaymentTransaction.objects.get(status="completed"))
    client.force_login(user)
    act(client, subscription, "cancel")

    page = client.get("/account").text

    assert "Refund" in page and "-$6.99" in page and "Refunded" in page
    assert "Void" in page


@pytest.mark.parametrize("what", ["cancel", "keep", "pay", "pay-otherwise", "pause", "resume"])
def test_actions_take_a_post_of_somebody_known(plans, client, user, what):
    subscription, _ = paid(user, plans["premium"])
    assert act(client, subscription, what)["Location"] == "/login?next=/account"

    client.force_login(user)

    assert client.get(f"/account/subscriptions/{subscription.pk}/{what}").status_code == 405
    assert client.post(f"/account/subscriptions/{user.pk}/{what}").status_code == 404
    assert client.post(f"/account/subscriptions/nonsense/{what}").status_code == 404


@pytest.mark.parametrize("status", Status)
def test_every_state_has_words(plans, user, status):
    paid(user, plans["premium"])
    row = subscriptions_of(user).get()
    row.status = status
    row.grace_until, row.trial_ends_at, row.suspended_at = START + 3 * DAY, START + 31 * DAY, START

    [card] = subscription_cards([row], "Europe/Berlin", START)

    assert card.status and card.note.endswith(".")
    assert bool(card.cancel) is (status not in (Status.CANCELLED, Status.EXPIRED))
    assert card.can_pay is (status in (Status.PAST_DUE, Status.SUSPENDED))


def test_a_renewal_under_way_and_a_grace_that_is_over(shop, plans, user):
    subscription = shop.buy(user, plans["premium"], card="decline")
    end = subscription.end_date
    assert card_of(subscription, end).note == "Your renewal is under way."
    shop.run(end)

    card = card_of(subscription, end + 8 * DAY)

    assert card.note == "We could not collect $6.99. Pay now to get your access back."
    assert "Access until" not in [fact.term for fact in card.facts]


def test_a_method_that_was_given_up_is_not_shown(plans, client, user):
    paid(user, plans["premium"])
    PaymentMethod.objects.update(is_active=False)
    Plan.objects.filter(code="premium").update(name="Renamed")
    client.force_login(user)

    page = client.get("/account").text

    assert "None. The provider keeps one" in page
    assert "Premium (monthly)" in page, "an invoice keeps the name it was issued with"
