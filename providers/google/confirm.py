"""What a delivery only hints at, read again at Google; and what was missed, from Google's records.

An answer of Google is mapped by its state, and by the kind of the notice where both agree. Where they do not, the notice
was overtaken: then what stands now is told, and the latest money. Source: providers.md 4.2 and 7.5.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from providers.base import EventType, ProviderEvent, SubStatus, Unavailable, UnknownReference
from providers.google import notices
from providers.google.api import PlayApi
from providers.google.facts import Fields, begun, extended, numbered, paid, reversed_, stands, state_event, took_over
from providers.google.notices import ABOUT_PURCHASE, ABOUT_REVIEW, EVENTS, Kind, Notice
from providers.google.records import Order, Purchase
from providers.google.state import status_of
from providers.wire.fields import usable_text

#: An exchange takes over from one that took over from another …: each is a call.
MAX_CHAIN = 8
#: So many orders in a row that Google does not know, and the one before is not looked for.
MAX_GAP = 3

RUNNING = frozenset({SubStatus.ACTIVE, SubStatus.TRIAL})
#: The states with which a notice of a kind agrees.
AGREES: Mapping[Kind, frozenset[SubStatus]] = {
    Kind.RECOVERED: RUNNING,
    Kind.RENEWED: RUNNING,
    Kind.CANCELED: frozenset({SubStatus.CANCELED, SubStatus.EXPIRED}),
    Kind.PURCHASED: RUNNING,
    Kind.ON_HOLD: frozenset({SubStatus.ON_HOLD}),
    Kind.IN_GRACE_PERIOD: frozenset({SubStatus.PAST_DUE}),
    Kind.RESTARTED: RUNNING,
    Kind.DEFERRED: RUNNING,
    Kind.PAUSED: frozenset({SubStatus.PAUSED}),
    Kind.REVOKED: frozenset({SubStatus.EXPIRED}),
    Kind.EXPIRED: frozenset({SubStatus.EXPIRED}),
    Kind.ITEMS_CHANGED: RUNNING,
    Kind.CANCELLATION_SCHEDULED: RUNNING,
    Kind.PENDING_PURCHASE_CANCELED: frozenset({SubStatus.EXPIRED}),
}
#: The events that an order tells, not the purchase.
OF_ORDERS: frozenset[EventType] = frozenset(
    {EventType.PAYMENT_SUCCEEDED, EventType.SUBSCRIPTION_CREATED, EventType.SUBSCRIPTION_ACTIVATED}
)
WITH_MONEY = frozenset({Kind.PURCHASED, Kind.RENEWED, Kind.RECOVERED})

log = logging.getLogger(__name__)


def confirmed(events: Sequence[ProviderEvent], *, api: PlayApi, provider: str) -> list[ProviderEvent]:
    """Raises Unavailable, UnknownReference, AuthError: nothing is known then."""
    found: list[ProviderEvent] = []
    for key, grouped in groupby(events, key=lambda event: event.event_id.partition("#")[0]):
        hints = list(grouped)
        notice = notices.read(hints[0].raw)
        told = _told(notice, api) if notice else None
        found += hints if told is None else numbered(told, provider=provider, key=key)
    return found


def happened(token: str, *, since: datetime, api: PlayApi, provider: str) -> list[ProviderEvent]:
    """Every order since then and what went back of it, oldest first; how the purchase stands comes last."""
    purchase = api.purchase(token)
    orders = _orders(purchase, since, api)
    raw = {"state": purchase.state}
    facts: list[Fields] = []
    for order in orders:
        facts += [each for each in paid(purchase, order) if each["occurred_at"] >= since]
        facts += [each for each in reversed_(order, purchase) if each["occurred_at"] >= since]
    latest = orders[-1] if orders else None
    if latest is not None:
        facts += extended(purchase, latest, raw=raw)
    facts += stands(purchase, at=purchase.read_at, latest=latest, raw=raw)
    return numbered(facts, provider=provider, key=f"{provider}:state:{int(purchase.read_at.timestamp())}")


def voided(*, since: datetime, until: datetime | None, api: PlayApi, provider: str) -> Iterator[ProviderEvent]:
    """What went back, from Google's list of voided purchases; the money keys are those of the notices."""
    seen: set[str] = set()
    for entry in api.voided(since=since, until=until):
        order_id = usable_text(entry.get("orderId"))
        if order_id is None or order_id in seen:
            continue
        seen.add(order_id)
        try:
            order = api.order(order_id)
        except UnknownReference:
            log.warning("google: the voided order %s is not known", order_id)
            continue
        if order.plan_ref is not None:  # else a one-time product
            yield from numbered(
                reversed_(order, _purchase_of(order, api)), provider=provider, key=f"google:voided:{order_id}"
            )


def _told(notice: Notice, api: PlayApi) -> list[Fields] | None:
    """None for what needs no proof."""
    match notice.about:
        case notices.ABOUT_PURCHASE:
            return list(_of_purchase(notice, api))
        case notices.ABOUT_VOIDED:
            return list(_of_voided(notice, api))
        case notices.ABOUT_REVIEW:
            return list(_of_review(notice, api))
        case _:
            return None


def _of_purchase(notice: Notice, api: PlayApi) -> Iterator[Fields]:
    kind = notice.kind
    if kind is None or not EVENTS[kind]:
        return
    purchase = api.purchase(notice.token)
    raw: Mapping[str, Any] = {ABOUT_PURCHASE: notice.body}
    agrees = status_of(purchase) in AGREES[kind]
    orders: list[Order] = []
    if kind in WITH_MONEY or (not agrees and kind != Kind.PENDING_PURCHASE_CANCELED):
        orders = _orders(purchase, notice.at, api)
    if kind in WITH_MONEY:
        yield from _money(kind, purchase, orders, api)
    else:
        for order in orders:
            yield from paid(purchase, order)
    if not agrees:
        yield from stands(purchase, at=notice.at, latest=orders[-1] if orders else None, raw=raw)
        return
    if purchase.is_replaced:
        return  # the purchase that took over tells it
    for type_ in _states(kind, purchase, notice):
        yield {**state_event(type_, purchase, at=notice.at, raw=raw), **_failure(type_, kind, purchase)}


