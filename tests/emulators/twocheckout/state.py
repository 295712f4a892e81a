"""2Checkout in memory: what buyers, its operators and time do to orders and subscriptions, and what a test wishes of it."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any

from tests.emulators.twocheckout.deliveries import Deliveries, Delivery
from tests.emulators.twocheckout.messages import Refusal
from tests.emulators.twocheckout.records import (
    UNITS,
    Order,
    Subscription,
    history_json,
    ipn_fields,
    lcn_fields,
    order_json,
    step,
    subscription_json,
)

FAULTS = ("timeout", "timeout_after", "500", "429")
OUTCOMES = ("pay", "decline", "authorize")
RESOLUTIONS = ("OPEN", "WON", "LOST", "ACCEPTED")


@dataclass(frozen=True)
class Received:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class TwoCheckoutState(Deliveries):
    """The whole of an account in memory. Every method is safe from any thread."""

    def __init__(
        self,
        *,
        vendor: str,
        secret_key: str,
        buy_link_secret: str,
        hook_url: str,
        zone: tzinfo,
        grace_days: int,
        retry_pauses: tuple[float, ...],
    ) -> None:
        if not (vendor and secret_key and buy_link_secret):
            raise ValueError("the emulator needs a vendor code, a secret key and a buy-link secret word")
        super().__init__(secret_key=secret_key, hook_url=hook_url, retry_pauses=retry_pauses)
        self.vendor = vendor
        self.buy_link_secret = buy_link_secret
        self.zone = zone
        self.grace = timedelta(days=grace_days)
        #: Whether PREVIOUS_ORDER is switched on for the account, and what such an order comes to.
        self.one_click = True
        self.next_charge = "pay"
        self.orders: dict[str, Order] = {}
        self.subscriptions: dict[str, Subscription] = {}
        #: The last requests to the API and to the signature service, newest last.
        self.requests: deque[Received] = deque(maxlen=1000)
        self._hidden: set[str] = set()
        self._numbers = itertools.count(211153389)
        self._messages = itertools.count(254498854202)
        self._ahead = timedelta(0)
        self._stands_at: datetime | None = None
        self._fault: tuple[str, int, float, str] | None = None

    # --- time ----------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return (self._stands_at or datetime.now(UTC) + self._ahead).replace(microsecond=0)

    def set_clock(self, ahead: timedelta) -> None:
        with self._lock:
            self._ahead, self._stands_at = ahead, None

    def stand_at(self, moment: datetime) -> None:
        """Its calendar stands there until `set_clock`; `advance` is for one that runs."""
        with self._lock:
            self._stands_at = moment

    def advance(self, by: timedelta) -> None:
        """Time goes by: what is due renews, fails or ends, and each is told of."""
        with self._acting():
            end = self._ahead + by
            while (due := self._next_due(datetime.now(UTC) + end)) is not None:
                subscription, at = due
                self._ahead = max(self._ahead, at - datetime.now(UTC) + timedelta(seconds=1))
                self._fall_due(subscription)
            self._ahead = max(self._ahead, end)

    def _next_due(self, until: datetime) -> tuple[Subscription, datetime] | None:
        moments = []
        for subscription in self.subscriptions.values():
            if not subscription.enabled or subscription.reported == "EXPIRED":
                continue
            at = subscription.expires_at + (self.grace if subscription.reported == "PAST DUE" else timedelta(0))
            if at <= until:
                moments.append((at, subscription.ref))
        if not moments:
            return None
        at, ref = min(moments)
        return self.subscriptions[ref], at

    def _fall_due(self, subscription: Subscription) -> None:
        if subscription.recurring and not subscription.card_declines:
            self._renew(subscription)
        elif subscription.recurring and subscription.reported == "ACTIVE":
            subscription.reported = "PAST DUE"
            self._tell_subscription(subscription, "LICENCE_PASTDUE")
        else:
            self.expire(subscription.ref)

    # --- buyers --------------------------------------------------------------------------------------------------------

    def buy(self, link: dict[str, str], outcome: str = "pay") -> Order:
        """Somebody pays at a link, or tries to. Raises Refusal."""
        if outcome not in OUTCOMES:
            raise Refusal(400, "INVALID_OUTCOME")
        with self._acting():
            order = self._new_order(
                external_reference=link.get("order-ext-ref", ""),
                total=Decimal(link["price"]),
                currency=link["currency"].upper(),
                product=link["prod"],
                customer_ref=link.get("customer-ext-ref", ""),
                email=link.get("email", "buyer@example.com"),
                test=link.get("test") == "1",
            )
            if outcome != "decline" and link.get("recurrence"):
                self._subscribe(order, link)
            self._settle(order, outcome)
        return order

    def _subscribe(self, order: Order, link: dict[str, str]) -> None:
        every, _, unit = link["recurrence"].partition(":")
        if unit not in UNITS or link.get("duration") != "1:FOREVER":
            raise Refusal(400, "INVALID_RECURRENCE")
        now = self.now()
        subscription = Subscription(
            ref=f"S{order.ref}",
            product=order.product,
            customer_ref=order.customer_ref,
            email=order.email,
            every=int(every),
            unit=unit,
            anchor=now,
            expires_at=step(now, int(every), unit, self.zone),
            price=Decimal(link["renewal-price"]),
            currency=order.currency,
            test=order.test,
        )
        self.subscriptions[subscription.ref] = subscription
        order.subscription, order.period = subscription.ref, (now, subscription.expires_at)

    def place(self, request: dict[str, Any]) -> Order:
        """POST /orders/ with PREVIOUS_ORDER: what `next_charge` wishes comes of it. Raises Refusal."""
        payment = request.get("PaymentDetails") or {}
        method = payment.get("PaymentMethod") or {}
        earlier = self.order(str(method.get("RefNo")))
        if payment.get("Type") != "PREVIOUS_ORDER" or not self.one_click:
            raise Refusal(400, "INVALID_PAYMENT_TYPE")
        if (request.get("BillingDetails") or {}).get("Email") != earlier.email:
            raise Refusal(400, "INVALID_EMAIL")
        with self._acting():
            order = self._new_order(
                external_reference=str(request.get("ExternalReference") or ""),
                total=Decimal(str(request["Items"][0]["Price"]["Amount"])),
                currency=str(request["Currency"]).upper(),
                product=str(request["Items"][0]["Name"]),
                customer_ref=earlier.customer_ref,
                email=earlier.email,
                test=earlier.test,
            )
            if self.next_charge == "decline":
                order.errors = {"CARD_PAYMENT_ERROR": "Couldn't complete the payment validation process"}
            elif self.next_charge == "action":
                order.action_url = f"{self.origin}/3ds/{order.ref}"
            else:
                self._settle(order, self.next_charge)
        return order

    def settle(self, ref: str, outcome: str) -> Order:
        """A pending or authorised order comes to its end: pay, or cancel. Raises Refusal."""
        order = self.order(ref)
        with self._acting():
            if order.status not in ("PENDING", "AUTHRECEIVED"):
                raise Refusal(409, "ORDER_IS_SETTLED")
            self._settle(order, outcome)
        return order

    def _new_order(self, **values: Any) -> Order:
        order = Order(ref=str(next(self._numbers)), status="PENDING", ordered_at=self.now(), **values)
        self.orders[order.ref] = order
        return order

    def _settle(self, order: Order, outcome: str) -> None:
        order.status = {"pay": "COMPLETE", "authorize": "AUTHRECEIVED", "reverse": "REVERSED"}.get(outcome, "CANCELED")
        if order.status == "COMPLETE":
            order.finished_at = self.now()
        self._tell_order(order)

    # --- its own doing -------------------------------------------------------------------------------------------------

    def renew(self, ref: str, outcome: str = "success") -> None:
        """2Checkout charges a period now, whatever the date. Raises Refusal."""
        subscription = self.subscription(ref)
        with self._acting():
            if outcome == "success":
                self._renew(subscription)
            else:
                subscription.card_declines = True
                subscription.reported = "PAST DUE"
                self._tell_subscription(subscription, "LICENCE_PASTDUE")

    def expire(self, ref: str) -> None:
        """What nobody renews has come to its end. Raises Refusal."""
        subscription = self.subscription(ref)
        with self._acting():
            subscription.reported = "EXPIRED"
            self._tell_subscription(subscription, "LICENCE_EXPIRATION")

    def _renew(self, subscription: Subscription) -> None:
        sale = next(order for order in self.orders.values() if order.subscription == subscription.ref)
        start, end = subscription.expires_at, subscription.next_end(self.zone)
        subscription.periods += 1
        subscription.expires_at, subscription.reported = end, "ACTIVE"
        price = subscription.price if subscription.renewal_price is None else subscription.renewal_price
        order = self._new_order(
            external_reference="",
            original_reference=sale.external_reference,
            total=price,
            currency=subscription.currency,
            product=subscription.product,
            customer_ref=subscription.customer_ref,
            email=subscription.email,
            test=subscription.test,
            subscription=subscription.ref,
            kind="RENEWAL",
            period=(start, end),
        )
        self._settle(order, "pay")
        self._tell_subscription(subscription, "LICENCE_CHANGE")

    def refund(
        self, ref: str, amount: Decimal | None = None, comment: str | None = None, *, tell: bool = True
    ) -> Order:
        """A part of an order, or all that is left, goes back. Raises Refusal."""
        order = self.order(ref)
        with self._acting():
            rest = order.total - order.refunded
            wanted = rest if amount is None else amount
            if order.status != "COMPLETE" or not 0 < wanted <= rest:
                raise Refusal(400, "INVALID_REFUND_AMOUNT")
            entry = {"Amount": str(wanted), "Date": f"{self.now().astimezone(self.zone):%Y-%m-%d %H:%M:%S}"}
            order.refunds.append({**entry, "Comment": comment or "by an operator"})
            if order.refunded == order.total:
                order.status = "REFUND"
            if tell:
                self._tell_order(order, status="REFUND", amount=-wanted)
        return order

    def chargeback(self, ref: str, resolution: str) -> Order:
        order = self.order(ref)
        if resolution not in RESOLUTIONS:
            raise Refusal(400, "INVALID_RESOLUTION")
        with self._acting():
            order.chargeback = resolution
            if resolution in ("LOST", "ACCEPTED"):
                order.status = "REFUND"
            self._tell_order(order)
        return order

    def change(
        self,
        ref: str,
        *,
        recurring: bool | None = None,
        enabled: bool | None = None,
        card_declines: bool | None = None,
        changed_by: str = "CUSTOMER",
    ) -> Subscription:
        """A switch is turned: by the buyer in myAccount, by an operator, or by the API."""
        subscription = self.subscription(ref)
        with self._acting():
            before = (subscription.recurring, subscription.enabled)
            subscription.recurring = subscription.recurring if recurring is None else recurring
            subscription.enabled = subscription.enabled if enabled is None else enabled
            subscription.card_declines = subscription.card_declines if card_declines is None else card_declines
            if not subscription.enabled:
                subscription.recurring = False
            if before != (subscription.recurring, subscription.enabled):
                self._tell_subscription(subscription, "LICENCE_CHANGE", changed_by)
        return subscription

    # --- records -------------------------------------------------------------------------------------------------------

    def order(self, ref: str) -> Order:
        with self._lock:
            if ref not in self.orders:
                raise Refusal(404, "ORDER_NOT_FOUND")
            return self.orders[ref]

    def subscription(self, ref: str) -> Subscription:
        with self._lock:
            if ref not in self.subscriptions:
                raise Refusal(404, "SUBSCRIPTION_NOT_FOUND")
            return self.subscriptions[ref]

    def shown_order(self, order: Order) -> dict[str, Any]:
        subscription = self.subscriptions.get(order.subscription or "")
        return order_json(order, subscription, self.zone, self.vendor)

    def hide(self, ref: str) -> None:
        """A subscription that can be read only some minutes after its order."""
        self._hidden.add(ref)

    def shown_subscription(self, ref: str) -> dict[str, Any]:
        if ref in self._hidden:
            raise Refusal(404, "SUBSCRIPTION_NOT_FOUND")
        return subscription_json(self.subscription(ref), self.zone)

    def shown_history(self, ref: str) -> list[dict[str, Any]]:
        subscription = self.subscription(ref)
        orders = [order for order in self.orders.values() if order.subscription == ref]
        return history_json(orders, subscription, self.zone)

    def found_orders(self, external_reference: str, since: str) -> list[dict[str, Any]]:
        """Those with this reference that were placed on `since` (a day) or later; by default, of the last week."""
        begin = since or f"{self.now() - timedelta(days=7):%Y-%m-%d}"
        with self._lock:
            found = [
                order
                for order in self.orders.values()
                if order.external_reference == external_reference
                and f"{order.ordered_at.astimezone(self.zone):%Y-%m-%d}" >= begin
            ]
        return [self.shown_order(order) for order in found]

    def state(self) -> dict[str, Any]:
        with self._lock:
            return {
                "orders": [asdict(order) for order in self.orders.values()],
                "subscriptions": [asdict(subscription) for subscription in self.subscriptions.values()],
                "deliveries": [delivery.shown() for delivery in self.deliveries],
                "ahead_seconds": self._ahead.total_seconds(),
            }

    # --- what a test wishes --------------------------------------------------------------------------------------------

    def fail(self, fault: str | None, *, times: int = 1, seconds: float = 30.0, method: str = "") -> None:
        """The next calls (of `method` only) answer 500 or 429, never answer, or are done and never answer (timeout_after)."""
        if fault is not None and fault not in FAULTS:
            raise Refusal(400, "INVALID_FAULT")
        with self._lock:
            self._fault = (fault, times, seconds, method) if fault and times > 0 else None

    def take_fault(self, called: str) -> tuple[str, float]:
        with self._lock:
            if self._fault is None or self._fault[3] not in ("", called):
                return "", 0.0
            fault, times, seconds, method = self._fault
            self._fault = (fault, times - 1, seconds, method) if times > 1 else None
            return fault, seconds

    # --- telling -------------------------------------------------------------------------------------------------------

    def _tell_order(self, order: Order, *, status: str | None = None, amount: Decimal | None = None) -> Delivery:
        fields = ipn_fields(
            order,
            self.subscriptions.get(order.subscription or ""),
            self.zone,
            vendor=self.vendor,
            message_id=str(next(self._messages)),
            now=self.now(),
            status=status,
            amount=amount,
        )
        return self.deliver("ipn", order.ref, fields)

    def _tell_subscription(self, subscription: Subscription, reason: str, changed_by: str = "SYSTEM") -> Delivery:
        fields = lcn_fields(subscription, self.zone, reason=reason, changed_by=changed_by, now=self.now())
        return self.deliver("lcn", subscription.ref, fields)
