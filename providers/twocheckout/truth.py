"""What 2Checkout's records say: the answer to a hint, and to the question what was missed.

Everything is read again: the API's values decide, a delivery's never. A record that is behind its own delivery is
Unavailable, so that the delivery is tried again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

from payflow.core import clock
from providers.base import (
    EventType,
    MalformedError,
    ProviderEvent,
    SubState,
    SubStatus,
    Unavailable,
    UnknownReference,
)
from providers.twocheckout import naming
from providers.twocheckout.api import Api, order_path, subscription_path
from providers.twocheckout.config import TwoCheckoutConfig
from providers.twocheckout.orders import Order, money_events, read_order
from providers.twocheckout.subscriptions import Purchase, Subscription, read_history, read_subscription, state_event
from providers.twocheckout.webhooks import ORDER_FIELD, SUBSCRIPTION_FIELD

#: Money of an older period is not asked for again: cards can be disputed for some months.
LOOK_BACK = timedelta(days=200)
#: Our clock and 2Checkout's may differ, and its search takes days, not times.
SEARCH_MARGIN = timedelta(days=2)
_MONEY = frozenset(
    {
        EventType.PAYMENT_SUCCEEDED,
        EventType.PAYMENT_REFUNDED,
        EventType.PAYMENT_DISPUTED,
        EventType.PAYMENT_DISPUTE_LOST,
        EventType.PAYMENT_DISPUTE_WON,
    }
)
_REVERSALS = _MONEY - {EventType.PAYMENT_SUCCEEDED}

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """A subscription with its purchases, as the API showed it at `at`."""

    subscription: Subscription
    purchases: Sequence[Purchase]
    at: datetime

    def purchase_of(self, order: str) -> Purchase | None:
        return next((purchase for purchase in self.purchases if purchase.order == order), None)

    def others(self, order: str) -> bool:
        """Is there a purchase besides this order's?"""
        return any(purchase.order != order for purchase in self.purchases)


