"""The account page and what one can do there."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payflow.core.models import AuditEntry
from payments.models import Invoice, PaymentMethod, PaymentTransaction
from plans.models import Plan
from portal.cards import subscription_card, subscriptions_of
from providers.base import Decline, Outcome, PaymentResult, Unavailable
from subscriptions.models import Status, Subscription
from tests.factories import AdminFactory, PlanFactory, UserFactory
from tests.portal.world import DECLINED, MONTH, NOW, SUCCEEDED, refund_all
from usage.services import usage_log

pytestmark = pytest.mark.django_db


def card_of(subscription: Subscription, now=NOW):
    return subscription_card(subscriptions_of(subscription.user).get(pk=subscription.pk), "UTC", now)


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


def test_an_account_with_everything(world, client):
    user = UserFactory(name="Zoë <b>", timezone="Asia/Tokyo")
    world.paid(user)
    usage_log(user_id=user.pk, action="translations", quantity=250, now=world.now)
    client.force_login(user)

    page = client.get("/account").text

    assert "Hello, Zoë &lt;b&gt;" in page
    assert "Times are in Asia/Tokyo" in page and "Mar 10, 2026, 9:00 PM" in page
    assert "Renews on Apr 10, 2026 for $6.99." in page
    assert "Translations today" in page and "250 of 300" in page and 'value="250" max="300"' in page
    assert Invoice.objects.get().number in page
    assert "Visa\u00a0••\u00a04242" in page
    assert "Completed" in page and "Paid" in page


def test_nobody_sees_what_is_somebody_elses(world, client, user):
    theirs = world.paid(UserFactory(name="Somebody Else"))
    number = Invoice.objects.get().number
    for reader in (user, AdminFactory()):
        client.force_login(reader)
        page = client.get("/account").text
        assert number not in page and "4242" not in page and "Premium" not in page
        for what in ("cancel", "keep", "pay"):
            assert act(client, theirs, what).status_code == 404
    theirs.refresh_from_db()
    assert (theirs.status, theirs.cancelled_at) == (Status.ACTIVE, None)


def test_the_page_takes_the_same_queries_however_much_there_is(world, client, user, monkeypatch):
    world.charges_answer(monkeypatch, SUCCEEDED)
    subscription = world.paid(user)
    client.force_login(user)
    client.get("/account")
    with CaptureQueriesContext(connection) as few:
        client.get("/account")
    invoice = Invoice.objects.get()
    for n in range(1, 5):
        other = PlanFactory(family=f"family-{n}")
        world.paid(user, other.code)
    assert invoice.subscription_id == subscription.pk

    with CaptureQueriesContext(connection) as many:
        page = client.get("/account").text

    assert page.count("INV-") == 5
    assert len(many) == len(few) <= 14


@pytest.mark.parametrize("path", ["/account", "/subscription/success", "/subscribe/premium"])
def test_private_pages_are_not_kept_by_anybody(world, client, user, path):
    client.force_login(user)

    assert "no-store" in client.get(path)["Cache-Control"]


def test_cancelling_keeps_the_paid_time_and_can_be_undone(world, client, user):
    subscription = world.paid(user)
    client.force_login(user)

    page = act(client, subscription, "cancel", follow=True).text
    assert "You have access until Apr 10, 2026. It will not renew." in page
    assert "Active until it ends" in page and "Keep my subscription" in page and "Cancel subscription" not in page

    page = act(client, subscription, "keep", follow=True).text
    assert "Renews on Apr 10, 2026" in page and "Keep my subscription" not in page
    assert set(AuditEntry.objects.filter(subject_id=subscription.pk).values_list("actor", flat=True)) == {
        f"user:{user.pk}"
    }


def test_undoing_nothing_is_told(world, client, user):
    subscription = world.paid(user)
    client.force_login(user)

    assert "There is no cancellation to take back" in act(client, subscription, "keep", follow=True).text


def test_discarding_an_order(world, client, user):
    subscription = world.order(user)
    client.force_login(user)
    page = client.get("/account").text
    assert "Waiting for payment" in page and "https://pay.example/" in page and "Discard this order" in page

    page = act(client, subscription, "cancel", follow=True).text

    assert "No subscription" in page
    assert "ended on" not in page, "an order that was never paid is no subscription that ended"


def test_the_end_is_told(world, client, user, monkeypatch):
    subscription = world.paid(user)
    client.force_login(user)
    act(client, subscription, "cancel")
    world.due()

    assert "Your Premium subscription ended on Apr 10, 2026." in client.get("/account").text
    assert "already cancelled" in act(client, subscription, "cancel", follow=True).text


def test_paying_what_is_due(world, client, user, monkeypatch):
    world.charges_answer(monkeypatch, DECLINED)
    subscription = world.paid(user)
    world.due()
    client.force_login(user)
    page = client.get("/account").text
    assert "Payment due" in page and "We could not collect $6.99. You keep access until Apr 17, 2026." in page

    assert "The payment was declined" in act(client, subscription, "pay", follow=True).text
    world.charges_answer(monkeypatch, Unavailable("silence"))
    assert "did not answer" in act(client, subscription, "pay", follow=True).text
    assert "already under way" in act(client, subscription, "pay", follow=True).text


def test_paying_with_success(world, client, user, monkeypatch):
    world.charges_answer(monkeypatch, DECLINED)
    subscription = world.paid(user)
    world.due()
    world.charges_answer(monkeypatch, SUCCEEDED)
    client.force_login(user)

    page = act(client, subscription, "pay", follow=True).text

    assert "Paid. Thank you." in page and "Renews on May 10, 2026" in page
    assert "Nothing is due" in act(client, subscription, "pay", follow=True).text


def test_the_bank_wants_a_confirmation(world, client, user, monkeypatch):
    world.charges_answer(monkeypatch, DECLINED)
    subscription = world.paid(user)
    world.due()
    confirm = PaymentResult(Outcome.REQUIRES_ACTION, "pay_3", Decline("authentication", True), "https://bank.example/3")
    world.charges_answer(monkeypatch, confirm)
    client.force_login(user)

    response = act(client, subscription, "pay")

    assert (response.status_code, response["Location"]) == (303, "https://bank.example/3")


def test_without_a_card_paying_goes_to_the_page(world, client, user, monkeypatch):
    subscription = world.paid(user)
    Subscription.objects.filter(pk=subscription.pk).update(payment_method=None)
    world.due()
    monkeypatch.setattr("subscriptions.services.retry.checkout_open", world._open)
    client.force_login(user)

    assert act(client, subscription, "pay")["Location"].startswith("https://pay.example/")


def test_refunds_and_void_invoices_are_shown(world, client, user):
    world.paid(user)
    refund_all(world, PaymentTransaction.objects.get())
    client.force_login(user)

    page = client.get("/account").text

    assert "Refund" in page and "-$6.99" in page and "Refunded" in page


@pytest.mark.parametrize("what", ["cancel", "keep", "pay"])
def test_actions_take_a_post_of_somebody_known(world, client, user, what):
    subscription = world.paid(user)
    assert act(client, subscription, what)["Location"] == "/login?next=/account"

    client.force_login(user)

    assert client.get(f"/account/subscriptions/{subscription.pk}/{what}").status_code == 405
    assert client.post(f"/account/subscriptions/{user.pk}/{what}").status_code == 404
    assert client.post(f"/account/subscriptions/nonsense/{what}").status_code == 404


@pytest.mark.parametrize("status", Status)
def test_every_state_has_words(world, status):
    subscription = world.paid()
    fields = {"grace_until": NOW + timedelta(days=3), "trial_ends_at": NOW + MONTH, "suspended_at": NOW}
    for name, value in fields.items():
        setattr(subscription, name, value)
    row = subscriptions_of(subscription.user).get()
    for name, value in {**fields, "status": status}.items():
        setattr(row, name, value)

    card = subscription_card(row, "Europe/Berlin", NOW)

    assert card.status and card.note.endswith(".")
    assert bool(card.cancel) is (status not in (Status.CANCELLED, Status.EXPIRED))
    assert card.can_pay is (status in (Status.PAST_DUE, Status.SUSPENDED))


def test_a_renewal_under_way_and_a_grace_that_is_over(world, monkeypatch):
    world.charges_answer(monkeypatch, DECLINED)
    subscription = world.paid()
    assert card_of(subscription, NOW + MONTH).note == "Your renewal is under way."
    world.due()

    card = card_of(subscription, NOW + MONTH + timedelta(days=8))

    assert card.note == "We could not collect $6.99. Pay now to get your access back."
    assert "Access until" not in [fact.term for fact in card.facts]


def test_a_method_that_was_given_up_is_not_shown(world, client, user):
    world.paid(user)
    PaymentMethod.objects.update(is_active=False)
    Plan.objects.update(name="Renamed")
    client.force_login(user)

    page = client.get("/account").text

    assert "None. The provider keeps one" in page
    assert "Premium (monthly)" in page, "an invoice keeps the name it was issued with"
