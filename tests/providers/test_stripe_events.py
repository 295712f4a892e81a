"""What Stripe's deliveries tell (providers.md 5.2)."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest

from tests.providers.stripe_cases import CASES
from tests.providers.stripe_support import (
    EMAIL,
    LIVE_KEY,
    NOW,
    SECONDS,
    delivery,
    intent,
    invoice,
    parsed,
)


def test_what_is_kept_of_an_object_names_nobody() -> None:
    kept = [
        event.raw
        for mode, type_, value, previous, _ in CASES
        for event in parsed(delivery(type_, value, previous), mode)
    ]

    assert len(kept) > len(CASES) / 2
    assert EMAIL not in json.dumps([dict(raw) for raw in kept])


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
