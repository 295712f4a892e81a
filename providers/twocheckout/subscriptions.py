"""A subscription as the API shows it: its state, and the purchases that paid for its periods.

Source: providers.md 2.1; 2Checkout's reference of the subscription and its history.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from typing import Any

from providers.base import EventType, ProviderEvent, SubState, SubStatus
from providers.twocheckout.fields import nested, objects, reference_of, switch_of
from providers.twocheckout.times import end_of_period, is_empty, moment_in
from providers.wire.fields import optional_text, required_text, usable_text

RENEWAL = "RENEWAL"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Subscription:
    """The API's object. A switch that is None was not readable; `ends_at` None is a subscription without end."""

    reference: str
    enabled: bool | None
    recurring: bool | None
    trial: bool
    test: bool
    starts_at: datetime | None
    ends_at: datetime | None
    user_ref: str | None
    product: str | None

    def state(self, *, as_of: datetime, grace: timedelta) -> SubState:
        """Its state at `as_of`, 2Checkout's own time. A switch that cannot be read makes it UNKNOWN."""
        status, ends_at = self._status(as_of, grace)
        if status is SubStatus.UNKNOWN:
            log.warning("2checkout: the state of subscription %s cannot be read", self.reference)
        return SubState(
            provider_sub_id=self.reference,
            status=status,
            auto_renew=self.recurring if self.enabled else False,
            period_end=ends_at,
            provider_plan_ref=self.product,
            user_ref=self.user_ref,
            as_of=as_of,
            is_test=self.test,
        )

    def _status(self, as_of: datetime, grace: timedelta) -> tuple[SubStatus, datetime | None]:
        if self.enabled is None or (self.enabled and self.recurring is None):
            return SubStatus.UNKNOWN, self.ends_at
        if not self.enabled:
            return SubStatus.REVOKED, self.ends_at
        if self.starts_at is not None and self.starts_at > as_of:
            return SubStatus.PENDING, self.ends_at
        if self.ends_at is None or self.ends_at > as_of:
            if not self.recurring and self.ends_at is not None:
                return SubStatus.CANCELED, self.ends_at
            return SubStatus.TRIAL if self.trial else SubStatus.ACTIVE, self.ends_at
        if self.recurring and as_of < self.ends_at + grace:
            return SubStatus.PAST_DUE, self.ends_at + grace
        return SubStatus.EXPIRED, self.ends_at


def read_subscription(body: Mapping[str, Any], zone: tzinfo) -> Subscription:
    """Raises MalformedError."""
    starts, ends = body.get("StartDate"), body.get("ExpirationDate")
    lifetime = switch_of(body.get("Lifetime")) is True
    return Subscription(
        reference=required_text(body, "SubscriptionReference", 50),
        enabled=switch_of(body.get("SubscriptionEnabled")),
        recurring=switch_of(body.get("RecurringEnabled")),
        trial=switch_of(body.get("IsTrial")) is True,
        test=switch_of(body.get("TestSubscription")) is True,
        starts_at=None if is_empty(starts) else moment_in(starts, zone, "StartDate"),
        ends_at=None if lifetime else end_of_period(ends, zone, "ExpirationDate"),
        user_ref=optional_text(body, "ExternalCustomerReference"),
        product=usable_text(nested(body, "Product").get("ProductId")),
    )


@dataclass(frozen=True, slots=True)
class Purchase:
    """One order that paid for one period."""

    order: str
    renewal: bool
    period_start: datetime | None
    period_end: datetime | None


def read_history(body: object, zone: tzinfo) -> list[Purchase]:
    """Every purchase of a subscription, oldest first. Raises MalformedError.

    A renewal's StartDate may be the subscription's own: its period begins no earlier than the one before it ended.
    """
    found = [_purchase(item, zone) for item in objects(body)]
    found.sort(key=lambda purchase: (purchase.period_end is None, purchase.period_end, int(purchase.order)))
    return [_after(purchase, found[:index]) for index, purchase in enumerate(found)]


def _purchase(item: Mapping[str, Any], zone: tzinfo) -> Purchase:
    start, end = item.get("StartDate"), item.get("ExpirationDate")
    return Purchase(
        order=reference_of(item.get("ReferenceNo"), "ReferenceNo"),
        renewal=item.get("Type") == RENEWAL,
        period_start=None if is_empty(start) else moment_in(start, zone, "StartDate"),
        period_end=end_of_period(end, zone, "ExpirationDate"),
    )


def _after(purchase: Purchase, earlier: Sequence[Purchase]) -> Purchase:
    before = earlier[-1].period_end if earlier else None
    start = purchase.period_start
    if before is None or (start is not None and start >= before):
        return purchase
    return replace(purchase, period_start=before)


def state_event(
    state: SubState, *, provider: str, occurred_at: datetime, hint: EventType | None
) -> ProviderEvent | None:
    """The state as an event; None where nothing can be said. `hint` names it where several names mean the same."""
    kinds = {
        SubStatus.PENDING: EventType.SUBSCRIPTION_CREATED,
        SubStatus.TRIAL: EventType.SUBSCRIPTION_ACTIVATED,
        SubStatus.ACTIVE: hint if hint in _RUNNING else EventType.SUBSCRIPTION_RESUMED,
        SubStatus.PAST_DUE: EventType.SUBSCRIPTION_GRACE,
        SubStatus.CANCELED: EventType.SUBSCRIPTION_CANCELED,
        SubStatus.EXPIRED: EventType.SUBSCRIPTION_EXPIRED,
        SubStatus.REVOKED: EventType.SUBSCRIPTION_REVOKED,
    }
    kind = kinds.get(state.status)
    if kind is None:
        return None
    return ProviderEvent(
        provider=provider,
        event_id="",
        type=kind,
        occurred_at=occurred_at,
        provider_sub_id=state.provider_sub_id,
        user_ref=state.user_ref,
        provider_plan_ref=state.provider_plan_ref,
        period_end=state.period_end,
        is_trial=state.status is SubStatus.TRIAL,
        is_test=state.is_test,
        raw={"status": state.status.value, "auto_renew": state.auto_renew},
    )


#: The names of a subscription that is running and renews.
_RUNNING = frozenset(
    {
        EventType.SUBSCRIPTION_CREATED,
        EventType.SUBSCRIPTION_ACTIVATED,
        EventType.SUBSCRIPTION_RENEWED,
        EventType.SUBSCRIPTION_RESUMED,
        EventType.SUBSCRIPTION_PLAN_CHANGED,
    }
)
