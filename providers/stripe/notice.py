"""One event of Stripe's, opened: what its readers are given, and how they make our events of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from providers.base import EventType, ProviderEvent
from providers.stripe.wire import Object, Refs, id_of
from providers.wire.fields import usable_text

#: What is kept of an object: ids and words that say what it was, nobody's name or address.
KEPT_IDS = ("id", "customer", "payment_intent", "setup_intent", "subscription", "invoice", "charge")
KEPT_WORDS = ("object", "status", "mode", "payment_status", "billing_reason", "reason")


@dataclass(frozen=True, slots=True)
class Notice:
    """`is_test` says that a test event came to a live configuration. `previous` has the old values of what changed."""

    provider: str
    event_id: str
    type: str
    created: datetime
    object: Object
    previous: Object
    is_test: bool

    @property
    def delivery_key(self) -> str:
        return f"stripe:{self.event_id}"

    def event(self, type_: EventType, refs: Refs, **values: Any) -> ProviderEvent:
        return ProviderEvent(
            provider=self.provider,
            event_id=self.delivery_key,
            type=type_,
            **{
                "occurred_at": self.created,
                "order_ref": refs.order,
                "idempotency_key": refs.key,
                "user_ref": refs.user,
                "plan_ref": refs.plan,
                "is_test": self.is_test,
                "raw": extract(self.object),
                **values,
            },
        )

    def numbered(self, event: ProviderEvent, n: int) -> ProviderEvent:
        return replace(event, event_id=f"{self.delivery_key}#{n}")


Reader = Callable[[Notice], list[ProviderEvent]]


def extract(value: Object) -> Mapping[str, Any]:
    """The part of an object that is kept with its event."""
    ids = {name: id_of(value.get(name)) for name in KEPT_IDS}
    words = {name: usable_text(value.get(name)) for name in KEPT_WORDS}
    return {name: found for name, found in {**ids, **words}.items() if found is not None}
