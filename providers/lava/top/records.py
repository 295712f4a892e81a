"""What lava.top's API says of a contract: one payment, and the subscription that it belongs to.

A subscription is named by its first contract. Statuses are upper case here and lower case in webhooks: case never counts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from providers.base import EventType, MalformedError, ProviderEvent, SubState, SubStatus
from providers.wire.fields import amount_of, currency_of, moment_of, optional_text, required_text, usable_text

#: What `clientUtm` says of our own orders.
UTM_SOURCE = "payflow"
MAX_ID = 100
PAID = frozenset({"completed", "subscription-active", "subscription-cancelled", "subscription-expired"})
FAILED = frozenset({"failed", "subscription-failed"})
ONE_TIME = "INVOICE"
RENEWAL = "SUBSCRIPTION_RENEWAL"

log = logging.getLogger(__name__)


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def order_ref_of(fields: Mapping[str, Any]) -> str | None:
    """Our reference in `clientUtm`; None for the sale of somebody else on the same account."""
    utm = mapping(fields.get("clientUtm"))
    return usable_text(utm.get("utm_content")) if utm.get("utm_source") == UTM_SOURCE else None


def word(fields: Mapping[str, Any], name: str) -> str:
    """In lower case; empty where it is absent."""
    return (usable_text(fields.get(name), 60) or "").lower()


def moment(fields: Mapping[str, Any], name: str) -> datetime | None:
    """None where it is absent. Raises MalformedError."""
    value = fields.get(name)
    return None if value in (None, "") else moment_of(value, name)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a subscription stands. `paid_until` is None where nothing of it was ever paid."""

    status: SubStatus
    period_end: datetime | None

    def state(self, subscription: str, as_of: datetime) -> SubState:
        renews = {SubStatus.ACTIVE: True, SubStatus.CANCELED: False, SubStatus.EXPIRED: False}
        return SubState(
            subscription,
            self.status,
            auto_renew=renews.get(self.status),
            period_end=self.period_end,
            as_of=as_of,
        )


def read_standing(fields: Mapping[str, Any], dates: Mapping[str, Any]) -> Standing:
    """Of `subscriptionStatus` and its dates. Raises MalformedError.

    FAILED is a charge that failed and is tried again (after about 8 and 24 hours), until lava.top cancels; before anything
    was paid it is a purchase that did not come about yet.
    """
    said, paid_until, over = (
        word(fields, "subscriptionStatus"),
        moment(dates, "expiredAt"),
        moment(dates, "terminatedAt"),
    )
    if over is not None and said in ("active", "cancelled", "failed"):
        return Standing(SubStatus.EXPIRED, over)
    match said:
        case "active":
            return Standing(SubStatus.ACTIVE, paid_until)
        case "cancelled":
            return Standing(SubStatus.CANCELED, paid_until)
        case "failed" if paid_until is None:
            return Standing(SubStatus.PENDING, None)
        case "failed":
            return Standing(SubStatus.PAST_DUE, None)  # until when it is tried again, lava.top does not say
        case "" if word(fields, "status") in ("new", "in_progress", "in-progress", "failed"):
            return Standing(SubStatus.PENDING, None)
    log.warning("lava.top: status %r of a subscription is not known", said)
    return Standing(SubStatus.UNKNOWN, paid_until)


@dataclass(frozen=True, slots=True)
class Contract:
    """One invoice of lava.top's. `subscription` is None for what is paid once."""

    id: str
    subscription: str | None
    is_renewal: bool
    status: str
    amount: Decimal
    currency: str
    order_ref: str | None
    made_at: datetime | None
    standing: Standing

    @property
    def is_paid(self) -> bool:
        return self.status in PAID

    @property
    def has_failed(self) -> bool:
        return self.status in FAILED


def read_contract(fields: Mapping[str, Any]) -> Contract:
    """Raises MalformedError."""
    contract = required_text(fields, "id", MAX_ID)
    parent = optional_text(mapping(fields.get("parentInvoice")), "id", MAX_ID)
    receipt = mapping(fields.get("receipt"))
    kind = usable_text(fields.get("type")) or ""
    return Contract(
        id=contract,
        subscription=None if kind == ONE_TIME else parent or contract,
        is_renewal=kind == RENEWAL,
        status=word(fields, "status"),
        amount=amount_of(receipt.get("amount")),
        currency=currency_of(receipt.get("currency")),
        order_ref=order_ref_of(fields),
        made_at=moment(fields, "datetime"),
        standing=read_standing(fields, mapping(fields.get("subscriptionDetails"))),
    )


@dataclass(frozen=True, slots=True)
class Renewal:
    id: str
    status: str
    amount: Decimal
    currency: str
    made_at: datetime


def read_renewals(fields: Mapping[str, Any], first: str) -> list[Renewal]:
    """The payments after the first, oldest first. Raises MalformedError."""
    listed = fields.get("recurrentPayments")
    found = [_renewal(item) for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    return sorted((each for each in found if each.id != first), key=lambda each: each.made_at)


def _renewal(item: Mapping[str, Any]) -> Renewal:
    made_at = moment(item, "datetime")
    if made_at is None:
        raise MalformedError("a payment without its time")
    return Renewal(
        id=required_text(item, "id", MAX_ID),
        status=word(item, "status"),
        amount=amount_of(item.get("amount")),
        currency=currency_of(item.get("currency")),
        made_at=made_at,
    )


_EVENTS = {
    SubStatus.PAST_DUE: EventType.SUBSCRIPTION_GRACE,
    SubStatus.CANCELED: EventType.SUBSCRIPTION_CANCELED,
    SubStatus.EXPIRED: EventType.SUBSCRIPTION_EXPIRED,
}


def state_event(
    standing: Standing, *, provider: str, event_id: str, subscription: str, renewed: bool, at: datetime
) -> ProviderEvent | None:
    """How it stands, as an event of the moment `at`; None where nothing can be said."""
    kind = _EVENTS.get(standing.status)
    if standing.status is SubStatus.ACTIVE:
        kind = EventType.SUBSCRIPTION_RENEWED if renewed else EventType.SUBSCRIPTION_ACTIVATED
    if kind is None:
        return None
    return ProviderEvent(
        provider=provider,
        event_id=event_id,
        type=kind,
        occurred_at=at,
        provider_sub_id=subscription,
        period_end=standing.period_end,
        raw={"status": standing.status.value},
    )
