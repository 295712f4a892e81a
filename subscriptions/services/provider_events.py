"""Applying what a provider reports, under the subscription's lock. Duplicates, any order, replays: the same end.

Money is always recorded. Only a payment that matches its checkout or invoice, to the cent, activates or extends; the rest
is unapplied and reviewed by an operator. An event about state alone never grants what money must.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db import transaction

from accounts.models import User
from payflow.core.errors import UnsupportedCurrency
from payflow.core.ids import parse_uuid
from payflow.core.money import Money
from payments.errors import PaymentInProgress, RefundExceedsPayment
from payments.invoices import amount_due
from payments.locks import invoice_lock
from payments.models import Invoice, PaymentMethod, PaymentTransaction
from payments.services.charges import charge_apply
from payments.services.disputes import DisputeOutcome, dispute_report
from payments.services.incoming import (
    ReportedPayment,
    find_by_money_key,
    method_keep,
    payment_apply,
    payment_record_unapplied,
)
from payments.services.refunds import refund_report
from providers.base import Decline, EventType, Outcome, PaymentResult, ProviderEvent
from subscriptions.billing import Source, bill_cycle, bill_first, claims_of, cycle_bill, open_invoice
from subscriptions.locks import subscription_lock, user_lock
from subscriptions.models import LIVE, Checkout, ProviderLink, Status, Subscription
from subscriptions.services.checkouts import checkout_open
from subscriptions.services.collecting import payment_page, payment_request
from subscriptions.services.redemptions import redemption_activate
from subscriptions.services.subscribe import is_replaceable, live_replace
from subscriptions.services.trials import trial_start
from subscriptions.state import SYSTEM, Action, next_action, renews, renews_by_itself

#: The account that owns money whose payer nobody can name.
UNMATCHED_PAYER = "unmatched@payflow.invalid"


class Verdict(StrEnum):
    """What became of an event; a delivery of several takes the last of these that any of them got."""

    IGNORED = "ignored"
    PROCESSED = "processed"
    REVIEW = "review"


@dataclass(frozen=True, slots=True)
class Applied:
    verdict: Verdict
    note: str = ""


class PaymentNotKnownYet(Exception):
    """The event speaks of money that has not been reported: events come in any order."""


class _PriceHasChanged(Exception):
    """What an expired checkout was to cost can't be billed any more: its credit is spent, or its tax another."""


PROCESSED = Applied(Verdict.PROCESSED)


def provider_event_apply(*, event: ProviderEvent, now: datetime) -> Applied:
    """Applies one neutral event in one transaction. The same event again changes nothing."""
    if event.is_test:
        return Applied(Verdict.IGNORED, "a test event changes nothing")
    match event.type:
        case EventType.PAYMENT_SUCCEEDED:
            return _payment_succeeded(event, now)
        case EventType.PAYMENT_FAILED:
            return _payment_failed(event, now)
        case EventType.PAYMENT_REFUNDED:
            return _payment_refunded(event, now)
        case EventType.SUBSCRIPTION_ACTIVATED:
            return _activated_without_money(event, now)
        case EventType.PAYMENT_DISPUTED | EventType.PAYMENT_DISPUTE_LOST | EventType.PAYMENT_DISPUTE_WON:
            return _payment_disputed(event, now)
        case EventType.PAYMENT_REFUND_REVERSED:
            return Applied(Verdict.REVIEW, f"{event.type} needs an operator")
        case _:
            return Applied(Verdict.IGNORED, f"{event.type} changes nothing here")


# --- money that came in ----------------------------------------------------------------------------------------------


