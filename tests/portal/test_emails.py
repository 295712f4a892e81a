"""E-mails: one for each thing that happened, to those who can receive them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail

from payflow.core.errors import ProviderUnavailable
from payflow.core.models import OutboxEvent, OutboxHandling
from payflow.core.outbox import outbox_drain
from payflow.core.registry import registered
from payments.models import PaymentTransaction
from plans.models import Plan
from portal import emails
from subscriptions.models import Checkout, Status, Subscription
from subscriptions.services.cancel import subscription_cancel
from subscriptions.services.retry import payment_retry
from tests.factories import UserFactory
from tests.portal.world import DECLINED, SUCCEEDED, refund_all

pytestmark = pytest.mark.django_db
#: States that a mail would tell nothing about, or that no service enters yet.
WITHOUT_MAIL = {Status.PENDING, Status.PAUSED}


@pytest.fixture(autouse=True)
def _no_other_page(monkeypatch, world):
    monkeypatch.setattr(emails, "checkout_open", world._open)


def posted() -> list[str]:
    """Drains the outbox and answers the new mails' subjects."""
    mail.outbox.clear()
    due = max(OutboxHandling.objects.values_list("next_attempt_at", flat=True)) + timedelta(hours=12)
    while outbox_drain(now=due, wall=due):
        pass
    assert not OutboxHandling.objects.filter(handler="emails").exclude(status="done").exists()
    return [message.subject for message in mail.outbox]


def test_every_state_is_decided():
    told = {name.removeprefix("subscription.") for name in emails.TYPES if name.startswith("subscription.")}

    assert told - {"renewed"} == set(Status.values) - WITHOUT_MAIL
    assert registered.outbox_handlers["emails"].types == emails.TYPES


def test_a_first_payment(world):
    subscription = world.paid(UserFactory(name="Ann", email="ann@example.com"))

    assert posted() == ["Your Premium subscription is active"]
    [letter] = mail.outbox
    assert letter.to == ["ann@example.com"]
    assert letter.body == (
        "Hello Ann,\n\nyour Premium subscription is active. Thank you for your payment.\n\n"
        "You have access until Apr 10, 2026. It then renews for $6.99 per month, unless you cancel before.\n\n"
        "--\nYour account: http://127.0.0.1:8000/account\n"
    )
    event = OutboxEvent.objects.get(type="subscription.active", subject_id=subscription.pk)
    assert letter.extra_headers["Message-ID"] == f"<{event.pk}@127.0.0.1>"


def test_a_free_plan(world):
    world.order(plan="free")

    assert posted() == ["Your Free subscription is active"]
    assert "It is free" in mail.outbox[0].body


def test_a_paid_plan_that_replaces_a_free_one_is_one_mail(world, user):
    world.order(user, "free")
    posted()
    world.paid(user)

    assert posted() == ["Your Premium subscription is active"]


def test_orders_that_come_to_nothing_are_not_told(world, user):
    world.order(user, "premium")
    world.order(user, "pro")
    subscription_cancel(
        subscription_id=Subscription.objects.get(status=Status.PENDING).pk, at_once=False, actor="t", now=world.now
    )
    world.order(user, "premium")
    world.due(after=timedelta(days=2))

    assert posted() == []


def test_a_trial(world, user):
    Plan.objects.filter(code="premium").update(trial_days=14)
    subscription = world.order(user)
    world.report(subscription.checkouts.get(), "subscription.activated", provider_payment_id=None)

    assert posted() == ["Your Premium trial has begun"]
    assert "until Mar 24, 2026" in mail.outbox[0].body and "you pay $6.99 per month" in mail.outbox[0].body


def test_the_end_of_a_trial_is_one_mail(world, user, monkeypatch):
    world.charges_answer(monkeypatch, SUCCEEDED)
    Plan.objects.filter(code="premium").update(trial_days=14)
    world.report(world.order(user).checkouts.get(), "subscription.activated", provider_payment_id=None)
    posted()
    world.due(after=timedelta(days=14))

    assert posted() == ["Your Premium subscription was renewed"]


def test_a_renewal(world, monkeypatch):
    world.charges_answer(monkeypatch, SUCCEEDED)
    world.paid()
    posted()
    world.due()

    assert posted() == ["Your Premium subscription was renewed"]
    assert "your payment of $6.99 for Premium (invoice INV-2026-" in mail.outbox[0].body
    assert "until May 10, 2026" in mail.outbox[0].body


