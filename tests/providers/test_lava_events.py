"""Lava's webhook: its key and its events. No network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from providers.base import EventType, MalformedError, ProviderEvent
from providers.lava.adapter import LavaProvider
from tests.providers.lava_support import RAW, lava, parsed, raw_with


def test_documents_webhook_is_one_payment() -> None:
    [event] = parsed(RAW)

    assert event == ProviderEvent(
        provider="lava",
        event_id="lava:inv_1:success#0",
        type=EventType.PAYMENT_SUCCEEDED,
        occurred_at=datetime(2024, 10, 23, 12, 0, tzinfo=UTC),
        provider_payment_id="inv_1",
        order_ref="xxx",
        user_ref="user_123",
        plan_ref="premium",
        amount=Decimal("6.99"),
        currency="USD",
        raw=json.loads(RAW, parse_float=Decimal),
    )
    assert isinstance(event.amount, Decimal)
    assert not event.is_test


@pytest.mark.parametrize(
    ("status", "type_", "reason"),
    [
        ("success", EventType.PAYMENT_SUCCEEDED, None),
        ("completed", EventType.PAYMENT_SUCCEEDED, None),
        ("SUCCESS", EventType.PAYMENT_SUCCEEDED, None),
        ("failed", EventType.PAYMENT_FAILED, "failed"),
        ("fail", EventType.PAYMENT_FAILED, "fail"),
        ("error", EventType.PAYMENT_FAILED, "error"),
        ("cancel", EventType.PAYMENT_FAILED, "cancel"),
        ("expired", EventType.PAYMENT_FAILED, "expired"),
        ("Failed", EventType.PAYMENT_FAILED, "failed"),
    ],
)
def test_status_decides_the_event(status: str, type_: EventType, reason: str | None) -> None:
    raw = raw_with(status=status)
    [event] = parsed(raw)

    assert (event.type, event.reason, event.provider_payment_id) == (type_, reason, "inv_1")
    assert event.event_id == f"lava:inv_1:{status.lower()}#0" == lava().delivery_key({}, raw) + "#0"


@pytest.mark.parametrize("status", ["created", "pending", "refund", "successful", "0"])
def test_unknown_status_is_ignored_with_a_line_in_the_log(status: str, caplog: pytest.LogCaptureFixture) -> None:
    raw = raw_with(status=status, amount="anything", pay_time=..., email="anna@example.com")

    assert parsed(raw) == []
    assert status in caplog.text
    assert "user_123" not in caplog.text
    assert "anna@example.com" not in caplog.text
    assert lava().delivery_key({}, raw) == f"lava:inv_1:{status}"


def test_key_is_the_same_for_a_redelivery_and_another_for_every_charge() -> None:
    keys = [lava().delivery_key({}, raw_with(invoice_id=f"inv_{n}")) for n in (1, 1, 2, 3)]
    keys.append(lava().delivery_key({}, raw_with(status="failed")))

    assert keys == [
        "lava:inv_1:success",
        "lava:inv_1:success",
        "lava:inv_2:success",
        "lava:inv_3:success",
        "lava:inv_1:failed",
    ]


def test_key_fits_the_column() -> None:
    raw = raw_with(invoice_id="i" * 180, status="success")

    assert len(parsed(raw)[0].event_id) <= 255
    with pytest.raises(MalformedError):
        lava().delivery_key({}, raw_with(invoice_id="i" * 181))


@pytest.mark.parametrize(
    ("wire", "amount"),
    [
        ("6.99", "6.99"),
        ('"6.99"', "6.99"),
        ('"990.00"', "990.00"),
        ("990", "990"),
        ("990.0", "990.0"),
        ("6.990", "6.990"),
        ("699e-2", "6.99"),
        ("6.99E0", "6.99"),
        ("0.1", "0.1"),
        ("0", "0"),
        ("123456789012345.6789", "123456789012345.6789"),
    ],
)
def test_amount_is_exact(wire: str, amount: str) -> None:
    raw = RAW.replace(b"6.99", wire.encode())
    [event] = parsed(raw)

    assert type(event.amount) is Decimal
    assert str(event.amount) == amount


@pytest.mark.parametrize(
    "wire",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        '"NaN"',
        '"Infinity"',
        '"sNaN"',
        "-6.99",
        '"-6.99"',
        "-0.0",
        '""',
        '" "',
        '"6,99"',
        '"6.99 USD"',
        '"1e2"',
        '"1_000"',
        '"+1"',
        '".5"',
        '"5."',
        '"٦"',
        "true",
        "null",
        "[]",
        "{}",
        "1e400",
        "1e-400",
        "1e999999999999999999",
        "1e99999999999999999999",
        "9" * 5000,
        "0.00001",
        "1234567890123456",
        '"' + "9" * 5000 + '"',
    ],
)
def test_amount_that_is_no_money_is_malformed(wire: str) -> None:
    with pytest.raises(MalformedError):
        parsed(RAW.replace(b"6.99", wire.encode()))


@pytest.mark.parametrize(
    ("pay_time", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05+03:00", datetime(2026, 1, 2, 0, 4, 5, tzinfo=UTC)),
        ("2024-02-05T09:38:27.33277Z", datetime(2024, 2, 5, 9, 38, 27, 332770, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2022-11-08 11:26:46", datetime(2022, 11, 8, 11, 26, 46, tzinfo=UTC)),
        ("2028-02-29T23:59:59-01:00", datetime(2028, 3, 1, 0, 59, 59, tzinfo=UTC)),
    ],
)
def test_time_is_aware_utc(pay_time: str, moment: datetime) -> None:
    [event] = parsed(raw_with(pay_time=pay_time))

    assert event.occurred_at == moment
    assert event.occurred_at.tzinfo is UTC


@pytest.mark.parametrize("pay_time", ["yesterday", "2026-02-30T00:00:00Z", 1767322800, True, [], {}])
@pytest.mark.parametrize("status", ["success", "failed"])
def test_time_that_cannot_be_read_is_malformed(pay_time: object, status: str) -> None:
    with pytest.raises(MalformedError):
        parsed(raw_with(pay_time=pay_time, status=status))


def test_time_outside_the_calendar_is_malformed() -> None:
    for pay_time in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
        with pytest.raises(MalformedError):
            parsed(raw_with(pay_time=pay_time))


@pytest.mark.parametrize("none", [..., None, ""])
def test_payment_needs_its_time_and_a_failure_does_not(none: object) -> None:
    with pytest.raises(MalformedError):
        parsed(raw_with(pay_time=none))

    before = datetime.now(UTC)
    [event] = parsed(raw_with(pay_time=none, amount=..., status="failed"))

    assert before <= event.occurred_at <= datetime.now(UTC)
    assert event.amount is None


@pytest.mark.parametrize("field", ["invoice_id", "order_id", "status"])
@pytest.mark.parametrize(
    "value", [..., None, "", "  ", True, 1.5, [], {}, "a\x00b", "a\nb", "\ud800", "x" * 300], ids=repr
)
def test_delivery_without_its_names_is_malformed(field: str, value: object) -> None:
    raw = raw_with(**{field: value})

    for method in (lava().delivery_key, lava().parse_webhook):
        with pytest.raises(MalformedError):
            method({}, raw)


def test_missing_amount_of_a_payment_is_malformed() -> None:
    with pytest.raises(MalformedError):
        parsed(raw_with(amount=...))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"\xff",
        RAW.replace(b"premium", b"\xff"),
        b"\xef\xbb\xbf" + RAW,
        RAW.decode().encode("utf-16"),
        b"[" * 60000,
        b'{"a":' * 12000,
        RAW + b"x",
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_body_that_is_no_json_object_is_malformed(raw: bytes) -> None:
    for method in (lava().delivery_key, lava().parse_webhook):
        with pytest.raises(MalformedError):
            method({}, raw)


@pytest.mark.parametrize(
    ("custom", "user_ref", "plan_ref"),
    [
        ({"user_id": "42", "plan_id": "про"}, "42", "про"),
        ({"user_id": 42}, "42", None),
        ({"user_id": "", "plan_id": None}, None, None),
        ({"user_id": ["42"], "plan_id": "a\x00b"}, None, None),
        ({}, None, None),
        (None, None, None),
        (..., None, None),
        ("test", None, None),
        ([], None, None),
    ],
)
def test_custom_fields_are_optional(custom: object, user_ref: str | None, plan_ref: str | None) -> None:
    [event] = parsed(raw_with(custom_fields=custom))

    assert (event.user_ref, event.plan_ref) == (user_ref, plan_ref)
    assert event.amount == Decimal("6.99")


def test_unknown_fields_are_kept_and_change_nothing() -> None:
    [event] = parsed(raw_with(pay_service="card", credited="6.50", currency="XXX", type=1))

    assert (event.amount, event.currency, event.order_ref) == (Decimal("6.99"), "USD", "xxx")
    assert event.raw["pay_service"] == "card"


@pytest.mark.parametrize(("order_id", "order_ref"), [("sub_xxx", "xxx"), ("ord_42", "ord_42"), ("sub_sub_1", "sub_1")])
def test_order_ref_is_the_order_id_without_our_prefix(order_id: str, order_ref: str) -> None:
    assert parsed(raw_with(order_id=order_id))[0].order_ref == order_ref


def test_event_carries_the_name_and_currency_of_its_configuration() -> None:
    second = LavaProvider("lava_eu", {"secret_key": "x", "currency": "EUR"})

    [event] = second.parse_webhook({}, RAW)

    assert (event.provider, event.currency) == ("lava_eu", "EUR")


def test_body_does_not_show_in_an_events_repr() -> None:
    [event] = parsed(raw_with(payer_details="553691******8079"))

    assert "553691" not in repr(event)