def _payment_succeeded(event: ProviderEvent, now: datetime) -> Applied:
    if not event.provider_payment_id or event.amount is None or not event.currency:
        return Applied(Verdict.REVIEW, "a payment without id, amount or currency")
    try:
        money = Money(event.amount, event.currency)
    except ValueError as error:
        return Applied(Verdict.REVIEW, str(error))
    if event.idempotency_key and (ours := _our_charge(event)) is not None:
        return _our_charge_succeeded(ours, event, money, now)
    with transaction.atomic():
        checkout = _checkout(event)
        link = None if checkout else _linked(event)
        user_id = checkout.user_id if checkout else link.user_id if link else _payer(event)
        user_lock(user_id)
        subscription_id = checkout.subscription_id if checkout else link.pk if link else None
        subscription = subscription_lock(subscription_id) if subscription_id else None
        if (known := _known(event)) is not None:
            waits = known.invoice_id is None and known.status == PaymentTransaction.Status.COMPLETED
            return Applied(Verdict.REVIEW, f"unapplied: {known.reason}") if waits else PROCESSED
        payment = ReportedPayment(
            provider=event.provider,
            provider_txn_id=event.provider_payment_id,
            money=money,
            user_id=user_id,
            subscription_id=subscription_id,
            method=_method(event, user_id, now),
            raw=event.raw,
        )
        if checkout is not None:
            checkout.refresh_from_db()  # under the lock
        misfit = _settle(checkout, subscription, payment, now)
        if misfit is None:
            return PROCESSED
        payment_record_unapplied(payment=payment, reason=misfit, at=now)
        return Applied(Verdict.REVIEW, f"unapplied: {misfit}")


def _settle(
    checkout: Checkout | None, subscription: Subscription | None, payment: ReportedPayment, now: datetime
) -> str | None:
    """Lets the payment settle what it was made for, or says why it settles nothing."""
    if checkout is not None and checkout.purpose in (Checkout.Purpose.INVOICE, Checkout.Purpose.CHANGE):
        return _settle_invoice(checkout, payment, now)
    if subscription is None:
        return "no order of ours"
    if checkout is not None and checkout.status != Checkout.Status.PAID:
        return _settle_checkout(checkout, subscription, payment, now)
    if renews_by_itself(subscription):
        return _settle_renewal(subscription, payment, now)
    return "the order is already paid"


def _settle_checkout(
    checkout: Checkout, subscription: Subscription, payment: ReportedPayment, now: datetime
) -> str | None:
    """A first payment; late ones of an expired checkout count where nothing else is live."""
    if payment.money != Money(checkout.amount, checkout.currency):
        return "not the amount of its checkout"
    if checkout.trial_days:
        return "money for a trial"
    if subscription.status not in (Status.PENDING, Status.EXPIRED, Status.CANCELLED):
        return f"the subscription is {subscription.status}"
    if (obstacle := _make_room(subscription, now)) is not None:
        return obstacle
    try:
        with transaction.atomic():
            redemption_activate(subscription)
            if _first_amount(subscription, checkout, now) != payment.money:
                raise _PriceHasChanged
    except _PriceHasChanged:
        return "the price has changed since its checkout expired"
    checkout.status = Checkout.Status.PAID
    checkout.paid_at = now
    checkout.save()
    invoice = bill_first(subscription, checkout.invoice, at=now)
    payment_apply(payment=payment, invoice=invoice, at=now)
    return None


def _make_room(subscription: Subscription, now: datetime) -> str | None:
    """Ends what this one may replace; a paid live one is in the way."""
    live = (
        Subscription.objects.filter(
            user_id=subscription.user_id, family=subscription.family, overlaps=None, status__in=LIVE
        )
        .exclude(pk=subscription.pk)
        .first()
    )
    if live is None:
        return None
    if not is_replaceable(live):
        return "another subscription is live"
    live_replace(subscription_lock(live.pk), actor=SYSTEM, now=now)
    return None


def _settle_renewal(subscription: Subscription, payment: ReportedPayment, now: datetime) -> str | None:
    """The provider charged the next period by itself."""
    if not subscription.is_live or subscription.is_free:
        return f"the subscription is {subscription.status}"
    invoice = open_invoice(subscription)
    if invoice is None:
        if not renews(subscription):
            return "the subscription does not renew"
        start, end = subscription.current_period_start, subscription.end_date
        if start is None or end is None or now < start + (end - start) / 2:
            # Half a period early is no renewal: somebody paid twice.
            return "too early for a renewal"
    if payment.money != (amount_due(invoice) if invoice else _next_amount(subscription, now)):
        return "not the amount of the renewal"
    if invoice is None:
        invoice = bill_cycle(subscription, source=Source.PROVIDER, at=now)
    return _pay(invoice, payment, now)


