"""Events made of Google's records: money of its orders, and how a purchase stands. Pure.

An order is one movement of money, its id with the ..N of a renewal its key; a refund of the whole order has the same id
(of another type), one of a part the id and its moment; a dispute one made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from providers.base import EventType, ProviderEvent, SubStatus
from providers.google.notices import dispute_id
from providers.google.records import Order, Purchase
from providers.google.state import status_of, told_by

Fields = dict[str, Any]
E = EventType
_ENDS = frozenset({E.SUBSCRIPTION_EXPIRED, E.SUBSCRIPTION_REVOKED})
#: Google lets a subscription run for a day while a payment is tried, without a word: that is no gift of time.
SILENT_GRACE = timedelta(days=2)


def numbered(fields: Iterable[Fields], *, provider: str, key: str) -> list[ProviderEvent]:
    return [ProviderEvent(provider=provider, event_id=f"{key}#{n}", **each) for n, each in enumerate(fields)]


def about(purchase: Purchase) -> Fields:
    """What every event of a purchase says."""
    return {
        "provider_sub_id": purchase.token,
        "user_ref": purchase.user_ref,
        "provider_plan_ref": purchase.plan_ref,
        # Of one that another took over from, the other alone says whose place is whose.
        "replaces": None if purchase.is_replaced else purchase.replaces,
        "unacknowledged": purchase.unacknowledged,
        "is_test": purchase.is_test,
    }


def paid(purchase: Purchase, order: Order) -> Iterator[Fields]:
    """The money of an order and its period; of one that cost nothing the free time. Nothing for what was not taken."""
    if order.paid_at is None:
        return
    told = {**about(purchase), **_of_order(purchase, order), "occurred_at": order.paid_at}
    if order.total > 0:
        money = {"provider_payment_id": order.order_id, "amount": order.total, "currency": order.currency}
        yield {"type": E.PAYMENT_SUCCEEDED, **told, **money}
    else:
        yield {"type": E.SUBSCRIPTION_ACTIVATED, "is_trial": True, **told}


def begun(purchase: Purchase, order: Order) -> Iterator[Fields]:
    """A first purchase: its beginning, then its money. One that costs nothing yet begins a trial."""
    told = {**about(purchase), **_of_order(purchase, order), "occurred_at": order.paid_at or order.created_at}
    for type_ in (E.SUBSCRIPTION_CREATED, E.SUBSCRIPTION_ACTIVATED):
        yield {"type": type_, "is_trial": order.total == 0, **told}
    if order.total > 0:
        yield from took_over(purchase, paid(purchase, order))


def took_over(purchase: Purchase, facts: Iterable[Fields]) -> Iterator[Fields]:
    """The first money of a purchase in place of another, though a third may be in its own place by now."""
    yield from ({**each, "replaces": purchase.replaces} for each in facts)


def reversed_(order: Order, purchase: Purchase | None) -> Iterator[Fields]:
    """What of an order went back, each movement once: parts, then the rest. `purchase` None: Google has forgotten it."""
    told: Fields = {
        "provider_sub_id": order.token,
        "parent_payment_id": order.order_id,
        "user_ref": purchase.user_ref if purchase else None,
        "is_test": purchase.is_test if purchase else False,
        "currency": order.currency,
        "raw": {"order": order.raw},
    }
    if order.paid_at is None:
        return
    for part in order.partial_refunds:
        refund_id = f"{order.order_id}:{int(part.at.timestamp() * 1000)}"
        yield {"type": E.PAYMENT_REFUNDED, **told, **_back(refund_id, part.amount, part.at)}
    if order.refunded_at is None or order.rest <= 0:
        return
    if order.is_chargeback:
        yield {
            "type": E.PAYMENT_DISPUTE_LOST,
            **told,
            **_back(dispute_id(order.order_id), order.rest, order.refunded_at),
        }
    else:
        yield {"type": E.PAYMENT_REFUNDED, **told, **_back(order.order_id, order.rest, order.refunded_at)}


def stands(
    purchase: Purchase, *, at: datetime, latest: Order | None = None, raw: Mapping[str, Any]
) -> Iterator[Fields]:
    """How it stands at that moment, as the last word. `latest` tells what ended early from what ran out."""
    type_ = told_by(purchase)
    if type_ is None:
        return
    if type_ == E.SUBSCRIPTION_EXPIRED and latest is not None and _was_revoked(purchase, latest):
        type_ = E.SUBSCRIPTION_REVOKED
    yield state_event(type_, purchase, at=at, raw=raw)


def state_event(type_: EventType, purchase: Purchase, *, at: datetime, raw: Mapping[str, Any]) -> Fields:
    """What is told of an end before it came (a cancellation, read late) happened at the end, not when it was told."""
    end = purchase.expires_at
    moment = max(at, end) if type_ in _ENDS and end is not None else at
    return {"type": type_, **about(purchase), "occurred_at": moment, "period_end": end, "raw": raw}


def extended(purchase: Purchase, latest: Order, *, raw: Mapping[str, Any]) -> Iterator[Fields]:
    """Time beyond what its latest order paid for: Google, or somebody in the Play Console, put its renewal off."""
    end = purchase.expires_at
    if status_of(purchase) != SubStatus.ACTIVE or end is None or latest.ends_at is None:
        return
    if end - latest.ends_at > SILENT_GRACE:
        yield state_event(E.SUBSCRIPTION_EXTENDED, purchase, at=purchase.read_at, raw=raw)


def _of_order(purchase: Purchase, order: Order) -> Fields:
    """The product and the period of an order: the present ones where it is the latest, else as they were."""
    is_latest = order.order_id in purchase.order_ids
    start, end = order.starts_at or order.paid_at, order.ends_at or (purchase.expires_at if is_latest else None)
    known = start is not None and end is not None and start < end
    fields: Fields = {
        "provider_plan_ref": purchase.plan_ref if is_latest else order.plan_ref,
        "period_start": start if known else None,
        "period_end": end if known else None,
        "raw": {"order": order.raw},
    }
    if order.token is not None and order.token != purchase.token:
        # A product that was kept in an exchange: its money is the purchase's before.
        fields |= {"provider_sub_id": order.token, "replaces": None, "provider_plan_ref": order.plan_ref}
    return fields


def _back(refund_id: str, amount: Decimal, at: datetime) -> Fields:
    return {"provider_payment_id": refund_id, "amount": amount, "occurred_at": at}


def _was_revoked(purchase: Purchase, latest: Order) -> bool:
    """It ended before the time that was paid for, and the money went back."""
    end, went_back = purchase.expires_at, latest.refunded_at is not None or bool(latest.partial_refunds)
    return went_back and end is not None and latest.ends_at is not None and end < latest.ends_at
