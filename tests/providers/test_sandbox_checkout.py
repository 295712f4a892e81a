"""The hosted page, paid by real HTTP: once, whatever is clicked how often."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db.models import F

from payflow.core import clock
from providers.base import EventType, LinkRequest, RequestRefused
from providers.sandbox.models import SandboxCheckout, SandboxDelivery, SandboxMethod, SandboxPayment
from tests.providers.sandbox_support import KEY, OTHER_KEY, Sandbox, at_once, look, press

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sandbox(live_server: Any, settings: Any) -> Sandbox:
    return Sandbox.running(live_server, settings)


def test_the_same_key_is_the_same_checkout(sandbox: Sandbox) -> None:
    first = sandbox.provider.create_subscription(sandbox.request())
    again = sandbox.provider.create_subscription(sandbox.request(success_url="https://shop.example/elsewhere"))
    other = sandbox.provider.create_subscription(sandbox.request(idempotency_key="checkout-2"))

    assert first == again
    assert first.checkout_url != other.checkout_url
    assert first.status == "pending"
    assert first.expires_at is not None
    assert timedelta(hours=23) < first.expires_at - clock.wall() <= timedelta(hours=24)
    assert urlsplit(str(first.checkout_url)).path.startswith("/sandbox/checkout/")


def test_another_purchase_under_the_key_is_refused(sandbox: Sandbox) -> None:
    sandbox.open_checkout()

    with pytest.raises(RequestRefused):
        sandbox.open_checkout(amount=Decimal("1.00"))
    assert SandboxCheckout.objects.get().amount == Decimal("9.90")


def test_eight_requests_of_one_key_at_once_open_one_checkout(sandbox: Sandbox) -> None:
    urls = at_once(sandbox.open_checkout, 8)

    assert len(set(urls)) == SandboxCheckout.objects.count() == 1


def test_the_page_shows_what_is_bought(sandbox: Sandbox) -> None:
    url = sandbox.open_checkout(metadata={"plan_name": "<Pro>"})

    for address in (url, f"{url}/"):
        page = look(address)
        text = page.body.decode()
        assert page.status == 200
        for shown in ("SANDBOX", "&lt;Pro&gt;", "9.90 USD", "per month", "order-1", 'value="timeout"', "checkout.css"):
            assert shown in text
        assert "style=" not in text and "<script" not in text
    assert SandboxPayment.objects.count() == 0


def test_paying_takes_the_money_stores_the_card_and_tells(sandbox: Sandbox) -> None:
    answer = press(sandbox.open_checkout(), outcome="pay", card="stolen")

    assert (answer.status, answer.headers["location"]) == (303, "https://shop.example/paid")
    payment, method = SandboxPayment.objects.get(), SandboxMethod.objects.get()
    [event] = sandbox.deliver()
    assert event.type is EventType.PAYMENT_SUCCEEDED
    assert (event.provider_payment_id, event.amount, event.currency) == (payment.ref, Decimal("9.90"), "USD")
    assert (event.order_ref, event.idempotency_key) == ("order-1", "checkout-1")
    assert (event.user_ref, event.plan_ref) == ("user-1", "pro")
    assert event.method is not None
    assert (event.method.method_ref, event.method.customer_ref) == (method.ref, method.customer_ref)
    assert (event.method.brand, event.method.last4, method.behaviour) == ("mastercard", "9979", "stolen")


def test_a_lost_delivery_of_a_paid_checkout_can_be_asked_for(sandbox: Sandbox) -> None:
    url = sandbox.open_checkout()
    assert sandbox.provider.find_payment("checkout-1", clock.wall()) is None
    press(url, outcome="decline")
    assert sandbox.provider.find_payment("checkout-1", clock.wall()) is None
    press(url, outcome="pay")

    found = sandbox.provider.find_payment("checkout-1", clock.wall())
    assert found is not None and found.outcome == "succeeded"


def test_the_same_user_is_the_same_customer(sandbox: Sandbox) -> None:
    press(sandbox.open_checkout(), outcome="pay")
    press(sandbox.open_checkout(idempotency_key="checkout-2"), outcome="pay")
    press(sandbox.open_checkout(idempotency_key="checkout-3", user_ref="user-2"), outcome="pay")

    first, second, third = [event.method.customer_ref for event in sandbox.deliver() if event.method]
    assert first == second != third


def test_a_trial_takes_no_money_but_the_card(sandbox: Sandbox) -> None:
    url = sandbox.open_checkout(trial_days=14)
    assert "14 days free" in look(url).body.decode()

    assert press(url, outcome="pay").status == 303
    [event] = sandbox.deliver()
    assert (event.type, event.order_ref) == (EventType.SUBSCRIPTION_ACTIVATED, "order-1")
    assert (event.amount, event.provider_payment_id) == (None, None)
    assert event.method is not None
    assert SandboxPayment.objects.count() == 0


def test_a_link_is_paid_by_hand(sandbox: Sandbox) -> None:
    link = LinkRequest(
        user_ref="user-1",
        plan_ref="pro",
        order_ref="invoice-7",
        amount=Decimal("1500"),
        currency="JPY",
        email="ann@example.com",
        success_url="https://shop.example/paid",
        fail_url="",
        cancel_url="https://shop.example/left",
        hook_url=f"{sandbox.hooks.url}/webhooks/sandbox",
        idempotency_key="link-1",
    )
    url = sandbox.provider.create_payment_link(link).checkout_url
    assert url is not None and "1500 JPY" in look(url).body.decode()

    press(url, outcome="pay")
    [event] = sandbox.deliver()
    assert (event.order_ref, str(event.amount), event.currency) == ("invoice-7", "1500", "JPY")


def test_a_declined_checkout_stays_open(sandbox: Sandbox) -> None:
    url = sandbox.open_checkout()

    declined = press(url, outcome="decline")
    assert declined.status == 200
    assert "The card was declined" in declined.body.decode()
    [failed] = sandbox.deliver()
    assert (failed.type, failed.reason, failed.recoverable) == (EventType.PAYMENT_FAILED, "card_declined", True)
    assert failed.order_ref == "order-1"

    press(url, outcome="decline")
    assert press(url, outcome="pay").status == 303
    events = sandbox.deliver()
    assert [event.type for event in events] == [EventType.PAYMENT_FAILED, EventType.PAYMENT_SUCCEEDED]
    assert len({event.provider_payment_id for event in [failed, *events]}) == 3


def test_leaving_changes_nothing(sandbox: Sandbox) -> None:
    url = sandbox.open_checkout()

    left = press(url, outcome="abandon")
    assert (left.status, left.headers["location"]) == (303, "https://shop.example/left")
    assert SandboxDelivery.objects.count() == 0
    assert press(url, outcome="pay").headers["location"] == "https://shop.example/paid"


def test_a_paid_checkout_is_not_paid_again(sandbox: Sandbox) -> None:
    url = sandbox.open_checkout()
    press(url, outcome="pay")

    assert press(url, outcome="pay").status == 303
    assert "Done. Thank you." in press(url, outcome="decline").body.decode()
    assert "Done. Thank you." in look(url).body.decode()
    assert (SandboxPayment.objects.count(), SandboxDelivery.objects.count()) == (1, 1)


def test_eight_clicks_at_once_are_one_payment(sandbox: Sandbox) -> None:
    url = sandbox.open_checkout()

    answers = at_once(lambda: press(url, outcome="pay"), 8)

    assert {answer.status for answer in answers} == {303}
    assert SandboxPayment.objects.count() == SandboxMethod.objects.count() == SandboxDelivery.objects.count() == 1


def test_an_expired_checkout_takes_no_money(sandbox: Sandbox) -> None:
    url = sandbox.open_checkout()
    SandboxCheckout.objects.update(expires_at=F("expires_at") - timedelta(hours=25))

    for answer in (look(url), press(url, outcome="pay"), press(url, outcome="decline")):
        assert answer.status == 410
        assert "has expired" in answer.body.decode()
    assert SandboxPayment.objects.count() == 0


def test_a_form_that_is_not_understood_changes_nothing(sandbox: Sandbox) -> None:
    url = sandbox.open_checkout()

    for form in ({}, {"outcome": "steal"}, {"outcome": "pay", "card": "gold"}):
        assert press(url, **form).status == 400
    assert press(url[:-1], outcome="pay").status == 404
    assert SandboxPayment.objects.count() == 0


GOOD = {
    "order_ref": "o",
    "kind": "subscription",
    "amount": 5,
    "currency": "USD",
    "user_ref": "u",
    "success_url": "https://a.example/s",
    "cancel_url": "https://a.example/c",
}


def test_malformed_checkouts_are_400_each(sandbox: Sandbox) -> None:
    bad: list[Any] = [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        *({**GOOD, "amount": amount} for amount in (None, "", "x", True, -1, 1.001, "1E+999999", "NaN", [], {})),
        {**GOOD, "amount": 10**15},
        {**GOOD, "amount": "1.5", "currency": "JPY"},
        {**GOOD, "currency": "usd"},
        {**GOOD, "currency": 5},
        {**GOOD, "kind": "gift"},
        {**GOOD, "order_ref": ""},
        {**GOOD, "order_ref": "x" * 256},
        {**GOOD, "order_ref": "\x00"},
        {**GOOD, "user_ref": "\ud800"},
        {**GOOD, "trial_days": -1},
        {**GOOD, "trial_days": "14"},
        {**GOOD, "trial_days": True},
        *({**GOOD, "success_url": url} for url in ("", "javascript:alert(1)", "https://", "http://[x", "http://a b/")),
        {**GOOD, "hook_url": "ftp://a.example"},
        {**GOOD, "hook_url": "http://a.example:99999/"},
    ]
    for body in bad:
        status, answer = sandbox.api("POST", "checkouts", body, key="k")
        assert (status, answer["code"]) == (400, "malformed"), body
    for key in (None, "", "a b", "x" * 256):
        assert sandbox.api("POST", "checkouts", GOOD, key=key)[0] == 400
    assert SandboxCheckout.objects.count() == 0
    assert sandbox.api("POST", "checkouts/", {**GOOD, "amount": "5.00"}, key="k")[0] == 201
    assert sandbox.api("POST", "checkouts", GOOD, key="k")[0] == 200


def test_only_a_known_key_may_ask(sandbox: Sandbox) -> None:
    for api_key in ("wrong", OTHER_KEY + "x", KEY[:-1], f"{KEY} {KEY}"):
        assert sandbox.api("POST", "checkouts", GOOD, key="k", api_key=api_key)[0] == 401
    assert sandbox.api("GET", "checkouts")[0] == 405
    assert SandboxCheckout.objects.count() == 0


def test_two_sandboxes_see_their_own_rows_only(sandbox: Sandbox) -> None:
    ours = sandbox.open_checkout()
    theirs = sandbox.other.create_subscription(sandbox.request()).checkout_url
    assert ours != theirs

    press(ours, outcome="pay")
    payment, method = SandboxPayment.objects.get(), SandboxMethod.objects.get()
    charge = {"method_ref": method.ref, "amount": 5, "currency": "USD"}
    assert sandbox.other.find_payment("checkout-1", clock.wall()) is None
    assert sandbox.api("POST", "charges", charge, key="c", api_key=OTHER_KEY)[0] == 404
    assert sandbox.api("POST", f"methods/{method.ref}", {"behaviour": "decline"}, api_key=OTHER_KEY)[0] == 404
    assert sandbox.api("POST", f"payments/{payment.ref}/refunds", {}, key="r", api_key=OTHER_KEY)[0] == 404
    assert KEY not in payment.account  # rows carry a fingerprint