def _first_amount(subscription: Subscription, checkout: Checkout, now: datetime) -> Money:
    """What the checkout's invoice asks for; where it was voided, what a new one would: its credit may be spent by now."""
    if checkout.invoice is not None and checkout.invoice.status == Invoice.Status.DRAFT:
        return amount_due(checkout.invoice)
    [claim], _ = claims_of([cycle_bill(subscription, None, Invoice.Reason.CREATE)], at=now)
    return amount_due(claim.invoice)


def _next_amount(subscription: Subscription, now: datetime) -> Money:
    """What the next cycle costs, with its discount and tax."""
    [claim], _ = claims_of([cycle_bill(subscription, None, Invoice.Reason.CYCLE)], at=now)
    return amount_due(claim.invoice)


def _settle_invoice(checkout: Checkout, payment: ReportedPayment, now: datetime) -> str | None:
    assert checkout.invoice_id is not None, "a checkout of an invoice has one"
    invoice = invoice_lock(checkout.invoice_id)
    if payment.money != amount_due(invoice):
        return "not the amount of its invoice"
    return _pay(invoice, payment, now, page=checkout)


def _pay(invoice: Invoice, payment: ReportedPayment, now: datetime, *, page: Checkout | None = None) -> str | None:
    if invoice.status not in (Invoice.Status.DRAFT, Invoice.Status.OPEN):
        return f"its invoice is {invoice.status}"
    under_way = PaymentTransaction.objects.filter(invoice=invoice, type=PaymentTransaction.Type.CHARGE)
    if under_way.filter(status=PaymentTransaction.Status.PENDING).exists():
        raise PaymentInProgress("A charge of the same invoice must be resolved first")
    if under_way.exclude(status=PaymentTransaction.Status.FAILED).exists():
        return "another payment of its invoice is under way"
    if page is not None:
        page.status, page.paid_at = Checkout.Status.PAID, now
        page.save()
    payment_apply(payment=payment, invoice=invoice, at=now)
    return None


# --- charges of ours, declines, refunds, trials ----------------------------------------------------------------------


def _our_charge_succeeded(charge: PaymentTransaction, event: ProviderEvent, money: Money, now: datetime) -> Applied:
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
        if _known(event) is None:
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


def _payment_failed(event: ProviderEvent, now: datetime) -> Applied:
    if event.idempotency_key and (ours := _our_charge(event)) is not None:
        decline = Decline(event.reason or "declined", event.recoverable)
        result = PaymentResult(Outcome.DECLINED, event.provider_payment_id, decline)
        charge_apply(transaction_id=ours.pk, result=result, at=now)
        return PROCESSED
    checkout = _checkout(event)
    if checkout is None:
        return Applied(Verdict.IGNORED, "a failed payment of no order of ours")
    if checkout.status != Checkout.Status.PAID or checkout.subscription_id is None:
        return Applied(Verdict.PROCESSED, "the checkout stays open")
    page = None
    with transaction.atomic():
        subscription = subscription_lock(checkout.subscription_id)
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


def _payment_refunded(event: ProviderEvent, now: datetime) -> Applied:
    if event.amount is None or not event.currency or not event.parent_payment_id or not event.provider_payment_id:
        return Applied(Verdict.REVIEW, "a refund without its payment, id or amount")
    try:
        refund = refund_report(
            provider=event.provider,
            charge_txn_id=event.parent_payment_id,
            refund_txn_id=event.provider_payment_id,
            money=Money(event.amount, event.currency),
            idempotency_key=event.idempotency_key,
            at=now,
        )
    except (RefundExceedsPayment, UnsupportedCurrency, ValueError) as error:
        return Applied(Verdict.REVIEW, str(error))
    if refund is None:
        # Its payment may be on its way: tried again, and for an operator where it never comes.
        raise PaymentNotKnownYet("a refund of no payment of ours")
    return PROCESSED


