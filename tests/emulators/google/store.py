"""Google Play in memory: what buyers and operators do, and what happens to purchases in time.

Each happening is told by a notification with the type that Google documents (RTDN reference).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from string import ascii_letters, digits
from typing import Any

from tests.emulators.google.pushes import Pushes
from tests.emulators.google.records import Order, Product, Purchase, milliseconds, plain, rfc3339

GRACE = timedelta(days=3)
HOLD = timedelta(days=30)
ACKNOWLEDGE_WITHIN = timedelta(days=3)
RECOVERED, RENEWED, CANCELED, PURCHASED, ON_HOLD, IN_GRACE, RESTARTED = 1, 2, 3, 4, 5, 6, 7
DEFERRED, PAUSED, PAUSE_SCHEDULE_CHANGED, REVOKED, EXPIRED = 9, 10, 11, 12, 13
ITEMS_CHANGED, CANCELLATION_SCHEDULED, PENDING_PURCHASE_CANCELED = 17, 18, 20
#: voidedReason: other; chargeback; never acknowledged. voidedSource: the buyer, the developer, Google.
OTHER, CHARGEBACK, UNACKNOWLEDGED = 0, 7, 8
BUYER, DEVELOPER, GOOGLE = 0, 1, 2


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Store:
    """Every method is safe from any thread."""

    def __init__(self, pushes: Pushes) -> None:
        self.pushes = pushes
        self.purchases: dict[str, Purchase] = {}
        self.orders: dict[str, Order] = {}
        self.voided: list[tuple[datetime, Order]] = []
        self.acknowledgements: list[str] = []
        self.lock = threading.RLock()
        self.token_length = 147
        #: How long a renewal that fails leaves access; none at all where the operator has set no grace period.
        self.grace = GRACE
        self._ahead = timedelta(0)
        self._stands_at: datetime | None = None
        self._number = 0
        self._depth = 0

    @contextmanager
    def doing(self) -> Iterator[None]:
        """A deed, undisturbed; its notifications go out when it is done, for whoever gets them asks us at once."""
        with self.lock:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                outermost = self._depth == 0
        if outermost:
            self.pushes.flush()

    @property
    def now(self) -> datetime:
        """The store's time, in whole milliseconds."""
        at = self._stands_at or datetime.now(UTC) + self._ahead
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    # --- the buyer

    def purchase(
        self,
        *products: Product,
        user: str | None = None,
        trial_days: int = 0,
        replaces: str | None = None,
        test: bool = False,
        pending: bool = False,
    ) -> Purchase:
        """Bought in the app. One that replaces another ends that: the rest of its time is not credited here."""
        with self.doing():
            at, sold = self.now, products or (Product(),)
            self._number += 1
            purchase = Purchase(
                token=self._token(),
                products=sold,
                user=user,
                state="PENDING" if pending else "ACTIVE",
                started_at=at,
                expires_at=at,
                first_order=f"GPA.3333-4137-0319-{36000 + self._number}",
                linked=replaces,
                test=test,
            )
            self.purchases[purchase.token] = purchase
            if pending:
                return purchase
            if replaces is not None:
                before = self.bought(replaces)
                before.state, before.replaced_by, before.auto_renew = "EXPIRED", purchase.token, False
                before.expires_at = min(before.expires_at, at)
            trial_until = at + timedelta(days=trial_days) if trial_days else None
            self._order(purchase, at, until=trial_until)
            self._tell(purchase, PURCHASED, at)
            if replaces is not None:
                self._tell(self.bought(replaces), EXPIRED, at)
            return purchase

    def settle_pending(self, token: str, *, paid: bool) -> None:
        """A purchase paid in cash at a shop: it begins, or is given up."""
        with self.doing():
            purchase, at = self._in(token, "PENDING"), self.now
            if paid:
                purchase.state, purchase.started_at = "ACTIVE", at
                self._order(purchase, at)
            else:
                purchase.state = "PENDING_PURCHASE_CANCELED"
            self._tell(purchase, PURCHASED if paid else PENDING_PURCHASE_CANCELED, at)

    def cancel(self, token: str, *, by: str = "userInitiatedCancellation") -> None:
        with self.doing():
            purchase = self._in(token, "ACTIVE", "IN_GRACE_PERIOD", "ON_HOLD", "PAUSED")
            at = self.now
            purchase.auto_renew, purchase.cancelled_at, purchase.cancelled_by = False, at, by
            purchase.state = "CANCELED" if purchase.expires_at > at else "EXPIRED"
            self._tell(purchase, CANCELED, at)
            if purchase.state == "EXPIRED":
                self._tell(purchase, EXPIRED, at)

    def restart(self, token: str) -> None:
        with self.doing():
            purchase = self._in(token, "CANCELED")
            purchase.state, purchase.auto_renew, purchase.cancelled_at = "ACTIVE", True, None
            self._tell(purchase, RESTARTED, self.now)

    def pause(self, token: str, *, days: int) -> None:
        """From its next renewal on, for so many days."""
        with self.doing():
            purchase = self._in(token, "ACTIVE")
            purchase.pause_for = timedelta(days=days)
            self._tell(purchase, PAUSE_SCHEDULE_CHANGED, self.now)

    def fail(self, token: str) -> None:
        """From now on the buyer's method is declined."""
        self.bought(token).declines = True

    def recover(self, token: str) -> None:
        """The buyer has mended his method: Google charges at once, where a payment is due."""
        with self.doing():
            purchase = self.bought(token)
            purchase.declines = False
            if purchase.state in ("IN_GRACE_PERIOD", "ON_HOLD", "PAUSED"):
                self._recover(purchase, self.now)

    def change_items(self, token: str, *products: Product) -> None:
        with self.doing():
            purchase = self._in(token, "ACTIVE")
            purchase.products = products
            self._tell(purchase, ITEMS_CHANGED, self.now)

    def cancel_instalments(self, token: str) -> None:
        with self.doing():
            purchase = self._in(token, "ACTIVE")
            purchase.pending_instalments = True
            self._tell(purchase, CANCELLATION_SCHEDULED, self.now)

    # --- the operator in the Play Console, and the API

    def defer(self, token: str, *, days: int) -> None:
        with self.doing():
            purchase = self._in(token, "ACTIVE")
            purchase.expires_at += timedelta(days=days)
            self._tell(purchase, DEFERRED, self.now)

    def revoke(self, token: str, *, full: bool = True, source: int = DEVELOPER, reason: int = OTHER) -> None:
        """Ends it now. What it refunds, whole or by the time left, is voided."""
        with self.doing():
            purchase, at = self._in(token, "ACTIVE", "CANCELED", "IN_GRACE_PERIOD", "ON_HOLD", "PAUSED"), self.now
            order, expires_at = purchase.orders[-1], purchase.expires_at
            purchase.state, purchase.auto_renew, purchase.expires_at = "EXPIRED", False, min(at, expires_at)
            purchase.cancelled_by = (
                "developerInitiatedCancellation" if source == DEVELOPER else "systemInitiatedCancellation"
            )
            self._tell(purchase, REVOKED, at)
            part = (order.ends_at - at) / (order.ends_at - order.starts_at)
            amount = (order.total * Decimal(str(max(part, 0.0)))).quantize(Decimal("0.01"))
            if full or order.total == 0 or amount >= order.rest:
                self.refund(order.order_id, source=source, reason=reason)
            elif amount > 0:
                self.refund_part(order.order_id, amount)

    def refund(self, order_id: str, *, source: int = DEVELOPER, reason: int = OTHER, chargeback: bool = False) -> None:
        """The whole order, or what is left of it. Twice is refused, as Google does."""
        with self.doing():
            order, at = self.order(order_id), self.now
            if order.refunded_at is not None:
                raise Refusal(400, "orderAlreadyRefunded")
            order.state, order.refunded_at, order.chargeback = "REFUNDED", at, chargeback
            order.voided_reason, order.voided_source = CHARGEBACK if chargeback else reason, source
            self._void(order, at)

    def refund_part(self, order_id: str, amount: Decimal) -> None:
        with self.doing():
            order, at = self.order(order_id), self.now
            if not 0 < amount < order.rest:
                raise Refusal(400, "the part is not less than the rest")
            order.partials.append((at, amount))
            order.state = "PARTIALLY_REFUNDED"
            self._void(order, at)

    def review(self, order_id: str, *, reason: int = 7) -> None:
        """A buyer's bank asks: the developer may say within 24 hours what he thinks."""
        order = self.order(order_id)
        user = self.bought(order.token).user
        body: dict[str, Any] = {"pendingRefundToken": f"prt-{order_id}", "orderId": order_id, "refundReason": reason}
        if user is not None:
            body["obfuscatedAccountId"] = user
        with self.doing():
            self.pushes.publish("pendingRefundReviewNotification", body, at=self.now)

    def test_notification(self) -> None:
        with self.doing():
            self.pushes.publish("testNotification", {}, at=self.now)

    def acknowledge(self, token: str) -> None:
        with self.doing():
            purchase = self.bought(token)
            if purchase.state == "PENDING" or purchase.acknowledged:
                raise Refusal(400, "The purchase token cannot be acknowledged.")
            purchase.acknowledged = True
            self.acknowledgements.append(token)

    # --- time

    def advance(self, by: timedelta) -> None:
        """Moves the store's time, through every moment at which something happens."""
        with self.doing():
            end = self.now + by
            while due := self._due(end):
                at, purchase = due
                self._ahead += max(at - self.now, timedelta(0))
                self._happen(purchase, at)
            self._ahead += max(end - self.now, timedelta(0))

    def stand_at(self, moment: datetime) -> None:
        """Its time stands still there, until it is moved again; nothing happens by itself on the way (see `happen`)."""
        with self.lock:
            self._stands_at = moment

    def happen(self, token: str) -> None:
        """What the end of the period brings, now: a renewal, its failure, a pause, the end."""
        with self.doing():
            self._happen(self.bought(token), self.now)

    def _due(self, end: datetime) -> tuple[datetime, Purchase] | None:
        moments = [(at, p) for p in self.purchases.values() if (at := _next(p)) is not None and at <= end]
        return min(moments, key=lambda moment: moment[0], default=None)

    def _happen(self, purchase: Purchase, at: datetime) -> None:
        late = purchase.started_at + ACKNOWLEDGE_WITHIN
        if not purchase.acknowledged and purchase.state in ("ACTIVE", "CANCELED") and at >= late:
            self.revoke(purchase.token, source=GOOGLE, reason=UNACKNOWLEDGED)
        elif purchase.state in ("CANCELED", "ON_HOLD"):
            purchase.state, purchase.auto_renew = "EXPIRED", False
            self._tell(purchase, EXPIRED, at)
        elif purchase.state == "IN_GRACE_PERIOD":
            purchase.state, purchase.hold_until = "ON_HOLD", at + HOLD
            self._tell(purchase, ON_HOLD, at)
        elif purchase.state == "PAUSED":
            self._recover(purchase, at)
        elif purchase.pause_for is not None:
            purchase.state, purchase.resumes_at, purchase.pause_for = "PAUSED", at + purchase.pause_for, None
            self._tell(purchase, PAUSED, at)
        elif purchase.declines and self.grace:
            purchase.state, purchase.expires_at = "IN_GRACE_PERIOD", at + self.grace
            purchase.pending_order = self._next_order_id(purchase)
            self._tell(purchase, IN_GRACE, at)
        elif purchase.declines:
            purchase.state, purchase.hold_until = "ON_HOLD", at + HOLD
            purchase.pending_order = self._next_order_id(purchase)
            self._tell(purchase, ON_HOLD, at)
        else:
            self._order(purchase, at, starts_at=purchase.expires_at)
            self._tell(purchase, RENEWED, at)

    def _recover(self, purchase: Purchase, at: datetime) -> None:
        """The billing date moves where it stood still; in grace it does not."""
        kept = purchase.orders[-1].ends_at if purchase.state == "IN_GRACE_PERIOD" else None
        purchase.state, purchase.pending_order, purchase.hold_until = "ACTIVE", None, None
        self._order(purchase, at, starts_at=kept)
        self._tell(purchase, RECOVERED, at)

    # --- records

    def bought(self, token: str) -> Purchase:
        with self.lock:
            if token not in self.purchases:
                raise Refusal(404 if token.count(".") else 400, "Invalid Value")
            return self.purchases[token]

    def order(self, order_id: str) -> Order:
        with self.lock:
            if order_id not in self.orders:
                raise Refusal(404, "The order was not found.")
            return self.orders[order_id]

    def voided_shown(self, since: int, until: int | None) -> list[dict[str, Any]]:
        with self.lock:
            return [
                {
                    "kind": "androidpublisher#voidedPurchase",
                    "purchaseToken": order.token,
                    "orderId": order.order_id,
                    "purchaseTimeMillis": str(milliseconds(order.created_at)),
                    "voidedTimeMillis": str(milliseconds(at)),
                    "voidedSource": order.voided_source,
                    "voidedReason": order.voided_reason,
                }
                for at, order in self.voided
                if since <= milliseconds(at) and (until is None or milliseconds(at) < until)
            ]

    def shown(self) -> dict[str, Any]:
        with self.lock:
            return {
                "purchases": {token: purchase.shown() for token, purchase in self.purchases.items()},
                "orders": {order_id: plain(asdict(order)) for order_id, order in self.orders.items()},
                "deliveries": [delivery.shown() for delivery in self.pushes.deliveries],
                "acknowledgements": list(self.acknowledgements),
                "now": rfc3339(self.now),
            }

    def _order(
        self, purchase: Purchase, at: datetime, *, starts_at: datetime | None = None, until: datetime | None = None
    ) -> None:
        """A charge that succeeds, and the period that it buys; `until` is the end of a free trial."""
        begins = starts_at or at
        ends = until or max(product.after(begins) for product in purchase.products)
        order = Order(
            order_id=self._next_order_id(purchase),
            token=purchase.token,
            products=purchase.products,
            created_at=at,
            starts_at=begins,
            ends_at=ends,
            free=until is not None,
            processed_at=at,
        )
        self.orders[order.order_id] = order
        purchase.orders.append(order)
        purchase.expires_at = ends

    def _token(self) -> str:
        """Opaque: letters, digits and signs, that no compression makes shorter."""
        chance = random.Random(self._number)
        begin = f"{'abcdefghijklmnopqrstuvwx'}.AO-J1O{self._number:06d}"
        return begin + "".join(chance.choices(ascii_letters + digits + "-_", k=self.token_length - len(begin)))

    def _next_order_id(self, purchase: Purchase) -> str:
        number = len(purchase.orders)
        return f"{purchase.first_order}..{number - 1}" if number else purchase.first_order

    def _void(self, order: Order, at: datetime) -> None:
        self.voided.append((at, order))
        body = {"purchaseToken": order.token, "orderId": order.order_id, "productType": 1, "refundType": 1}
        self.pushes.publish("voidedPurchaseNotification", body, at=at, token=order.token)

    def _tell(self, purchase: Purchase, kind: int, at: datetime) -> None:
        body = {"notificationType": kind, "purchaseToken": purchase.token}
        self.pushes.publish("subscriptionNotification", body, at=at, token=purchase.token)

    def _in(self, token: str, *states: str) -> Purchase:
        purchase = self.bought(token)
        if purchase.state not in states:
            raise Refusal(400, f"The subscription is {purchase.state}.")
        return purchase


def _next(purchase: Purchase) -> datetime | None:
    """When something happens to it by itself."""
    moments: list[datetime | None] = []
    if not purchase.acknowledged and purchase.state in ("ACTIVE", "CANCELED"):
        moments.append(purchase.started_at + ACKNOWLEDGE_WITHIN)
    if purchase.state in ("ACTIVE", "CANCELED", "IN_GRACE_PERIOD"):
        moments.append(purchase.expires_at)
    if purchase.state == "ON_HOLD":
        moments.append(purchase.hold_until)
    if purchase.state == "PAUSED":
        moments.append(purchase.resumes_at)
    return min((moment for moment in moments if moment is not None), default=None)
