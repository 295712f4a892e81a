"""What each documented delivery of 2Checkout's hints at: the tables of providers.md 2.2, spelt out."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from providers.base import EventType, ProviderEvent
from tests.providers.conformance.pack import Vector
from tests.providers.twocheckout_support import IPN, LCN, form, with_changes

#: The dates of `IPN` and `LCN`, which Bucharest's clock shows two hours later.
PAID_AT = datetime(2026, 1, 31, 8, 0, 10, tzinfo=UTC)
SENT_AT = datetime(2026, 1, 31, 8, 0, 15, tzinfo=UTC)
START, END = datetime(2026, 1, 31, 8, 0, 5, tzinfo=UTC), datetime(2026, 2, 28, 8, 0, 5, tzinfo=UTC)
CHANGED_AT = datetime(2026, 2, 1, 10, 0, tzinfo=UTC)


def unsigned_ipn(**changes: Any) -> bytes:
    """An order's notice, without its signatures; `...` takes a field away."""
    return form(with_changes(IPN, changes), algorithms=[])


def unsigned_lcn(**changes: Any) -> bytes:
    return form(with_changes(LCN, changes), algorithms=[])


def _of_order(type_: EventType, **changes: Any) -> ProviderEvent:
    values: dict[str, Any] = {
        "provider": "2checkout",
        "event_id": "2co:ipn:254498854202#0",
        "occurred_at": PAID_AT,
        "provider_sub_id": "XRILXB9ZI3",
        "order_ref": "ord_1",
        "user_ref": "user_123",
    }
    if type_.startswith("payment."):
        values |= {"provider_payment_id": "211153389", "amount": Decimal("9.99"), "currency": "USD"}
    return ProviderEvent(type=type_, **{**values, **changes})


def _paid(kind: EventType | None = EventType.SUBSCRIPTION_ACTIVATED, **changes: Any) -> tuple[ProviderEvent, ...]:
    """A payment, and what it makes of the subscription (None: there is none)."""
    values = {"period_start": START, "period_end": END, **changes}
    state = {**values, "event_id": "2co:ipn:254498854202#1", "provider_payment_id": None, "idempotency_key": None}
    states = () if kind is None else (_of_order(kind, **state),)
    return (_of_order(EventType.PAYMENT_SUCCEEDED, **values), *states)


def _reversed(type_: EventType, own_id: str, **changes: Any) -> tuple[ProviderEvent, ...]:
    values = {"occurred_at": SENT_AT, "provider_payment_id": own_id, "parent_payment_id": "211153389", **changes}
    return (_of_order(type_, **values),)


def _state(word: str, type_: EventType, number: int = 0, **changes: Any) -> ProviderEvent:
    values: dict[str, Any] = {
        "provider": "2checkout",
        "event_id": f"2co:lcn:XRILXB9ZI3:{word}:2026-02-01 12:00:00#{number}",
        "occurred_at": CHANGED_AT,
        "provider_sub_id": "XRILXB9ZI3",
        "provider_plan_ref": "40898000",
        "user_ref": "user_123",
        "period_end": END,
    }
    return ProviderEvent(type=type_, **{**values, **changes})


