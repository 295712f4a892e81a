"""Charges of stored methods: once per key, whatever the card does and however the answer is lost."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from payflow.core import clock
from providers.base import EventType, Outcome, RequestRefused, Unavailable, UnknownReference
from providers.sandbox.adapter import SandboxProvider
from providers.sandbox.deliveries import deliveries_send
from providers.sandbox.models import Behaviour, SandboxDelivery, SandboxPayment
from providers.sandbox.services import CARDS, OUTCOMES
from tests.providers.sandbox_support import Sandbox, at_once, config, look, press

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sandbox(live_server: Any, settings: Any) -> Sandbox:
    return Sandbox.running(live_server, settings)


def test_every_behaviour_has_a_card_and_an_outcome() -> None:
    assert set(CARDS) == set(OUTCOMES) == set(Behaviour)
    assert len(set(CARDS.values())) == len(CARDS)


def test_a_good_card_is_charged_and_it_is_told(sandbox: Sandbox) -> None:
    result = sandbox.provider.charge(sandbox.charge_request(sandbox.method()))

    assert (result.outcome, result.decline) == (Outcome.SUCCEEDED, None)
    [event] = sandbox.deliver()
    assert (event.type, event.provider_payment_id) == (EventType.PAYMENT_SUCCEEDED, result.provider_txn_id)
    assert (event.idempotency_key, event.amount, event.currency) == ("charge-1", Decimal("9.90"), "USD")


@pytest.mark.parametrize(
    ("behaviour", "code", "recoverable"), [("decline", "insufficient_funds", True), ("stolen", "stolen_card", False)]
)
def test_a_bad_card_is_declined_and_it_is_told(sandbox: Sandbox, behaviour: str, code: str, recoverable: bool) -> None:
    request = sandbox.charge_request(sandbox.method(behaviour))

    result = sandbox.provider.charge(request)

    assert result.outcome is Outcome.DECLINED
    assert result.decline is not None
    assert (result.decline.code, result.decline.recoverable) == (code, recoverable)
    assert sandbox.provider.charge(request) == sandbox.provider.find_payment("charge-1", clock.wall()) == result
    [event] = sandbox.deliver()
    assert (event.type, event.reason, event.recoverable) == (EventType.PAYMENT_FAILED, code, recoverable)


def test_a_stored_card_can_turn_bad_and_good_again(sandbox: Sandbox) -> None:
    method = sandbox.method()
    outcomes = []
    for verb, behaviour in (("PATCH", "decline"), ("POST", "ok")):
        status, body = sandbox.api(verb, f"methods/{method}", {"behaviour": behaviour})
        assert (status, body["behaviour"], body["ref"]) == (200, behaviour, method)
        request = sandbox.charge_request(method, idempotency_key=f"charge-{behaviour}")
        outcomes.append(sandbox.provider.charge(request).outcome)

    assert outcomes == [Outcome.DECLINED, Outcome.SUCCEEDED]
    assert sandbox.api("PATCH", f"methods/{method}", {"behaviour": "gold"})[0] == 400
    assert sandbox.api("PATCH", "methods/pm_0", {"behaviour": "ok"})[0] == 404


def test_the_same_key_never_charges_again(sandbox: Sandbox) -> None:
    method = sandbox.method()
    first = sandbox.provider.charge(sandbox.charge_request(method))
    sandbox.api("PATCH", f"methods/{method}", {"behaviour": "decline"})

    assert sandbox.provider.charge(sandbox.charge_request(method, amount=Decimal("9.9"))) == first
    with pytest.raises(RequestRefused):
        sandbox.provider.charge(sandbox.charge_request(method, amount=Decimal("9.91")))
    assert (SandboxPayment.objects.count(), SandboxDelivery.objects.count()) == (1, 1)


def test_eight_charges_of_one_key_at_once_are_one(sandbox: Sandbox) -> None:
    request = sandbox.charge_request(sandbox.method())

    results = at_once(lambda: sandbox.provider.charge(request), 8)

    assert len({result.provider_txn_id for result in results}) == 1
    assert {result.outcome for result in results} == {Outcome.SUCCEEDED}
    assert (SandboxPayment.objects.count(), SandboxDelivery.objects.count()) == (1, 1)


def test_unknown_methods_and_foreign_customers_are_not_charged(sandbox: Sandbox) -> None:
    for request in (
        sandbox.charge_request("pm_nobody"),
        sandbox.charge_request("nonsense"),
        sandbox.charge_request(sandbox.method(), customer_ref="cus_2"),
    ):
        with pytest.raises(UnknownReference):
            sandbox.provider.charge(request)
    assert SandboxPayment.objects.count() == 0


@pytest.mark.parametrize("amount", [Decimal(0), Decimal("-1"), Decimal("1.001")])
def test_an_amount_that_is_none_is_refused(sandbox: Sandbox, amount: Decimal) -> None:
    with pytest.raises(RequestRefused):
        sandbox.provider.charge(sandbox.charge_request(sandbox.method(), amount=amount))


def test_a_charge_nobody_made_is_none(sandbox: Sandbox) -> None:
    assert sandbox.provider.find_payment("never", clock.wall()) is None
    assert sandbox.api("GET", "charges")[0] == 400


@pytest.mark.parametrize(
    ("outcome", "after", "event_type"),
    [("pay", Outcome.SUCCEEDED, EventType.PAYMENT_SUCCEEDED), ("decline", Outcome.DECLINED, EventType.PAYMENT_FAILED)],
)
def test_a_charge_that_needs_its_payer(sandbox: Sandbox, outcome: str, after: Outcome, event_type: EventType) -> None:
    request = sandbox.charge_request(sandbox.method("action"))
    waiting = sandbox.provider.charge(request)
    assert waiting.outcome is Outcome.REQUIRES_ACTION
    assert waiting.action_url is not None
    assert sandbox.provider.charge(request) == waiting
    assert sandbox.deliver() == []
    assert "9.90 USD" in look(waiting.action_url).body.decode()

    for click in (outcome, outcome, "pay", "decline"):  # the first one decides
        assert press(waiting.action_url, outcome=click).status == 200

    found = sandbox.provider.find_payment("charge-1", clock.wall())
    assert found is not None
    assert (found.outcome, found.provider_txn_id) == (after, waiting.provider_txn_id)
    [event] = sandbox.deliver()
    assert (event.type, event.idempotency_key) == (event_type, "charge-1")


@pytest.mark.parametrize("behaviour", ["timeout", "hold"])
def test_an_answer_that_is_late_leaves_a_charge_that_can_be_found(
    sandbox: Sandbox, settings: Any, behaviour: str
) -> None:
    settings.SANDBOX_HOLD_SECONDS = 3
    hasty = SandboxProvider("sandbox", config(sandbox.base_url, answer_seconds=0.5))
    request = sandbox.charge_request(sandbox.method(behaviour))

    started = time.monotonic()
    with pytest.raises(Unavailable):
        hasty.charge(request)
    assert time.monotonic() - started < 2.9

    found = sandbox.provider.find_payment("charge-1", clock.wall())
    assert found is not None and found.outcome is Outcome.SUCCEEDED
    assert sandbox.provider.charge(request) == found
    assert SandboxPayment.objects.count() == 1


def test_a_held_charge_is_answered_in_the_end(sandbox: Sandbox, settings: Any) -> None:
    settings.SANDBOX_HOLD_SECONDS = 0.2
    started = time.monotonic()

    result = sandbox.provider.charge(sandbox.charge_request(sandbox.method("hold")))

    assert result.outcome is Outcome.SUCCEEDED
    assert time.monotonic() - started >= 0.2
    assert [event.type for event in sandbox.deliver()] == [EventType.PAYMENT_SUCCEEDED]


def test_a_charge_that_times_out_is_told_when_the_client_has_given_up(sandbox: Sandbox, settings: Any) -> None:
    settings.SANDBOX_HOLD_SECONDS = 0.2
    with pytest.raises(Unavailable):  # even to a client with all the time in the world: 504
        sandbox.provider.charge(sandbox.charge_request(sandbox.method("timeout")))

    written = SandboxDelivery.objects.get()
    assert written.next_attempt_at - written.created_at > timedelta(seconds=0.1)
    assert deliveries_send(wall=written.next_attempt_at - timedelta(milliseconds=1)) == 0
    assert deliveries_send(wall=written.next_attempt_at) == 1


def test_fuzzed_bodies_never_crash_the_api(sandbox: Sandbox) -> None:
    method = sandbox.method()
    good: dict[str, Any] = {"method_ref": method, "customer_ref": "cus_1", "amount": 5, "currency": "USD"}
    odd = [None, 0, "", "x", [], {}, True, -1, 1e400, "\x00", "9" * 5000]
    for name in (*good, "hook_url"):
        for value in odd:
            status, _ = sandbox.api("POST", "charges", {**good, name: value}, key=f"{name}-{odd.index(value)}")
            assert status in (200, 400, 404), (name, value)
