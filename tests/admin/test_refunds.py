"""Refunding from the admin, against a sandbox that is asked over HTTP."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.contrib.messages import get_messages

from payflow.core.models import AuditEntry
from payments.models import PaymentTransaction
from subscriptions.models import Status, Subscription
from tests.admin.test_actions import confirmed, form
from tests.admin.world import customer

PAYMENTS = "/admin/payments/paymenttransaction/"


@pytest.fixture
def paid(shop, user) -> PaymentTransaction:
    """Paid on the sandbox's page; its webhook has arrived."""
    shop.buy(user)
    return PaymentTransaction.objects.get()


def refunds(payment):
    return list(payment.children.filter(type="refund"))


def test_a_full_refund_is_asked_reasoned_and_made(signed_in, paid):
    # Given a paid subscription, and finance before its payment
    finance = signed_in("finance")
    assert "refund_in_full_this" in finance.get(f"{PAYMENTS}{paid.pk}/change/").content.decode()

    # When the refund is asked for, and confirmed without a reason
    page = finance.get(f"{PAYMENTS}{paid.pk}/refund_in_full_this/")
    assert "10.00 USD goes back to" in page.content.decode()
    again = finance.post(PAYMENTS, confirmed("refund_in_full", paid, reason="  ", from_page="yes"))

    # Then the page asks again and nothing has moved
    assert again.status_code == 200
    assert "This field is required" in again.content.decode()
    assert refunds(paid) == []

    # And with a reason the money goes back once, however often the button is pressed
    for _ in range(2):
        answer = finance.post(PAYMENTS, confirmed("refund_in_full", paid, reason="Doubly charged", from_page="yes"))
        assert answer.url == f"{PAYMENTS}{paid.pk}/change/"
        assert str(list(get_messages(answer.wsgi_request))[-1]).endswith("10.00 USD refunded")
    (refund,) = refunds(paid)
    assert (refund.status, refund.amount, refund.reason) == ("completed", Decimal("10.00"), "Doubly charged")
    paid.refresh_from_db()
    assert paid.status == "refunded"
    assert Subscription.objects.get().status == Status.CANCELLED
    entry = AuditEntry.objects.get(action="payment.refund")
    assert entry.actor == f"user:{finance.user.pk}"
    assert entry.data["reason"] == "Doubly charged"
    page = finance.get(f"{PAYMENTS}{paid.pk}/change/").content.decode()
    assert "refund_in_full_this" not in page
    assert "Doubly charged" in page


def test_what_is_refunded_is_refused_the_second_time(signed_in, paid):
    support = signed_in("support")
    support.post(PAYMENTS, confirmed("refund_in_full", paid, reason="once"))
    second = {**confirmed("refund_in_full", paid, reason="twice"), "request_id": "0198c0de-0000-7000-8000-000000000002"}
    answer = support.post(PAYMENTS, second)
    assert "larger than what is left" in str(list(get_messages(answer.wsgi_request))[-1])
    assert len(refunds(paid)) == 1


@pytest.mark.parametrize(
    ("role", "may"),
    [("superuser", True), ("billing-admin", True), ("support", True), ("finance", True), ("viewer", False)],
)
def test_who_may_refund(signed_in, role, may):
    payment = customer().payment
    operator = signed_in(role)
    assert operator.get(f"{PAYMENTS}{payment.pk}/refund_in_full_this/").status_code == (200 if may else 403)
    page = operator.post(PAYMENTS, form("refund_in_full", payment))
    assert ("goes back to" in page.content.decode()) is may
    assert ('value="refund_in_full"' in operator.get(PAYMENTS).content.decode()) is may


def test_a_viewers_confirmation_moves_nothing(signed_in):
    payment = customer().payment
    for role in ("viewer", "customer"):
        signed_in(role).post(PAYMENTS, confirmed("refund_in_full", payment, reason="mine"))
    assert refunds(payment) == []
