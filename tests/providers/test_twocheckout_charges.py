"""Stored methods at 2Checkout (1-click): one order per key, whatever its outcome; at the emulator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from payflow.core import clock
from providers import base
from providers.base import ChargeRequest, EventType, Outcome, PaymentResult
from tests.emulators.twocheckout import Order, TwoCheckoutEmulator
from tests.providers.twocheckout_support import EMAIL, bought, emulator, provider_at


@pytest.fixture
def tco() -> Iterator[TwoCheckoutEmulator]:
    with emulator() as running:
        yield running


def charge(tco: TwoCheckoutEmulator, order: Order, key: str = "txn_1", **config: Any) -> PaymentResult:
    request = ChargeRequest(order.ref, "756227060", Decimal("19.9"), "USD", key)
    return provider_at(tco, one_click=True, **config).charge(request)


def charges(tco: TwoCheckoutEmulator, key: str = "txn_1") -> list[Order]:
    return [order for order in tco.orders.values() if order.external_reference == f"charge:{key}"]


def test_paid_order_leaves_a_method(tco: TwoCheckoutEmulator) -> None:
    order = bought(tco)
    adapter = provider_at(tco, one_click=True)

    [paid, _] = adapter.confirm_events(adapter.parse_webhook({}, tco.deliveries[-1].body))

    assert paid.method is not None
    assert (paid.method.method_ref, paid.method.customer_ref) == (order.ref, "756227060")
    assert (paid.method.brand, paid.method.last4) == ("visa", "1111")


def test_charge_is_an_order_that_refers_to_the_earlier_one(tco: TwoCheckoutEmulator) -> None:
    order = bought(tco)

    result = charge(tco, order)

    [made] = charges(tco)
    assert (result.outcome, result.provider_txn_id) == (Outcome.SUCCEEDED, made.ref)
    post = next(request for request in tco.requests if request.method == "POST" and request.path.endswith("/orders/"))
    body = json.loads(post.body)
    assert b'"Amount":19.90' in post.body
    assert body["PaymentDetails"]["PaymentMethod"] == {"RefNo": order.ref, "RecurringEnabled": False}
    assert (body["ExternalReference"], body["BillingDetails"]["Email"]) == ("charge:txn_1", EMAIL)


def test_charge_of_last_month_is_still_the_same_charge(tco: TwoCheckoutEmulator) -> None:
    order = bought(tco)
    tco.set_clock(timedelta(days=-30))
    first = charge(tco, order)
    tco.set_clock(timedelta(0))

    assert charge(tco, order) == first
    assert len(charges(tco)) == 1


def test_charge_that_never_arrived_is_not_there(tco: TwoCheckoutEmulator) -> None:
    order = bought(tco)
    tco.fail("500", method="POST")
    with pytest.raises(base.Unavailable):
        charge(tco, order)

    assert provider_at(tco, one_click=True).find_payment("txn_1", clock.wall() - timedelta(days=9)) is None


@pytest.mark.parametrize(
    ("wish", "outcome"),
    [
        ("pay", Outcome.SUCCEEDED),
        ("authorize", Outcome.PENDING),
        ("decline", Outcome.DECLINED),
        ("action", Outcome.REQUIRES_ACTION),
    ],
)
def test_every_outcome_has_its_word(tco: TwoCheckoutEmulator, wish: str, outcome: Outcome) -> None:
    order = bought(tco)
    tco.next_charge = wish

    result = charge(tco, order)

    assert result.outcome is outcome
    assert result.provider_txn_id == charges(tco)[0].ref
    if outcome is Outcome.DECLINED:
        assert result.decline == base.Decline("card_payment_error", recoverable=True)
    if outcome is Outcome.REQUIRES_ACTION:
        assert result.action_url == f"{tco.origin}/3ds/{result.provider_txn_id}"


def test_authorisation_is_success_where_the_settings_say_so(tco: TwoCheckoutEmulator) -> None:
    order = bought(tco)
    tco.next_charge = "authorize"

    assert charge(tco, order, activate_on_auth=True).outcome is Outcome.SUCCEEDED


def test_method_that_cannot_be_used_is_declined_for_good(tco: TwoCheckoutEmulator) -> None:
    order = bought(tco)
    tco.one_click = False

    result = charge(tco, order)

    assert result.decline == base.Decline("method_not_usable", recoverable=False)
    assert not charges(tco)


def test_delivery_of_a_charge_carries_its_key(tco: TwoCheckoutEmulator) -> None:
    charge(tco, bought(tco))
    adapter = provider_at(tco, one_click=True)

    [paid] = adapter.confirm_events(adapter.parse_webhook({}, tco.deliveries[-1].body))

    assert (paid.type, paid.idempotency_key, paid.order_ref) == (EventType.PAYMENT_SUCCEEDED, "txn_1", None)
    assert paid.provider_payment_id == charges(tco)[0].ref


def test_key_that_no_reference_can_hold_is_refused_before_any_call(tco: TwoCheckoutEmulator) -> None:
    order = bought(tco)
    tco.requests.clear()

    with pytest.raises(base.RequestRefused):
        charge(tco, order, "k" * 94)
    assert not tco.requests