def test_a_failed_renewal_and_its_recovery_are_one_mail_each(world, monkeypatch):
    world.charges_answer(monkeypatch, DECLINED)
    subscription = world.paid()
    posted()
    world.due()
    assert posted() == ["Please pay for your Premium subscription"]
    assert "You keep access until Apr 17, 2026." in mail.outbox[0].body
    assert "Please pay here:\nhttp://127.0.0.1:8000/account\n" in mail.outbox[0].body

    world.charges_answer(monkeypatch, SUCCEEDED)
    payment_retry(subscription_id=subscription.pk, actor="t", now=world.now)

    assert posted() == ["Your Premium subscription was renewed"]


def test_the_payment_page_is_in_the_mail(world):
    subscription = world.paid()
    Subscription.objects.update(payment_method=None)
    posted()
    world.due()

    page = Checkout.objects.get(subscription=subscription, purpose=Checkout.Purpose.INVOICE)
    assert posted() == ["Please pay for your Premium subscription"]
    assert f"https://pay.example/{page.order_ref}" in mail.outbox[0].body


def test_a_page_that_cannot_be_opened_yet_does_not_hold_the_mail(world, monkeypatch):
    def silent(**_):
        raise ProviderUnavailable

    world.paid()
    Subscription.objects.update(payment_method=None)
    posted()
    world.due()
    Checkout.objects.filter(purpose=Checkout.Purpose.INVOICE).update(url="")
    monkeypatch.setattr(emails, "checkout_open", silent)

    assert posted() == ["Please pay for your Premium subscription"]
    assert "http://127.0.0.1:8000/account" in mail.outbox[0].body


def test_nobody_is_asked_for_what_he_has_paid(world, monkeypatch):
    world.charges_answer(monkeypatch, DECLINED)
    subscription = world.paid()
    posted()
    world.due()
    world.charges_answer(monkeypatch, SUCCEEDED)
    payment_retry(subscription_id=subscription.pk, actor="t", now=world.now)

    assert posted() == ["Your Premium subscription was renewed"]


def test_a_suspension_and_giving_up(world, monkeypatch):
    world.charges_answer(monkeypatch, DECLINED)
    world.paid()
    world.due()
    posted()
    world.due(after=timedelta(days=28))
    assert posted() == ["Your Premium subscription is on hold"]

    world.due(after=timedelta(days=31))

    assert posted() == ["Your Premium subscription has ended"]
    assert "because it was not paid for" in mail.outbox[0].body


def test_the_end_of_what_was_cancelled(world):
    subscription = world.paid()
    subscription_cancel(subscription_id=subscription.pk, at_once=False, actor="t", now=world.now)
    posted()
    world.due()

    assert posted() == ["Your Premium subscription has ended"]
    assert "because" not in mail.outbox[0].body


def test_a_full_refund_is_one_mail(world):
    world.paid()
    posted()
    refund_all(world, PaymentTransaction.objects.get())

    assert posted() == ["Your refund of $6.99"]
    assert "has ended with it" in mail.outbox[0].body


def test_a_partial_refund(world):
    world.paid()
    posted()
    refund_all(world, PaymentTransaction.objects.get(), amount="2.00")

    assert posted() == ["Your refund of $2.00"]
    assert "ended" not in mail.outbox[0].body


@pytest.mark.parametrize("changes", [{"email": "x1@supabase.invalid"}, {"is_active": False}])
def test_who_cannot_be_reached_gets_none(world, changes):
    world.paid(UserFactory(**changes))

    assert posted() == []


def test_names_are_text_in_a_mail(world):
    Plan.objects.filter(code="premium").update(name="Tom & Jerry's\nBcc: all")
    world.paid(UserFactory(name="<Ann> & Bob"))

    assert posted() == ["Your Tom & Jerry's"]
    assert mail.outbox[0].body.startswith("Bcc: all subscription is active")


def test_a_failing_mail_server_is_tried_again(world, monkeypatch):
    world.paid()
    due = max(OutboxHandling.objects.values_list("next_attempt_at", flat=True))

    def refuse(*_args, **_kwargs):
        raise OSError("connection refused")

    with monkeypatch.context() as broken:
        broken.setattr("django.core.mail.EmailMessage.send", refuse)
        outbox_drain(now=due, wall=due)
    waiting = OutboxHandling.objects.get(handler="emails", event__type="subscription.active")

    assert (waiting.status, waiting.attempts) == ("pending", 1)
    assert "connection refused" in waiting.error
    assert posted() == ["Your Premium subscription is active"]
