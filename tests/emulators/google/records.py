"""What Google keeps of a purchase and of an order, and the JSON in which it answers (SubscriptionPurchaseV2, Order)."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Product:
    """What is sold: one line of a purchase. The period is in months, or in days where these are given."""

    product_id: str = "premium"
    base_plan_id: str | None = "monthly"
    price: str = "9.99"
    currency: str = "USD"
    months: int = 1
    days: int = 0

    def after(self, moment: datetime) -> datetime:
        if self.days:
            return moment + timedelta(days=self.days)
        year, month = divmod(moment.month - 1 + self.months, 12)
        year, month = moment.year + year, month + 1
        return moment.replace(year=year, month=month, day=min(moment.day, monthrange(year, month)[1]))


@dataclass
class Order:
    order_id: str
    token: str
    products: tuple[Product, ...]
    created_at: datetime
    starts_at: datetime
    ends_at: datetime
    free: bool = False
    state: str = "PROCESSED"
    processed_at: datetime | None = None
    partials: list[tuple[datetime, Decimal]] = field(default_factory=list)
    refunded_at: datetime | None = None
    chargeback: bool = False
    voided_reason: int = 0
    voided_source: int = 1

    @property
    def total(self) -> Decimal:
        return Decimal(0) if self.free else sum((Decimal(p.price) for p in self.products), Decimal(0))

    @property
    def rest(self) -> Decimal:
        return self.total - sum((amount for _, amount in self.partials), Decimal(0))


@dataclass
class Purchase:
    token: str
    products: tuple[Product, ...]
    user: str | None
    state: str
    started_at: datetime
    expires_at: datetime
    first_order: str
    orders: list[Order] = field(default_factory=list)
    auto_renew: bool = True
    acknowledged: bool = False
    trial_until: datetime | None = None
    linked: str | None = None
    replaced_by: str | None = None
    test: bool = False
    declines: bool = False
    pending_order: str | None = None
    pause_for: timedelta | None = None
    resumes_at: datetime | None = None
    hold_until: datetime | None = None
    cancelled_at: datetime | None = None
    cancelled_by: str = "userInitiatedCancellation"
    pending_instalments: bool = False

    def shown(self) -> dict[str, Any]:
        """The answer of purchases.subscriptionsv2.get."""
        answer: dict[str, Any] = {
            "kind": "androidpublisher#subscriptionPurchaseV2",
            "startTime": rfc3339(self.started_at),
            "regionCode": "US",
            "subscriptionState": f"SUBSCRIPTION_STATE_{self.state}",
            "acknowledgementState": "ACKNOWLEDGEMENT_STATE_" + ("ACKNOWLEDGED" if self.acknowledged else "PENDING"),
            "lineItems": [self._line(product) for product in self.products],
            "etag": "e1",
        }
        if self.user is not None:
            answer["externalAccountIdentifiers"] = {"obfuscatedExternalAccountId": self.user}
        if self.linked is not None:
            answer["linkedPurchaseToken"] = self.linked
        if self.test:
            answer["testPurchase"] = {}
        if self.state in ("CANCELED", "EXPIRED"):
            answer["canceledStateContext"] = self._cancellation()
        if self.state == "PAUSED" and self.resumes_at is not None:
            answer["pausedStateContext"] = {"autoResumeTime": rfc3339(self.resumes_at)}
        context = {"ON_HOLD": "onHoldStateContext", "IN_GRACE_PERIOD": "inGracePeriodStateContext"}.get(self.state)
        if context is not None:
            answer[context] = {"renewalDeclined": {"pendingOrderId": self.pending_order}}
        if self.state == "PENDING":
            del answer["startTime"]
        return answer

    def _line(self, product: Product) -> dict[str, Any]:
        plan: dict[str, Any] = {"recurringPrice": money(Decimal(product.price), product.currency)}
        if self.auto_renew:  # Google leaves out what is false
            plan["autoRenewEnabled"] = True
        if self.pending_instalments:
            plan["installmentDetails"] = {"remainingCommittedPaymentsCount": 2, "pendingCancellation": {}}
        line: dict[str, Any] = {
            "productId": product.product_id,
            "expiryTime": rfc3339(self.expires_at),
            "autoRenewingPlan": plan,
            "offerDetails": {"basePlanId": product.base_plan_id} if product.base_plan_id else {},
        }
        if self.orders:
            line["latestSuccessfulOrderId"] = self.orders[-1].order_id
            line["offerPhase"] = {"freeTrial": {}} if self.orders[-1].free else {"basePrice": {}}
        return line

    def _cancellation(self) -> dict[str, Any]:
        if self.replaced_by is not None:
            return {"replacementCancellation": {}}
        told = self.cancelled_by == "userInitiatedCancellation" and self.cancelled_at is not None
        return {self.cancelled_by: {"cancelTime": rfc3339(self.cancelled_at)} if told and self.cancelled_at else {}}


def order_shown(order: Order) -> dict[str, Any]:
    """The answer of orders.get."""
    history: dict[str, Any] = {}
    if order.processed_at is not None:
        history["processedEvent"] = {"eventTime": rfc3339(order.processed_at)}
    currency = order.products[0].currency
    if order.partials:
        history["partialRefundEvents"] = [
            {
                "createTime": rfc3339(at),
                "processTime": rfc3339(at),
                "state": "PROCESSED_SUCCESSFULLY",
                "refundDetails": {"total": money(amount, currency)},
            }
            for at, amount in order.partials
        ]
    if order.refunded_at is not None:
        history["refundEvent"] = {
            "eventTime": rfc3339(order.refunded_at),
            "refundDetails": {"total": money(order.total, currency)},
            "refundReason": "CHARGEBACK" if order.chargeback else "OTHER",
        }
    return {
        "orderId": order.order_id,
        "purchaseToken": order.token,
        "state": order.state,
        "createTime": rfc3339(order.created_at),
        "lastEventTime": rfc3339(order.refunded_at or order.processed_at or order.created_at),
        "buyerAddress": {"buyerCountry": "US"},
        "total": money(order.total, currency),
        "orderDetails": {"taxInclusive": True},
        "orderHistory": history,
        "salesChannel": "IN_APP",
        "lineItems": [_order_line(order, product) for product in order.products],
    }


def money(amount: Decimal, currency: str) -> dict[str, Any]:
    """units and nanos; what is zero is left out."""
    units = int(amount)
    nanos = int((amount - units) * 10**9)
    shown: dict[str, Any] = {"currencyCode": currency}
    if units:
        shown["units"] = str(units)
    if nanos:
        shown["nanos"] = nanos
    return shown


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def plain(value: Any) -> Any:
    """For JSON: times and amounts as text."""
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in value]
    if isinstance(value, datetime):
        return rfc3339(value)
    return str(value) if isinstance(value, Decimal) else value


def _order_line(order: Order, product: Product) -> dict[str, Any]:
    details: dict[str, Any] = {
        "servicePeriodStartTime": rfc3339(order.starts_at),
        "servicePeriodEndTime": rfc3339(order.ends_at),
        "offerPhaseDetails": {"freeTrialDetails": {}} if order.free else {"baseDetails": {}},
    }
    if product.base_plan_id:
        details["basePlanId"] = product.base_plan_id
    price = Decimal(0) if order.free else Decimal(product.price)
    return {
        "productId": product.product_id,
        "productTitle": product.product_id,
        "listingPrice": money(price, product.currency),
        "total": money(price, product.currency),
        "subscriptionDetails": details,
    }
