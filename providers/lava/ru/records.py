"""What lava.ru's API says of a subscription or an invoice, read once into our words.

Times have no zone and are Moscow's [not in Lava's documents: to be confirmed with one payment].
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from providers.base import EventType, ProviderEvent, SubState, SubStatus
from providers.lava.ru.config import CURRENCY
from providers.wire.fields import amount_of, moment_local, optional_text, required_text

MOSCOW = ZoneInfo("Europe/Moscow")
#: The words of an invoice.
PAID = frozenset({"success"})
FAILED = frozenset({"error", "expired", "cancel", "cancelled", "canceled", "failed", "fail"})

_STATUSES = {
    "created": SubStatus.PENDING,
    "activated": SubStatus.ACTIVE,
    "deactivated": SubStatus.CANCELED,
    "suspended": SubStatus.ON_HOLD,
}
_EVENTS = {
    SubStatus.PENDING: EventType.SUBSCRIPTION_CREATED,
    SubStatus.ACTIVE: EventType.SUBSCRIPTION_ACTIVATED,
    SubStatus.CANCELED: EventType.SUBSCRIPTION_CANCELED,
    SubStatus.ON_HOLD: EventType.SUBSCRIPTION_ON_HOLD,
}
_ANOTHER = re.compile(r"(?P<order>.+)-r[2-9]", re.ASCII)

log = logging.getLogger(__name__)


def order_id(order_ref: str, attempt: int) -> str:
    """Our reference at Lava; an `attempt` after the first is another one of the same order."""
    return order_ref if attempt == 1 else f"{order_ref}-r{attempt}"


def order_ref(order_id: str) -> str:
    """The order of any of its references."""
    again = _ANOTHER.fullmatch(order_id)
    return again["order"] if again else order_id


def status_of(word: str) -> SubStatus:
    """A word that nobody documents is UNKNOWN, and a line in the log."""
    status = _STATUSES.get(word.lower())
    if status is None:
        log.warning("lava: status %r of a subscription is not known", word)
    return status or SubStatus.UNKNOWN


def moscow(fields: Mapping[str, Any], name: str) -> datetime | None:
    """None where it is absent. Raises MalformedError."""
    value = fields.get(name)
    return None if value in (None, "") else moment_local(value, name, MOSCOW)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A recurrent subscription. `paid_at` and `next_at` are its last and next charges, where Lava tells them."""

    id: str
    order_id: str | None
    consumer: str | None
    product: str | None
    status: SubStatus
    amount: Decimal | None
    paid_at: datetime | None
    next_at: datetime | None

    def state(self, as_of: datetime) -> SubState:
        return SubState(
            self.id,
            self.status,
            auto_renew={SubStatus.ACTIVE: True, SubStatus.CANCELED: False}.get(self.status),
            period_start=self.paid_at if self.next_at and self.paid_at and self.paid_at < self.next_at else None,
            period_end=self.next_at,
            provider_plan_ref=self.product,
            user_ref=self.consumer,
            as_of=as_of,
        )

    def state_event(self, *, provider: str, event_id: str, at: datetime) -> ProviderEvent | None:
        """Its state as an event of the moment `at`; None for a status that is not known."""
        kind = _EVENTS.get(self.status)
        if kind is None:
            return None
        return ProviderEvent(
            provider=provider,
            event_id=event_id,
            type=kind,
            occurred_at=at,
            provider_sub_id=self.id,
            order_ref=order_ref(self.order_id) if self.order_id else None,
            user_ref=self.consumer,
            provider_plan_ref=self.product,
            period_end=self.next_at,
            raw={"status": self.status.value},
        )


def read_subscription(data: Mapping[str, Any]) -> Subscription:
    """Raises MalformedError."""
    amount = data.get("amount")
    return Subscription(
        id=required_text(data, "subscriptionId", 100),
        order_id=optional_text(data, "orderId"),
        consumer=optional_text(data, "consumerId"),
        product=optional_text(data, "productId"),
        status=status_of(required_text(data, "status", 40)),
        amount=None if amount is None else amount_of(amount),
        paid_at=moscow(data, "last_pay_time"),
        next_at=moscow(data, "next_pay_time"),
    )


@dataclass(frozen=True, slots=True)
class Invoice:
    id: str
    order_id: str | None
    status: str
    amount: Decimal

    @property
    def is_paid(self) -> bool:
        return self.status in PAID

    def payment(self, *, provider: str, event_id: str, subscription: str, at: datetime) -> ProviderEvent:
        """The payment of a paid one, under the same money key as in its webhook."""
        return ProviderEvent(
            provider=provider,
            event_id=event_id,
            type=EventType.PAYMENT_SUCCEEDED,
            occurred_at=at,
            provider_sub_id=subscription,
            provider_payment_id=self.id,
            order_ref=order_ref(self.order_id) if self.order_id else None,
            amount=self.amount,
            currency=CURRENCY,
            raw={"status": self.status},
        )


def read_invoice(data: Mapping[str, Any]) -> Invoice:
    """Raises MalformedError."""
    return Invoice(
        id=required_text(data, "id", 100),
        order_id=optional_text(data, "order_id"),
        status=required_text(data, "status", 40).lower(),
        amount=amount_of(data.get("amount")),
    )
