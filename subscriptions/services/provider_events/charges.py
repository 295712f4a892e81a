"""News of charges that we asked for, and of those that failed."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from payflow.core.money import Money
from payments.models import PaymentTransaction
from payments.services.charges import charge_apply
from payments.services.incoming import (
    ReportedPayment,
    payment_record_unapplied,
)
from providers.base import Decline, Outcome, PaymentResult, ProviderEvent
from subscriptions.billing import open_invoice
from subscriptions.locks import subscription_lock, user_lock
from subscriptions.models import Checkout, Status
from subscriptions.services.checkouts import checkout_open
from subscriptions.services.collecting import payment_page, payment_request
from subscriptions.services.provider_events.matching import checkout_of, known_payment, our_charge
from subscriptions.services.provider_events.verdicts import PROCESSED, Applied, Verdict
from subscriptions.state import Action, is_priced_by_provider, next_action


def our_charge_succeeded(charge: PaymentTransaction, event: ProviderEvent, money: Money, now: datetime) -> Applied:
    if Money(charge.amount, charge.currency) != money:
        return _other_amount(charge, event, money, now)
    result = PaymentResult(Outcome.SUCCEEDED, event.provider_payment_id)
    charge = charge_apply(transaction_id=charge.pk, result=result, at=now)
    if charge.invoice_id is None:
        return Applied(Verdict.REVIEW, f"unapplied: {charge.reason}")
    return PROCESSED


def _other_amount(charge: PaymentTransaction, event: ProviderEvent, money: Money, now: datetime) -> Applied:
    """The provider charged something else than it was told: the money is kept as unapplied, our charge has failed."""
    reason = "not the amount of its charge"
    with transaction.atomic():
        user_lock(charge.user_id)
        if charge.subscription_id is not None:
            subscription_lock(charge.subscription_id)
        if known_payment(event) is None:
            assert event.provider_payment_id is not None
            payment = ReportedPayment(
                provider=event.provider,
                provider_txn_id=event.provider_payment_id,
                money=money,
                user_id=charge.user_id,
                subscription_id=charge.subscription_id,
                method=charge.method,
                raw=event.raw,
            )
            payment_record_unapplied(payment=payment, reason=reason, at=now)
            refused = PaymentResult(Outcome.DECLINED, None, Decline("other_amount", recoverable=False))
            charge_apply(transaction_id=charge.pk, result=refused, at=now)
    return Applied(Verdict.REVIEW, f"unapplied: {reason}")


def payment_failed(event: ProviderEvent, now: datetime) -> Applied:
    if event.idempotency_key and (ours := our_charge(event)) is not None:
        decline = Decline(event.reason or "declined", event.recoverable)
        result = PaymentResult(Outcome.DECLINED, event.provider_payment_id, decline)
        charge_apply(transaction_id=ours.pk, result=result, at=now)
        return PROCESSED
    checkout = checkout_of(event)
    if checkout is None:
        return Applied(Verdict.IGNORED, "a failed payment of no order of ours")
    if checkout.status != Checkout.Status.PAID or checkout.subscription_id is None:
        return Applied(Verdict.PROCESSED, "the checkout stays open")
    if is_priced_by_provider(event.provider):
        return Applied(Verdict.PROCESSED, "the provider asks for its own price again, and says what becomes of it")
    page = None
    with transaction.atomic():
        subscription = subscription_lock(checkout.subscription_id)
        if subscription.provider != event.provider:
            return Applied(Verdict.IGNORED, "of a provider that was left")
        upcoming = next_action(subscription)
        end = subscription.end_date
        if upcoming is not None and upcoming.kind == Action.AWAIT_PROVIDER and end is not None and end <= now:
            # The provider could not charge the renewal: ask at once, instead of when the slack has passed.
            page = payment_request(subscription, reason="payment_failed", now=now)
        elif subscription.status == Status.PAST_DUE and (invoice := open_invoice(subscription)) is not None:
            # Asked already; the page may be missing, because the provider was silent.
            page = payment_page(subscription, invoice, now=now)
    if page is not None:
        checkout_open(checkout_id=page.pk)
    return PROCESSED
