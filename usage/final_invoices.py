"""Invoices of usage alone, where no next one comes that it could stand on: issued, collected, given up by sweeps.

That is what has ended, is paused or has become free, what was used before it went to a provider that renews by itself, and
what was used in a rhythm that a change has ended: its next invoice may be a year away. What comes late there is found in
the same way, and billed by another. No end of a subscription knows of this: what it owes is found by a query, whatever has
ended it.
"""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, F, IntegerField, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from payflow.core import outbox
from payflow.core.money import Money
from payments import settlement
from payments.composition import LineDraft
from payments.credits import grant_write
from payments.errors import PaymentInProgress
from payments.invoices import invoice_write_off, invoices_settle
from payments.locks import invoice_lock
from payments.models import CreditSource, Invoice, PaymentTransaction
from payments.selectors import can_be_charged
from payments.services.charges import charge_intend, charge_send
from payments.settlement import Settled
from providers import registry
from subscriptions.billing import Bill, Source, bills_issue
from subscriptions.locks import subscription_lock
from subscriptions.models import Status, Subscription
from usage.billing import Mark, meter_line, unbilled, usage_mark
from usage.models import UsageMeter

#: How long a subscription that could not be billed waits for its next turn.
BAD_ROW_PAUSE = timedelta(minutes=10)
#: Nothing more is billed to these unless somebody acts.
ENDED = (Status.CANCELLED, Status.EXPIRED, Status.PAUSED)
ISSUED = "subscription.usage_invoiced"

log = logging.getLogger(__name__)


# --- issued -----------------------------------------------------------------------------------------------------------


def usage_invoices_sweep(*, now: datetime, wall: datetime) -> int:
    """Bills one batch of what no next invoice will. Returns how many subscriptions it took."""
    subscriptions = _final(unbilled(), now).values("subscription_id").annotate(turn=Max("next_attempt_at"))
    due = subscriptions.filter(Q(turn=None) | Q(turn__lte=wall))
    # Those that never failed come first.
    found = due.order_by(F("turn").asc(nulls_first=True), "subscription_id")[: settings.SWEEP_BATCH]
    done = 0
    for subscription_id in [row["subscription_id"] for row in found]:
        try:
            done += _bill(subscription_id, now)
        except Exception:
            log.exception("usage of subscription %s cannot be billed", subscription_id)
            _wait(subscription_id, now, until=wall + BAD_ROW_PAUSE)
    return done


def _wait(subscription_id: uuid.UUID, now: datetime, *, until: datetime) -> None:
    """Notes it on one of its meters: who held several out of their order could wait in a circle with a batch of usage."""
    meter = _final(unbilled().filter(subscription=subscription_id), now).first()
    if meter is not None:
        UsageMeter.objects.filter(pk=meter.pk).update(next_attempt_at=until)


def _final(meters: QuerySet[UsageMeter], now: datetime) -> QuerySet[UsageMeter]:
    """Those that no next invoice comes for. Of what a provider renews by itself, cycles that are over: most of them owe nothing,
    because no more was to be had than is included; what was used before it went there does. The plan of everybody makes no
    invoices.
    """
    driven = [name for name in registry.names() if registry.get(name).capabilities.renewal_driver == "provider"]
    return meters.exclude(subscription=None).filter(
        Q(subscription__status__in=ENDED)
        | Q(subscription__end_date=None)
        | Q(period_start__lt=F("subscription__anchor"), subscription__status=Status.ACTIVE)
        | Q(subscription__provider__in=driven, period_end__lte=now)
    )


def _bill(subscription_id: uuid.UUID, now: datetime) -> bool:
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        lines = [meter_line(meter) for meter in _final(unbilled().filter(subscription=subscription), now)]
        owed = [line for line in lines if line.amount.amount > 0]
        _settle_without_invoice([line for line in lines if line.amount.amount <= 0], subscription, now)
        if owed:
            # Last: its number is the transaction's last lock.
            _issue(subscription, Bill(subscription, Invoice.Reason.USAGE, owed, None, discounted=True), now)
    return bool(lines)


def _settle_without_invoice(lines: list[LineDraft], subscription: Subscription, now: datetime) -> None:
    """What was included costs nothing; what a cheaper tier takes off what was charged before becomes credit."""
    for line in lines:
        if line.amount:
            grant_write(
                user_id=subscription.user_id,
                money=-line.amount,
                source=CreditSource.GOODWILL,
                reason=f"{line.description}: a cheaper tier was reached"[:255],
                key=f"usage:{line.explanation['meter']}:{line.explanation['used']}",
                explanation=line.explanation,
                at=now,
            )
    usage_mark([Mark(line.explanation, line.amount.amount) for line in lines])


