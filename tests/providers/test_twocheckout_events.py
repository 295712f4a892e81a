"""What 2Checkout's deliveries hint at: the mapping, the keys, the fields. No network."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from providers.base import EventType, MalformedError
from tests.providers.twocheckout_support import IPN, LCN, ORDER_CASES, SUBSCRIPTION_CASES, hinted, ipn, lcn, provider

E = EventType
#: Half past something in Bucharest is two hours earlier in UTC, three in summer.
PAID_AT = datetime(2026, 1, 31, 8, 0, 10, tzinfo=UTC)
START = datetime(2026, 1, 31, 8, 0, 5, tzinfo=UTC)
END = datetime(2026, 2, 28, 8, 0, 5, tzinfo=UTC)
SENT_AT = datetime(2026, 1, 31, 8, 0, 15, tzinfo=UTC)


def kinds(raw: bytes, **changes: Any) -> list[EventType]:
    return [event.type for event in hinted(raw, **changes)]


# --- the mapping -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("changes", "expected"), ORDER_CASES)
def test_orders_status_hints_at(changes: Mapping[str, Any], expected: list[EventType]) -> None:
    assert kinds(ipn(**changes)) == expected


@pytest.mark.parametrize("status", ["PAYMENT_AUTHORIZED", "PAYMENT_RECEIVED"])
def test_an_authorisation_counts_only_where_the_settings_say_so(status: str) -> None:
    assert kinds(ipn(ORDERSTATUS=status), activate_on_auth=True) == [E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_ACTIVATED]


@pytest.mark.parametrize(("changes", "expected"), SUBSCRIPTION_CASES)
def test_subscriptions_reason_hints_at(changes: Mapping[str, Any], expected: list[EventType]) -> None:
    assert kinds(lcn(**changes)) == expected


def test_unknown_words_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    assert hinted(ipn(ORDERSTATUS="SOMETHING_NEW")) == hinted(lcn(DISPATCH_REASON="SOMETHING_NEW")) == []
    assert caplog.text.count("SOMETHING_NEW") == 2


# --- the fields ------------------------------------------------------------------------------------------------------


def test_payment_says_everything_that_is_needed_to_match_it() -> None:
    paid, state = hinted(ipn())

    assert (paid.event_id, paid.provider, paid.occurred_at) == ("2co:ipn:254498854202#0", "2checkout", PAID_AT)
    assert (paid.provider_payment_id, paid.amount, paid.currency) == ("211153389", Decimal("9.99"), "USD")
    assert (paid.order_ref, paid.user_ref, paid.provider_sub_id) == ("ord_1", "user_123", "XRILXB9ZI3")
    assert (paid.period_start, paid.period_end, paid.is_test) == (START, END, False)
    assert (state.event_id, state.period_end) == ("2co:ipn:254498854202#1", END)


def test_refund_is_of_its_order_and_positive() -> None:
    [event] = hinted(ipn(ORDERSTATUS="REFUND", IPN_TOTALGENERAL="-5.00"))

    assert (event.parent_payment_id, event.provider_payment_id) == ("211153389", "211153389:5")
    assert (event.amount, event.occurred_at) == (Decimal("5.00"), SENT_AT)


def test_dispute_keeps_one_id_to_its_end() -> None:
    ids = {
        hinted(ipn(CHARGEBACK_RESOLUTION=word, CHARGEBACK_REASON_CODE="FRAUD"))[0].provider_payment_id
        for word in ("OPEN", "WON", "LOST")
    }

    assert ids == {"211153389:chargeback"}


def test_renewal_belongs_to_the_first_purchases_order() -> None:
    paid, state = hinted(ipn(REFNO="211153999", REFNOEXT="", ORIGINAL_REFNOEXT="ord_1"))

    assert (paid.order_ref, paid.provider_payment_id, paid.period_start, paid.period_end) == (
        "ord_1",
        "211153999",
        None,
        END,
    )
    assert state.type is E.SUBSCRIPTION_RENEWED


def test_order_that_we_placed_carries_the_key_of_its_charge() -> None:
    paid, _ = hinted(ipn(REFNOEXT="charge:txn_7"))

    assert (paid.idempotency_key, paid.order_ref) == ("txn_7", None)


def test_failed_renewal_is_known_by_the_day_it_was_due() -> None:
    failed, grace = hinted(lcn(DISPATCH_REASON="LICENCE_PASTDUE"))

    assert (failed.provider_payment_id, failed.occurred_at) == ("XRILXB9ZI3:20260228T080005Z", END)
    assert grace.occurred_at == datetime(2026, 2, 1, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize("raw", [ipn(TEST_ORDER="1"), lcn(TEST="1")], ids=["ipn", "lcn"])
def test_test_orders_are_flagged(raw: bytes) -> None:
    assert all(event.is_test for event in hinted(raw))


def test_subscription_without_an_end_has_none() -> None:
    assert hinted(lcn(EXPIRATION_DATE="9999-12-31 23:59:59"))[0].period_end is None


@pytest.mark.parametrize(
    ("zone", "local", "utc"),
    [
        ("Europe/Bucharest", "2026-07-15 12:00:00", "2026-07-15T09:00:00+00:00"),
        ("Europe/Bucharest", "2026-01-15 12:00:00", "2026-01-15T10:00:00+00:00"),
        ("GMT+03:00", "2026-01-15 12:00:00", "2026-01-15T09:00:00+00:00"),
        ("GMT-05:30", "2026-01-15 12:00:00", "2026-01-15T17:30:00+00:00"),
        ("America/New_York", "2028-02-29 23:30:00", "2028-03-01T04:30:00+00:00"),
        ("UTC", "2026-01-31", "2026-01-31T00:00:00+00:00"),
    ],
)
def test_dates_are_the_accounts(zone: str, local: str, utc: str) -> None:
    [event] = hinted(lcn(EXPIRATION_DATE=local), timezone=zone)

    assert event.period_end == datetime.fromisoformat(utc)
    assert event.period_end.tzinfo is UTC


def test_another_zone_than_the_accounts_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    hinted(ipn())
    assert "zone" not in caplog.text
    hinted(ipn(TIMEZONE_OFFSET="GMT-08:00"))
    assert "TWOCHECKOUT_TIMEZONE" in caplog.text


@pytest.mark.parametrize(
    ("currency", "total", "amount"), [("JPY", "1200", "1200"), ("KWD", "1.234", "1.234"), ("usd", "6.9", "6.9")]
)
def test_amounts_are_exact(currency: str, total: str, amount: str) -> None:
    paid, _ = hinted(ipn(CURRENCY=currency, IPN_TOTALGENERAL=total))

    assert (paid.amount, paid.currency) == (Decimal(amount), currency.upper())
    assert isinstance(paid.amount, Decimal)


# --- the keys --------------------------------------------------------------------------------------------------------


def key(raw: bytes) -> str:
    return provider().delivery_key({}, raw)


def test_message_has_one_key_however_often_it_comes() -> None:
    assert key(ipn()) == key(ipn(IPN_DATE="20260131110000")) == "2co:ipn:254498854202"
    assert key(ipn(MESSAGE_ID="254498854203")) != key(ipn())


def test_message_without_an_id_is_known_by_its_values() -> None:
    bare = {"MESSAGE_ID": ...}

    assert key(ipn(**bare)).startswith("2co:ipn:211153389:COMPLETE:")
    assert key(ipn(**bare)) == key(ipn(IPN_DATE="20260131110000", **bare))
    assert key(ipn(**bare)) != key(ipn(IPN_TOTALGENERAL="1.00", **bare))


def test_subscriptions_notice_is_known_by_reason_and_time() -> None:
    assert key(lcn()) == "2co:lcn:XRILXB9ZI3:LICENCE_CHANGE:2026-02-01 12:00:00"
    assert key(lcn(DATE_UPDATED=...)) != key(lcn(DATE_UPDATED=..., RECURRING="0"))


# --- what is not understood ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        ipn(REFNO=...),
        ipn(REFNO=""),
        ipn(REFNO="12a"),
        ipn(REFNO="-1"),
        ipn(ORDERSTATUS=...),
        ipn(ORDERSTATUS="complete me"),
        ipn(MESSAGE_ID="a b"),
        lcn(LICENSE_CODE=""),
        lcn(LICENSE_CODE="../orders/1"),
        lcn(EXPIRATION_DATE=...),
    ],
)
def test_delivery_that_names_nothing_is_malformed(raw: bytes) -> None:
    for method in (provider().delivery_key, provider().parse_webhook):
        with pytest.raises(MalformedError):
            method({}, raw)


@pytest.mark.parametrize(
    "raw",
    [
        ipn(CURRENCY="DOLLARS"),
        ipn(IPN_TOTALGENERAL="a lot"),
        ipn(IPN_TOTALGENERAL="-9.99"),
        ipn(IPN_TOTALGENERAL="1e5"),
        ipn(COMPLETE_DATE="yesterday"),
        ipn(IPN_LICENSE_EXP="2026-02-30 00:00:00"),
        ipn(IPN_LICENSE_REF="a b"),
        ipn(IPN_DATE="20261301000000"),
        ipn(REFNOEXT="a\x00b"),
        lcn(EXPIRATION_DATE="soon"),
        lcn(DATE_UPDATED="soon"),
    ],
)
def test_value_that_is_not_what_it_should_be_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedError):
        hinted(raw)


def test_fields_that_the_account_does_not_send_are_not_missed() -> None:
    """Which are sent is chosen in the Control Panel."""
    wanted = {"REFNO", "ORDERSTATUS", "IPN_PID[]", "IPN_PNAME[]", "IPN_DATE"}

    bare_ipn = ipn(**{name.removesuffix("[]"): ... for name in IPN if name not in wanted})
    bare_lcn = lcn(**{name: ... for name in LCN if name not in {"LICENSE_CODE", "EXPIRATION_DATE"}})

    [paid] = hinted(bare_ipn)
    assert (paid.type, paid.amount, paid.provider_payment_id) == (E.PAYMENT_SUCCEEDED, None, "211153389")
    assert kinds(bare_lcn) == [E.SUBSCRIPTION_RESUMED]


def test_fields_that_nobody_documents_are_no_trouble() -> None:
    assert hinted(ipn(NEW_FIELD="x", **{"NEW_LIST[]": ""})) == hinted(ipn())
