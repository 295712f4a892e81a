"""What 2Checkout's records say of its hints, in any order of deliveries and without any; at the emulator, by real HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from providers.base import EventType, ProviderEvent, Unavailable
from providers.twocheckout.adapter import TwoCheckoutProvider
from tests.emulators.twocheckout import TwoCheckoutEmulator
from tests.providers.twocheckout_support import (
    NOW,
    bought,
    days,
    emulator,
    fields_of,
    form,
    ipn,
    lcn,
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


# --- hints that are true ---------------------------------------------------------------------------------------------


def test_first_payment_is_as_the_records_have_it(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    order = bought(tco)
    subscription = tco.subscription(order.subscription or "")

    paid, state = confirmed(adapter, last(tco))

    assert (paid.type, state.type) == (E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_ACTIVATED)
    assert (paid.provider_payment_id, paid.amount, paid.currency) == (order.ref, Decimal("9.99"), "USD")
    assert (paid.order_ref, paid.user_ref, paid.provider_sub_id) == ("ord_1", "user_123", subscription.ref)
    assert (paid.period_start, paid.period_end) == (subscription.anchor, subscription.expires_at)
    assert paid.occurred_at == order.finished_at
    assert state.period_end == subscription.expires_at
    assert paid.event_id.endswith("#0") and state.event_id.endswith("#1")
    assert paid.method is None


def test_renewals_period_begins_where_the_one_before_ended(
    tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider
) -> None:
    order = bought(tco)
    subscription = tco.subscription(order.subscription or "")
    first_end = subscription.expires_at
    tco.renew(subscription.ref)

    paid, state = confirmed(adapter, last(tco))

    assert (paid.type, state.type) == (E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_RENEWED)
    assert (paid.period_start, paid.period_end) == (first_end, subscription.expires_at)
    assert paid.order_ref == "ord_1"  # a renewal's order does not repeat it
    assert paid.provider_payment_id not in (None, order.ref)


def test_three_renewals_are_three_payments(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    ref = bought(tco).subscription or ""
    found = []
    for _ in range(3):
        tco.renew(ref)
        found += confirmed(adapter, last(tco))

    assert len({event.provider_payment_id for event in found if event.type is E.PAYMENT_SUCCEEDED}) == 3
    assert len({event.event_id for event in found}) == len(found)


def test_month_ends_are_the_calendars(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    tco.set_clock(datetime(2027, 1, 31, 12, tzinfo=UTC) - datetime.now(UTC))
    ref = bought(tco).subscription or ""
    for _ in range(13):
        tco.renew(ref)

    found = adapter.fetch_events(ref, since=NOW)

    ends = [event.period_end for event in found if event.type is E.PAYMENT_SUCCEEDED]
    starts = [event.period_start for event in found if event.type is E.PAYMENT_SUCCEEDED]
    assert starts[1:] == ends[:-1]
    local = [f"{end.astimezone(tco.zone):%m-%d %H}" for end in ends if end is not None]
    assert local[:3] == ["02-28 14", "03-31 14", "04-30 14"] and local[12] == "02-29 14"


def test_declined_order_is_a_failed_payment(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    order = bought(tco, "decline")

    [failed] = confirmed(adapter, last(tco))

    assert (failed.type, failed.provider_payment_id, failed.order_ref) == (E.PAYMENT_FAILED, order.ref, "ord_1")


def test_authorisation_grants_nothing_until_it_is_collected(
    tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider
) -> None:
    order = bought(tco, "authorize")
    assert confirmed(adapter, last(tco)) == []
    eager = provider_at(tco, activate_on_auth=True)
    [paid] = [event for event in confirmed(eager, last(tco)) if event.type is E.PAYMENT_SUCCEEDED]

    tco.settle(order.ref, "pay")

    assert types(confirmed(adapter, last(tco))) == [E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_ACTIVATED]
    assert money_keys(confirmed(eager, last(tco))) == money_keys([paid])


def test_subscription_of_an_order_that_is_not_paid_is_only_created(
    tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider
) -> None:
    order = bought(tco, "authorize")

    found = confirmed(adapter, ipn(REFNO=order.ref, ORDERSTATUS="PENDING"))

    assert types(found) == [E.SUBSCRIPTION_CREATED]


def test_reversed_authorisation_is_a_failure_or_a_refund(
    tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider
) -> None:
    order = bought(tco, "authorize")
    tco.settle(order.ref, "reverse")

    assert types(confirmed(adapter, last(tco)))[0] is E.PAYMENT_FAILED
    eager = confirmed(provider_at(tco, activate_on_auth=True), last(tco))
    assert types(eager)[:2] == [E.PAYMENT_SUCCEEDED, E.PAYMENT_REFUNDED]


def test_refunds_are_told_apart_by_what_has_gone_back(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    order = bought(tco)
    tco.refund(order.ref, Decimal("4.00"))
    first = confirmed(adapter, last(tco))
    tco.refund(order.ref)
    both = confirmed(adapter, last(tco))

    def refunds(events: Sequence[ProviderEvent]) -> list[tuple[str | None, str | None, Decimal | None]]:
        found = [event for event in events if event.type is E.PAYMENT_REFUNDED]
        return [(event.provider_payment_id, event.parent_payment_id, event.amount) for event in found]

    assert refunds(first) == [(f"{order.ref}:4", order.ref, Decimal("4.00"))]
    assert refunds(both) == [*refunds(first), (f"{order.ref}:9.99", order.ref, Decimal("5.99"))]


def test_our_own_refund_comes_back_under_the_same_key(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    order = bought(tco)
    ours = adapter.refund(
        provider_txn_id=order.ref, amount=Decimal("2.50"), currency="USD", reason="r", idempotency_key="k"
    )

    [told] = [event for event in confirmed(adapter, last(tco)) if event.type is E.PAYMENT_REFUNDED]

    assert (told.provider_payment_id, told.amount) == (ours.provider_refund_id, ours.amount)


def test_full_refund_without_its_record_is_known_by_the_status(
    tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider
) -> None:
    order = bought(tco)
    tco.refund(order.ref)
    order.refunds.clear()
    order.status = "REFUND"

    [told] = [event for event in confirmed(adapter, last(tco)) if event.type is E.PAYMENT_REFUNDED]

    assert (told.provider_payment_id, told.amount) == (f"{order.ref}:9.99", Decimal("9.99"))


@pytest.mark.parametrize(
    ("resolution", "kind"),
    [
        ("OPEN", E.PAYMENT_DISPUTED),
        ("WON", E.PAYMENT_DISPUTE_WON),
        ("LOST", E.PAYMENT_DISPUTE_LOST),
        ("ACCEPTED", E.PAYMENT_DISPUTE_LOST),
    ],
)
def test_dispute_is_never_a_refund_too(
    tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider, resolution: str, kind: EventType
) -> None:
    order = bought(tco)
    tco.chargeback(order.ref, resolution)

    found = confirmed(adapter, last(tco))

    assert types(found)[:2] == [E.PAYMENT_SUCCEEDED, kind]
    assert (found[1].provider_payment_id, found[1].parent_payment_id) == (f"{order.ref}:chargeback", order.ref)
    assert E.PAYMENT_REFUNDED not in types(found)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"recurring": False}, [E.SUBSCRIPTION_CANCELED]),
        ({"enabled": False}, [E.SUBSCRIPTION_REVOKED]),
    ],
)
def test_buyers_own_switches_are_told(
    tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider, wish: dict[str, Any], expected: list[EventType]
) -> None:
    ref = bought(tco).subscription or ""
    tco.change(ref, **wish)

    found = confirmed(adapter, last(tco, "lcn"))

    assert types(found) == expected
    assert found[0].period_end == tco.subscription(ref).expires_at


def test_a_life_without_payment_ends(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    ref = bought(tco).subscription or ""
    end = tco.subscription(ref).expires_at
    tco.change(ref, card_declines=True)

    tco.advance(end - tco.now() + days(1))
    failed, grace = confirmed(adapter, last(tco, "lcn"))
    tco.advance(days(7))
    [expired] = confirmed(adapter, last(tco, "lcn"))

    assert types([failed, grace, expired]) == [E.PAYMENT_FAILED, E.SUBSCRIPTION_GRACE, E.SUBSCRIPTION_EXPIRED]
    assert (failed.occurred_at, grace.period_end) == (end, end + days(7))
    assert failed.provider_payment_id == f"{ref}:{end:%Y%m%dT%H%M%SZ}"


def test_test_orders_are_flagged_by_the_records(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    bought(tco, config={"test_mode": True})

    assert all(event.is_test for event in confirmed(adapter, last(tco)))


# --- hints that are not true -----------------------------------------------------------------------------------------


def renamed(raw: bytes, *names: tuple[str, str]) -> bytes:
    """The same values under other names: 2Checkout's signature holds."""
    text = raw.decode()
    for old, new in names:
        text = text.replace(f"&{old}=", f"&{new}=", 1)
    return text.encode()


