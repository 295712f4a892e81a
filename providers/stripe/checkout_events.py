"""What becomes of a Checkout Session. In payments mode its money is told by the PaymentIntent, and not counted here too."""

from __future__ import annotations

import logging

from providers.base import EventType, ProviderEvent
from providers.stripe.notice import Notice
from providers.stripe.wire import TRIAL, Refs, id_of, refs_of, required_id, section
from providers.wire.fields import usable_text

log = logging.getLogger(__name__)


def payments_completed(notice: Notice) -> list[ProviderEvent]:
    """mode=setup: a method was stored and no money taken. The session names the SetupIntent, which has the method:
    `confirm` reads it."""
    session, refs = notice.object, _refs(notice)
    if session.get("mode") != "setup" or not refs.is_ours:
        return []
    required_id(session.get("setup_intent"), "setup_intent")
    is_trial = section(session, "metadata").get(TRIAL) == "true"
    return [notice.event(EventType.SUBSCRIPTION_ACTIVATED, refs, is_trial=is_trial)]


def payments_failed(notice: Notice) -> list[ProviderEvent]:
    """A payment that was only under way when the session completed (a bank debit) has failed."""
    session, refs = notice.object, _refs(notice)
    if session.get("mode") != "payment" or not refs.is_ours:
        return []
    payment = required_id(session.get("payment_intent"), "payment_intent")
    return [
        notice.event(EventType.PAYMENT_FAILED, refs, provider_payment_id=payment, reason="async_payment_failed"),
    ]


def billing_completed(notice: Notice) -> list[ProviderEvent]:
    """mode=subscription: now the order and the user have a subscription of Stripe's. The money is invoice.paid."""
    session = notice.object
    if session.get("mode") != "subscription":
        return []
    subscription = required_id(session.get("subscription"), "subscription")
    return [notice.event(EventType.SUBSCRIPTION_CREATED, _refs(notice), provider_sub_id=subscription)]


def billing_failed(notice: Notice) -> list[ProviderEvent]:
    session = notice.object
    if session.get("mode") != "subscription":
        return []
    return [
        notice.event(
            EventType.PAYMENT_FAILED,
            _refs(notice),
            provider_sub_id=required_id(session.get("subscription"), "subscription"),
            provider_payment_id=id_of(session.get("invoice")),
            reason="async_payment_failed",
        )
    ]


def _refs(notice: Notice) -> Refs:
    """The session's metadata; the user also by client_reference_id."""
    refs = refs_of(notice.object.get("metadata"))
    user = refs.user or usable_text(notice.object.get("client_reference_id"))
    return Refs(order=refs.order, user=user, plan=refs.plan, key=refs.key)
