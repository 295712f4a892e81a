"""What a notification of Google Play hints at. Pure, but for the log.

Nothing here is believed: `confirm` reads the purchase again. Source: providers.md 4.2, the table.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from providers.base import EventType, MalformedError, ProviderEvent
from providers.google.push import Push
from providers.google.records import usable_token
from providers.wire.fields import moment_of_epoch, required_text, usable_text


class Kind(IntEnum):
    """notificationType of a subscription's notification."""

    RECOVERED = 1
    RENEWED = 2
    CANCELED = 3
    PURCHASED = 4
    ON_HOLD = 5
    IN_GRACE_PERIOD = 6
    RESTARTED = 7
    PRICE_CHANGE_CONFIRMED = 8
    DEFERRED = 9
    PAUSED = 10
    PAUSE_SCHEDULE_CHANGED = 11
    REVOKED = 12
    EXPIRED = 13
    ITEMS_CHANGED = 17
    CANCELLATION_SCHEDULED = 18
    PRICE_CHANGE_UPDATED = 19
    PENDING_PURCHASE_CANCELED = 20
    PRICE_STEP_UP_CONSENT_UPDATED = 22


E = EventType
#: What each kind tells, in order: money before the state that it paid for. Of prices to come nothing is told: the money
#: of the period says what was paid.
EVENTS: Mapping[Kind, tuple[EventType, ...]] = {
    Kind.RECOVERED: (E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_RESUMED, E.SUBSCRIPTION_RENEWED),
    Kind.RENEWED: (E.PAYMENT_SUCCEEDED, E.SUBSCRIPTION_RENEWED),
    Kind.CANCELED: (E.SUBSCRIPTION_CANCELED,),
    Kind.PURCHASED: (E.SUBSCRIPTION_CREATED, E.SUBSCRIPTION_ACTIVATED, E.PAYMENT_SUCCEEDED),
    Kind.ON_HOLD: (E.PAYMENT_FAILED, E.SUBSCRIPTION_ON_HOLD),
    Kind.IN_GRACE_PERIOD: (E.PAYMENT_FAILED, E.SUBSCRIPTION_GRACE),
    Kind.RESTARTED: (E.SUBSCRIPTION_RESUMED,),
    Kind.PRICE_CHANGE_CONFIRMED: (),
    Kind.DEFERRED: (E.SUBSCRIPTION_EXTENDED,),
    Kind.PAUSED: (E.SUBSCRIPTION_PAUSED,),
    Kind.PAUSE_SCHEDULE_CHANGED: (),
    Kind.REVOKED: (E.SUBSCRIPTION_REVOKED,),
    Kind.EXPIRED: (E.SUBSCRIPTION_EXPIRED,),
    Kind.ITEMS_CHANGED: (E.SUBSCRIPTION_PLAN_CHANGED,),
    Kind.CANCELLATION_SCHEDULED: (E.SUBSCRIPTION_CANCELED,),
    Kind.PRICE_CHANGE_UPDATED: (),
    Kind.PENDING_PURCHASE_CANCELED: (E.PAYMENT_FAILED,),
    Kind.PRICE_STEP_UP_CONSENT_UPDATED: (),
}

#: productType of a voided purchase.
SUBSCRIPTION = 1
#: The part of a notification that is there: a subscription's, money that went back, money that may have to go back.
ABOUT_PURCHASE = "subscriptionNotification"
ABOUT_VOIDED = "voidedPurchaseNotification"
ABOUT_REVIEW = "pendingRefundReviewNotification"
ABOUT_TEST = "testNotification"
ABOUT_PRODUCT = "oneTimeProductNotification"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """One notification: about what, when, and its own part."""

    about: str
    at: datetime
    body: Mapping[str, Any]

    @property
    def token(self) -> str:
        token = usable_token(self.body.get("purchaseToken"))
        if token is None:
            raise MalformedError("purchaseToken is missing or not a token")
        return token

    @property
    def order_id(self) -> str:
        return required_text(self.body, "orderId", 200)

    @property
    def kind(self) -> Kind | None:
        """None for one that is not known."""
        number = self.body.get("notificationType")
        if not isinstance(number, int) or isinstance(number, bool):
            raise MalformedError("notificationType is not a number")
        return Kind(number) if number in EVENTS else None


def read(data: Mapping[str, Any]) -> Notice | None:
    """None where it is of a kind that nobody documents. Raises MalformedError."""
    for about in (ABOUT_PURCHASE, ABOUT_VOIDED, ABOUT_REVIEW, ABOUT_TEST, ABOUT_PRODUCT):
        body = data.get(about)
        if body is None:
            continue
        if not isinstance(body, dict):
            raise MalformedError(f"{about} is not an object")
        return Notice(about, moment_of_epoch(data.get("eventTimeMillis"), "eventTimeMillis", per_second=1000), body)
    return None


def hints(push: Push, *, provider: str, package_name: str) -> list[ProviderEvent]:
    """The events of the table, without what only Google can say. [] for another app's, and for what is not known."""
    theirs = required_text(push.data, "packageName")
    if theirs != package_name:
        log.warning("google: message %s is of the app %s; ignored", push.message_id, theirs)
        return []
    notice = read(push.data)
    if notice is None:
        log.warning("google: message %s has no part that is known; ignored", push.message_id)
        return []
    return [
        ProviderEvent(
            provider=provider,
            event_id=f"{push.delivery_key}#{number}",
            occurred_at=notice.at,
            raw=push.data,
            **fields,
        )
        for number, fields in enumerate(_fields(notice, push.message_id))
    ]


def dispute_id(order_id: str) -> str:
    """Google gives a dispute no id that lasts to its end: made of the order's."""
    return f"{order_id}:dispute"


def _fields(notice: Notice, message_id: str) -> list[dict[str, Any]]:
    match notice.about:
        case "testNotification":
            return [{"type": E.TEST_PING, "is_test": True}]
        case "voidedPurchaseNotification":
            if notice.body.get("productType") != SUBSCRIPTION:
                return _ignored(message_id, "a one-time product")
            order = notice.order_id
            return [
                {
                    "type": E.PAYMENT_REFUNDED,
                    "provider_sub_id": notice.token,
                    "provider_payment_id": order,
                    "parent_payment_id": order,
                }
            ]
        case "pendingRefundReviewNotification":
            order, reason = notice.order_id, notice.body.get("refundReason")
            return [
                {
                    "type": E.PAYMENT_DISPUTED,
                    "provider_payment_id": dispute_id(order),
                    "parent_payment_id": order,
                    "user_ref": usable_text(notice.body.get("obfuscatedAccountId")),
                    "reason": f"refund_reason_{reason}" if isinstance(reason, int) else None,
                }
            ]
        case "subscriptionNotification":
            token, kind = notice.token, notice.kind
            if kind is None:
                return _ignored(message_id, f"the type {notice.body['notificationType']}")
            return [{"type": each, "provider_sub_id": token} for each in EVENTS[kind]]
        case _:
            return _ignored(message_id, "a one-time product")


def _ignored(message_id: str, why: str) -> list[dict[str, Any]]:
    log.warning("google: message %s is of %s; ignored", message_id, why)
    return []
