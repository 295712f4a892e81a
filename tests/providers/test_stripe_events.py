"""What Stripe's deliveries tell (providers.md 5.2)."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from providers.base import MalformedError
from tests.providers.stripe_cases import CASES, SILENT, told
from tests.providers.stripe_support import (
    LIVE_KEY,
    NOW,
    SECONDS,
    charge,
    delivery,
    intent,
    invoice,
    parsed,
    refund,
    subscription,
)


@pytest.mark.parametrize(("mode", "type_", "value", "previous", "expected"), CASES)
def test_what_each_type_tells(
    mode: str, type_: str, value: dict[str, Any], previous: dict[str, Any] | None, expected: list[dict[str, Any]]
) -> None:
    wanted = [{"hard": True, **event} if event.get("hard") else event for event in expected]

    assert told(parsed(delivery(type_, value, previous), mode)) == wanted


@pytest.mark.parametrize("mode", ["billing", "payments"])
@pytest.mark.parametrize("type_", SILENT)
def test_what_is_nobodys_business_tells_nothing(type_: str, mode: str) -> None:
    assert parsed(delivery(type_, {"id": "x_1", "object": "thing"}), mode) == []


def test_fields_that_nobody_knows_yet_change_nothing() -> None:
    known, more = invoice(), invoice(of_tomorrow={"deep": [1.5, None]}, currency="usd")

    assert told(parsed(delivery("invoice.paid", more, new_field=1))) == told(parsed(delivery("invoice.paid", known)))


@pytest.mark.parametrize(
    ("currency", "minor", "major"),
    [
        ("usd", 699, "6.99"),
        ("jpy", 700, "700"),
        ("kwd", 1230, "1.230"),
        ("isk", 50000, "500.00"),
        ("ugx", 50000, "500.00"),
        ("mga", 5000, "5000"),
        ("huf", 19900, "199.00"),
    ],
)
def test_minor_units_are_stripes(currency: str, minor: int, major: str) -> None:
    [event] = parsed(
        delivery("payment_intent.succeeded", intent(currency=currency, amount=minor, amount_received=minor)), "payments"
    )

    assert (event.amount, event.currency) == (Decimal(major), currency.upper())
    assert isinstance(event.amount, Decimal)


def test_a_test_event_is_one_only_where_the_key_is_live() -> None:
    test, live = delivery("invoice.paid", invoice()), delivery("invoice.paid", invoice(), livemode=True)

    assert [event.is_test for event in parsed(test)] == [False, False]
    assert [event.is_test for event in parsed(test, secret_key=LIVE_KEY)] == [True, True]
    assert [event.is_test for event in parsed(live, secret_key=LIVE_KEY)] == [False, False]


def test_a_proration_names_the_period_that_it_pays_for() -> None:
    whole = invoice()["lines"]["data"][0]
    credit = {**whole, "id": "il_2", "amount": -300, "period": {"start": SECONDS - 9, "end": SECONDS + 999999999}}
    for line in (credit, debit := {**whole, "amount": 500, "period": {"start": SECONDS - 5, "end": SECONDS + 5}}):
        line["parent"] = {
            "type": "subscription_item_details",
            "subscription_item_details": {"proration": True, "subscription": "sub_1"},
        }
    change = invoice(billing_reason="subscription_update", lines={"data": [credit, debit]}, amount_paid=200)

    [event] = parsed(delivery("invoice.paid", change))

    assert event.amount == Decimal("2.00")
    assert (event.period_start, event.period_end) == (NOW - timedelta(seconds=5), NOW + timedelta(seconds=5))


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("invoice.paid", invoice(id=None)),
        ("invoice.paid", invoice(amount_paid="699")),
        ("invoice.paid", invoice(amount_paid=6.99)),
        ("invoice.paid", invoice(amount_paid=-1)),
        ("invoice.paid", invoice(currency="xxx")),
        ("refund.created", refund(charge=None, payment_intent=None)),
        ("refund.created", refund(amount=None)),
        ("customer.subscription.deleted", subscription(id={})),
        ("customer.subscription.deleted", subscription(ended_at="soon")),
        ("charge.refunded", charge(amount_refunded=True)),
    ],
)
def test_what_is_not_as_documented_is_malformed(type_: str, value: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        parsed(delivery(type_, value))


@pytest.mark.parametrize(
    "changes",
    [{"id": None}, {"type": []}, {"created": "now"}, {"created": 10**30}, {"data": []}, {"data": {"object": 1}}],
)
def test_an_envelope_that_is_none_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        parsed(delivery("invoice.paid", invoice(), **changes))
