"""Refunds at 2Checkout: whole, in parts, once per key; at the emulator."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from providers import base
from tests.emulators.twocheckout import TwoCheckoutEmulator
from tests.providers.twocheckout_support import (
    bought,
    emulator,
    provider_at,
)


@pytest.fixture(scope="module")
def running() -> Iterator[TwoCheckoutEmulator]:
    with emulator() as tco:
        yield tco


@pytest.fixture
def tco(running: TwoCheckoutEmulator) -> TwoCheckoutEmulator:
    running.requests.clear()
    running.fail(None)
    running.set_clock(timedelta(0))
    return running


# --- refunds ---------------------------------------------------------------------------------------------------------


def refund(tco: TwoCheckoutEmulator, ref: str, amount: str | None, key: str = "refund:1", **changes: Any) -> Any:
    return provider_at(tco, **changes).refund(
        provider_txn_id=ref,
        amount=None if amount is None else Decimal(amount),
        currency="USD",
        reason="Asked for",
        idempotency_key=key,
    )


def test_refund_in_parts_until_nothing_is_left(tco: TwoCheckoutEmulator) -> None:
    order = bought(tco)

    first = refund(tco, order.ref, "4.00", "a")
    rest = refund(tco, order.ref, None, "b")

    assert (first.status, first.provider_refund_id, first.amount) == ("succeeded", f"{order.ref}:4", Decimal("4.00"))
    assert (rest.provider_refund_id, rest.amount) == (f"{order.ref}:9.99", Decimal("5.99"))
    assert order.status == "REFUND"
    with pytest.raises(base.RequestRefused):
        refund(tco, order.ref, "0.01", "c")


def test_refund_on_the_wire_names_its_lines(tco: TwoCheckoutEmulator) -> None:
    order = bought(tco)
    tco.requests.clear()

    refund(tco, order.ref, "4")

    request = tco.requests[-1]
    mark = hashlib.sha256(b"refund:1").hexdigest()[:12]
    assert (request.method, request.path) == ("POST", f"/rest/6.0/orders/{order.ref}/refund/")
    assert (
        request.body
        == (
            f'{{"amount":4.00,"comment":"Asked for (ref {mark})","reason":"Other",'
            f'"items":[{{"LineItemReference":"line{order.ref}","Quantity":1,"Amount":4.00}}]}}'
        ).encode()
    )


@pytest.mark.parametrize("amount", ["10.00", "0", "-1"])
def test_refund_of_more_or_less_than_there_is_is_refused(tco: TwoCheckoutEmulator, amount: str) -> None:
    order = bought(tco)

    with pytest.raises(base.RequestRefused):
        refund(tco, order.ref, amount)
    assert not order.refunds


def test_order_that_is_not_complete_cannot_be_refunded(tco: TwoCheckoutEmulator) -> None:
    with pytest.raises(base.RequestRefused):
        refund(tco, bought(tco, "authorize").ref, None)


def test_refund_that_nobody_can_tell_apart_is_not_made(tco: TwoCheckoutEmulator) -> None:
    """An account whose records show no comments: an equal refund may have been this one."""
    order = bought(tco)
    order.refunds.append({"Amount": "4.00"})

    with pytest.raises(base.Unavailable):
        refund(tco, order.ref, "4.00")
    assert refund(tco, order.ref, "3.00").provider_refund_id == f"{order.ref}:7"