def _states(kind: Kind, purchase: Purchase, notice: Notice) -> list[EventType]:
    """The events of the kind without those that its orders tell."""
    types = [type_ for type_ in EVENTS[kind] if type_ not in OF_ORDERS]
    ran_out = purchase.expires_at is not None and purchase.expires_at <= notice.at
    over = ran_out or status_of(purchase) == SubStatus.EXPIRED
    return [EventType.SUBSCRIPTION_EXPIRED] if kind == Kind.CANCELED and over else types


def _failure(type_: EventType, kind: Kind, purchase: Purchase) -> Fields:
    """A payment that failed names its order where Google does, and no period: it bought none."""
    if type_ != EventType.PAYMENT_FAILED:
        return {}
    given_up = kind == Kind.PENDING_PURCHASE_CANCELED
    return {
        "provider_payment_id": purchase.pending_order_id,
        "period_end": None,
        "reason": "pending_purchase_canceled" if given_up else "renewal_declined",
        "recoverable": not given_up,
    }


def _money(kind: Kind, purchase: Purchase, orders: Sequence[Order], api: PlayApi) -> Iterator[Fields]:
    """The orders since the notice, oldest first. Raises Unavailable where Google does not show them yet."""
    if status_of(purchase) == SubStatus.PENDING:
        return
    if kind == Kind.PURCHASED and purchase.replaces is not None:
        yield from _taken_over(purchase.replaces, api)
    if not any(order.paid_at for order in orders):
        raise Unavailable("Google does not show the order of a purchase yet")
    for number, order in enumerate(orders):
        yield from begun(purchase, order) if kind == Kind.PURCHASED and number == 0 else paid(purchase, order)


def _taken_over(token: str, api: PlayApi) -> Iterator[Fields]:
    """The money of purchases in the middle of a chain, oldest first: news of the last may come before theirs.

    The first of a chain took over from nothing: of that one its own news told.
    """
    chain: list[Purchase] = []
    following: str | None = token
    while following is not None and len(chain) < MAX_CHAIN:
        try:
            purchase = api.purchase(following)
        except UnknownReference:
            break
        if purchase.replaces is None:
            break
        chain.append(purchase)
        following = purchase.replaces
    for purchase in reversed(chain):
        for order in _orders(purchase, purchase.started_at or purchase.read_at, api):
            yield from took_over(purchase, paid(purchase, order))


def _orders(purchase: Purchase, since: datetime, api: PlayApi) -> list[Order]:
    """The latest order of each product, and those before it down to the first that is not after `since`; oldest first.

    A renewal's id is the first order's with ..0, ..1 and so on: Google lists orders nowhere.
    """
    found: dict[str, Order] = {}
    for latest in purchase.order_ids:
        order_id: str | None = latest
        gap = 0
        while order_id is not None and order_id not in found and gap < MAX_GAP:
            try:
                order = api.order(order_id)
            except UnknownReference:
                if order_id == latest:
                    raise Unavailable("Google does not show the order of a purchase yet") from None
                gap += 1
            else:
                found[order_id], gap = order, 0
                if (order.paid_at or order.created_at) <= since:
                    break
            order_id = _before(order_id)
    return sorted(found.values(), key=lambda order: order.paid_at or order.created_at)


def _before(order_id: str) -> str | None:
    """GPA.1-2-3-4..1 comes after GPA.1-2-3-4..0, and that after GPA.1-2-3-4."""
    first, dots, number = order_id.rpartition("..")
    if not dots or not (number.isascii() and number.isdigit()):
        return None
    return f"{first}..{int(number) - 1}" if int(number) > 0 else first


def _of_voided(notice: Notice, api: PlayApi) -> Iterator[Fields]:
    """Raises Unavailable where the order does not show it yet. One that was cancelled unpaid gave nothing back."""
    order = api.order(notice.order_id)
    facts = list(reversed_(order, _purchase_of(order, api)))
    if not facts and order.paid_at is not None and order.total > 0:
        raise Unavailable("Google does not show the refund of an order yet")
    yield from facts


def _of_review(notice: Notice, api: PlayApi) -> Iterator[Fields]:
    order = api.order(notice.order_id)
    if order.plan_ref is None:
        return  # a one-time product
    purchase = _purchase_of(order, api)
    reason = notice.body.get("refundReason")
    yield {
        "type": EventType.PAYMENT_DISPUTED,
        "provider_sub_id": order.token,
        "provider_payment_id": notices.dispute_id(order.order_id),
        "parent_payment_id": order.order_id,
        "user_ref": purchase.user_ref if purchase else usable_text(notice.body.get("obfuscatedAccountId")),
        "amount": order.rest,
        "currency": order.currency,
        "occurred_at": notice.at,
        "reason": f"refund_reason_{reason}" if isinstance(reason, int) else None,
        "is_test": purchase.is_test if purchase else False,
        "raw": {ABOUT_REVIEW: notice.body},
    }


def _purchase_of(order: Order, api: PlayApi) -> Purchase | None:
    """None where Google has forgotten it, 60 days after its end; the order it keeps."""
    if order.token is None:
        return None
    try:
        return api.purchase(order.token)
    except UnknownReference:
        return None
