"""Bills: what a subscription owes for a period, as an invoice and the period's row, for one or for a batch.

Everything runs inside the caller's transaction, under the subscriptions' locks. A batch is written in a constant number
of statements, the invoices' numbers last.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from payflow.core.money import Money
from payflow.core.sets import rows_insert
from payments.composition import LineDraft, not_below_zero, with_credit, with_tax
from payments.credits import Purses, purses_open
from payments.invoices import Claim, claim, claims_draft, claims_issue, has_line_sources, sourced_lines
from payments.models import Invoice, InvoiceLine, InvoiceReason, LineKind
from payments.selectors import tax_rates_of_users
from subscriptions.models import BillingPeriod, CouponRedemption, PeriodSource, Subscription
from subscriptions.periods import Period, period_at
from subscriptions.quotes import cycle_line
from subscriptions.services.move_closing import move_offer_close
from subscriptions.services.redemptions import discount_line, redemptions_of
from subscriptions.state import is_sold_by_provider, renews_by_itself, unpaid_period

Source = BillingPeriod.Source
#: Lines whose amount is a period's own: what usage, tax and credit add or take is not its price.
_OF_THE_PERIOD = frozenset({LineKind.PLAN, LineKind.PRORATION_CHARGE, LineKind.DISCOUNT})
#: Invoices that no period waits for.
_OF_NO_PERIOD = (InvoiceReason.CHANGE, InvoiceReason.USAGE)


@dataclass(frozen=True, slots=True)
class Bill:
    """What is charged to a subscription, before tax and credit. `share` is the part of a cycle that it stands for.

    Its coupon's discount is added, unless the bill is `discounted` already. `at` is the moment of a bill that is foreseen:
    credit that expires before it doesn't pay it.
    """

    subscription: Subscription
    reason: InvoiceReason
    charges: Sequence[LineDraft]
    period: Period | None
    share: Fraction = Fraction(1)
    discounted: bool = False
    at: datetime | None = None


def cycle_bill(subscription: Subscription, period: Period | None, reason: InvoiceReason) -> Bill:
    """One whole cycle at the subscription's own price."""
    return Bill(subscription, reason, [cycle_line(subscription, period)], period)


def claims_of(bills: Sequence[Bill], *, at: datetime) -> tuple[list[Claim], Purses]:
    """The bills as invoices not yet written, and the purses out of which their credit is to be taken (`close` writes)."""
    rates = tax_rates_of_users({bill.subscription.user_id for bill in bills})
    # A provider that renews by itself charges the same amount every time: credit would change it.
    holders = {
        (bill.subscription.user_id, bill.subscription.currency)
        for bill in bills
        if not renews_by_itself(bill.subscription)
    }
    purses = purses_open(holders, at=at)
    arrears = _arrears(bills, at)
    redemptions = redemptions_of([bill.subscription.pk for bill in bills if not bill.discounted])
    claims = []
    for bill in bills:
        subscription = bill.subscription
        discount = _discount(bill, redemptions.get(subscription.pk))
        sold_by_provider = is_sold_by_provider(subscription)
        rate = None if sold_by_provider else rates.get(subscription.user_id)
        charges = not_below_zero([*bill.charges, *discount], arrears.get(subscription.pk, ()))
        lines = with_tax(charges, rate)
        holder = (subscription.user_id, subscription.currency)
        if holder in holders:
            lines = with_credit(lines, purses.available(holder, at=bill.at or at))
        made = claim(
            user_id=subscription.user_id,
            subscription_id=subscription.pk,
            reason=bill.reason,
            lines=lines,
            period_start=bill.period.start if bill.period else None,
            period_end=bill.period.end if bill.period else None,
            at=at,
            merchant_of_record=sold_by_provider,
        )
        if made.invoice.credit:
            used = Money(made.invoice.credit, made.invoice.currency)
            purses.spend(holder, used, key=f"invoice:{made.invoice.pk}", invoice_id=made.invoice.pk, at=bill.at or at)
        claims.append(made)
    return claims, purses


