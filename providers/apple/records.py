"""Apple's records of a subscription: its state now, and the facts that its transactions hold."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from providers.apple import facts
from providers.apple.messages import Renewal, Transaction
from providers.base import EventType, ProviderEvent, SubState, SubStatus

#: Apple's Status: 1 active, 2 expired, 3 billing retry, 4 billing grace period, 5 revoked.
_STATUSES = {
    1: SubStatus.ACTIVE,
    2: SubStatus.EXPIRED,
    3: SubStatus.ON_HOLD,
    4: SubStatus.PAST_DUE,
    5: SubStatus.REVOKED,
}
_EVENTS = {
    SubStatus.ACTIVE: EventType.SUBSCRIPTION_RESUMED,
    SubStatus.TRIAL: EventType.SUBSCRIPTION_RESUMED,
    SubStatus.CANCELED: EventType.SUBSCRIPTION_CANCELED,
    SubStatus.EXPIRED: EventType.SUBSCRIPTION_EXPIRED,
    SubStatus.ON_HOLD: EventType.SUBSCRIPTION_ON_HOLD,
    SubStatus.PAST_DUE: EventType.SUBSCRIPTION_GRACE,
    SubStatus.REVOKED: EventType.SUBSCRIPTION_REVOKED,
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """What "Get All Subscription Statuses" says of one subscription, proven."""

    status: int | None
    transaction: Transaction
    renewal: Renewal | None

    @property
    def as_of(self) -> datetime:
        """Apple signs its answer when it is asked."""
        signed = self.transaction.signed_at
        return max(signed, self.renewal.signed_at) if self.renewal else signed

    @property
    def sub_status(self) -> SubStatus:
        status = _STATUSES.get(self.status or 0, SubStatus.UNKNOWN)
        if status == SubStatus.UNKNOWN:
            log.warning("apple: the status %r is not known", self.status)
        if status != SubStatus.ACTIVE:
            return status
        if self.renewal is not None and self.renewal.auto_renew is False:
            return SubStatus.CANCELED
        return SubStatus.TRIAL if self.transaction.is_free else status

    @property
    def period_end(self) -> datetime | None:
        """Until when Apple lets it be used."""
        if self.status == 4 and self.renewal is not None and self.renewal.grace_until is not None:
            return self.renewal.grace_until
        if self.status == 5:
            return self.transaction.revoked_at or self.transaction.expires_at
        return self.transaction.expires_at

    def state(self) -> SubState:
        return SubState(
            provider_sub_id=self.transaction.original_id,
            status=self.sub_status,
            auto_renew=self.renewal.auto_renew if self.renewal else None,
            period_start=self.transaction.purchased_at,
            period_end=self.period_end,
            provider_plan_ref=self.transaction.product_id,
            user_ref=self.transaction.user_ref,
            as_of=self.as_of,
            is_test=self.transaction.is_test,
        )

    def event(self, *, provider: str) -> list[ProviderEvent]:
        """The state as an event; none for a status that is not known."""
        status = self.sub_status
        if status not in _EVENTS:
            return []
        reason = None
        if status == SubStatus.EXPIRED:
            reason = facts.expiry_reason(None, self.renewal)
        elif status == SubStatus.REVOKED:
            reason = (self.transaction.revocation_type or "refund").lower()
        event = facts.state(
            _EVENTS[status],
            self.transaction,
            provider=provider,
            at=self.as_of,
            period_end=self.period_end,
            reason=reason,
        )
        key = f"apple:{self.transaction.original_id}:status:{int(self.as_of.timestamp() * 1000)}"
        return facts.numbered([event], key)


def events_of(transactions: Iterable[Transaction], *, provider: str, since: datetime) -> list[ProviderEvent]:
    """What a subscription's transactions tell after `since`, oldest first: purchases, renewals, money and refunds.

    What was bought is as old as its purchase, and never newer than Apple's signature: a renewal may be paid ahead.
    """
    events: list[ProviderEvent] = []
    before: Transaction | None = None
    for each in sorted(transactions, key=lambda row: (row.purchased_at, row.transaction_id)):
        at = min(each.purchased_at, each.signed_at)
        bought = facts.bought(_types(each, before), each, provider=provider, at=at)
        events += facts.numbered(bought, f"apple:transaction:{each.transaction_id}")
        if each.is_refunded and each.revoked_at is not None:
            money = facts.refund(EventType.PAYMENT_REFUNDED, each, provider=provider, at=each.revoked_at)
            events += facts.numbered([money], f"apple:transaction:{each.transaction_id}:refund")
        before = each
    return sorted((event for event in events if event.occurred_at >= since), key=lambda event: event.occurred_at)


def _types(transaction: Transaction, before: Transaction | None) -> Sequence[EventType]:
    if transaction.transaction_id == transaction.original_id:
        return [EventType.SUBSCRIPTION_CREATED, EventType.SUBSCRIPTION_ACTIVATED]
    if transaction.is_renewal:
        return [EventType.SUBSCRIPTION_RENEWED]
    if before is not None and before.is_upgraded:
        return [EventType.SUBSCRIPTION_PLAN_CHANGED]
    return [EventType.SUBSCRIPTION_ACTIVATED]