def _issue(subscription: Subscription, bill: Bill, now: datetime) -> None:
    [invoice] = bills_issue([bill], source=Source.MANUAL, at=now)
    if not invoice.total:
        invoices_settle([invoice], at=now)
        settlement.paid([Settled(invoice, None)], at=now)
    outbox.emit(
        type=ISSUED,
        subject_type="subscription",
        subject_id=subscription.pk,
        payload={
            "invoice": str(invoice.pk),
            "number": invoice.number,
            "total": str(Money(invoice.total, invoice.currency).amount),
            "currency": invoice.currency,
        },
        at=now,
    )


# --- collected --------------------------------------------------------------------------------------------------------


def usage_charges_sweep(*, now: datetime, wall: datetime) -> int:
    """Charges one batch of open invoices of usage to their stored methods, and gives up what is too old."""
    del wall
    charging = [name for name in registry.names() if registry.get(name).capabilities.merchant_charge]
    chargeable = _due(now).filter(
        subscription__payment_method__is_active=True,
        subscription__payment_method__provider__in=charging,
        subscription__disputed_at=None,
    )
    taken = 0
    for invoice_id in list(chargeable.values_list("pk", flat=True)[: settings.SWEEP_BATCH]):
        try:
            taken += _charge(invoice_id, now)
        except Exception:
            log.exception("invoice %s of usage cannot be charged", invoice_id)
    for invoice_id in list(_given_up(now).values_list("pk", flat=True)[: settings.SWEEP_BATCH]):
        try:
            taken += _give_up(invoice_id, now)
        except Exception:
            log.exception("invoice %s of usage cannot be given up", invoice_id)
    return taken


def _charge(invoice_id: uuid.UUID, now: datetime) -> bool:
    with transaction.atomic():
        invoice = invoice_lock(invoice_id)
        assert invoice.subscription is not None
        method = invoice.subscription.payment_method
        if not can_be_charged(method) or not _due(now).filter(pk=invoice.pk).exists():
            return False
        try:
            charge = charge_intend(invoice=invoice, method=method, at=now)
        except PaymentInProgress:
            return False
    charge_send(transaction_id=charge.pk, at=now)
    return True


def _give_up(invoice_id: uuid.UUID, now: datetime) -> bool:
    with transaction.atomic():
        invoice = invoice_lock(invoice_id)
        if not _given_up(now).filter(pk=invoice.pk).exists():
            return False
        invoice_write_off(invoice, at=now)
    return True


def _due(now: datetime) -> QuerySet[Invoice]:
    """Open, and one attempt fewer was made than dunning has days for: at once, then on DUNNING_DAYS after.

    Not after a hard decline, while one is under way, or where the subscriber has taken a payment back.
    """
    charges = PaymentTransaction.objects.filter(invoice=OuterRef("pk"), type=PaymentTransaction.Type.CHARGE)
    attempts = charges.order_by().values("invoice").annotate(count=Count("pk")).values("count")
    disputes = PaymentTransaction.objects.filter(
        subscription=OuterRef("subscription"), type=PaymentTransaction.Type.CHARGEBACK
    ).exclude(status=PaymentTransaction.Status.FAILED)
    moments = Q()
    for number, day in enumerate((0, *settings.DUNNING_DAYS)):
        moments |= Q(attempts=number, issued_at__lte=now - timedelta(days=day))
    final = charges.exclude(status=PaymentTransaction.Status.FAILED, recoverable=True)
    rows = _open().annotate(attempts=Coalesce(Subquery(attempts, output_field=IntegerField()), 0)).filter(moments)
    return rows.filter(~Exists(final), ~Exists(disputes))


def _given_up(now: datetime) -> QuerySet[Invoice]:
    """As long after the last retry as a suspended subscription is waited for; never while a charge has no answer."""
    days = max((0, *settings.DUNNING_DAYS)) + settings.SUSPENDED_DAYS
    pending = PaymentTransaction.objects.filter(invoice=OuterRef("pk"), status=PaymentTransaction.Status.PENDING)
    return _open().filter(~Exists(pending), issued_at__lte=now - timedelta(days=days))


def _open() -> QuerySet[Invoice]:
    return Invoice.objects.filter(reason=Invoice.Reason.USAGE, status=Invoice.Status.OPEN).order_by("issued_at")


def usage_charges_due(after: datetime) -> datetime | None:
    """The first moment later than `after` at which an open invoice of usage is tried again or given up."""
    days = [*settings.DUNNING_DAYS, max((0, *settings.DUNNING_DAYS)) + settings.SUSPENDED_DAYS]
    moments = [
        issued + timedelta(days=day) for issued in _open().values_list("issued_at", flat=True) for day in days if issued
    ]
    return min((moment for moment in moments if moment > after), default=None)
