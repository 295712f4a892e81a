"""What of a paid period is still unused, and what it is worth: the base of every credit for time not lived.

The base is the charge of the period itself, less its discount, less what went back of its payment, and only where its
invoice is settled: nobody is credited what he never paid. A charge that the unused time of an earlier one helped to pay is
worth as much of that as the earlier payment still is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from payflow.core.money import Money
from payments.backing import LOST, LOST_OR_DISPUTED, backing_of
from payments.models import Invoice, InvoiceLine, LineKind, PaymentTransaction
from payments.taxes import tax_of
from plans.models import Plan
from subscriptions.cycle_units import unit_of, unit_of_invoice
from subscriptions.models import BillingPeriod, Subscription
from subscriptions.periods import Period, period_containing
from subscriptions.proration import Unit, had_until, share_of

CHARGES = frozenset({LineKind.PLAN, LineKind.PRORATION_CHARGE})


@dataclass(frozen=True, slots=True)
class Gone:
    """What counts as gone of the payments: refunds, lost disputes, and those that are open unless they are `won`.

    `but` is a refund that counts as if it had not been made.
    """

    won: bool = False
    but: PaymentTransaction | None = None

    @property
    def disputes(self) -> frozenset[str]:
        return LOST if self.won else LOST_OR_DISPUTED


#: All that went back, and all that is disputed.
TODAY = Gone()


@dataclass(frozen=True, slots=True)
class Unused:
    """The worth of [since, until) of a period: `net` as its lines have it, `gross` with tax that was added, `tax` in gross."""

    net: Money
    gross: Money
    tax: Money
    since: datetime
    until: datetime
    explanation: dict[str, Any]
    _rate: tuple[Decimal, bool] | None = None

    def less(self, rest: Unused) -> Unused:
        """What lies before `rest`, which is a later part of the same to the same end."""
        net, gross, tax = self.net - rest.net, self.gross - rest.gross, self.tax - rest.tax
        told = self.explanation and self.explanation | {
            "formula": f"{self.explanation['formula']} - left",
            "left": str(rest.gross.amount),
            "until": rest.since.isoformat(),
        }
        return Unused(net, gross, tax, self.since, rest.since, told, self._rate)

    def gross_of(self, net: Money) -> tuple[Money, Money]:
        """A part of `net` as its buyer paid it, and the tax in that."""
        return _gross(net, self._rate)

    def tax_in(self, gross: Money) -> Money:
        """The tax in a part of `gross`."""
        share = Fraction(gross.amount) / Fraction(self.gross.amount)
        return Money.of_fraction(Fraction(self.tax.amount) * share, gross.currency)


def unused(period: BillingPeriod, *, at: datetime, tz: str, gone: Gone = TODAY) -> Unused:
    """What is left of `period` where it ends at `at`; nothing where it was not paid for. By day, the day of `at` was had."""
    unit = unit_of(period)
    if at < period.start:
        return worth(period, since=period.start, until=period.end, unit=unit, tz=tz, gone=gone)
    return worth(period, since=had_until(at, unit=unit, tz=tz), until=period.end, unit=unit, tz=tz, gone=gone)


def worth(
    period: BillingPeriod, *, since: datetime, until: datetime, unit: Unit, tz: str, gone: Gone = TODAY
) -> Unused:
    """What [since, until) of `period` is worth, as far as it was charged for.

    No more than the money is that stands behind the credit which has paid for it.
    """
    invoice = period.invoice
    zero = Money.zero(period.currency)
    if invoice is None or invoice.status != Invoice.Status.PAID:
        return Unused(zero, zero, zero, min(since, until), until, {})
    lines = list(invoice.lines.all())
    charge = _sum(lines, CHARGES, period.currency)
    discount = _sum(lines, {LineKind.DISCOUNT}, period.currency)
    base = charge + discount
    kept = _kept(invoice, lines, gone)
    whole = charged_span(period)
    until = max(min(until, whole.end), whole.start)
    since = max(min(since, until), whole.start)
    share = share_of(whole, since, until, unit=unit, tz=tz)
    net = Money.of_fraction(Fraction(base.amount) * kept * share, period.currency)
    rate = _tax_rate(lines)
    gross, tax = _gross(net, rate)
    room = _room(invoice, gone)
    if room is not None and gross > room:
        kept *= Fraction(room.amount) / Fraction(gross.amount)
        net = Money.of_fraction(Fraction(base.amount) * kept * share, period.currency)
        gross, tax = _gross(net, rate)
    return Unused(
        net,
        gross,
        tax,
        since,
        until,
        {
            "formula": "(charge - discount) * kept * share",
            "invoice": invoice.number,
            "charge": str(charge.amount),
            "discount": str(-discount.amount),
            "settled": str(_settled(invoice).amount),
            "refunded": str(_refunded(invoice, gone).amount),
            "carried_over": str(-_sum(lines, {LineKind.PRORATION_CREDIT}, period.currency).amount),
            "kept": f"{kept.numerator}/{kept.denominator}",
            "share": f"{share.numerator}/{share.denominator}",
            "unit": unit,
            "period": [whole.start.isoformat(), whole.end.isoformat()],
            "since": since.isoformat(),
            "until": until.isoformat(),
        },
        rate,
    )


def charge_line(period: BillingPeriod) -> InvoiceLine | None:
    """What charges for the period; None where nothing does."""
    for line in period.invoice.lines.all() if period.invoice else ():
        if line.kind in CHARGES and line.period_start and line.period_end and line.period_end >= period.end:
            return line
    return None


def charged_span(period: BillingPeriod) -> Period:
    """What its charge is for: a row that was cut at its end, or the first of two in one cycle, is shorter than that."""
    line = charge_line(period)
    if line is None or line.period_start is None or line.period_end is None:
        return Period(period.start, period.end)
    return Period(line.period_start, line.period_end)


def unserved_credit(invoice: Invoice, plan: Plan, *, since: datetime, tz: str) -> Unused:
    """What credit has paid of an invoice of `plan` that is given up, where it was had until `since`.

    Usage on the same invoice was had before, and is paid for by its part of the credit.
    """
    assert invoice.period_start is not None and invoice.period_end is not None, "it is a period's"
    lines = list(invoice.lines.all())
    whole = Period(invoice.period_start, invoice.period_end)
    unit = unit_of_invoice(invoice, plan)
    if since > whole.start:
        since = had_until(since, unit=unit, tz=tz)
    since = max(whole.start, min(since, whole.end))
    charge = _sum(lines, CHARGES | {LineKind.DISCOUNT}, invoice.currency)
    usage = _sum(lines, {LineKind.USAGE}, invoice.currency)
    share = share_of(whole, since, whole.end, unit=unit, tz=tz)
    part = min(Fraction(charge.amount) / Fraction((charge + usage).amount), Fraction(1))  # usage may be given back
    gross = Money.of_fraction(Fraction(invoice.credit) * part * share, invoice.currency)
    rate = _tax_rate(lines)
    tax = tax_of(gross, rate[0], inclusive=True) if rate else Money.zero(invoice.currency)
    explanation = {
        "formula": "credit * charge / (charge + usage) * share",
        "invoice": invoice.number,
        "credit": str(Money(invoice.credit, invoice.currency).amount),
        "charge": str(charge.amount),
        "usage": str(usage.amount),
        "share": f"{share.numerator}/{share.denominator}",
        "unit": unit,
        "period": [whole.start.isoformat(), whole.end.isoformat()],
        "since": since.isoformat(),
    }
    return Unused(gross - tax, gross, tax, since, whole.end, explanation)


def paid_by(invoice: Invoice) -> list[Invoice]:
    """The invoice, and those whose unused time was carried over into it: where the money for its time came from."""
    return [invoice, *(each for line in _carried(invoice.lines.all()) for each in paid_by(_origin(line)))]


def is_backed(invoice: Invoice) -> bool:
    """Does all that the invoice carries over still stand as it did when it was quoted, nothing of its payment given back?"""
    for line in _carried(invoice.lines.all()):
        origin = _origin(line)
        if _kept(origin, list(origin.lines.all()), TODAY) < Fraction(line.explanation["kept"]):
            return False
        room = _room(origin, TODAY)
        if (
            room is not None
            and _gross(-Money(line.amount, line.currency), _tax_rate(list(origin.lines.all())))[0] > room
        ):
            return False
    return True


def whole_cycle(subscription: Subscription) -> Period:
    """The full cycle that ends with the paid time: what the price stands for, though a row may cover a part of it only.

    After a change of zone the paid time ends some hours off the grid: the boundary that is nearest counts.
    """
    end = subscription.end_date
    assert end is not None, "a free subscription has no cycle"

    def grid(at: datetime) -> Period:
        return period_containing(
            subscription.anchor,
            subscription.billing_cycle,
            at,
            interval=subscription.billing_interval,
            tz=subscription.timezone,
        )

    after = grid(end)
    nearer_start = end - after.start <= after.end - end
    whole = grid(after.start - _TICK) if nearer_start else after
    return Period(whole.start, end)


_TICK = datetime.resolution


def _room(invoice: Invoice, gone: Gone) -> Money | None:
    """How much the unused time of the invoice can be worth for what is left behind it; None where no credit paid for it."""
    if not any(each.credit for each in paid_by(invoice)):
        return None
    backing = backing_of(invoice.user_id, invoice.currency, gone=gone.disputes, but=gone.but)
    return Money(backing.room(invoice.pk), invoice.currency)


def _kept(invoice: Invoice, lines: Sequence[InvoiceLine], gone: Gone) -> Fraction:
    """The part of the invoice's charges that is paid for today: 1 until something of a payment behind it goes back."""
    base = Fraction(_sum(lines, CHARGES | {LineKind.DISCOUNT}, invoice.currency).amount)
    if base <= 0:
        return Fraction(0)
    settled, refunded = Fraction(_settled(invoice).amount), Fraction(_refunded(invoice, gone).amount)
    own = max(1 - refunded / settled, Fraction(0)) if settled else Fraction(0)
    stands, carried = Fraction(0), Fraction(0)
    for line in _carried(lines):
        origin = _origin(line)
        then, today = Fraction(line.explanation["kept"]), _kept(origin, list(origin.lines.all()), gone)
        carried -= Fraction(line.amount)
        stands -= Fraction(line.amount) * (min(today / then, Fraction(1)))
    return (max(base - carried, Fraction(0)) * own + stands) / base