def bills_issue(bills: Sequence[Bill], *, source: PeriodSource, at: datetime) -> list[Invoice]:
    """Writes the periods and their open invoices. Raises IntegrityError where a period is billed already."""
    claims, purses = claims_of(bills, at=at)
    rows_insert(
        [
            _period_row(bill.subscription, bill.period, source=source, at=at, claim=made)
            for bill, made in zip(bills, claims, strict=True)
            if bill.period is not None
        ]
    )
    purses.close()
    claims_issue(claims, at=at)
    return [made.invoice for made in claims]


def bill_draft(bill: Bill, *, at: datetime) -> Invoice:
    """The bill as a draft: a hosted checkout waits for its money with one. Its credit is reserved."""
    claims, purses = claims_of([bill], at=at)
    purses.close()
    claims_draft(claims)
    return claims[0].invoice


def bill_cycle(subscription: Subscription, *, source: PeriodSource, at: datetime) -> Invoice:
    """The period that follows the paid one and its open invoice. Raises IntegrityError where it is billed already."""
    move_offer_close(subscription, reason="it goes on at the old provider", at=at)  # first: it gives its credit back
    bill = cycle_bill(subscription, unpaid_period(subscription), Invoice.Reason.CYCLE)
    [invoice] = bills_issue([bill], source=source, at=at)
    return invoice


def bill_first(subscription: Subscription, draft: Invoice | None, *, at: datetime) -> Invoice:
    """The first paid period, starting at `at`, on the checkout's draft; on a like one where that was voided meanwhile."""
    period = first_period(subscription, at)
    if draft is None or draft.status != Invoice.Status.DRAFT:
        draft = bill_draft(cycle_bill(subscription, None, Invoice.Reason.CREATE), at=at)
    draft.period_start, draft.period_end = period.start, period.end
    draft.save()
    draft.lines.exclude(kind__in=[LineKind.TAX, LineKind.CREDIT]).update(
        period_start=period.start, period_end=period.end
    )
    period_record(subscription, period, invoice=draft, source=Source.CHECKOUT, at=at)
    return draft


def first_period(subscription: Subscription, anchor: datetime) -> Period:
    return period_at(
        anchor, subscription.billing_cycle, 0, interval=subscription.billing_interval, tz=subscription.timezone
    )


def period_record(
    subscription: Subscription,
    period: Period,
    *,
    invoice: Invoice | None,
    source: PeriodSource,
    at: datetime,
) -> BillingPeriod:
    """The row that says what was billed or granted. Raises IntegrityError where it overlaps another."""
    written = Claim(invoice, list(invoice.lines.all())) if invoice else None
    row = _period_row(subscription, period, source=source, at=at, claim=written)
    row.save(force_insert=True)
    return row


def is_metered(subscription: Subscription) -> bool:
    """May it owe for usage? Known without a query: batches in which nobody does ask nothing.

    A provider that renews by itself charges the same amount every time: nothing beyond what is included is used there.
    """
    prices = subscription.plan.priced_actions or subscription.had_priced_actions
    return bool(prices) and not renews_by_itself(subscription)


def open_invoice(subscription: Subscription) -> Invoice | None:
    """The one invoice of a period that waits for money, if any. That of a plan change or of usage holds nothing up."""
    open_ones = Invoice.objects.filter(subscription=subscription, status=Invoice.Status.OPEN)
    return open_ones.exclude(reason__in=_OF_NO_PERIOD).order_by("created_at").first()


def usage_invoice_open(subscription: Subscription) -> Invoice | None:
    """The oldest invoice of usage alone that waits for money, if any."""
    rows = Invoice.objects.filter(subscription=subscription, status=Invoice.Status.OPEN, reason=InvoiceReason.USAGE)
    return rows.order_by("created_at").first()


