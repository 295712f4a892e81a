"""The keys and references that deliveries and the API's own records share, so that nothing is applied twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from providers.base import EventType, ProviderEvent

#: An order that we placed with a stored method carries the key of its charge; a bought one our order's reference.
CHARGE_PREFIX = "charge:"
#: The longest ExternalReference.
MAX_REFERENCE = 100


def references(external: str | None) -> tuple[str | None, str | None]:
    """(our order's reference, our charge's key): one of them or neither."""
    if external is None:
        return None, None
    if external.startswith(CHARGE_PREFIX):
        return None, external.removeprefix(CHARGE_PREFIX) or None
    return external, None


def refund_id(order: str, cumulative: Decimal) -> str:
    """2Checkout gives refunds no id: what has gone back by then tells one from the next."""
    return f"{order}:{cumulative.normalize():f}"


def dispute_id(order: str) -> str:
    return f"{order}:chargeback"


def numbered(events: Iterable[ProviderEvent], key: str) -> list[ProviderEvent]:
    return [replace(event, event_id=f"{key}#{index}") for index, event in enumerate(events)]


def renewal_failed(state: ProviderEvent, *, due: datetime) -> ProviderEvent:
    """The renewal that was due could not be charged. There is no order of it: the subscription and the day name it."""
    return replace(
        state,
        type=EventType.PAYMENT_FAILED,
        occurred_at=due,
        provider_payment_id=f"{state.provider_sub_id}:{due:%Y%m%dT%H%M%SZ}",
        period_end=None,
        reason="past_due",
    )
