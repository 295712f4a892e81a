"""Google's records of a purchase and of an order, read once and typed. Raises MalformedError.

Source: the schemas SubscriptionPurchaseV2 and Order of androidpublisher v3 (revision 20261026). JSON of Google leaves out
what is false, zero or empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from providers.base import MalformedError
from providers.wire.fields import currency_of, moment_of, optional_text, required_text, usable_text

NANOS = 9
#: What the indexes over our columns take of a purchase token, at a byte a letter. Google promises no length: its tokens have
#: some 150 letters, and some that were bought long ago or in other ways many more.
MAX_TOKEN = 2000
#: An order's number may end in ..N, and what is made of it (a refund's id) must fit a column.
MAX_ORDER = 200
#: States of an order whose money was taken, whatever became of it later.
TAKEN = frozenset({"PROCESSED", "PENDING_REFUND", "PARTIALLY_REFUNDED", "REFUNDED"})


@dataclass(frozen=True, slots=True)
class Line:
    """One product of a purchase. `order_id` is None for one that is not the buyer's yet (a deferred replacement)."""

    product_id: str
    base_plan_id: str | None
    expires_at: datetime | None
    order_id: str | None
    renews: bool
    ends_with_instalments: bool
    is_free_trial: bool

    @property
    def plan_ref(self) -> str:
        """As plans name it: one product may be sold monthly and yearly."""
        return f"{self.product_id}:{self.base_plan_id}" if self.base_plan_id else self.product_id


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a purchase token stands for now. `read_at` is Google's time of the answer."""

    token: str
    state: str
    read_at: datetime
    lines: tuple[Line, ...]
    user_ref: str | None
    replaces: str | None
    started_at: datetime | None
    unacknowledged: bool
    is_test: bool
    is_replaced: bool
    pending_order_id: str | None

    @property
    def current(self) -> tuple[Line, ...]:
        """The products that the buyer has: those that last as long as any. One removed has ended before the others."""
        owned = [line for line in self.lines if line.order_id is not None and line.expires_at is not None]
        running = [line for line in owned if line.expires_at and line.expires_at > self.read_at]
        last = max((line.expires_at for line in owned if line.expires_at), default=None)
        return tuple(running or [line for line in owned if line.expires_at == last])

    @property
    def expires_at(self) -> datetime | None:
        """The end of the product that lasts longest."""
        return max((line.expires_at for line in self.current if line.expires_at), default=None)

    @property
    def plan_ref(self) -> str | None:
        return plan_ref(line.plan_ref for line in self.current or self.lines)

    @property
    def order_ids(self) -> tuple[str, ...]:
        """The latest order of each product, once."""
        return tuple(dict.fromkeys(line.order_id for line in self.lines if line.order_id))

    @property
    def renews(self) -> bool:
        return any(line.renews and not line.ends_with_instalments for line in self.current or self.lines)

    @property
    def is_free_trial(self) -> bool:
        return bool(self.current) and all(line.is_free_trial for line in self.current)


@dataclass(frozen=True, slots=True)
class PartialRefund:
    at: datetime
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Order:
    """One charge. `paid_at` is None while nothing was taken. `total` has taxes in and discounts out.

    `starts_at` and `ends_at` are the period that it paid for, as it was when the order was processed.
    """

    order_id: str
    state: str
    token: str | None
    created_at: datetime
    paid_at: datetime | None
    total: Decimal
    currency: str
    starts_at: datetime | None
    ends_at: datetime | None
    plan_ref: str | None
    partial_refunds: tuple[PartialRefund, ...]
    refunded_at: datetime | None
    is_chargeback: bool
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def rest(self) -> Decimal:
        """What is not given back in parts."""
        return self.total - sum((part.amount for part in self.partial_refunds), Decimal(0))


def usable_token(value: object) -> str | None:
    """A purchase token that can be kept; None for anything else."""
    token = usable_text(value, MAX_TOKEN)
    return token if token is not None and token.isascii() else None


def plan_ref(refs: Any) -> str | None:
    """Of several products bought together: all of them, in order of their names, joined by +."""
    return "+".join(sorted(set(refs))) or None


def read_purchase(token: str, body: Mapping[str, Any], *, read_at: datetime) -> Purchase:
    accounts, cancelled = _part(body, "externalAccountIdentifiers"), _part(body, "canceledStateContext")
    declined = [
        _part(_part(body, context), "renewalDeclined")
        for context in ("onHoldStateContext", "inGracePeriodStateContext")
    ]
    return Purchase(
        token=token,
        state=required_text(body, "subscriptionState"),
        read_at=read_at,
        lines=tuple(_line(line) for line in _list(body, "lineItems")),
        # What no column takes is as good as absent: the purchase itself is still to be booked.
        user_ref=usable_text(accounts.get("obfuscatedExternalAccountId")),
        replaces=usable_token(body.get("linkedPurchaseToken")),
        started_at=_moment(body, "startTime"),
        unacknowledged=body.get("acknowledgementState") == "ACKNOWLEDGEMENT_STATE_PENDING",
        is_test=body.get("testPurchase") is not None,
        is_replaced=cancelled.get("replacementCancellation") is not None,
        pending_order_id=next((found for part in declined if (found := _order_id(part, "pendingOrderId"))), None),
    )


