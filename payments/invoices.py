"""Invoices: drafted from lines, issued with a gapless number, settled, voided. All inside the caller's transaction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from payflow.core.money import Money
from payments import ledger
from payments.models import Invoice, InvoiceLine, InvoiceReason, LineKind
from payments.state import invoice_move

#: Kinds whose amounts reduce the total instead of adding to the subtotal.
_DEDUCTIONS = {InvoiceLine.Kind.DISCOUNT: "discount", InvoiceLine.Kind.CREDIT: "credit"}


@dataclass(frozen=True, slots=True)
class LineDraft:
    """One line before it is written. `explanation` holds the inputs of the formula that gave `amount`."""

    kind: LineKind
    description: str
    amount: Money
    quantity: Decimal = Decimal(1)
    unit_amount: Money | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    explanation: dict[str, Any] = field(default_factory=dict)


def invoice_draft(
    *,
    user_id: uuid.UUID,
    subscription_id: uuid.UUID | None,
    reason: InvoiceReason,
    lines: Sequence[LineDraft],
    period_start: datetime | None,
    period_end: datetime | None,
    at: datetime,
) -> Invoice:
    """A draft of `lines` (all in one currency). Raises ValueError without lines or where currencies mix."""
    if not lines:
        raise ValueError("an invoice has lines")
    currency = lines[0].amount.currency
    sums = {name: Money.zero(currency) for name in ("subtotal", "discount", "credit", "tax")}
    for line in lines:
        name = _DEDUCTIONS.get(line.kind, "tax" if line.kind == InvoiceLine.Kind.TAX else "subtotal")
        sums[name] += -line.amount if line.kind in _DEDUCTIONS else line.amount
    total = sums["subtotal"] - sums["discount"] + sums["tax"] - sums["credit"]
    invoice = Invoice.objects.create(
        user_id=user_id,
        subscription_id=subscription_id,
        reason=reason,
        currency=currency,
        total=total.amount,
        period_start=period_start,
        period_end=period_end,
        created_at=at,
        **{name: money.amount for name, money in sums.items()},
    )
    InvoiceLine.objects.bulk_create(
        InvoiceLine(
            invoice=invoice,
            position=position,
            kind=line.kind,
            description=line.description,
            quantity=line.quantity,
            unit_amount=(line.unit_amount or line.amount).amount,
            amount=line.amount.amount,
            currency=currency,
            period_start=line.period_start,
            period_end=line.period_end,
            explanation=line.explanation,
            created_at=at,
        )
        for position, line in enumerate(lines, start=1)
    )
    return invoice


def invoice_issue(invoice: Invoice, *, at: datetime) -> None:
    """Draft to open: posts the claim and takes the number, the transaction's last lock. Raises InvalidTransition."""
    invoice_move(invoice, Invoice.Status.OPEN)
    invoice.issued_at = invoice.due_at = at
    ledger.post_invoice_issued(invoice, at=at)
    invoice.number = _next_number(at.year)
    invoice.save()


def invoice_settle(invoice: Invoice, *, at: datetime) -> None:
    """Open (or given up) to paid. Raises InvalidTransition."""
    if invoice.status == Invoice.Status.UNCOLLECTIBLE:
        ledger.post_write_off_reversed(invoice, at=at)
    invoice_move(invoice, Invoice.Status.PAID)
    invoice.paid_at = at
    invoice.save()


def invoice_void(invoice: Invoice, *, at: datetime) -> None:
    """Takes a draft or open invoice back. Raises InvalidTransition."""
    was_issued = invoice.status == Invoice.Status.OPEN
    invoice_move(invoice, Invoice.Status.VOID)
    invoice.voided_at = at
    if was_issued:
        ledger.post_invoice_void(invoice, at=at)
    invoice.save()


def invoice_write_off(invoice: Invoice, *, at: datetime) -> None:
    """Gives an open invoice up. Raises InvalidTransition."""
    invoice_move(invoice, Invoice.Status.UNCOLLECTIBLE)
    ledger.post_invoice_uncollectible(invoice, at=at)
    invoice.save()


def _next_number(year: int) -> str:
    """The next of the year's gapless series: rolled back with the transaction that took it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO number_counters AS c (series, year, last) VALUES ('invoice', %s, 1)"
            " ON CONFLICT (series, year) DO UPDATE SET last = c.last + 1 RETURNING last",
            [year],
        )
        (last,) = cursor.fetchone()
    return f"INV-{year}-{last:06d}"