def order_vectors() -> list[Vector]:
    """Every status of an order, every resolution of a dispute."""
    created = (_of_order(EventType.SUBSCRIPTION_CREATED, period_end=END),)
    pending = ("PENDING", "PURCHASE_PENDING", "PENDING_APPROVAL", "PENDING_ORDER_APPROVAL")
    disputes = {
        "OPEN": EventType.PAYMENT_DISPUTED,
        "WON": EventType.PAYMENT_DISPUTE_WON,
        "LOST": EventType.PAYMENT_DISPUTE_LOST,
        "ACCEPT": EventType.PAYMENT_DISPUTE_LOST,
        "ACCEPTED": EventType.PAYMENT_DISPUTE_LOST,
    }
    trial = (_of_order(EventType.SUBSCRIPTION_ACTIVATED, period_start=START, period_end=END, is_trial=True),)
    failed = EventType.PAYMENT_FAILED
    back = _reversed(EventType.PAYMENT_REFUNDED, "211153389:5", amount=Decimal("5.00"))
    renewed = _paid(EventType.SUBSCRIPTION_RENEWED, period_start=None)
    return [
        Vector("a sale", unsigned_ipn(), _paid()),
        Vector("an invoice's", unsigned_ipn(IPN_LICENSE_REF=""), _paid(None, provider_sub_id=None)),
        Vector("a renewal", unsigned_ipn(REFNOEXT="", ORIGINAL_REFNOEXT="ord_1"), renewed),
        Vector("a trial", unsigned_ipn(IPN_LICENSE_TYPE="TRIAL", IPN_TOTALGENERAL="0.00"), trial),
        *(Vector(status, unsigned_ipn(ORDERSTATUS=status), created) for status in pending),
        Vector("pending, once", unsigned_ipn(ORDERSTATUS="PENDING", IPN_LICENSE_REF=...), ()),
        *(
            Vector(status, unsigned_ipn(ORDERSTATUS=status), ())
            for status in ("PAYMENT_AUTHORIZED", "PAYMENT_RECEIVED")
        ),
        Vector("CANCELED", unsigned_ipn(ORDERSTATUS="CANCELED"), (_of_order(failed, reason="canceled"),)),
        Vector("INVALID", unsigned_ipn(ORDERSTATUS="INVALID"), (_of_order(failed, reason="invalid"),)),
        *(
            Vector(status, unsigned_ipn(ORDERSTATUS=status, IPN_TOTALGENERAL="-5.00"), back)
            for status in ("REFUND", "REVERSED")
        ),
        *(
            Vector(
                f"chargeback {word}",
                unsigned_ipn(CHARGEBACK_RESOLUTION=word, CHARGEBACK_REASON_CODE="FRAUD"),
                _reversed(type_, "211153389:chargeback", reason="FRAUD"),
            )
            for word, type_ in disputes.items()
        ),
        Vector("more fields", unsigned_ipn(NEW_FIELD="x", **{"NEW_LIST[]": ""}), _paid(), "extra"),
    ]


def subscription_vectors() -> list[Vector]:
    """Every reason for which a subscription's notice is sent."""
    kinds = {
        "LICENCE_CHANGE": EventType.SUBSCRIPTION_RESUMED,
        "LICENCE_GP_CHANGE": EventType.SUBSCRIPTION_RESUMED,
        "LICENCE_PENDING_ACTIVATION": EventType.SUBSCRIPTION_RESUMED,
        "LICENCE_EXPIRATION": EventType.SUBSCRIPTION_EXPIRED,
        "SCHEDULED_FOR_CANCELATION_ON_DEMAND": EventType.SUBSCRIPTION_CANCELED,
        "REVERT_CANCELATION_ON_DEMAND": EventType.SUBSCRIPTION_RESUMED,
        "LICENCE_CPC_ACCEPTED": EventType.SUBSCRIPTION_PLAN_CHANGED,
    }
    change, late = "LICENCE_CHANGE", "LICENCE_PASTDUE"
    unpaid = {
        "occurred_at": END,
        "provider_payment_id": "XRILXB9ZI3:20260228T080005Z",
        "period_end": None,
        "reason": "past_due",
    }
    disabled = unsigned_lcn(DISABLED="1", RECURRING="0", STATUS="DISABLED")
    return [
        *(
            Vector(reason, unsigned_lcn(DISPATCH_REASON=reason), (_state(reason, type_),))
            for reason, type_ in kinds.items()
        ),
        Vector("no reason", unsigned_lcn(DISPATCH_REASON=...), (_state("", EventType.SUBSCRIPTION_RESUMED),)),
        Vector("not renewed", unsigned_lcn(RECURRING="0"), (_state(change, EventType.SUBSCRIPTION_CANCELED),)),
        Vector("disabled", disabled, (_state(change, EventType.SUBSCRIPTION_REVOKED),)),
        Vector(
            late,
            unsigned_lcn(DISPATCH_REASON=late, STATUS="PAST DUE"),
            (_state(late, EventType.PAYMENT_FAILED, **unpaid), _state(late, EventType.SUBSCRIPTION_GRACE, 1)),
        ),
        Vector(
            "without an end",
            unsigned_lcn(EXPIRATION_DATE="9999-12-31 23:59:59"),
            (_state(change, EventType.SUBSCRIPTION_RESUMED, period_end=None),),
        ),
    ]
