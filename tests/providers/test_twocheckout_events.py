"""What 2Checkout's deliveries hint at: the mapping, the keys, the fields. No network."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from providers.base import EventType
from tests.providers.twocheckout_support import IPN, LCN, hinted, ipn, lcn, provider

E = EventType


def kinds(raw: bytes, **changes: Any) -> list[EventType]:
    return [event.type for event in hinted(raw, **changes)]


# --- the mapping -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["PAYMENT_AUTHORIZED", "PAYMENT_RECEIVED"])
def test_an_authorisation_counts_only_where_the_settings_say_so(status: str) -> None:
    assert kinds(ipn(ORDERSTATUS=status), activate_on_auth=True) == [E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_ACTIVATED]


# --- the fields ------------------------------------------------------------------------------------------------------


def test_order_that_we_placed_carries_the_key_of_its_charge() -> None:
    paid, _ = hinted(ipn(REFNOEXT="charge:txn_7"))

    assert (paid.idempotency_key, paid.order_ref) == ("txn_7", None)


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


def test_fields_that_the_account_does_not_send_are_not_missed() -> None:
    """Which are sent is chosen in the Control Panel."""
    wanted = {"REFNO", "ORDERSTATUS", "IPN_PID[]", "IPN_PNAME[]", "IPN_DATE"}

    bare_ipn = ipn(**{name.removesuffix("[]"): ... for name in IPN if name not in wanted})
    bare_lcn = lcn(**{name: ... for name in LCN if name not in {"LICENSE_CODE", "EXPIRATION_DATE"}})

    [paid] = hinted(bare_ipn)
    assert (paid.type, paid.amount, paid.provider_payment_id) == (E.PAYMENT_SUCCEEDED, None, "211153389")
    assert kinds(bare_lcn) == [E.SUBSCRIPTION_RESUMED]
