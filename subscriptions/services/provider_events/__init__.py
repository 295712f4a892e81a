"""Applying what a provider reports, under the subscription's lock. Duplicates, any order, replays: the same end.

Money is always recorded. Only a payment that matches its checkout or invoice, to the cent, activates or extends; the rest
is unapplied and reviewed by an operator. An event about state alone never grants what money must.
"""

from __future__ import annotations

from datetime import datetime

from providers import registry
from providers.base import EventType, ProviderEvent
from subscriptions.services.provider_events.charges import payment_failed
from subscriptions.services.provider_events.payments import payment_succeeded
from subscriptions.services.provider_events.purchases import purchase_tried
from subscriptions.services.provider_events.reversals import payment_disputed, payment_refund_reversed, payment_refunded
from subscriptions.services.provider_events.states import STATES, activated_without_money, state_reported
from subscriptions.services.provider_events.verdicts import Applied, NotKnownYet, Verdict

__all__ = ["Applied", "NotKnownYet", "Verdict", "provider_event_apply"]


def provider_event_apply(*, event: ProviderEvent, now: datetime) -> Applied:
    """Applies one neutral event in one transaction. The same event again changes nothing."""
    if event.is_test and not registry.get(event.provider).believes_tests:
        return Applied(Verdict.IGNORED, "a test event changes nothing")
    match event.type:
        case EventType.PAYMENT_SUCCEEDED:
            return payment_succeeded(event, now)
        case EventType.PAYMENT_FAILED:
            return payment_failed(event, now)
        case EventType.PAYMENT_REFUNDED:
            return payment_refunded(event, now)
        case EventType.SUBSCRIPTION_ACTIVATED | EventType.SUBSCRIPTION_CREATED if event.is_trial:
            return purchase_tried(event, now)
        case EventType.SUBSCRIPTION_ACTIVATED:
            return activated_without_money(event, now)
        case EventType.PAYMENT_DISPUTED | EventType.PAYMENT_DISPUTE_LOST | EventType.PAYMENT_DISPUTE_WON:
            return payment_disputed(event, now)
        case EventType.PAYMENT_REFUND_REVERSED:
            return payment_refund_reversed(event, now)
        case _ if event.type in STATES:
            return state_reported(event, now)
        case _:
            return Applied(Verdict.IGNORED, f"{event.type} changes nothing here")
