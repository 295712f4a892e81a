"""Invoices: drafted from lines, issued with a gapless number, settled, voided. All inside the caller's transaction."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from django.db import connection

from payflow.core.money import Money
from payflow.core.sets import rows_insert, rows_update
from payments import ledger
from payments.composition import LineDraft, totals_of
from payments.credits import credit_return
from payments.models import Invoice, InvoiceLine, InvoiceReason, LineKind
from payments.state import invoice_move


class Span(Protocol):
    """A period that was lived, as a source of lines sees it."""

    @property
    def pk(self) -> uuid.UUID: ...

    @property
    def subscription_id(self) -> uuid.UUID: ...

    @property
    def end(self) -> datetime: ...


#: What lived periods owe beyond their price (metered usage): one query for all of them, lines by the period's id. Writes nothing.
LineSource = Callable[[Sequence[Span], datetime], Mapping[uuid.UUID, Sequence[LineDraft]]]
#: Told of the lines of kind `usage` that are written, or whose invoice is void; those of other sources are among them.
OnLines = Callable[[Sequence[InvoiceLine]], None]


class _Source(NamedTuple):
    lines: LineSource
    on_billed: OnLines | None
    on_void: OnLines | None


_line_sources: list[_Source] = []


def register_line_source(
    source: LineSource, *, on_billed: OnLines | None = None, on_void: OnLines | None = None
) -> None:
    """Called from the `ready()` of who meters. All three run inside the transaction that writes, or voids, the invoice.

    `source` is asked for previews too: only `on_billed` says that its lines stand, on a draft or on an issued invoice.
    """
    _line_sources.append(_Source(source, on_billed, on_void))


def has_line_sources() -> bool:
    return bool(_line_sources)


def sourced_lines(periods: Sequence[Span], *, at: datetime) -> dict[uuid.UUID, list[LineDraft]]:
    """What every source adds, by period."""
    lines: dict[uuid.UUID, list[LineDraft]] = {}
    for source in _line_sources:
        for period_id, more in source.lines(periods, at).items():
            lines.setdefault(period_id, []).extend(more)
    return lines


@dataclass(frozen=True, slots=True)
class Claim:
    """An invoice and its lines before they are written."""

    invoice: Invoice
    lines: list[InvoiceLine]


def claim(
    *,
    user_id: uuid.UUID,
    subscription_id: uuid.UUID | None,
    reason: InvoiceReason,
    lines: Sequence[LineDraft],
    period_start: datetime | None,
    period_end: datetime | None,
    at: datetime,
    merchant_of_record: bool = False,
) -> Claim:
    """A draft of `lines` (all in one currency), not yet written. Raises ValueError without lines or for mixed currencies.

    What a provider sells as `merchant_of_record` gives an internal invoice, which takes no number of ours.
    """
    totals = totals_of(lines)
    total = totals.total
    invoice = Invoice(
        user_id=user_id,
        subscription_id=subscription_id,
        reason=reason,
        currency=total.currency,
        subtotal=totals.subtotal.amount,
        discount=totals.discount.amount,
        tax=totals.tax.amount,
        tax_included=totals.tax_included.amount,
        credit=totals.credit.amount,
        total=total.amount,
        period_start=period_start,
        period_end=period_end,
        merchant_of_record=merchant_of_record,
        created_at=at,
    )
    return Claim(
        invoice,
        [
            InvoiceLine(
                invoice_id=invoice.pk,
                position=position,
                kind=line.kind,
                description=line.description,
                quantity=line.quantity,
                unit_amount=(line.unit_amount or line.amount).amount,
                amount=line.amount.amount,
                currency=line.amount.currency,
                period_start=line.period_start,
                period_end=line.period_end,
                explanation=line.explanation,
                created_at=at,
            )
            for position, line in enumerate(lines, start=1)
        ],
    )


def claims_draft(claims: Sequence[Claim]) -> None:
    """Writes drafts: hosted checkouts wait for their money with one."""
    lines = [line for each in claims for line in each.lines]
    rows_insert([each.invoice for each in claims])
    rows_insert(lines)
    _billed(lines)


def claims_issue(claims: Sequence[Claim], *, at: datetime) -> None:
    """Writes invoices that are open from the start. Their block of numbers is the transaction's last lock."""
    # Lines of an issued invoice are refused: theirs come first, and its reference is checked at the commit.
    lines = [line for each in claims for line in each.lines]
    rows_insert(lines)
    _billed(lines)
    invoices = [each.invoice for each in claims]
    for invoice in invoices:
        invoice_move(invoice, Invoice.Status.OPEN)
        invoice.issued_at = invoice.due_at = at
    ledger.post(map(ledger.invoice_issued, invoices), at=at)
    _take_numbers(invoices, at)
    rows_insert(invoices)


