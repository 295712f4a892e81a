"""POST payments/ and retry-payment: an open invoice is paid with a stored method, once."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from payments.models import Invoice, PaymentTransaction
from providers.sandbox.models import SandboxPayment
from subscriptions.models import Checkout
from tests.conftest import Api
from tests.factories import UserFactory
from tests.flows import charges, fresh, invoices, ledger, nothing_changes, paid, refused
from tests.providers.sandbox_support import at_once

END = datetime(2040, 2, 29, 10, 0, tzinfo=UTC)
NEXT = datetime(2040, 3, 31, 10, 0, tzinfo=UTC)
URL = "/api/v1/payments/"


@pytest.fixture
def unpaid(shop, user):
    """A subscription in dunning whose open invoice nobody has paid."""
    subscription = shop.buy(user, card="decline")
    shop.run(END)
    assert fresh(subscription).status == "past_due"
    return subscription


def the_invoice(subscription) -> Invoice:
    return subscription.invoices.get(status="open")


def test_an_open_invoice_is_paid_with_the_stored_method(shop, user, unpaid):
    invoice = the_invoice(unpaid)
    shop.card(unpaid, "ok")

    answer = Api().as_user(user).post(URL, {"invoice_id": str(invoice.pk)})

    assert answer.status_code == 201
    payment = answer.json()["data"]
    assert (payment["status"], payment["attempt"], payment["invoice_id"]) == ("completed", 2, str(invoice.pk))
    assert '"amount":10.00' in answer.content.decode().replace(" ", "")
    assert SandboxPayment.objects.get(status="succeeded", kind="charge").ref == payment["provider_txn_id"]
    assert (fresh(unpaid).status, fresh(unpaid).end_date, fresh(invoice).status) == ("active", NEXT, "paid")
    assert ledger() == {"provider_clearing": 20, "revenue": -20}
    # and paying it again is refused
    with nothing_changes():
        refused(Api().as_user(user).post(URL, {"invoice_id": str(invoice.pk)}), 409, "INVALID_TRANSITION")
        retry = Api().as_user(user).post(f"/api/v1/subscriptions/{unpaid.pk}/retry-payment")
        refused(retry, 409, "INVALID_TRANSITION")


def test_a_declined_payment_is_402_and_its_attempt_is_kept(shop, user, unpaid):
    client, invoice = Api().as_user(user), the_invoice(unpaid)

    for attempt, path, body in (
        (2, URL, {"invoice_id": str(invoice.pk)}),
        (3, f"/api/v1/subscriptions/{unpaid.pk}/retry-payment", {}),
    ):
        details = refused(client.post(path, body), 402, "PAYMENT_DECLINED")
        row = PaymentTransaction.objects.get(pk=details["id"])
        assert (row.status, row.attempt, details["reason"], details["recoverable"]) == (
            "failed",
            attempt,
            "insufficient_funds",
            True,
        )
    # then the schedule of retries stands as it was
    assert (fresh(unpaid).dunning_step, fresh(unpaid).next_action_at.date().isoformat()) == (0, "2040-03-02")
    assert ledger() == {"provider_clearing": 10, "receivable": 10, "revenue": -20}


def test_while_an_outcome_is_unknown_nobody_pays_twice(shop, user, unpaid):
    client, body = Api().as_user(user), {"invoice_id": str(the_invoice(unpaid).pk)}
    shop.card(unpaid, "timeout")

    details = refused(client.post(URL, body), 503, "PROVIDER_UNAVAILABLE")

    assert PaymentTransaction.objects.get(pk=details["id"]).status == "pending"
    with nothing_changes():
        refused(client.post(URL, body), 409, "PAYMENT_IN_PROGRESS")
        refused(client.post(f"/api/v1/subscriptions/{unpaid.pk}/retry-payment"), 409, "PAYMENT_IN_PROGRESS")
    # when the news arrives
    shop.drain()
    assert charges(unpaid)[-1] == ("completed", 2, "")
    assert (fresh(unpaid).status, invoices(unpaid)) == ("active", ["paid", "paid"])
    assert SandboxPayment.objects.filter(kind="charge", status="succeeded").count() == 1
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_the_same_request_after_no_answer_resumes_the_same_charge(shop, user, unpaid):
    client, body, key = Api().as_user(user), {"invoice_id": str(the_invoice(unpaid).pk)}, {"Idempotency-Key": "pay-1"}
    shop.card(unpaid, "timeout")
    details = refused(client.post(URL, body, headers=key), 503, "PROVIDER_UNAVAILABLE")

    again = client.post(URL, body, headers=key)

    assert (again.status_code, again.json()["data"]["id"]) == (201, details["id"])
    assert client.post(URL, body, headers=key).json() == again.json()
    assert SandboxPayment.objects.filter(kind="charge", status="succeeded").count() == 1
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


@pytest.mark.parametrize("by", ["its invoice", "a retry"])
def test_eight_at_once_pay_once(shop, user, unpaid, by):
    body = {"invoice_id": str(the_invoice(unpaid).pk)} if by == "its invoice" else {}
    url = URL if by == "its invoice" else f"/api/v1/subscriptions/{unpaid.pk}/retry-payment"
    shop.card(unpaid, "ok")

    def pay() -> tuple[int, str]:
        answer = Api().as_user(user).post(url, body)
        return answer.status_code, answer.json()["code"] or ""

    answers = at_once(pay, 8)

    assert sorted(status for status, _ in answers)[0] == (201 if by == "its invoice" else 200)
    assert [code for _, code in answers].count("") == 1
    assert {code for _, code in answers} <= {"", "PAYMENT_IN_PROGRESS", "INVALID_TRANSITION"}
    assert charges(unpaid) == [("completed", 1, ""), ("failed", 1, "insufficient_funds"), ("completed", 2, "")]
    assert SandboxPayment.objects.filter(kind="charge", status="succeeded").count() == 1
    assert ledger() == {"provider_clearing": 20, "revenue": -20}


def test_another_of_ones_own_methods_pays_and_stays(shop, user, unpaid):
    method = shop.second_card(user)
    theirs = shop.second_card(UserFactory())
    client, invoice = Api().as_user(user), the_invoice(unpaid)
    with nothing_changes():
        body = {"invoice_id": str(invoice.pk), "payment_method": str(theirs.pk)}
        assert list(refused(client.post(URL, body), 400, "VALIDATION_ERROR")) == ["payment_method"]

    answer = client.post(URL, {"invoice_id": str(invoice.pk), "payment_method": str(method.pk)})

    assert answer.status_code == 201
    assert fresh(unpaid).payment_method == method


def test_a_hard_decline_on_request_ends_the_schedule(shop, user, unpaid):
    shop.card(unpaid, "stolen")
    answer = Api().as_user(user).post(URL, {"invoice_id": str(the_invoice(unpaid).pk)})
    assert refused(answer, 402, "PAYMENT_DECLINED")["recoverable"] is False
    assert fresh(unpaid).next_action_at == fresh(unpaid).grace_until


def test_a_payment_that_awaits_its_payer_says_where(shop, user, unpaid):
    shop.card(unpaid, "action")
    details = refused(
        Api().as_user(user).post(URL, {"invoice_id": str(the_invoice(unpaid).pk)}), 402, "PAYMENT_DECLINED"
    )
    assert details["reason"] == "requires_action"
    assert details["action_url"].startswith(f"{shop.url}/sandbox/checkout/")


def test_retry_payment_where_nothing_can_be_charged_answers_the_page(shop, user):
    subscription = shop.buy(user, provider="lava")
    shop.run(datetime(2040, 3, 1, 10, 0, tzinfo=UTC))
    link, client = Checkout.objects.get(purpose="invoice"), Api().as_user(user)

    answer = client.post(f"/api/v1/subscriptions/{subscription.pk}/retry-payment")

    assert answer.status_code == 200
    assert answer.json()["data"] == {"payment": None, "checkout_url": link.url}
    assert Checkout.objects.filter(purpose="invoice").count() == 1
    # and its invoice cannot be charged either
    with nothing_changes():
        body = {"invoice_id": str(link.invoice_id)}
        assert list(refused(client.post(URL, body), 400, "VALIDATION_ERROR")) == ["payment_method"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "invoice_id"),
        ({"invoice_id": "INV-2040-000001"}, "invoice_id"),
        ({"invoice_id": None}, "invoice_id"),
        ({"invoice_id": "00000000-0000-4000-8000-000000000000"}, "invoice_id"),
        ({"invoice_id": "theirs"}, "invoice_id"),
        ({"invoice_id": "mine", "payment_method": "visa"}, "payment_method"),
    ],
    ids=str,
)
def test_a_bad_payment_is_refused(api, user, other_user, body, field):
    ids = {"mine": paid(user)[1].invoice_id, "theirs": paid(other_user)[1].invoice_id}
    body = {name: str(ids.get(value, value)) if value is not None else None for name, value in body.items()}

    with nothing_changes():
        details = refused(api.as_user(user).post(URL, body), 400, "VALIDATION_ERROR")

    assert list(details) == [field]


def test_the_amount_never_comes_from_the_client(shop, user, unpaid):
    shop.card(unpaid, "ok")
    raw = json.dumps({"invoice_id": str(the_invoice(unpaid).pk), "amount": 0.01, "currency": "JPY"})
    answer = Api().as_user(user).generic("POST", URL, raw, content_type="application/json")
    assert (answer.status_code, sorted(answer.json()["details"])) == (400, ["amount", "currency"])
    assert not PaymentTransaction.objects.filter(amount=Decimal("0.01")).exists()
