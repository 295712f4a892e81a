"""What a notification says. Pure, but for the log. The table is providers.md 3.3; the word that is read is Apple's own
(`rawNotificationType`), so that a new one is not taken for none."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from providers.apple import facts
from providers.apple.messages import Notice, Transaction
from providers.base import EventType, MalformedError, ProviderEvent

#: They change nothing that is kept here, or (the last three) are Advanced Commerce's.
INFORMATIONAL = frozenset(
    {
        "REFUND_DECLINED",
        "RENEWAL_EXTENSION",
        "PRICE_INCREASE",
        "EXTERNAL_PURCHASE_TOKEN",
        "RESCIND_CONSENT",
        "PRICE_CHANGE",
        "METADATA_UPDATE",
        "MIGRATION",
    }
)
#: data.status of a subscription that goes on: active, in billing retry, in grace. A refund was of an earlier period.
_GOES_ON = frozenset({1, 3, 4})

log = logging.getLogger(__name__)


def events(notice: Notice, *, provider: str) -> list[ProviderEvent]:
    """[] for what changes nothing, and for a word that nobody documents. Raises MalformedError."""
    raw = {
        "notification": notice.body,
        "transaction": notice.transaction.body if notice.transaction else None,
        "renewal": notice.renewal.body if notice.renewal else None,
    }
    told = [replace(event, raw=raw) for event in _facts(notice, provider)]
    return facts.numbered(told, notice.delivery_key)


def _facts(notice: Notice, provider: str) -> Sequence[ProviderEvent]:
    match notice.kind:
        case "TEST":
            return [
                ProviderEvent(
                    provider=provider,
                    event_id="",
                    type=EventType.TEST_PING,
                    occurred_at=notice.signed_at,
                    is_test=notice.is_test,
                )
            ]
        case "SUBSCRIBED" | "DID_RENEW" | "ONE_TIME_CHARGE":
            return _bought(notice, provider)
        case "DID_FAIL_TO_RENEW" | "GRACE_PERIOD_EXPIRED" | "EXPIRED" | "REVOKE" | "RENEWAL_EXTENDED":
            return _stands(notice, provider)
        case "DID_CHANGE_RENEWAL_STATUS" | "DID_CHANGE_RENEWAL_PREF" | "OFFER_REDEEMED":
            return _changed(notice, provider)
        case "REFUND" | "REFUND_REVERSED":
            return _refunded(notice, provider)
        case "CONSUMPTION_REQUEST":
            log.warning("apple: a customer asks Apple for a refund; it may be told about his use within 12 hours")
        case kind if kind in INFORMATIONAL:
            log.info("apple: %s changes nothing here", kind)
        case kind:
            log.warning("apple: the notification %r is not known; ignored", kind)
    return []


def _bought(notice: Notice, provider: str) -> list[ProviderEvent]:
    transaction, at = _transaction(notice), notice.signed_at
    if notice.kind == "ONE_TIME_CHARGE":
        return [facts.paid(transaction, provider=provider, at=at)] if transaction.moves_money else []
    if notice.kind == "DID_RENEW":
        events = facts.bought([EventType.SUBSCRIPTION_RENEWED], transaction, provider=provider, at=at)
        if notice.subtype == "BILLING_RECOVERY":
            events.append(facts.state(EventType.SUBSCRIPTION_RESUMED, transaction, provider=provider, at=at))
        return events
    types = [EventType.SUBSCRIPTION_ACTIVATED]
    if notice.subtype == "INITIAL_BUY":
        types.insert(0, EventType.SUBSCRIPTION_CREATED)
    return facts.bought(types, transaction, provider=provider, at=at)


def _stands(notice: Notice, provider: str) -> list[ProviderEvent]:
    """Failures, ends and extensions."""
    transaction, at = _transaction(notice), notice.signed_at
    match notice.kind:
        case "DID_FAIL_TO_RENEW":
            failed = facts.state(
                EventType.PAYMENT_FAILED,
                transaction,
                provider=provider,
                at=at,
                period_start=None,
                period_end=None,
                amount=notice.renewal.price if notice.renewal else None,
                currency=notice.renewal.currency if notice.renewal else None,
                reason="billing_error",
            )
            return [failed, _not_renewed(notice, transaction, provider)]
        case "GRACE_PERIOD_EXPIRED":
            return [facts.state(EventType.SUBSCRIPTION_ON_HOLD, transaction, provider=provider, at=at)]
        case "EXPIRED":
            reason = facts.expiry_reason(notice.subtype, notice.renewal)
            return [facts.state(EventType.SUBSCRIPTION_EXPIRED, transaction, provider=provider, at=at, reason=reason)]
        case "REVOKE":
            return [_revoked(notice, transaction, provider, "family_sharing_ended")]
        case _:
            return [facts.state(EventType.SUBSCRIPTION_EXTENDED, transaction, provider=provider, at=at)]


def _not_renewed(notice: Notice, transaction: Transaction, provider: str) -> ProviderEvent:
    """With a grace period it may be used to that period's end, without one not at all; Apple goes on trying in both."""
    if notice.subtype == "GRACE_PERIOD":
        until = notice.renewal.grace_until if notice.renewal else None
        return facts.state(
            EventType.SUBSCRIPTION_GRACE, transaction, provider=provider, at=notice.signed_at, period_end=until
        )
    return facts.state(EventType.SUBSCRIPTION_ON_HOLD, transaction, provider=provider, at=notice.signed_at)


