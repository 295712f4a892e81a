"""Stripe in payments mode over real HTTP: refunds, disputes, and what was missed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from providers import base
from providers.base import EventType, StoredMethod
from tests.providers.stripe_support import (
    EMAIL,
    SECRET_KEY,
    World,
    charge_request,
    provider,
    sub_request,
    world,
)


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    with world() as found:
        yield found


@pytest.fixture
def shop(running: World) -> World:
    return running.cleared()


@pytest.fixture
def method(shop: World, request: pytest.FixtureRequest) -> StoredMethod:
    return shop.method(request.node.name)


def today() -> datetime:
    return datetime.now(UTC)


def refund(shop: World, payment: str | None, amount: str | None, key: str) -> base.RefundResult:
    assert payment is not None
    return shop.provider.refund(
        provider_txn_id=payment,
        amount=Decimal(amount) if amount else None,
        currency="USD",
        reason="unhappy",
        idempotency_key=key,
    )


# --- refunds and disputes ----------------------------------------------------------------------------------------------


def test_a_refund_in_parts_is_all_of_it_and_counted_once(shop: World, method: StoredMethod) -> None:
    payment = shop.provider.charge(charge_request(method, idempotency_key="to give back")).provider_txn_id
    shop.events()

    part, rest = refund(shop, payment, "2", "part"), refund(shop, payment, None, "rest")

    assert (part.status, part.amount) == ("succeeded", Decimal("2.00"))
    assert (rest.status, rest.amount) == ("succeeded", Decimal("4.99"))
    with pytest.raises(base.RequestRefused):
        refund(shop, payment, "0.01", "more")
    told = {(event.type, event.provider_payment_id, event.amount) for event in shop.events()}
    assert told == {
        (EventType.PAYMENT_REFUNDED, part.provider_refund_id, Decimal("2.00")),
        (EventType.PAYMENT_REFUNDED, rest.provider_refund_id, Decimal("4.99")),
    }


def test_the_same_refund_again_is_one_even_after_stripe_has_forgotten_its_key(
    shop: World, method: StoredMethod
) -> None:
    payment = shop.provider.charge(charge_request(method, idempotency_key="forgetful")).provider_txn_id
    first = refund(shop, payment, "2", "again")
    shop.stripe.forget_keys()

    assert refund(shop, payment, "2", "again") == first
    assert len([r for r in shop.stripe.requests if (r.method, r.path) == ("POST", "/v1/refunds")]) == 1


@pytest.mark.parametrize(("payment", "amount"), [("pi_none", "1"), ("ch_none", None)])
def test_a_refund_of_an_unknown_payment_is_unknown(shop: World, payment: str, amount: str | None) -> None:
    with pytest.raises(base.UnknownReference):
        refund(shop, payment, amount, f"unknown {payment}")


def test_a_refund_of_more_than_there_is_and_of_nothing_is_refused(shop: World, method: StoredMethod) -> None:
    payment = shop.provider.charge(charge_request(method, idempotency_key="small")).provider_txn_id

    for amount in ("7", "0", "-1"):
        with pytest.raises(base.RequestRefused):
            refund(shop, payment, amount, f"too much {amount}")


def test_a_refund_that_waits_and_comes_back(shop: World, method: StoredMethod) -> None:
    payment = shop.provider.charge(charge_request(method, idempotency_key="waits")).provider_txn_id
    shop.events()
    shop.stripe.payments.refunds_wait = True

    result = refund(shop, payment, None, "waiting refund")
    assert (result.status, shop.events()) == ("pending", [])
    shop.stripe.do(shop.stripe.payments.finish_refund, result.provider_refund_id, failed=False)
    [through] = shop.events()
    shop.stripe.do(shop.stripe.payments.finish_refund, result.provider_refund_id, failed=True)
    back = shop.events()

    assert (through.type, through.idempotency_key) == (EventType.PAYMENT_REFUNDED, "waiting refund")
    assert {(e.type, e.provider_payment_id, e.parent_payment_id) for e in back} == {
        (EventType.PAYMENT_REFUND_REVERSED, result.provider_refund_id, payment)
    }


def test_an_operators_refund_and_a_dispute_name_the_payment(shop: World, method: StoredMethod) -> None:
    payment = shop.provider.charge(charge_request(method, idempotency_key="reversed")).provider_txn_id
    shop.events()
    shop.stripe.do(shop.stripe.payments.refund, {"payment_intent": payment, "amount": "100"})
    dispute = shop.stripe.do(shop.stripe.payments.dispute, payment)
    shop.stripe.do(shop.stripe.payments.close_dispute, dispute["id"], "lost")

    told = shop.events()

    assert {event.parent_payment_id for event in told} == {payment}
    assert [event.type for event in told if event.provider_payment_id == dispute["id"]] == [
        EventType.PAYMENT_DISPUTED,
        EventType.PAYMENT_DISPUTED,
        EventType.PAYMENT_DISPUTE_LOST,
    ]
    assert {event.amount for event in told if event.type is EventType.PAYMENT_REFUNDED} == {Decimal("1.00")}


def test_what_others_sell_on_the_account_is_left_alone(shop: World, method: StoredMethod) -> None:
    payments = shop.stripe.payments
    intent = shop.stripe.do(
        payments.intent, 999, "usd", customer=method.customer_ref, method=method.method_ref, metadata={"shop": "1"}
    )
    shop.stripe.do(payments.succeed, intent)
    shop.stripe.do(payments.refund, {"payment_intent": intent["id"], "amount": "100"})
    shop.stripe.do(payments.dispute, intent["id"])

    assert shop.events() == []


# --- what was missed ---------------------------------------------------------------------------------------------------


def test_missed_events_are_those_of_the_deliveries(shop: World, method: StoredMethod) -> None:
    since = today() - timedelta(seconds=1)
    shop.events()
    payment = shop.provider.charge(charge_request(method, idempotency_key="missed")).provider_txn_id
    refund(shop, payment, "2", "missed refund")
    told = shop.events()

    missed = list(shop.provider.missed_events(since=since, until=today() + timedelta(seconds=2)))

    assert [event for event in missed if event in told] == told
    assert (
        list(shop.provider.missed_events(since=today() + timedelta(hours=1), until=today() + timedelta(hours=2))) == []
    )


def test_events_of_the_shape_of_old_tell_the_same() -> None:
    def story(api_version: str) -> list[tuple[object, ...]]:
        with world(api_version=api_version) as shop:
            [paid] = shop.buy()
            payment = shop.provider.charge(charge_request(paid.method)).provider_txn_id
            refund(shop, payment, "2", "one")
            refund(shop, payment, None, "two")
            told = {e.provider_payment_id: e for e in [paid, *shop.events()]}
            return [(e.type, e.amount, e.currency, e.order_ref, e.idempotency_key) for e in told.values()]

    assert story("2017-08-15") == story("2026-10-28.endive")


def test_no_secret_and_no_person_is_shown(shop: World, method: StoredMethod, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    shop.stripe.do(shop.stripe.payments.set_behaviour, method.method_ref, "stolen_card")
    errors = []
    shop.provider.charge(charge_request(method, idempotency_key="secret"))
    shop.provider.create_subscription(sub_request(idempotency_key="secret 2"))
    for changes in ({"method_ref": EMAIL}, {"customer_ref": "cus_none"}):
        with pytest.raises(base.ProviderError) as raised:
            shop.provider.charge(charge_request(method, idempotency_key=f"secret {changes}", **changes))
        errors += [str(raised.value), repr(raised.value), str(raised.value.__cause__)]
    with pytest.raises(base.AuthError) as raised:
        provider(shop.stripe.origin, secret_key="sk_test_wrong").create_subscription(sub_request())
    shown = [*errors, str(raised.value), repr(shop.provider), repr(shop.provider._settings), caplog.text]

    for text in shown:
        for secret in (SECRET_KEY, "sk_test_wrong", "whsec_", EMAIL, "user_123"):
            assert secret not in text
