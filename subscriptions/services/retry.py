"""Paying what is due now, because somebody asks for it. Doesn't use up a scheduled retry."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from payflow.core.errors import InvalidTransition
from payments.models import Invoice, PaymentTransaction
from payments.selectors import can_be_charged
from payments.services.pay import invoice_pay
from subscriptions.billing import open_invoice, usage_invoice_open
from subscriptions.locks import subscription_lock
from subscriptions.models import Checkout
from subscriptions.services.checkouts import checkout_open
from subscriptions.services.collecting import payment_page


@dataclass(frozen=True, slots=True)
class Retried:
    """Exactly one is set: the payment that was made, or the page on which to make it."""

    payment: PaymentTransaction | None
    checkout: Checkout | None


def payment_retry(*, subscription_id: uuid.UUID, actor: str, now: datetime) -> Retried:
    """Charges the open invoice's stored method, or opens a page where none can be charged. Of usage that is due too.

    A page also where the stored method will never pay for the usage of what has ended: no other can be stored for it.
    Raises InvalidTransition where nothing is due; PaymentInProgress, PaymentDeclined, ProviderUnavailable.
    """
    page = None
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        invoice = open_invoice(subscription) or usage_invoice_open(subscription)
        if invoice is None:
            raise InvalidTransition("Nothing is due")
        method = subscription.payment_method
        if not can_be_charged(method) or (not subscription.is_live and _is_refused(invoice)):
            page = payment_page(subscription, invoice, now=now)
            if page is None:
                raise InvalidTransition("There is no payment method to charge")
    if page is not None:
        return Retried(None, checkout_open(checkout_id=page.pk))
    method_id = method.pk if method else None
    return Retried(invoice_pay(invoice_id=invoice.pk, method_id=method_id, actor=actor, now=now), None)


def _is_refused(invoice: Invoice) -> bool:
    """Was a charge of it declined for good?"""
    charges = PaymentTransaction.objects.filter(invoice=invoice, type=PaymentTransaction.Type.CHARGE)
    return charges.filter(status=PaymentTransaction.Status.FAILED, recoverable=False).exists()
