"""Money that came in: what it settles, or why it settles nothing."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from payflow.core.money import Money
from payments.errors import PaymentInProgress
from payments.invoices import amount_due
from payments.locks import invoice_lock
from payments.models import Invoice, PaymentTransaction
from payments.services.incoming import (
    ReportedPayment,
    payment_apply,
    payment_record_unapplied,
)
from providers.base import ProviderEvent
from subscriptions.becoming import become
from subscriptions.billing import Source, bill_cycle, bill_first, claims_of, cycle_bill, open_invoice
from subscriptions.locks import subscription_lock, user_lock
from subscriptions.models import LIVE, Checkout, Status, Subscription, SubscriptionChange
from subscriptions.services.changes import change_apply_at_end, open_change
from subscriptions.services.move_payments import move_settle
from subscriptions.services.provider_events.charges import our_charge_succeeded
from subscriptions.services.provider_events.matching import (
    checkout_of,
    known_payment,
    linked,
    method_of,
    our_charge,
    payer,
)
from subscriptions.services.provider_events.owners import link_current
from subscriptions.services.provider_events.purchases import purchase_paid
from subscriptions.services.provider_events.verdicts import PROCESSED, Applied, Verdict
from subscriptions.services.redemptions import redemption_activate
from subscriptions.services.subscribe import is_replaceable, live_replace
from subscriptions.state import SYSTEM, is_priced_by_provider, renews, renews_by_itself, subscription_update


class _PriceHasChanged(Exception):
    """What an expired checkout was to cost can't be billed any more: its credit is spent, or its tax another."""


def payment_succeeded(event: ProviderEvent, now: datetime) -> Applied:
    if not event.provider_payment_id or event.amount is None or not event.currency:
        return Applied(Verdict.REVIEW, "a payment without id, amount or currency")
    try:
        money = Money(event.amount, event.currency)
    except ValueError as error:
        return Applied(Verdict.REVIEW, str(error))
    if event.idempotency_key and (ours := our_charge(event)) is not None:
        return our_charge_succeeded(ours, event, money, now)
    if is_priced_by_provider(event.provider):
        return purchase_paid(event, money, now)
    with transaction.atomic():
        checkout = checkout_of(event)
        link = None if checkout else linked(event)
        user_id = checkout.user_id if checkout else link.user_id if link else payer(event)
        user_lock(user_id)
        subscription_id = checkout.subscription_id if checkout else link.pk if link else None
        subscription = subscription_lock(subscription_id) if subscription_id else None
        if (known := known_payment(event)) is not None:
            waits = known.invoice_id is None and known.status == PaymentTransaction.Status.COMPLETED
            return Applied(Verdict.REVIEW, f"unapplied: {known.reason}") if waits else PROCESSED
        payment = ReportedPayment(
            provider=event.provider,
            provider_txn_id=event.provider_payment_id,
            money=money,
            user_id=user_id,
            subscription_id=subscription_id,
            method=method_of(event, user_id, now),
            raw=event.raw,
        )
        if checkout is not None:
            checkout.refresh_from_db()  # under the lock
        misfit = _settle(checkout, subscription, payment, now)
        if misfit is None:
            if subscription is not None:
                _heard(subscription_lock(subscription.pk), event)
            return PROCESSED
        payment_record_unapplied(payment=payment, reason=misfit, at=now)
        return Applied(Verdict.REVIEW, f"unapplied: {misfit}")


def _heard(subscription: Subscription, event: ProviderEvent) -> None:
    """What its money tells besides: the provider's name for the subscription, and that it ran at that moment."""
    if not renews_by_itself(subscription):
        return
    if subscription.provider == event.provider:
        link_current(subscription, event)
    if subscription.provider_seen_at is None or subscription.provider_seen_at < event.occurred_at:
        subscription.provider_seen_at = event.occurred_at
    subscription_update(subscription)


def _settle(
    checkout: Checkout | None, subscription: Subscription | None, payment: ReportedPayment, now: datetime
) -> str | None:
    """Lets the payment settle what it was made for, or says why it settles nothing."""
    if checkout is not None and checkout.purpose in (Checkout.Purpose.INVOICE, Checkout.Purpose.CHANGE):
        return _settle_invoice(checkout, payment, now)
    if subscription is None:
        return "no order of ours"
    if checkout is not None and checkout.purpose == Checkout.Purpose.MOVE and checkout.status != Checkout.Status.PAID:
        return move_settle(checkout, subscription, payment, now=now)
    if checkout is not None and checkout.status != Checkout.Status.PAID:
        return _settle_checkout(checkout, subscription, payment, now)
    if subscription.provider != payment.provider:
        return "the subscription is at another provider"
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
    if (obstacle := make_room(subscription, now)) is not None:
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


def make_room(subscription: Subscription, now: datetime) -> str | None:
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
    due = amount_due(invoice) if invoice else _next_amount(subscription, now)
    if invoice is None and payment.money != due:
        due = _changed_amount(subscription, payment.money, now) or due
    if payment.money != due:
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


def _changed_amount(subscription: Subscription, money: Money, now: datetime) -> Money | None:
    """What the next cycle costs in the plan that was asked for; the subscription takes it where that is what was paid."""
    change = open_change(subscription)
    if change is None or change.effective != SubscriptionChange.Effective.PERIOD_END:
        return None
    before = Subscription.objects.get(pk=subscription.pk)
    become(before, change)
    if (due := _next_amount(before, now)) == money:
        change_apply_at_end(subscription, change, at=now)
    return due


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