def open_invoices(subscription_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Invoice]:
    """`open_invoice` of each that has one: a query."""
    if not subscription_ids:
        return {}
    open_ones = Invoice.objects.filter(subscription__any=subscription_ids, status=Invoice.Status.OPEN)
    rows = open_ones.exclude(reason__in=_OF_NO_PERIOD).order_by("-created_at")
    return {row.subscription_id: row for row in rows if row.subscription_id}


def supersede_periods(subscription: Subscription, invoice: Invoice, *, at: datetime) -> None:
    """Takes back the periods of an invoice that will not be paid as it stands."""
    BillingPeriod.objects.filter(subscription=subscription, invoice=invoice, superseded_at=None).update(
        superseded_at=at
    )


def truncate_period(period: BillingPeriod, *, at: datetime, superseded_at: datetime | None = None) -> None:
    """Ends a period early: the row as it was is superseded and its lived part, if any, takes its place.

    `at` is where it ends; `superseded_at`, where that is another moment, is when this was decided.
    """
    decided = superseded_at or at
    period.superseded_at = decided
    period.save()
    if period.start < at:
        BillingPeriod.objects.create(
            subscription_id=period.subscription_id,
            start=period.start,
            end=at,
            cycle=period.cycle,
            plan_id=period.plan_id,
            amount=period.amount,
            currency=period.currency,
            invoice_id=period.invoice_id,
            source=period.source,
            created_at=decided,
        )


def current_period(subscription: Subscription, at: datetime) -> BillingPeriod | None:
    """The period in which `at` lies, as it stands."""
    return BillingPeriod.objects.filter(
        subscription=subscription, superseded_at=None, start__lte=at, end__gt=at
    ).first()


def periods_ahead(subscription: Subscription, at: datetime) -> list[BillingPeriod]:
    """The period in which `at` lies and what was billed or granted after it, in their order."""
    rows = BillingPeriod.objects.filter(subscription=subscription, superseded_at=None, end__gt=at)
    return list(rows.select_related("invoice", "plan").order_by("start"))


def _discount(bill: Bill, redemption: CouponRedemption | None) -> list[LineDraft]:
    if redemption is None:
        return []
    base = Money.zero(bill.subscription.currency)
    for line in bill.charges:
        base += line.amount
    discount = discount_line(redemption, base, bill.subscription.plan_id, share=bill.share)
    return [discount] if discount else []


def _arrears(bills: Sequence[Bill], at: datetime) -> dict[uuid.UUID, list[LineDraft]]:
    """What the periods that end where these begin owe for their usage, by subscription."""
    if not has_line_sources():
        return {}
    begins = {
        bill.subscription.pk: bill.period.start
        for bill in bills
        if bill.period is not None and bill.reason == Invoice.Reason.CYCLE and is_metered(bill.subscription)
    }
    if not begins:
        return {}
    ended = BillingPeriod.objects.filter(subscription__any=begins, end__in=set(begins.values()), superseded_at=None)
    lived = {row.pk: row for row in ended if row.end == begins[row.subscription_id]}
    return {lived[key].subscription_id: lines for key, lines in sourced_lines(list(lived.values()), at=at).items()}


def _period_row(
    subscription: Subscription, period: Period, *, source: PeriodSource, at: datetime, claim: Claim | None
) -> BillingPeriod:
    return BillingPeriod(
        subscription_id=subscription.pk,
        start=period.start,
        end=period.end,
        cycle=subscription.billing_cycle,
        plan_id=subscription.plan_id,
        amount=_price(claim.lines) if claim else Decimal(0),
        currency=subscription.currency,
        invoice_id=claim.invoice.pk if claim else None,
        source=source,
        created_at=at,
    )


def _price(lines: Sequence[InvoiceLine]) -> Decimal:
    return sum((line.amount for line in lines if line.kind in _OF_THE_PERIOD), start=Decimal(0))