_DISPUTES = {
    EventType.PAYMENT_DISPUTED: DisputeOutcome.OPENED,
    EventType.PAYMENT_DISPUTE_LOST: DisputeOutcome.LOST,
    EventType.PAYMENT_DISPUTE_WON: DisputeOutcome.WON,
}


def _payment_disputed(event: ProviderEvent, now: datetime) -> Applied:
    if not event.parent_payment_id or not event.provider_payment_id:
        return Applied(Verdict.REVIEW, "a dispute without its payment or id")
    outcome = _DISPUTES[event.type]
    try:
        dispute = dispute_report(
            provider=event.provider,
            charge_txn_id=event.parent_payment_id,
            dispute_txn_id=event.provider_payment_id,
            money=Money(event.amount, event.currency) if event.amount is not None and event.currency else None,
            outcome=outcome,
            at=now,
        )
    except (UnsupportedCurrency, ValueError) as error:
        return Applied(Verdict.REVIEW, str(error))
    if dispute is None:
        raise PaymentNotKnownYet("a dispute of no payment of ours")
    if outcome == DisputeOutcome.WON and dispute.status == PaymentTransaction.Status.COMPLETED:
        return Applied(Verdict.REVIEW, "a dispute that was lost is reported as won")
    return PROCESSED


def _activated_without_money(event: ProviderEvent, now: datetime) -> Applied:
    """A checkout that took no money: it starts the trial it was made for, and nothing else."""
    checkout = _checkout(event)
    if checkout is None or checkout.subscription_id is None or not checkout.trial_days:
        return Applied(Verdict.IGNORED, "state alone grants nothing")
    with transaction.atomic():
        user_lock(checkout.user_id)
        subscription = subscription_lock(checkout.subscription_id)
        checkout.refresh_from_db()
        if checkout.status == Checkout.Status.PAID:
            return PROCESSED
        if subscription.status != Status.PENDING:
            return Applied(Verdict.REVIEW, f"the subscription is {subscription.status}")
        if (obstacle := _make_room(subscription, now)) is not None:
            return Applied(Verdict.REVIEW, obstacle)
        trial_start(subscription, checkout, method=_method(event, checkout.user_id, now), at=now)
    return PROCESSED


# --- whose is it? ----------------------------------------------------------------------------------------------------


def _our_charge(event: ProviderEvent) -> PaymentTransaction | None:
    return PaymentTransaction.objects.filter(
        provider=event.provider,
        type=PaymentTransaction.Type.CHARGE,
        idempotency_key=event.idempotency_key,
    ).first()


def _checkout(event: ProviderEvent) -> Checkout | None:
    if not event.order_ref:
        return None
    return Checkout.objects.filter(provider=event.provider, order_ref=event.order_ref).first()


def _linked(event: ProviderEvent) -> Subscription | None:
    if not event.provider_sub_id:
        return None
    link = ProviderLink.objects.filter(provider=event.provider, provider_sub_id=event.provider_sub_id)
    return Subscription.objects.filter(pk__in=link.values("subscription_id")).first()


def _known(event: ProviderEvent) -> PaymentTransaction | None:
    assert event.provider_payment_id is not None
    return find_by_money_key(
        provider=event.provider,
        type=PaymentTransaction.Type.CHARGE,
        provider_txn_id=event.provider_payment_id,
    )


def _payer(event: ProviderEvent) -> uuid.UUID:
    """The user whom the provider names by the reference that we gave it; never by e-mail."""
    user_id = parse_uuid(event.user_ref) if event.user_ref else None
    if user_id is not None and User.objects.filter(pk=user_id).exists():
        return user_id
    unmatched, _ = User.objects.get_or_create(
        email=UNMATCHED_PAYER, defaults={"name": "Payments without a payer", "is_active": False, "password": "!"}
    )
    return unmatched.pk


def _method(event: ProviderEvent, user_id: uuid.UUID, now: datetime) -> PaymentMethod | None:
    if event.method is None:
        return None
    return method_keep(user_id=user_id, provider=event.provider, method=event.method, at=now)
