"""What Google's records tell when nobody was told: orders since a time, the state now, the list of voided purchases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from providers.base import EventType
from providers.google.adapter import GoogleProvider
from tests.emulators.google import GoogleEmulator, Product
from tests.providers.google_support import USER, money, provider, told, types

DAY = timedelta(days=1)
MONTH = timedelta(days=32)
E = EventType


@pytest.fixture
def google() -> Iterator[GoogleEmulator]:
    with GoogleEmulator() as emulator:
        yield emulator


@pytest.fixture
def adapter(google: GoogleEmulator) -> GoogleProvider:
    return provider(google)


def bought(google: GoogleEmulator, *products: Product, **options: object) -> str:
    """A purchase of our user, acknowledged so that it lasts."""
    token = google.purchase(*products, user=USER, **options).token  # type: ignore[arg-type]
    google.purchases[token].acknowledged = True
    return token


def story(google: GoogleEmulator) -> tuple[str, datetime]:
    """A month of which nobody was told."""
    token = bought(google)
    since = google.now - DAY
    google.advance(MONTH)
    google.advance(MONTH)
    google.refund(google.purchases[token].orders[-1].order_id)
    google.cancel(token)
    return token, since


def test_what_was_missed_is_in_the_records(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token, since = story(google)
    first = google.purchases[token].first_order
    missed = adapter.fetch_events(token, since=since)
    by_webhook = [event for d in google.pushes.deliveries for event in told(google, adapter, d)]

    assert money(missed) == [
        ("payment.succeeded", first, "9.99"),
        ("payment.succeeded", f"{first}..0", "9.99"),
        ("payment.succeeded", f"{first}..1", "9.99"),
        ("payment.refunded", f"{first}..1", "9.99"),
    ]
    assert set(money(missed)) == set(money(by_webhook))
    assert missed[-1].type == E.SUBSCRIPTION_CANCELED
    assert missed[-1].period_end == google.purchases[token].expires_at
    later = google.purchases[token].orders[1].created_at + timedelta(seconds=1)
    assert money(adapter.fetch_events(token, since=later)) == money(missed)[2:]


def test_the_present_state_comes_last(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)

    def state() -> str:
        return adapter.fetch_events(token, since=google.now - DAY)[-1].type.value

    assert state() == "subscription.resumed"
    google.pause(token, days=5)
    google.advance(MONTH)
    assert state() == "subscription.paused"
    google.advance(6 * DAY)
    google.fail(token)
    google.advance(29 * DAY)
    assert state() == "subscription.grace"
    google.advance(3 * DAY)
    assert state() == "subscription.on_hold"
    google.recover(token)
    google.revoke(token)
    assert state() == "subscription.revoked"


def test_time_that_was_given_is_found(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    token = bought(google)
    google.defer(token, days=10)
    events = adapter.fetch_events(token, since=google.now - DAY)

    assert types(events) == ["payment.succeeded", "subscription.extended", "subscription.resumed"]
    assert events[1].period_end == google.purchases[token].expires_at


def test_voided_purchases_are_listed_page_by_page(google: GoogleEmulator, adapter: GoogleProvider) -> None:
    google.page_size = 2
    since = google.now
    tokens = [bought(google) for _ in range(5)]
    for token in tokens:
        google.revoke(token)
    missed = list(adapter.missed_events(since=since - 40 * DAY, until=google.now + DAY))

    assert types(missed) == ["payment.refunded"] * 5
    assert [event.provider_payment_id for event in missed] == [google.purchases[t].first_order for t in tokens]
    assert set(money(missed)) <= {entry for d in google.pushes.deliveries for entry in money(told(google, adapter, d))}
    assert list(adapter.missed_events(since=since - DAY, until=since - timedelta(hours=1))) == []
