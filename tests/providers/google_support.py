"""What Google's tests share: the emulator and a provider against it, pushes with good and bad proofs, readings of events."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from providers.base import EventType, ProviderEvent
from providers.google.adapter import GoogleProvider
from tests.emulators.google import Delivery, GoogleEmulator, envelope

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "google"
USER = "018f2f2e-0000-7000-8000-000000000042"
NOW = datetime(2026, 2, 1, tzinfo=UTC)
TOKEN = "opaque-token.AO-J1Example"
ORDER = "GPA.3333-4137-0319-36762"
#: The events of the table of providers.md 4.2, by notificationType, as a delivery hints at them.
TABLE: dict[int, list[str]] = {
    1: ["payment.succeeded", "subscription.resumed", "subscription.renewed"],
    2: ["payment.succeeded", "subscription.renewed"],
    3: ["subscription.canceled"],
    4: ["subscription.created", "subscription.activated", "payment.succeeded"],
    5: ["payment.failed", "subscription.on_hold"],
    6: ["payment.failed", "subscription.grace"],
    7: ["subscription.resumed"],
    8: [],
    9: ["subscription.extended"],
    10: ["subscription.paused"],
    11: [],
    12: ["subscription.revoked"],
    13: ["subscription.expired"],
    17: ["subscription.plan_changed"],
    18: ["subscription.canceled"],
    19: [],
    20: ["payment.failed"],
    22: [],
}


def provider(google: GoogleEmulator, **changes: Any) -> GoogleProvider:
    """Against that emulator, with a memory of its own."""
    return GoogleProvider("google", {**google.settings(), "answer_seconds": 2, **changes})


@cache
def offline(**changes: Any) -> GoogleProvider:
    """Whom nobody answers: for what touches no network."""
    config = {
        "package_name": "com.example.app",
        "service_account": "",
        "audience": "https://billing.example.com/webhooks/google",
        "push_account": "play-push@my-project.iam.gserviceaccount.com",
        "push_subscription": "projects/my-project/subscriptions/play-push",
        "base_url": "http://127.0.0.1:9",
        "certs_url": "http://127.0.0.1:9/certs",
    }
    return GoogleProvider("google", {**config, **changes})


def push(
    part: str, body: dict[str, Any], *, message_id: str = "1", package: str = "com.example.app", **changes: Any
) -> bytes:
    """The raw body of a push; a change to `...` leaves the field of its data out."""
    data = {"version": "1.0", "packageName": package, "eventTimeMillis": "1769904000000", part: body, **changes}
    data = {key: value for key, value in data.items() if value is not ...}
    subscription = "projects/my-project/subscriptions/play-push"
    return envelope(data, message_id=message_id, subscription=subscription, published=NOW)


def purchase_push(kind: Any, *, token: str = TOKEN, **options: Any) -> bytes:
    body = {"version": "1.0", "notificationType": kind, "purchaseToken": token}
    return push("subscriptionNotification", body, **options)


def raw_data(data: bytes, message_id: str = "1") -> bytes:
    """A push whose data are these bytes."""
    subscription = "projects/my-project/subscriptions/play-push"
    message = {"data": base64.b64encode(data).decode(), "messageId": message_id}
    return json.dumps({"message": message, "subscription": subscription}).encode()


def told(google: GoogleEmulator, adapter: GoogleProvider, delivery: Delivery) -> list[ProviderEvent]:
    """What a delivery comes to: proved, parsed, confirmed."""
    headers, raw = google.pushes.headers(), delivery.body.encode()
    adapter.verify_webhook(headers, raw, datetime.now(UTC))
    return adapter.confirm_events(adapter.parse_webhook(headers, raw))


def last(google: GoogleEmulator, adapter: GoogleProvider) -> list[ProviderEvent]:
    """What the emulator's last delivery comes to."""
    return told(google, adapter, google.pushes.deliveries[-1])


def types(events: list[ProviderEvent]) -> list[str]:
    return [event.type.value for event in events]


def money(events: list[ProviderEvent]) -> list[tuple[str, str | None, str]]:
    """Money that moved: its type, key and amount."""
    return [(e.type.value, e.provider_payment_id, str(e.amount)) for e in events if e.amount is not None]


def only(events: list[ProviderEvent], type_: EventType) -> ProviderEvent:
    [found] = [event for event in events if event.type == type_]
    return found


#: A delivery as it is: a renewal.
RAW = purchase_push(2)