def read_order(body: Mapping[str, Any]) -> Order:
    history, lines = _part(body, "orderHistory"), _list(body, "lineItems")
    details = [_part(line, "subscriptionDetails") for line in lines]
    refund = _part(history, "refundEvent")
    state = required_text(body, "state")
    created_at = moment_of(body.get("createTime"), "createTime")
    processed_at = _moment(_part(history, "processedEvent"), "eventTime")
    total, currency = _money(body, "total")
    return Order(
        order_id=required_text(body, "orderId", MAX_ORDER),
        state=state,
        token=usable_token(body.get("purchaseToken")),
        created_at=created_at,
        paid_at=(processed_at or created_at) if state in TAKEN else None,
        total=total,
        currency=currency,
        starts_at=min(_moments(details, "servicePeriodStartTime"), default=None),
        ends_at=max(_moments(details, "servicePeriodEndTime"), default=None),
        plan_ref=plan_ref(_product(line, part) for line, part in zip(lines, details, strict=True) if part),
        partial_refunds=tuple(_partial_refunds(history, currency)),
        refunded_at=(_moment(refund, "eventTime") or created_at) if refund or state == "REFUNDED" else None,
        is_chargeback=refund.get("refundReason") == "CHARGEBACK",
        # Of the buyer nothing is kept, not even the country.
        raw={key: value for key, value in body.items() if key != "buyerAddress"},
    )


def _line(body: Mapping[str, Any]) -> Line:
    plan = _part(body, "autoRenewingPlan")
    return Line(
        product_id=required_text(body, "productId"),
        base_plan_id=optional_text(_part(body, "offerDetails"), "basePlanId"),
        expires_at=_moment(body, "expiryTime"),
        order_id=_order_id(body, "latestSuccessfulOrderId"),
        renews=plan.get("autoRenewEnabled") is True,
        ends_with_instalments=_part(plan, "installmentDetails").get("pendingCancellation") is not None,
        is_free_trial=_part(body, "offerPhase").get("freeTrial") is not None,
    )


def _product(line: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    product, base = required_text(line, "productId"), optional_text(details, "basePlanId")
    return f"{product}:{base}" if base else product


def _partial_refunds(history: Mapping[str, Any], currency: str) -> list[PartialRefund]:
    """Those that were carried out, oldest first."""
    found = []
    for event in _list(history, "partialRefundEvents"):
        if event.get("state") == "PROCESSED_SUCCESSFULLY":
            amount, theirs = _money(_part(event, "refundDetails"), "total")
            if theirs != currency:
                raise MalformedError("a refund is in another currency than its order")
            found.append(PartialRefund(moment_of(event.get("createTime"), "createTime"), amount))
    return sorted(found, key=lambda part: part.at)


def _money(body: Mapping[str, Any], name: str) -> tuple[Decimal, str]:
    """units and nanos, exactly. Raises MalformedError for what is negative: nobody pays that."""
    value = _part(body, name)
    units, nanos = value.get("units", "0"), value.get("nanos", 0)
    if isinstance(units, int) and not isinstance(units, bool):
        units = str(units)
    whole = isinstance(units, str) and units.isascii() and units.isdigit() and len(units) <= 15
    part = isinstance(nanos, int) and not isinstance(nanos, bool) and 0 <= nanos < 10**NANOS
    if not value or not whole or not part:
        raise MalformedError(f"{name} is not an amount of money")
    return _plain(Decimal(units) + Decimal(nanos).scaleb(-NANOS)), currency_of(value.get("currencyCode"))


def _plain(amount: Decimal) -> Decimal:
    """9.990000000 as 9.99, 100.000000000 as 100: the same amount, fit for a currency's digits."""
    return amount.quantize(Decimal(1)) if amount == amount.to_integral_value() else amount.normalize()


def _part(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """{} where it is absent."""
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedError(f"{name} is not an object")
    return value


def _list(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise MalformedError(f"{name} is not a list of objects")
    return value


def _moment(body: Mapping[str, Any], name: str) -> datetime | None:
    return None if body.get(name) in (None, "") else moment_of(body[name], name)


def _moments(parts: list[Mapping[str, Any]], name: str) -> list[datetime]:
    return [moment for part in parts if (moment := _moment(part, name)) is not None]


def _order_id(body: Mapping[str, Any], name: str) -> str | None:
    return optional_text(body, name, MAX_ORDER)
