"""Refunds: the money goes back once, and never more of it than came."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from providers.base import EventType, RefundResult, RequestRefused, UnknownReference
from providers.sandbox.models import SandboxPayment, SandboxRefund
from tests.providers.sandbox_support import Sandbox, at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sandbox(live_server: Any, settings: Any) -> Sandbox:
    return Sandbox.running(live_server, settings)


@pytest.fixture
def payment(sandbox: Sandbox) -> str:
    """A charge of 9.90 USD that is paid and told."""
    paid = sandbox.provider.charge(sandbox.charge_request(sandbox.method())).provider_txn_id
    assert paid
    sandbox.deliver()
    return paid


def refund(sandbox: Sandbox, payment: str, amount: str | None = None, key: str = "refund-1") -> RefundResult:
    return sandbox.provider.refund(
        provider_txn_id=payment,
        amount=None if amount is None else Decimal(amount),
        currency="USD",
        reason="sorry",
        idempotency_key=key,
    )


def test_a_full_refund_is_told_where_the_payment_was_told(sandbox: Sandbox, payment: str) -> None:
    result = refund(sandbox, payment)

    assert (result.status, result.amount) == ("succeeded", Decimal("9.90"))
    [event] = sandbox.deliver()
    assert event.type is EventType.PAYMENT_REFUNDED
    assert (event.provider_payment_id, event.parent_payment_id) == (result.provider_refund_id, payment)
    assert (event.amount, event.currency, event.reason) == (Decimal("9.90"), "USD", "sorry")
    assert event.idempotency_key == "refund-1"


def test_parts_sum_up_to_the_whole_and_no_further(sandbox: Sandbox, payment: str) -> None:
    assert refund(sandbox, payment, "4.00", "a").amount == Decimal("4.00")
    with pytest.raises(RequestRefused):
        refund(sandbox, payment, "5.91", "b")
    assert refund(sandbox, payment, None, "b").amount == Decimal("5.90")
    for amount in ("0.01", None):
        with pytest.raises(RequestRefused):
            refund(sandbox, payment, amount, "c")
    assert [event.amount for event in sandbox.deliver()] == [Decimal("4.00"), Decimal("5.90")]


def test_the_same_key_is_the_same_refund(sandbox: Sandbox, payment: str) -> None:
    first = refund(sandbox, payment, "4.00")

    assert refund(sandbox, payment, "4.0") == first
    with pytest.raises(RequestRefused):
        refund(sandbox, payment, "4.01")
    assert SandboxPayment.objects.get().refunded == Decimal("4.00")
    assert len(sandbox.deliver()) == 1


def test_a_key_taken_for_another_payment_is_refused(sandbox: Sandbox, payment: str) -> None:
    other = sandbox.provider.charge(sandbox.charge_request(sandbox.method(), idempotency_key="charge-2"))
    refund(sandbox, payment, "4.00")

    with pytest.raises(RequestRefused):
        refund(sandbox, str(other.provider_txn_id), "4.00")
    assert SandboxRefund.objects.count() == 1


def test_eight_refunds_of_one_key_at_once_are_one(sandbox: Sandbox, payment: str) -> None:
    results = at_once(lambda: refund(sandbox, payment, "9.90"), 8)

    assert len({result.provider_refund_id for result in results}) == 1
    assert SandboxRefund.objects.count() == 1


def test_refunds_at_once_never_exceed_the_payment(sandbox: Sandbox, payment: str) -> None:
    keys = iter([f"refund-{n}" for n in range(8)])

    def attempt() -> int:
        status, _ = sandbox.api("POST", f"payments/{payment}/refunds", {"amount": "3.00"}, key=next(keys))
        return status

    assert sorted(at_once(attempt, 8)) == [201] * 3 + [409] * 5
    assert SandboxPayment.objects.get().refunded == Decimal("9.00")


def test_what_was_not_taken_cannot_go_back(sandbox: Sandbox) -> None:
    declined = sandbox.provider.charge(sandbox.charge_request(sandbox.method("decline")))

    with pytest.raises(RequestRefused):
        refund(sandbox, str(declined.provider_txn_id))
    for unknown in ("pay_nobody", f"pay_{'0' * 32}", f"re_{'0' * 32}"):
        with pytest.raises(UnknownReference):
            refund(sandbox, unknown)


def test_the_answers_of_the_api(sandbox: Sandbox, payment: str) -> None:
    path = f"payments/{payment}/refunds"

    status, body = sandbox.api("POST", path, {"amount": "10.00"}, key="r")
    assert (status, body["code"]) == (409, "exceeds")
    for amount in (0, -1, "x", "1.001", [], "1E+30"):
        assert sandbox.api("POST", path, {"amount": amount}, key="r")[0] == 400
    assert sandbox.api("POST", path, {"amount": "1.00"}, key="r")[0] == 201
    assert sandbox.api("POST", path, {"amount": 1}, key="r")[0] == 200
    assert sandbox.api("POST", path, {"amount": 1, "reason": "other"}, key="r")[0] == 422