def invoice_issue(invoice: Invoice, *, at: datetime) -> None:
    """Draft to open: posts the claim and takes the number, the transaction's last lock. Raises InvalidTransition."""
    invoice_move(invoice, Invoice.Status.OPEN)
    invoice.issued_at = invoice.due_at = at
    ledger.post([ledger.invoice_issued(invoice)], at=at)
    _take_numbers([invoice], at)
    invoice.save()


def invoices_settle(invoices: Sequence[Invoice], *, at: datetime) -> None:
    """Open (or given up) to paid. Raises InvalidTransition."""
    recovered = [invoice for invoice in invoices if invoice.status == Invoice.Status.UNCOLLECTIBLE]
    ledger.post(map(ledger.write_off_reversed, recovered), at=at)
    for invoice in invoices:
        invoice_move(invoice, Invoice.Status.PAID)
        invoice.paid_at = at
    rows_update(invoices, ["status", "paid_at"])


def invoice_void(invoice: Invoice, *, at: datetime) -> None:
    """Takes a draft or open invoice back, and gives back the credit that it consumed. Raises InvalidTransition.

    What it asked for usage is owed again.
    """
    was_issued = invoice.status == Invoice.Status.OPEN
    invoice_move(invoice, Invoice.Status.VOID)
    invoice.voided_at = at
    if was_issued:
        ledger.post([ledger.invoice_void(invoice)], at=at)
    invoice.save()
    if has_line_sources() and (usage := list(invoice.lines.filter(kind=LineKind.USAGE))):
        for source in _line_sources:
            if source.on_void is not None:
                source.on_void(usage)
    if invoice.credit:
        credit_return(invoice, at=at)


def invoice_write_off(invoice: Invoice, *, at: datetime) -> None:
    """Gives an open invoice up. Raises InvalidTransition."""
    invoice_move(invoice, Invoice.Status.UNCOLLECTIBLE)
    ledger.post([ledger.invoice_uncollectible(invoice)], at=at)
    invoice.save()


def amount_due(invoice: Invoice) -> Money:
    """What money must settle."""
    return Money(invoice.total, invoice.currency)


def _billed(lines: Sequence[InvoiceLine]) -> None:
    if usage := [line for line in lines if line.kind == LineKind.USAGE]:
        for source in _line_sources:
            if source.on_billed is not None:
                source.on_billed(usage)


def _take_numbers(invoices: Sequence[Invoice], at: datetime) -> None:
    ours = [invoice for invoice in invoices if not invoice.merchant_of_record]
    if ours:
        for invoice, number in zip(ours, _next_numbers(at.year, len(ours)), strict=True):
            invoice.number = number


def _next_numbers(year: int, count: int) -> list[str]:
    """The next of the year's gapless series: rolled back with the transaction that took them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO number_counters AS c (series, year, last) VALUES ('invoice', %s, %s)"
            " ON CONFLICT (series, year) DO UPDATE SET last = c.last + EXCLUDED.last RETURNING last",
            [year, count],
        )
        (last,) = cursor.fetchone()
    return [f"INV-{year}-{number:06d}" for number in range(last - count + 1, last + 1)]
