"""An order as the API shows it, and the money that it tells of: what came in, what went back, what is disputed.

An order is always told as a whole, whatever asked for it: in every order of deliveries, and when all of them are lost, the
same money comes out under the same keys. Source: providers.md 2.1 and 2.2; 2Checkout's order flow (statuses) and reference
of the order (ChargebackResolution, Refunds).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any

from providers.base import EventType, MalformedError, ProviderEvent, StoredMethod
from providers.twocheckout import naming
from providers.twocheckout.fields import nested, objects, price_of, reference_of, switch_of
from providers.twocheckout.subscriptions import Purchase
from providers.twocheckout.times import end_of_period, is_empty, moment_in
from providers.twocheckout.webhooks import DISPUTES
from providers.wire.fields import currency_of, optional_text, usable_text

COMPLETE, AUTHORIZED, REFUND, REVERSED = "COMPLETE", "AUTHRECEIVED", "REFUND", "REVERSED"
FAILED = frozenset({"CANCELED", "INVALID"})


@dataclass(frozen=True, slots=True)
class Refund:
    """A part that went back. `comment` is what we had written with it, where the API shows it."""

    amount: Decimal
    at: datetime | None
    comment: str | None


@dataclass(frozen=True, slots=True)
class Line:
    reference: str
    quantity: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    reference: str
    status: str
    external_reference: str | None
    currency: str
    total: Decimal
    ordered_at: datetime | None
    finished_at: datetime | None
    test: bool
    dispute: EventType | None
    dispute_reason: str | None
    refunds: tuple[Refund, ...]
    lines: tuple[Line, ...]
    subscription: str | None
    #: The period of a first purchase, before the subscription's own records can be read.
    first_period: tuple[datetime | None, datetime | None]
    user_ref: str | None
    method: StoredMethod | None

    @property
    def refunded(self) -> Decimal:
        """What has gone back by now, a chargeback excepted."""
        if self.status == REFUND:
            return self.total
        return sum((refund.amount for refund in self.refunds), Decimal(0))

    def collected(self, *, on_auth: bool) -> bool:
        """Has its money come in? With `on_auth` an authorisation counts as that."""
        if self.status in (COMPLETE, REFUND) or (self.status == REVERSED and self.finished_at is not None):
            return True
        return on_auth and self.status in (AUTHORIZED, REVERSED)


def read_order(body: Mapping[str, Any], zone: tzinfo) -> Order:
    """Raises MalformedError."""
    reference = reference_of(body.get("RefNo"), "RefNo")
    currency = currency_of(body.get("Currency"))
    payment = nested(body, "PaymentDetails")
    resolution = usable_text(body.get("ChargebackResolution")) or "NONE"
    if resolution != "NONE" and resolution not in DISPUTES:
        raise MalformedError("ChargebackResolution is a word that is not known")
    total = price_of(_gross(body), currency, "GrossDiscountedPrice")
    subscription, first_period = _subscription(body, zone)
    order = Order(
        reference=reference,
        status=usable_text(body.get("Status"), 40) or "",
        external_reference=optional_text(body, "ExternalReference", naming.MAX_REFERENCE),
        currency=currency,
        total=total,
        ordered_at=_date(body, "OrderDate", zone),
        finished_at=_date(body, "FinishDate", zone),
        test=switch_of(body.get("TestOrder")) is True or payment.get("Type") == "TEST",
        dispute=DISPUTES.get(resolution),
        dispute_reason=usable_text(body.get("ChargebackReasonCode")),
        refunds=tuple(_refund(item, currency, zone) for item in objects(body.get("Refunds"))),
        lines=tuple(_lines(body, currency)),
        subscription=subscription,
        first_period=first_period,
        user_ref=usable_text(nested(body, "CustomerDetails").get("ExternalCustomerReference")),
        method=_method(reference, body, payment),
    )
    if sum((refund.amount for refund in order.refunds), Decimal(0)) > total:
        raise MalformedError("more was refunded than the order's total")
    return order


def money_events(
    order: Order,
    *,
    provider: str,
    purchase: Purchase | None,
    order_ref: str | None,
    user_ref: str | None,
    seen_at: datetime,
    on_auth: bool,
    keep_method: bool,
) -> list[ProviderEvent]:
    """The order's money, oldest first. `purchase` is the period that it paid for, `order_ref` what its first sale was for.

    `seen_at` is when the API said so: the time of what it gives no time for.
    """
    ours, charge_key = naming.references(order.external_reference)
    common: dict[str, Any] = {
        "provider": provider,
        "event_id": "",
        "provider_sub_id": order.subscription,
        "order_ref": None if charge_key else ours or order_ref,
        "idempotency_key": charge_key,
        "user_ref": order.user_ref or user_ref,
        "currency": order.currency,
        "is_test": order.test,
        "raw": {"RefNo": order.reference, "Status": order.status, "ExternalReference": order.external_reference},
    }
    paid_at = order.finished_at or order.ordered_at or seen_at
    if not order.collected(on_auth=on_auth):
        if order.status not in FAILED | {REVERSED}:
            return []
        return [
            ProviderEvent(
                type=EventType.PAYMENT_FAILED,
                occurred_at=paid_at,
                provider_payment_id=order.reference,
                amount=order.total,
                reason=order.status.lower(),
                **common,
            )
        ]
    if order.total == 0:  # a trial's order
        return []
    paid = ProviderEvent(
        type=EventType.PAYMENT_SUCCEEDED,
        occurred_at=paid_at,
        provider_payment_id=order.reference,
        amount=order.total,
        period_start=purchase.period_start if purchase else None,
        period_end=purchase.period_end if purchase else None,
        method=order.method if keep_method else None,
        **common,
    )
    reversals = [
        ProviderEvent(
            type=EventType.PAYMENT_REFUNDED,
            occurred_at=at or seen_at,
            provider_payment_id=naming.refund_id(order.reference, cumulative),
            parent_payment_id=order.reference,
            amount=amount,
            **common,
        )
        for cumulative, amount, at in _returned(order)
    ]
    if order.dispute is not None:
        reversals.append(
            ProviderEvent(
                type=order.dispute,
                occurred_at=seen_at,
                provider_payment_id=naming.dispute_id(order.reference),
                parent_payment_id=order.reference,
                amount=order.total,
                reason=order.dispute_reason,
                **common,
            )
        )
    return [paid, *reversals]


def _returned(order: Order) -> Iterator[tuple[Decimal, Decimal, datetime | None]]:
    """(what has gone back by then, this part, when) of each refund; a status that says all went back makes up the rest."""
    if order.dispute == EventType.PAYMENT_DISPUTE_LOST:
        return  # that money went back by the chargeback; the status REFUND is its consequence
    cumulative = Decimal(0)
    for refund in order.refunds:
        cumulative += refund.amount
        yield cumulative, refund.amount, refund.at
    if order.status in (REFUND, REVERSED) and cumulative < order.total:
        yield order.total, order.total - cumulative, None


def _gross(body: Mapping[str, Any]) -> object:
    """What the buyer pays: after discounts, taxes included."""
    discounted = body.get("GrossDiscountedPrice")
    return body.get("GrossPrice") if discounted is None else discounted


def _date(body: Mapping[str, Any], name: str, zone: tzinfo) -> datetime | None:
    value = body.get(name)
    return None if is_empty(value) else moment_in(value, zone, name)


def _refund(item: Mapping[str, Any], currency: str, zone: tzinfo) -> Refund:
    amount = item.get("Amount")
    if isinstance(amount, str):
        amount = amount.removeprefix("-")
    elif isinstance(amount, Decimal | int) and not isinstance(amount, bool):
        amount = abs(amount)
    return Refund(
        amount=price_of(amount, currency, "a refund's Amount"),
        at=_date(item, "Date", zone),
        comment=usable_text(item.get("Comment"), 1000),
    )


def _lines(body: Mapping[str, Any], currency: str) -> Iterator[Line]:
    for item in objects(body.get("Items")):
        reference = usable_text(item.get("LineItemReference"))
        quantity = item.get("Quantity")
        price = nested(item, "Price")
        if reference is None or item.get("PurchaseType", "PRODUCT") != "PRODUCT":
            continue
        if not isinstance(quantity, int) or isinstance(quantity, bool) or quantity < 1:
            raise MalformedError("Quantity is not a whole number")
        yield Line(reference, quantity, price_of(_gross(price), currency, "a line's GrossDiscountedPrice"))


def _subscription(body: Mapping[str, Any], zone: tzinfo) -> tuple[str | None, tuple[datetime | None, datetime | None]]:
    """The subscription that the order is of, and its dates as the order shows them."""
    for item in objects(body.get("Items")):
        for shown in objects(nested(item, "ProductDetails").get("Subscriptions")):
            if (reference := usable_text(shown.get("SubscriptionReference"), 50)) is not None:
                end = end_of_period(shown.get("ExpirationDate"), zone, "ExpirationDate")
                return reference, (_date(shown, "SubscriptionStartDate", zone), end)
    return None, (None, None)


def _method(reference: str, body: Mapping[str, Any], payment: Mapping[str, Any]) -> StoredMethod | None:
    """The order itself is what a later one refers to (PREVIOUS_ORDER)."""
    details = nested(payment, "PaymentMethod")
    customer = usable_text(nested(body, "CustomerDetails").get("CustomerReference"))
    return StoredMethod(
        method_ref=reference,
        customer_ref=customer or reference,
        brand=usable_text(details.get("CardType"), 40) or "",
        last4=usable_text(details.get("LastDigits"), 4) or "",
    )
