"""2Checkout's deliveries in any order, late, or not at all: the same money, the same end; at the emulator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from providers.base import EventType, ProviderEvent
from providers.twocheckout.adapter import TwoCheckoutProvider
from tests.emulators.twocheckout import TwoCheckoutEmulator
from tests.providers.twocheckout_support import (
    NOW,
    Receiver,
    bought,
    days,
    emulator,
    lived,
    money_keys,
    provider_at,
)

E = EventType


@pytest.fixture
def tco() -> Iterator[TwoCheckoutEmulator]:
    with emulator() as running:
        yield running


@pytest.fixture
def adapter(tco: TwoCheckoutEmulator) -> TwoCheckoutProvider:
    return provider_at(tco)


def confirmed(adapter: TwoCheckoutProvider, raw: bytes) -> list[ProviderEvent]:
    return adapter.confirm_events(adapter.parse_webhook({}, raw))


def last(tco: TwoCheckoutEmulator, kind: str = "ipn") -> bytes:
    return [delivery.body for delivery in tco.deliveries if delivery.kind == kind][-1]


def types(events: Sequence[ProviderEvent]) -> list[EventType]:
    return [event.type for event in events]


# --- any order, and none ---------------------------------------------------------------------------------------------


def test_lost_deliveries_are_made_good_under_the_same_keys(
    tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider
) -> None:
    ref = lived(tco)
    told = [event for delivery in tco.deliveries for event in confirmed(adapter, delivery.body)]

    found = adapter.fetch_events(ref, since=NOW)

    assert money_keys(found) == money_keys(told)
    assert found[-1].type is E.SUBSCRIPTION_EXPIRED
    assert found[-1].period_end == told[-1].period_end
    moments = [event.occurred_at for event in found[:-1]]
    assert moments == sorted(moments)
    assert {event.order_ref for event in found if event.type is E.PAYMENT_SUCCEEDED} == {"ord_1"}
    assert len({event.event_id for event in found}) == len(found)


def test_only_what_is_new_is_told_and_the_state_always(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    ref = lived(tco)

    assert types(adapter.fetch_events(ref, since=tco.now() + days(1))) == [E.SUBSCRIPTION_EXPIRED]


def test_missed_failure_is_found_too(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    ref = bought(tco).subscription or ""
    tco.change(ref, card_declines=True)
    tco.advance(tco.subscription(ref).expires_at - tco.now() + days(1))

    found = adapter.fetch_events(ref, since=NOW)

    assert types(found) == [E.PAYMENT_SUCCEEDED, E.PAYMENT_FAILED, E.SUBSCRIPTION_GRACE]
    assert money_keys(found) >= money_keys(confirmed(adapter, last(tco, "lcn")))


# --- whole, over HTTP both ways --------------------------------------------------------------------------------------


@pytest.fixture
def receiver(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> Iterator[Receiver]:
    listening = Receiver(adapter)
    tco.hook_url = listening.hook_url
    yield listening
    listening.stop()


def test_deliveries_arrive_and_their_receipts_count(
    tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider, receiver: Receiver
) -> None:
    order = bought(tco)
    repeated = tco.repeat(order.ref)

    first, again = receiver.all()

    assert [delivery.state for delivery in tco.deliveries] == ["delivered", "delivered"]
    assert repeated.receipt.startswith('<sig algo="sha3-256" date="')
    assert first.key == again.key
    assert money_keys(adapter.confirm_events(again.hints)) == money_keys(adapter.confirm_events(first.hints))