def test_renamed_fields_are_believed_by_nobody(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    """An order of 1.00 whose fields say that its tax of 1000.00 is the total: signed, and not true."""
    order = bought(tco, amount=Decimal("1.00"))
    fields = [("IPN_VAT", "1000.00") if name == "ADDRESS2" else (name, v) for name, v in fields_of(last(tco))]
    signed = form([pair for pair in fields if pair[0] not in ("HASH", "SIGNATURE_SHA2_256", "SIGNATURE_SHA3_256")])
    raw = renamed(signed, ("IPN_TOTALGENERAL", "X"), ("IPN_VAT", "IPN_TOTALGENERAL"), ("REFNOEXT", "Y"))
    adapter.verify_webhook({}, raw, NOW)
    assert adapter.parse_webhook({}, raw)[0].amount == Decimal("1000.00")

    paid, _ = confirmed(adapter, raw)

    assert (paid.amount, paid.order_ref, paid.provider_payment_id) == (Decimal("1.00"), "ord_1", order.ref)


@pytest.mark.parametrize(
    ("outcome", "changes"),
    [
        ("authorize", {"ORDERSTATUS": "COMPLETE"}),
        ("pay", {"ORDERSTATUS": "REFUND", "IPN_TOTALGENERAL": "-9.99"}),
        ("pay", {"CHARGEBACK_RESOLUTION": "LOST"}),
    ],
)
def test_money_that_the_records_do_not_show_is_asked_for_again(
    tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider, outcome: str, changes: dict[str, str]
) -> None:
    order = bought(tco, outcome)

    with pytest.raises(Unavailable):
        confirmed(adapter, ipn(REFNO=order.ref, **changes))


@pytest.mark.parametrize("raw", [ipn(REFNO="99999"), lcn(LICENSE_CODE="S404")], ids=["order", "subscription"])
def test_what_the_records_do_not_know_is_asked_for_again(adapter: TwoCheckoutProvider, raw: bytes) -> None:
    with pytest.raises(Unavailable):
        confirmed(adapter, raw)


def test_subscription_that_is_not_there_yet_does_not_keep_its_payment_waiting(
    tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider
) -> None:
    order = bought(tco)
    raw = last(tco)
    tco.hide(order.subscription or "")

    [paid] = confirmed(adapter, raw)

    subscription = tco.subscriptions[order.subscription or ""]
    assert (paid.type, paid.provider_sub_id) == (E.PAYMENT_SUCCEEDED, subscription.ref)
    assert (paid.period_start, paid.period_end) == (subscription.anchor, subscription.expires_at)


def test_silence_changes_nothing(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    bought(tco)
    tco.fail("500", times=9)

    with pytest.raises(Unavailable):
        confirmed(adapter, last(tco))


def test_record_that_cannot_be_read_is_no_fact(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    order = bought(tco)
    order.chargeback = "SOMETHING_NEW"

    with pytest.raises(Unavailable):
        confirmed(adapter, ipn(REFNO=order.ref))


def test_nothing_hinted_is_nothing_asked(tco: TwoCheckoutEmulator, adapter: TwoCheckoutProvider) -> None:
    assert adapter.confirm_events([]) == []
    assert not tco.requests
