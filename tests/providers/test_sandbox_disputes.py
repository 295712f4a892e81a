"""Disputes at the sandbox: opened once, ended once, told each time; what is disputed doesn't go back another way."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from providers.base import EventType, RequestRefused
from providers.sandbox.models import SandboxDispute
from tests.providers.sandbox_support import OTHER_KEY, Sandbox, at_once
from tests.providers.test_sandbox_refunds import payment, refund, sandbox

__all__ = ["payment", "sandbox"]
pytestmark = pytest.mark.django_db(transaction=True)


def opened(sandbox: Sandbox, payment: str, key: str = "dispute-1", **body: Any) -> str:
    status, answer = sandbox.api("POST", f"payments/{payment}/disputes", body, key=key)
    assert status in (200, 201), answer
    return str(answer["id"])


def end(sandbox: Sandbox, dispute: str, outcome: str) -> tuple[int, Any]:
    return sandbox.api("POST", f"disputes/{dispute}", {"outcome": outcome})


@pytest.mark.parametrize(
    ("outcome", "told"), [("lost", EventType.PAYMENT_DISPUTE_LOST), ("won", EventType.PAYMENT_DISPUTE_WON)]
)
def test_each_step_is_told_where_the_payment_was_told(sandbox: Sandbox, payment: str, outcome: str, told: str) -> None:
    dispute = opened(sandbox, payment, reason="fraudulent")
    assert end(sandbox, dispute, outcome)[1]["status"] == outcome

    events = sandbox.deliver()

    assert [event.type for event in events] == [EventType.PAYMENT_DISPUTED, told]
    for event in events:
        assert (event.provider_payment_id, event.parent_payment_id) == (dispute, payment)
        assert (event.amount, event.currency, event.reason) == (Decimal("9.90"), "USD", "fraudulent")


def test_one_key_is_one_dispute_and_one_outcome_is_one_end(sandbox: Sandbox, payment: str) -> None:
    assert len(set(at_once(lambda: opened(sandbox, payment), 4))) == 1
    dispute = opened(sandbox, payment)
    at_once(lambda: end(sandbox, dispute, "lost"), 4)

    assert [event.type for event in sandbox.deliver()] == [
        EventType.PAYMENT_DISPUTED,
        EventType.PAYMENT_DISPUTE_LOST,
    ]
    assert end(sandbox, dispute, "won")[0] == 409
    assert SandboxDispute.objects.get().status == "lost"
    assert sandbox.api("POST", f"payments/{payment}/disputes", {"amount": 1}, key="dispute-1")[0] == 422


def test_what_is_disputed_is_neither_refunded_nor_disputed_again_unless_it_is_won(
    sandbox: Sandbox, payment: str
) -> None:
    dispute = opened(sandbox, payment)
    with pytest.raises(RequestRefused):
        refund(sandbox, payment)
    status, body = sandbox.api("POST", f"payments/{payment}/disputes", {}, key="dispute-2")
    assert (status, body["code"]) == (409, "disputed")

    end(sandbox, dispute, "won")

    assert refund(sandbox, payment, "1.00").status == "succeeded"
    opened(sandbox, payment, "dispute-3")  # of what was refunded in part: banks don't ask


def test_the_answers_of_the_api(sandbox: Sandbox, payment: str) -> None:
    path = f"payments/{payment}/disputes"
    for amount in (0, -1, "x", "1.001"):
        assert sandbox.api("POST", path, {"amount": amount}, key="d")[0] == 400
    assert sandbox.api("POST", path, {"amount": "9.91"}, key="d")[0] == 409
    assert sandbox.api("POST", path, {})[0] == 400  # no key
    assert sandbox.api("POST", path, {}, key="d", api_key=OTHER_KEY)[0] == 404
    declined = sandbox.provider.charge(sandbox.charge_request(sandbox.method("decline"), idempotency_key="c-2"))
    assert sandbox.api("POST", f"payments/{declined.provider_txn_id}/disputes", {}, key="d")[0] == 409
    assert SandboxDispute.objects.count() == 0
    status, body = sandbox.api("POST", path, {"amount": "4.00"}, key="d")
    assert (status, body) == (
        201,
        {"id": body["id"], "payment_id": payment, "status": "open", "amount": "4.00", "currency": "USD"},
    )
    for outcome in ("open", "", None, "other"):
        assert sandbox.api("POST", f"disputes/{body['id']}", {"outcome": outcome})[0] == 400
    assert end(sandbox, "dp_nobody", "lost")[0] == 404
    assert sandbox.api("POST", f"disputes/{body['id']}", {"outcome": "lost"}, api_key=OTHER_KEY)[0] == 404