def _carried(lines: Iterable[InvoiceLine]) -> list[InvoiceLine]:
    return [line for line in lines if line.kind == LineKind.PRORATION_CREDIT]


def _origin(line: InvoiceLine) -> Invoice:
    """The invoice whose unused time the line carried over."""
    return Invoice.objects.get(number=line.explanation["invoice"])


def _gross(net: Money, rate: tuple[Decimal, bool] | None) -> tuple[Money, Money]:
    if rate is None:
        return net, Money.zero(net.currency)
    percent, inclusive = rate
    tax = tax_of(net, percent, inclusive=inclusive)
    return (net if inclusive else net + tax), tax


def _tax_rate(lines: Sequence[InvoiceLine]) -> tuple[Decimal, bool] | None:
    """What the charge was taxed with: by its own invoice, or where nothing was left to tax by that of the carried time."""
    for line in lines:
        if line.kind == LineKind.TAX:
            return Decimal(line.explanation["percent"]), bool(line.explanation["inclusive"])
    for line in _carried(lines):
        return _tax_rate(list(_origin(line).lines.all()))
    return None


def _settled(invoice: Invoice) -> Money:
    """What money and customer credit paid of it."""
    return Money(invoice.total + invoice.credit, invoice.currency)


def _sum(lines: Sequence[InvoiceLine], kinds: frozenset[LineKind] | set[LineKind], currency: str) -> Money:
    return Money(sum((line.amount for line in lines if line.kind in kinds), start=Decimal(0)), currency)


def _refunded(invoice: Invoice, gone: Gone) -> Money:
    """What went back of the invoice's payment, or is about to, or counts as lost in a dispute."""
    moved = PaymentTransaction.objects.filter(invoice=invoice)
    charges = moved.filter(type=PaymentTransaction.Type.CHARGE).exclude(status=PaymentTransaction.Status.FAILED)
    refunded = charges.values_list("refunded_amount", flat=True)
    disputed = moved.filter(type=PaymentTransaction.Type.CHARGEBACK, status__in=gone.disputes)
    undone = gone.but.amount if gone.but is not None and gone.but.invoice_id == invoice.pk else Decimal(0)
    lost = sum([*refunded, *disputed.values_list("amount", flat=True)], start=Decimal(0))
    return Money(lost - undone, invoice.currency)