def _changed(notice: Notice, provider: str) -> list[ProviderEvent]:
    """What the subscriber wants of its next renewal, or has changed at once."""
    transaction, at = _transaction(notice), notice.signed_at

    def changed(reason: str, product: str | None) -> ProviderEvent:
        return facts.state(
            EventType.SUBSCRIPTION_PLAN_CHANGED,
            transaction,
            provider=provider,
            at=at,
            provider_plan_ref=product,
            reason=reason,
        )

    later = notice.renewal.product_id if notice.renewal else None
    match notice.kind, notice.subtype:
        case "DID_CHANGE_RENEWAL_STATUS", "AUTO_RENEW_DISABLED":
            return [facts.state(EventType.SUBSCRIPTION_CANCELED, transaction, provider=provider, at=at)]
        case "DID_CHANGE_RENEWAL_STATUS", "AUTO_RENEW_ENABLED":
            return [facts.state(EventType.SUBSCRIPTION_RESUMED, transaction, provider=provider, at=at)]
        case "DID_CHANGE_RENEWAL_PREF" | "OFFER_REDEEMED", "UPGRADE":
            # At once: the signed transaction is the new product's, with what was paid for it.
            money = [facts.paid(transaction, provider=provider, at=at)] if transaction.moves_money else []
            return [changed("upgrade", transaction.product_id), *money]
        case "DID_CHANGE_RENEWAL_PREF" | "OFFER_REDEEMED", "DOWNGRADE":
            return [changed("downgrade", later or transaction.product_id)]
        case "DID_CHANGE_RENEWAL_PREF", None:
            return [changed("withdrawn", transaction.product_id)]
        case _:
            log.info("apple: %s/%s changes nothing here", notice.kind, notice.subtype)
            return []


def _refunded(notice: Notice, provider: str) -> list[ProviderEvent]:
    transaction = _transaction(notice)
    if notice.kind == "REFUND":
        at = transaction.revoked_at or notice.signed_at
        money = facts.refund(EventType.PAYMENT_REFUNDED, transaction, provider=provider, at=at)
        events = [money] if transaction.moves_money else []
        if transaction.expires_at is not None and notice.status not in _GOES_ON:
            events.append(_revoked(notice, transaction, provider, "refund"))
        return events
    at = notice.signed_at
    reversed_ = facts.refund(EventType.PAYMENT_REFUND_REVERSED, transaction, provider=provider, at=at)
    events = [reversed_] if transaction.moves_money else []
    if transaction.expires_at is not None and transaction.expires_at > at:
        events.append(facts.state(EventType.SUBSCRIPTION_ACTIVATED, transaction, provider=provider, at=at))
    return events


def _revoked(notice: Notice, transaction: Transaction, provider: str, reason: str) -> ProviderEvent:
    return facts.state(
        EventType.SUBSCRIPTION_REVOKED,
        transaction,
        provider=provider,
        at=notice.signed_at,
        period_end=transaction.revoked_at or notice.signed_at,
        reason=reason,
    )


def _transaction(notice: Notice) -> Transaction:
    if notice.transaction is None:
        raise MalformedError(f"{notice.kind} without its transaction")
    return notice.transaction
