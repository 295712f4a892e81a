"""Stripe in payments mode over real HTTP: charges of a stored method, and finding them again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from providers import base
from providers.base import EventType, Outcome, PaymentResult, StoredMethod
from tests.emulators.stripe import read_form
from tests.providers.stripe_support import (
    World,
    charge_request,
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


def test_a_charge_is_done_once_and_told_under_its_key(shop: World, method: StoredMethod) -> None:
    request = charge_request(method, idempotency_key="charge once")

    first, second = shop.provider.charge(request), shop.provider.charge(request)

    assert first == second
    assert first.outcome is Outcome.SUCCEEDED
    sent = read_form(shop.stripe.requests[0].body.decode())
    assert sent == {
        "amount": "699",
        "currency": "usd",
        "customer": method.customer_ref,
        "payment_method": method.method_ref,
        "off_session": "true",
        "confirm": "true",
        "metadata": {"payflow_key": "charge once"},
        "automatic_payment_methods": {"enabled": "true", "allow_redirects": "never"},
    }
    [paid] = shop.events()
    assert (paid.idempotency_key, paid.provider_payment_id) == ("charge once", first.provider_txn_id)
    assert paid.method is None


@pytest.mark.parametrize(
    ("behaviour", "outcome", "code", "recoverable"),
    [
        ("insufficient_funds", Outcome.DECLINED, "insufficient_funds", True),
        ("stolen_card", Outcome.DECLINED, "stolen_card", False),
        ("authentication_required", Outcome.REQUIRES_ACTION, None, None),
        ("processing", Outcome.PENDING, None, None),
    ],
)
def test_what_does_not_succeed_is_a_result_and_found_as_such(
    shop: World, method: StoredMethod, behaviour: str, outcome: Outcome, code: str | None, recoverable: bool | None
) -> None:
    shop.stripe.do(shop.stripe.payments.set_behaviour, method.method_ref, behaviour)
    key = f"charge {behaviour}"

    result = shop.provider.charge(charge_request(method, idempotency_key=key))

    assert result.outcome is outcome
    assert result.provider_txn_id is not None
    assert (result.decline.code, result.decline.recoverable) if result.decline else (code, recoverable) == (None, None)
    assert shop.provider.find_payment(key, today()) == result
    told = [(event.type, event.reason, event.idempotency_key) for event in shop.events()]
    reason = code or behaviour
    assert told == ([] if behaviour == "processing" else [(EventType.PAYMENT_FAILED, reason, key)])


def test_a_payment_under_way_is_told_when_it_is_through(shop: World, method: StoredMethod) -> None:
    shop.stripe.do(shop.stripe.payments.set_behaviour, method.method_ref, "processing")
    result = shop.provider.charge(charge_request(method, idempotency_key="slow"))
    shop.stripe.do(shop.stripe.payments.settle, result.provider_txn_id, "succeeded")

    [paid] = shop.events()
    assert (paid.type, paid.idempotency_key) == (EventType.PAYMENT_SUCCEEDED, "slow")
    assert shop.provider.find_payment("slow", today()) == PaymentResult(Outcome.SUCCEEDED, result.provider_txn_id)


def test_a_charge_that_never_arrived_is_unknown_to_stripe(shop: World, method: StoredMethod) -> None:
    request = charge_request(method, idempotency_key="never arrived")
    shop.stripe.fail("timeout", path="/v1/payment_intents", seconds=3)

    with pytest.raises(base.Unavailable):
        shop.provider.charge(request)

    assert shop.provider.find_payment(request.idempotency_key, today()) is None
    assert shop.provider.charge(request).outcome is Outcome.SUCCEEDED


def test_nobody_is_told_that_stripe_never_saw_it_while_it_cannot_be_asked(shop: World) -> None:
    shop.stripe.fail("500", times=9)

    with pytest.raises(base.Unavailable):
        shop.provider.find_payment("whatever", today())


def test_a_charge_is_found_behind_a_page_of_others(shop: World, method: StoredMethod) -> None:
    shop.stripe.api.search_is_late = True
    since = today()
    result = shop.provider.charge(charge_request(method, idempotency_key="deep"))
    for n in range(120):
        shop.stripe.do(shop.stripe.payments.intent, n + 1, "usd", customer=None, method=None, metadata={})

    assert shop.provider.find_payment("deep", since) == result


def test_a_key_with_other_parameters_is_no_refusal_of_the_charge(shop: World, method: StoredMethod) -> None:
    """The first call under that key may have been done: only asking tells."""
    shop.provider.charge(charge_request(method, idempotency_key="mixed"))

    with pytest.raises(base.Unavailable):
        shop.provider.charge(charge_request(method, idempotency_key="mixed", amount=Decimal("7.99")))


@pytest.mark.parametrize("key", ["o'neill", 'say "hi"', "back\\slash"])
def test_a_key_of_any_characters_is_found(shop: World, method: StoredMethod, key: str) -> None:
    result = shop.provider.charge(charge_request(method, idempotency_key=key))

    assert shop.provider.find_payment(key, today()) == result
    assert shop.stripe.requests[-1].path.startswith("/v1/payment_intents/search")


def test_an_unknown_method_is_refused(shop: World, method: StoredMethod) -> None:
    with pytest.raises(base.UnknownReference):
        shop.provider.charge(charge_request(method, method_ref="pm_none", idempotency_key="no method"))
