"""E-mails: one for each thing that happened, to those who can receive them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import mail

from payflow.core import clock
from payflow.core.models import OutboxEvent, OutboxHandling
from payflow.core.outbox import outbox_drain
from payflow.core.registry import registered
from payments.models import PaymentTransaction
from payments.services.tax_rates import tax_rate_create
from plans.models import Plan
from portal import emails
from subscriptions.models import Checkout, Status, Subscription
from tests.conftest import Api
from tests.factories import UserFactory
from tests.flows import DAY, START, paid
from tests.payments.credit_support import give
from tests.usage.metered import metered_plan, use

pytestmark = pytest.mark.django_db
#: States that a mail would tell nothing about, or that no service enters yet.
WITHOUT_MAIL = {Status.PENDING}
#: What is told without a change of state.
NEWS = {
    "renewed",
    "trial_ending",
    "cancel_scheduled",
    "change_scheduled",
    "plan_changed",
    "move_offered",
    "usage_invoiced",
    "usage_unpaid",
}


def posted(*, later: timedelta = timedelta(0)) -> list[mail.EmailMessage]:
    """Drains the outbox, `later` than now by real time, and answers the mails since the last time."""
    wall = clock.wall() + later
    while outbox_drain(now=clock.now(), wall=wall):
        pass
    assert not OutboxHandling.objects.filter(handler="emails").exclude(status="done").exists()
    letters = list(mail.outbox)
    mail.outbox.clear()
    return letters


def subjects() -> list[str]:
    return [letter.subject for letter in posted()]


def ask(subscription: Subscription, what: str) -> None:
    answer = Api().as_user(subscription.user).post(f"/api/v1/subscriptions/{subscription.pk}/{what}")
    assert answer.status_code == 200, answer.content


def cancel(subscription: Subscription) -> None:
    assert Api().as_user(subscription.user).delete(f"/api/v1/subscriptions/{subscription.pk}").status_code == 200


def test_every_state_is_decided():
    told = {name.removeprefix("subscription.") for name in emails.TYPES if name.startswith("subscription.")}

    assert told - NEWS == set(Status.values) - WITHOUT_MAIL
    assert registered.outbox_handlers["emails"].types == emails.TYPES


def test_a_first_payment(plans):
    subscription, _ = paid(UserFactory(name="Ann", email="ann@example.com"), plans["premium"])

    [letter] = posted()

    assert letter.subject == "Your Premium subscription is active"
    assert letter.to == ["ann@example.com"]
    assert letter.body == (
        "Hello Ann,\n\nyour Premium subscription is active. Thank you for your payment.\n\n"
        "You have access until Feb 29, 2040. It then renews for $6.99 per month, unless you cancel before.\n\n"
        "--\nYour account: http://127.0.0.1:8000/account\n"
    )
    event = OutboxEvent.objects.get(type="subscription.active", subject_id=subscription.pk)
    assert letter.extra_headers["Message-ID"] == f"<{event.pk}@127.0.0.1>"


def test_a_free_plan(plans, user):
    assert Api().as_user(user).post("/api/v1/subscriptions/", {"plan_id": "free"}).status_code == 201

    [letter] = posted()

    assert letter.subject == "Your Free subscription is active"
    assert "It is free" in letter.body


def test_a_paid_plan_that_replaces_a_free_one_is_one_mail(shop, plans, user):
    shop.subscribe(user, plans["free"])
    assert subjects() == ["Your Free subscription is active"]
    shop.buy(user, plans["premium"])

    assert subjects() == ["Your Premium subscription is active"]


def test_orders_that_come_to_nothing_are_not_told(shop, plans, user):
    shop.checkout(user, plans["premium"])
    cancel(shop.checkout(user, plans["pro"]).subscription)
    last = shop.checkout(user, plans["premium"]).subscription
    shop.run(START + 2 * DAY)

    assert posted() == []
    last.refresh_from_db()
    assert last.status == Status.EXPIRED


def test_a_trial(shop, plans, user):
    Plan.objects.filter(code="premium").update(trial_days=14)
    shop.pay(shop.checkout(user, plans["premium"]))

    [letter] = posted()

    assert letter.subject == "Your Premium trial has begun"
    assert "until Feb 14, 2040" in letter.body and "you pay $6.99 per month" in letter.body


@pytest.mark.parametrize(
    ("inclusive", "told"), [(False, "for $6.99 per month plus VAT 8.25 %,"), (True, "for $6.99 per month,")]
)
def test_a_price_to_come_names_the_tax_on_top(plans, inclusive, told):
    paid(UserFactory(country="NL"), plans["premium"])
    tax_rate_create(country="NL", name="VAT", percent=Decimal("8.25"), inclusive=inclusive, actor="test")

    [letter] = posted()

    assert told in letter.body


def test_the_end_of_a_trial_is_one_mail(shop, plans, user):
    Plan.objects.filter(code="premium").update(trial_days=14)
    shop.pay(shop.checkout(user, plans["premium"]))
    posted()
    shop.run(START + 14 * DAY)

    assert subjects() == ["Your Premium subscription was renewed"]


def test_a_renewal(shop, plans, user):
    subscription = shop.buy(user, plans["premium"])
    posted()
    shop.run(subscription.end_date)

    [letter] = posted()

    assert letter.subject == "Your Premium subscription was renewed"
    assert "your payment of $6.99 for Premium (invoice INV-2040-" in letter.body
    assert "until Mar 31, 2040" in letter.body


def test_a_failed_renewal_and_its_recovery_are_one_mail_each(shop, plans, user):
    subscription = shop.buy(user, plans["premium"], card="decline")
    posted()
    shop.run(subscription.end_date)
    [letter] = posted()
    assert letter.subject == "Please pay for your Premium subscription"
    assert "You keep access until Mar 7, 2040." in letter.body
    assert f"Please pay here:\n{shop.url}/account\n" in letter.body

    shop.card(subscription, "ok")
    ask(subscription, "retry-payment")
    shop.drain()

    assert subjects() == ["Your Premium subscription was renewed"]


@pytest.mark.parametrize("opened_by", ["errand", "mail"])
def test_the_payment_page_is_in_the_mail(shop, plans, user, opened_by):
    subscription = shop.buy(user, plans["premium"])
    shop.no_card(subscription)
    posted()
    if opened_by == "mail":
        shop.unreachable()
    shop.at(subscription.end_date)
    shop.due()
    page = Checkout.objects.get(subscription=subscription, purpose=Checkout.Purpose.INVOICE)
    assert bool(page.url) is (opened_by == "errand")
    shop.reachable()
    shop.drain()

    [letter] = posted()

    page.refresh_from_db()
    assert letter.subject == "Please pay for your Premium subscription"
    assert page.url.startswith(f"{shop.url}/sandbox/checkout/")
    assert f"Please pay here:\n{page.url}\n" in letter.body


def test_a_page_that_cannot_be_opened_yet_does_not_hold_the_mail(shop, plans, user):
    subscription = shop.buy(user, plans["premium"])
    shop.no_card(subscription)
    posted()
    shop.unreachable()
    shop.run(subscription.end_date)

    [letter] = posted()

    assert letter.subject == "Please pay for your Premium subscription"
    assert f"Please pay here:\n{shop.url}/account\n" in letter.body


def test_nobody_is_asked_for_what_he_has_paid(shop, plans, user):
    subscription = shop.buy(user, plans["premium"], card="decline")
    posted()
    shop.at(subscription.end_date)
    shop.due()
    shop.card(subscription, "ok")
    ask(subscription, "retry-payment")
    shop.drain()

    assert subjects() == ["Your Premium subscription was renewed"]


def test_a_suspension_and_giving_up(shop, plans, user):
    subscription = shop.buy(user, plans["premium"], card="stolen")
    shop.run(subscription.end_date)
    posted()
    shop.run(subscription.end_date + 7 * DAY)
    assert subjects() == ["Your Premium subscription is on hold"]

    shop.run(subscription.end_date + 37 * DAY)

    [letter] = posted()
    assert letter.subject == "Your Premium subscription has ended"
    assert "because it was not paid for" in letter.body


def test_the_end_of_what_was_cancelled(shop, plans, user):
    subscription, _ = paid(user, plans["premium"])
    cancel(subscription)
    posted()
    shop.run(subscription.end_date)

    [letter] = posted()

    assert letter.subject == "Your Premium subscription has ended"
    assert "because" not in letter.body


@pytest.mark.parametrize("stored", [True, False])
def test_an_invoice_of_usage_says_what_for_and_how_it_is_paid(shop, user, client, stored):
    subscription = shop.buy(user, metered_plan(name="Writer"))
    use(user, 12, at=START)
    if not stored:
        shop.no_card(subscription)
    shop.at(START + DAY)
    assert Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}?when=now").status_code == 200
    posted()
    shop.sweep("usage_invoices")

    [letter] = posted()

    [invoice] = subscription.invoices.filter(reason="usage")
    assert letter.subject == f"Your invoice {invoice.number} for what you used of Writer"
    assert "Writer: words, 12 used: $1.00\n" in letter.body
    assert "It comes to $1.00." in letter.body
    assert ("stored payment method" in letter.body) is stored
    assert ("Please pay here:\nhttp" in letter.body) is not stored
    # The page that it names lets it be paid.
    client.force_login(user)
    assert f'action="/account/subscriptions/{subscription.pk}/pay"' in client.get("/account").text


@pytest.mark.parametrize("how", ["credit", "card", "given up"])
def test_an_invoice_of_usage_that_nobody_owes_any_more_asks_for_nothing(shop, user, client, how):
    subscription = shop.buy(user, metered_plan())
    use(user, 12, at=START)
    if how == "given up":
        shop.no_card(subscription)
    shop.at(START + DAY)
    assert Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}?when=now").status_code == 200
    posted()
    if how == "credit":
        give(user, 5)
    shop.sweep("usage_invoices")
    if how == "given up":
        shop.at(START + 60 * DAY)
    shop.sweep("usage_charges")

    letters = posted()

    if how == "given up":
        assert letters == []
    else:
        assert "It is paid" in letters[0].body and "Please pay" not in letters[0].body
    client.force_login(user)
    assert '/pay"' not in client.get("/account").text


def test_a_payment_for_usage_that_fails_asks_once_for_another(shop, user):
    subscription = shop.buy(user, metered_plan(name="Writer"), card="decline")
    use(user, 12, at=START)
    shop.at(START + DAY)
    assert Api().as_user(user).delete(f"/api/v1/subscriptions/{subscription.pk}?when=now").status_code == 200
    shop.sweep("usage_invoices")
    posted()
    shop.sweep("usage_charges")

    [letter] = posted()

    [invoice] = subscription.invoices.filter(reason="usage")
    assert letter.subject == f"Please pay your invoice {invoice.number} for what you used of Writer"
    assert "we could not collect $1.00" in letter.body
    assert f"Please pay here:\n{shop.url}/account\n" in letter.body
    shop.at(START + 4 * DAY)
    assert shop.sweep("usage_charges") == 1
    assert posted() == []


def test_a_full_refund_is_one_mail(shop, plans, user):
    shop.buy(user, plans["premium"])
    posted()
    shop.refund(PaymentTransaction.objects.get())

    [letter] = posted()

    assert letter.subject == "Your refund of $6.99"
    assert "has ended with it" in letter.body


def test_a_partial_refund(shop, plans, user):
    shop.buy(user, plans["premium"])
    posted()
    shop.refund(PaymentTransaction.objects.get(), amount="2.00")

    [letter] = posted()

    assert letter.subject == "Your refund of $2.00"
    assert "ended" not in letter.body


def test_nobody_is_asked_to_pay_because_he_disputes_a_payment(shop, plans, user, settings):
    settings.CHARGEBACK_OPENED = "suspend"
    shop.buy(user, plans["premium"])
    charge = PaymentTransaction.objects.get()
    posted()

    shop.dispute_ends(shop.dispute(charge), "won")
    lost = shop.dispute(charge)
    assert Subscription.objects.get().status == "suspended"
    assert posted() == []

    shop.dispute_ends(lost, "lost")
    assert subjects() == ["Your Premium subscription has ended"]


@pytest.mark.parametrize("changes", [{"email": "x1@supabase.invalid"}, {"is_active": False}])
def test_who_cannot_be_reached_gets_none(plans, changes):
    paid(UserFactory(**changes), plans["premium"])

    assert posted() == []


def test_names_are_text_in_a_mail(plans):
    Plan.objects.filter(code="premium").update(name="Tom & Jerry's\nBcc: all")
    paid(UserFactory(name="<Ann> & Bob"), plans["premium"])

    [letter] = posted()

    assert letter.subject == "Your Tom & Jerry's"
    assert letter.body.startswith("Bcc: all subscription is active")


def test_a_failing_mail_server_is_tried_again(plans, user, settings):
    paid(user, plans["premium"])
    works, settings.EMAIL_BACKEND = settings.EMAIL_BACKEND, "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9  # nobody listens

    outbox_drain(now=clock.now(), wall=clock.wall())

    waiting = OutboxHandling.objects.get(handler="emails", event__type="subscription.active")
    assert (waiting.status, waiting.attempts) == ("pending", 1)
    assert "Connection refused" in waiting.error
    settings.EMAIL_BACKEND = works
    [letter] = posted(later=timedelta(minutes=1))
    assert letter.subject == "Your Premium subscription is active"
