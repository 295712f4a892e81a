"""Paying an open invoice with a stored method, because its owner or an operator asks for it."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import transaction

from payflow.core import audit
from payflow.core.errors import InvalidTransition, ValidationFailed
from payments.locks import invoice_lock
from payments.models import Invoice, PaymentMethod, PaymentTransaction
from payments.selectors import can_be_charged
from payments.services.charges import charge_intend, charge_resolve, charge_send, raise_unless_paid


def invoice_pay(
    *,
    invoice_id: uuid.UUID,
    method_id: uuid.UUID | None,
    actor: str,
    now: datetime,
    request_id: uuid.UUID | None = None,
) -> PaymentTransaction:
    """Charges the invoice's total once; `method_id` None takes the owner's newest chargeable method.

    The same `request_id` again is the same charge: where its outcome is unknown the provider is asked.
    Raises NotFound, InvalidTransition (not open), PaymentInProgress, ValidationFailed (no such method),
    PaymentDeclined (the attempt is recorded), ProviderUnavailable (the charge is unknown and will be asked about).
    """
    key = f"charge_{request_id}_{invoice_id}" if request_id else None
    known = PaymentTransaction.objects.filter(idempotency_key=key, invoice_id=invoice_id).first() if key else None
    if known is not None:
        charge = charge_resolve(transaction_id=known.pk, at=now)
    else:
        charge = _intend(invoice_id, method_id, key=key, actor=actor, now=now)
        charge = charge_send(transaction_id=charge.pk, at=now)
    raise_unless_paid(charge)
    return charge


def _intend(
    invoice_id: uuid.UUID, method_id: uuid.UUID | None, *, key: str | None, actor: str, now: datetime
) -> PaymentTransaction:
    with transaction.atomic():
        invoice = invoice_lock(invoice_id)
        if invoice.status != Invoice.Status.OPEN:
            raise InvalidTransition(f"The invoice is {invoice.status}")
        charge = charge_intend(invoice=invoice, method=_method(invoice, method_id), at=now, key=key)
        audit.record(
            actor=actor,
            action="invoice.pay",
            subject_type="invoice",
            subject_id=invoice.pk,
            data={"payment": str(charge.pk)},
        )
    return charge


def _method(invoice: Invoice, method_id: uuid.UUID | None) -> PaymentMethod:
    methods = PaymentMethod.objects.filter(user_id=invoice.user_id, is_active=True).order_by("-created_at")
    if method_id is not None:
        methods = methods.filter(pk=method_id)
    for method in methods:
        if can_be_charged(method):
            return method
    raise ValidationFailed.field("payment_method", "There is no stored payment method that can be charged")
