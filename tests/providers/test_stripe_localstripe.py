"""Stripe's adapter against a Stripe played by others: create, pay, webhook, renew, charge, refund, cancel.

localstripe knows Plans and no Prices, Checkout, searches, lists by date or idempotency keys, and its events have the
shape of old: what needs those is tested against our own emulator. A whole subscription of PayFlow's goes through it in
`tests/subscriptions/test_stripe_localstripe.py`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from providers.base import ChargeRequest, EventType, Outcome, ProviderEvent, StoredMethod, SubStatus
from providers.stripe.adapter import StripeProvider
from tests.providers.localstripe_support import Localstripe, needs_localstripe
from tests.providers.stripe_support import Receiver, settings, sub_request

pytestmark = needs_localstripe


@pytest.fixture(scope="module")
def stripe() -> Iterator[Localstripe]:
    running = Localstripe()
    yield running
    running.stop()


@pytest.fixture
def receiver(stripe: Localstripe) -> Iterator[Receiver]:
    found = Receiver()
    stripe.delivers_to(found.hook_url)
    yield found
    found.stop()


@pytest.fixture
def plan(stripe: Localstripe) -> str:
    return stripe.plan()


def configured(stripe: Localstripe, mode: str) -> StripeProvider:
    return StripeProvider("stripe", settings(stripe.origin, mode=mode, legacy_plans=True, answer_seconds=10))


def told(provider: StripeProvider, receiver: Receiver, wanted: EventType, count: int = 1) -> list[ProviderEvent]:
    """What has been delivered until `count` events of the `wanted` type are there: each is verified and confirmed."""
    found: list[ProviderEvent] = []
    until = time.monotonic() + 15
    while len([event for event in found if event.type is wanted]) < count:
        assert time.monotonic() < until, [event.type for event in found]
        for headers, body in receiver.taken():
            provider.verify_webhook(headers, body, datetime.now(UTC))
            found += provider.confirm_events(provider.parse_webhook(headers, body))
        time.sleep(0.05)
    return found


def money(events: list[ProviderEvent]) -> set[tuple[object, ...]]:
    return {(e.provider_payment_id, e.amount, e.currency) for e in events if e.type is EventType.PAYMENT_SUCCEEDED}


def test_a_subscriptions_life_in_billing_mode(stripe: Localstripe, receiver: Receiver, plan: str) -> None:
    provider = configured(stripe, "billing")

    # create and pay
    bought = provider.create_subscription(
        sub_request(provider_plan_ref=plan, metadata={"payment_method": "pm_card_visa"})
    )
    assert bought.status == "active" and bought.provider_sub_id and bought.checkout_url is None
    sub = bought.provider_sub_id
    events = told(provider, receiver, EventType.SUBSCRIPTION_ACTIVATED)
    [(first, amount, currency)] = money(events)
    assert (amount, currency) == (Decimal("6.99"), "USD")
    assert {(e.provider_sub_id, e.provider_plan_ref) for e in events} == {(sub, plan)}
    created = [event for event in events if event.type is EventType.SUBSCRIPTION_CREATED]
    assert {(e.order_ref, e.user_ref, e.plan_ref) for e in created} == {("order_1", "user_123", "premium")}
    state = provider.get_subscription(sub)
    assert (state.status, state.auto_renew, state.user_ref) == (SubStatus.ACTIVE, True, "user_123")
    assert state.period_end is not None and state.period_end > datetime.now(UTC) + timedelta(days=27)

    # renew: localstripe has no time, so its operator bills once more
    customer = stripe_customer(stripe, sub)
    renewal = stripe.post("/v1/invoices", ("customer", customer), ("subscription", sub))
    stripe.post(f"/v1/invoices/{renewal['id']}/pay")
    assert money(told(provider, receiver, EventType.PAYMENT_SUCCEEDED)) == {(renewal["id"], Decimal("6.99"), "USD")}

    # refund, by the invoice
    def refund(amount: Decimal | None, key: str) -> tuple[str, Decimal | None]:
        result = provider.refund(
            provider_txn_id=str(first), amount=amount, currency="USD", reason="", idempotency_key=key
        )
        return result.status, result.amount

    assert refund(Decimal(2), "part") == ("succeeded", Decimal("2.00"))

    # cancel, take it back, end it
    assert provider.cancel_subscription(sub, idempotency_key="c").status is SubStatus.CANCELED
    assert provider.resume_subscription(sub, idempotency_key="r").status is SubStatus.ACTIVE
    assert provider.cancel_subscription(sub, at_period_end=False).status is SubStatus.CANCELED
    [ended] = told(provider, receiver, EventType.SUBSCRIPTION_EXPIRED)
    assert ended.provider_sub_id == sub


def test_a_stored_method_is_charged_in_payments_mode(stripe: Localstripe, receiver: Receiver) -> None:
    provider = configured(stripe, "payments")
    method = stored(stripe, "4242424242424242")

    result = provider.charge(charge_of(method, "charge_1"))

    assert result.outcome is Outcome.SUCCEEDED
    [paid] = told(provider, receiver, EventType.PAYMENT_SUCCEEDED)
    assert (paid.provider_payment_id, paid.idempotency_key) == (result.provider_txn_id, "charge_1")
    assert (paid.amount, paid.currency) == (Decimal("6.99"), "USD")
    refunded = provider.refund(
        provider_txn_id=str(result.provider_txn_id), amount=None, currency="USD", reason="", idempotency_key="refund_1"
    )
    assert (refunded.status, refunded.amount) == ("succeeded", Decimal("6.99"))


def test_a_declined_charge_is_a_result(stripe: Localstripe) -> None:
    provider = configured(stripe, "payments")

    result = provider.charge(charge_of(stored(stripe, "4000000000000341"), "charge_declined"))

    assert result.outcome is Outcome.DECLINED
    assert result.decline is not None and result.decline.code == "card_declined"


def stored(stripe: Localstripe, number: str) -> StoredMethod:
    customer = stripe.post("/v1/customers", ("name", "Anna"))["id"]
    card = {"number": number, "exp_month": "12", "exp_year": "2040", "cvc": "123"}
    fields = [(f"card[{name}]", value) for name, value in card.items()]
    method = stripe.post("/v1/payment_methods", ("type", "card"), *fields)["id"]
    stripe.post(f"/v1/payment_methods/{method}/attach", ("customer", customer))
    return StoredMethod(method, customer)


def charge_of(method: StoredMethod, key: str) -> ChargeRequest:
    return ChargeRequest(method.method_ref, method.customer_ref, Decimal("6.99"), "USD", key)


def stripe_customer(stripe: Localstripe, sub: str) -> str:
    return stripe.post(f"/v1/subscriptions/{sub}", ("metadata[seen]", "yes"))["customer"]