class Records:
    """The account's records. Raises UnknownReference and whatever else a call raises."""

    def __init__(self, name: str, settings: TwoCheckoutConfig, api: Api) -> None:
        self._name = name
        self._settings = settings
        self._api = api

    # --- records ---------------------------------------------------------------------------------------------------

    def order(self, reference: str) -> tuple[Order, datetime]:
        body, at = self._api.get_object(order_path(reference))
        order = self._read(lambda: read_order(body, self._settings.zone))
        if order.reference != reference:
            raise Unavailable(f"{self._name} answered another order")
        return order, at

    def search(self, external_reference: str, since: datetime) -> Iterator[Mapping[str, Any]]:
        """The orders with this reference that were placed after `since`, as the list shows them."""
        begin = (since - SEARCH_MARGIN).astimezone(self._settings.zone)
        query = {
            "ExternalRefNo": external_reference,
            "StartDate": f"{begin:%Y-%m-%d}",
            "IncludeTestOrders": "YES",
            "Page": "1",
            "Limit": "50",
        }
        body, _ = self._api.get_object(f"/orders/?{urlencode(query)}")
        items = body.get("Items")
        if not isinstance(items, list):
            raise Unavailable(f"{self._name} answered something else than a list of orders")
        for item in items:
            if isinstance(item, dict) and item.get("ExternalReference") == external_reference:
                yield item

    def orders_of(self, items: Iterable[Mapping[str, Any]]) -> list[Order]:
        return self._read(lambda: [read_order(item, self._settings.zone) for item in items])

    def subscription(self, reference: str) -> tuple[Subscription, datetime]:
        body, at = self._api.get_object(subscription_path(reference))
        subscription = self._read(lambda: read_subscription(body, self._settings.zone))
        if subscription.reference != reference:
            raise Unavailable(f"{self._name} answered another subscription")
        return subscription, at

    def state(self, reference: str) -> SubState:
        subscription, at = self.subscription(reference)
        return self._state(subscription, at)

    def seen(self, reference: str) -> Seen:
        subscription, at = self.subscription(reference)
        body = self._api.get(f"{subscription_path(reference)}history/").body
        return Seen(subscription, self._read(lambda: read_history(body, self._settings.zone)), at)

    # --- a hint, proven ----------------------------------------------------------------------------------------------

    def confirm(self, hints: Sequence[ProviderEvent]) -> list[ProviderEvent]:
        """The truth about what one delivery speaks of, whatever it says about it. Raises Unavailable."""
        if not hints:
            return []
        key = hints[0].event_id.rpartition("#")[0]
        try:
            if order := hints[0].raw.get(ORDER_FIELD):
                found = self._confirm_order(str(order), hints)
            elif subscription := hints[0].raw.get(SUBSCRIPTION_FIELD):
                found = self._confirm_subscription(str(subscription), hints)
            else:
                raise MalformedError("the event is of no delivery of 2Checkout's")
        except UnknownReference as error:
            raise Unavailable(f"{self._name} does not show yet what it told of") from error
        return naming.numbered(found, key)

    def _confirm_order(self, reference: str, hints: Sequence[ProviderEvent]) -> list[ProviderEvent]:
        order, at = self.order(reference)
        seen = self._seen_of(order)
        events = self._money(order, seen, at)
        self._check_lag(events, hints)
        if seen is None:
            return events + self._bare_state(order, hints, at)
        return events + self._state_events(seen.subscription, seen.at, self._running_kind(order, seen))

    def _confirm_subscription(self, reference: str, hints: Sequence[ProviderEvent]) -> list[ProviderEvent]:
        subscription, at = self.subscription(reference)
        return self._state_events(subscription, at, hints[-1].type)

    def _running_kind(self, order: Order, seen: Seen) -> EventType:
        """What a subscription that runs is called after this order. One that nobody paid for yet is created, no more."""
        purchase = seen.purchase_of(order.reference)
        if not order.collected(on_auth=self._settings.activate_on_auth):
            return EventType.SUBSCRIPTION_RESUMED if seen.others(order.reference) else EventType.SUBSCRIPTION_CREATED
        return EventType.SUBSCRIPTION_RENEWED if purchase and purchase.renewal else EventType.SUBSCRIPTION_ACTIVATED

    def _seen_of(self, order: Order) -> Seen | None:
        """None where the order has no subscription, or not yet: that takes up to five minutes."""
        if order.subscription is None:
            return None
        try:
            return self.seen(order.subscription)
        except UnknownReference:
            return None

    def _check_lag(self, events: Sequence[ProviderEvent], hints: Sequence[ProviderEvent]) -> None:
        """A hint of money that the records don't show is early, or false: it is tried again, and nothing is believed."""
        hinted, shown = {hint.type for hint in hints}, {event.type for event in events}
        if EventType.PAYMENT_SUCCEEDED in hinted and not shown & (_MONEY | {EventType.PAYMENT_FAILED}):
            raise Unavailable(f"{self._name} does not show this payment yet")
        if hinted & _REVERSALS and not shown & (_REVERSALS | {EventType.PAYMENT_FAILED}):
            raise Unavailable(f"{self._name} does not show yet that this payment was reversed")

    def _bare_state(self, order: Order, hints: Sequence[ProviderEvent], at: datetime) -> list[ProviderEvent]:
        """Without a record of the subscription only its coming can be told, and only by its order."""
        if order.subscription is None or not any(hint.type == EventType.SUBSCRIPTION_CREATED for hint in hints):
            return []
        state = SubState(order.subscription, SubStatus.PENDING, user_ref=order.user_ref, is_test=order.test)
        event = state_event(state, provider=self._name, occurred_at=at, hint=None)
        return [event] if event else []

    # --- what was missed -----------------------------------------------------------------------------------------------

    def since(self, reference: str, since: datetime) -> list[ProviderEvent]:
        """The money of a subscription after `since`, oldest first, then its state now."""
        seen = self.seen(reference)
        events: list[ProviderEvent] = []
        for purchase in seen.purchases:
            if purchase.period_end is not None and purchase.period_end < since - LOOK_BACK:
                continue
            order, at = self.order(purchase.order)
            events += self._money(order, seen, at)
        events = sorted((event for event in events if event.occurred_at >= since), key=lambda event: event.occurred_at)
        kind = EventType.SUBSCRIPTION_ACTIVATED
        if seen.purchases and seen.purchases[-1].renewal:
            kind = EventType.SUBSCRIPTION_RENEWED
        events += self._state_events(seen.subscription, seen.at, kind)
        return naming.numbered(events, f"2co:records:{reference}:{seen.at:%Y%m%dT%H%M%SZ}")

    def bought(self, order_ref: str, since: datetime) -> list[ProviderEvent]:
        """The money of the orders that carry our reference, and what their subscriptions are now."""
        events: list[ProviderEvent] = []
        for listed in self.orders_of(self.search(order_ref, since)):
            order, at = self.order(listed.reference)
            seen = self._seen_of(order)
            events += self._money(order, seen, at)
            if seen is not None:
                events += self._state_events(seen.subscription, seen.at, self._running_kind(order, seen))
        return naming.numbered(events, f"2co:bought:{order_ref}:{clock.wall():%Y%m%dT%H%M%SZ}")

    # --- events --------------------------------------------------------------------------------------------------------

    def _money(self, order: Order, seen: Seen | None, at: datetime) -> list[ProviderEvent]:
        purchase = seen.purchase_of(order.reference) if seen else None
        if purchase is None and not (seen and seen.purchases):
            purchase = Purchase(order.reference, False, *order.first_period)
        order_ref = None
        if order.external_reference is None and seen and seen.purchases and seen.purchases[0].order != order.reference:
            # A renewal does not repeat our reference; the sale that began it all has it.
            order_ref = naming.references(self.order(seen.purchases[0].order)[0].external_reference)[0]
        return money_events(
            order,
            provider=self._name,
            purchase=purchase,
            order_ref=order_ref,
            user_ref=seen.subscription.user_ref if seen else None,
            seen_at=at,
            on_auth=self._settings.activate_on_auth,
            keep_method=self._settings.one_click,
        )

    def _state_events(self, subscription: Subscription, at: datetime, hint: EventType) -> list[ProviderEvent]:
        state = self._state(subscription, at)
        event = state_event(state, provider=self._name, occurred_at=at, hint=hint)
        if event is None:
            return []
        if state.status is SubStatus.PAST_DUE and subscription.ends_at is not None:
            return [naming.renewal_failed(event, due=subscription.ends_at), event]
        return [event]

    def _state(self, subscription: Subscription, at: datetime) -> SubState:
        return subscription.state(as_of=at, grace=self._settings.grace_period)

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except MalformedError as error:
            log.warning("%s: a record cannot be read: %s", self._name, error)
            raise Unavailable(f"{self._name} shows a record that cannot be read") from error
