"""The neutral facts that a transaction holds: the same ones whether a notification told of it or Apple's records do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from providers.apple.messages import Renewal, Transaction
from providers.base import EventType, ProviderEvent

#: Apple's words for why a subscription ended (expirationIntent).
INTENTS = {1: "voluntary", 2: "billing_retry", 3: "price_increase", 4: "product_not_for_sale", 5: "other"}
#: A purchase carries whether it was free; what follows on it does not.
_PURCHASES = frozenset(
    {EventType.SUBSCRIPTION_CREATED, EventType.SUBSCRIPTION_ACTIVATED, EventType.SUBSCRIPTION_RENEWED}
)


def numbered(events: Iterable[ProviderEvent], key: str) -> list[ProviderEvent]:
    """The events of one delivery or record, named after it."""
    return [replace(event, event_id=f"{key}#{number}") for number, event in enumerate(events)]


def state(type_: EventType, transaction: Transaction, *, provider: str, at: datetime, **fields: Any) -> ProviderEvent:
    """What became of the subscription; `period_end` is the transaction's unless it is given."""
    told: dict[str, Any] = {
        "provider_sub_id": transaction.original_id,
        "user_ref": transaction.user_ref,
        "provider_plan_ref": transaction.product_id,
        "period_start": transaction.purchased_at,
        "period_end": transaction.expires_at,
        "is_trial": type_ in _PURCHASES and transaction.is_free,
        "is_test": transaction.is_test,
        **fields,
    }
    return ProviderEvent(provider=provider, event_id="", type=type_, occurred_at=at, **told)


def bought(types: Iterable[EventType], transaction: Transaction, *, provider: str, at: datetime) -> list[ProviderEvent]:
    """A purchase or renewal and its money; no money for a free offer, whose period the state alone gives."""
    events = [state(type_, transaction, provider=provider, at=at) for type_ in types]
    if transaction.moves_money:
        return [*events, paid(transaction, provider=provider, at=at)]
    if transaction.is_free and EventType.SUBSCRIPTION_RENEWED in types:
        # Only a purchase begins a trial: later time that costs nothing is given by extending what there is.
        events.append(state(EventType.SUBSCRIPTION_EXTENDED, transaction, provider=provider, at=at))
    return events


def paid(transaction: Transaction, *, provider: str, at: datetime) -> ProviderEvent:
    """The transaction's money. What is no subscription (no end) has no subscription's id."""
    return ProviderEvent(
        provider=provider,
        event_id="",
        type=EventType.PAYMENT_SUCCEEDED,
        occurred_at=at,
        provider_sub_id=transaction.original_id if transaction.expires_at is not None else None,
        provider_payment_id=transaction.transaction_id,
        user_ref=transaction.user_ref,
        provider_plan_ref=transaction.product_id,
        amount=transaction.price,
        currency=transaction.currency,
        period_start=transaction.purchased_at if transaction.expires_at is not None else None,
        period_end=transaction.expires_at,
        is_test=transaction.is_test,
    )


def refund(type_: EventType, transaction: Transaction, *, provider: str, at: datetime) -> ProviderEvent:
    """Money of the transaction that went back, or came again. Apple gives a refund no id: it is made of the charge's."""
    return replace(
        paid(transaction, provider=provider, at=at),
        type=type_,
        provider_payment_id=f"{transaction.transaction_id}:refund",
        parent_payment_id=transaction.transaction_id,
        amount=transaction.refunded,
        reason=(transaction.revocation_type or "refund").lower(),
    )


def expiry_reason(subtype: str | None, renewal: Renewal | None) -> str:
    """Why it ended: the notification's word, else what the renewal info says of it."""
    if subtype is not None:
        return subtype.lower()
    return INTENTS.get((renewal.expiration_intent or 0) if renewal else 0, "other")
