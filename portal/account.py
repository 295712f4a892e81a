"""The account page as data: what one user has, used and paid. Reads only, a constant number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import Q, QuerySet

from accounts.models import User
from payments.models import CreditAccount, CreditGrant, Invoice, PaymentMethod, PaymentTransaction
from payments.selectors import credit_accounts_visible
from portal import wording
from portal.cards import SubscriptionCard, subscription_cards, subscriptions_of, subscriptions_present
from portal.wording import Moment, Tone
from subscriptions.models import Status
from usage.limits import LimitState
from usage.models import ALL_ACTIONS
from usage.selectors import entitlement

#: The newest rows of each list; the API has all of them.
SHOWN = 20

_INVOICE_STATUS = {
    Invoice.Status.DRAFT: ("Draft", Tone.QUIET),
    Invoice.Status.OPEN: ("Due", Tone.BAD),
    Invoice.Status.PAID: ("Paid", Tone.GOOD),
    Invoice.Status.VOID: ("Void", Tone.QUIET),
    Invoice.Status.UNCOLLECTIBLE: ("Unpaid", Tone.BAD),
}
_PAYMENT_STATUS = {
    PaymentTransaction.Status.PENDING: ("Under way", Tone.WAITING),
    PaymentTransaction.Status.COMPLETED: ("Completed", Tone.GOOD),
    PaymentTransaction.Status.FAILED: ("Declined", Tone.BAD),
    PaymentTransaction.Status.REFUNDED: ("Refunded", Tone.QUIET),
    PaymentTransaction.Status.REVERSED: ("Came back", Tone.BAD),
}
_PAYMENT_TYPE = {
    PaymentTransaction.Type.CHARGE: "Payment",
    PaymentTransaction.Type.REFUND: "Refund",
    PaymentTransaction.Type.CHARGEBACK: "Chargeback",
}


@dataclass(frozen=True, slots=True)
class UsageRow:
    """`max` None is no limit: there is nothing to draw then."""

    name: str
    text: str
    used: int
    max: int | None
    resets: Moment | None
    tone: Tone


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    """`pdf` is the id under which there is a document: of what has a number.

    `pay` is the subscription whose usage it asks for, while it is due: what a period costs is paid where the period is shown.
    """

    pdf: UUID | None
    pay: UUID | None
    number: str
    date: Moment
    description: str
    amount: str
    status: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class PaymentRow:
    what: str
    date: Moment
    amount: str
    method: str
    status: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class MethodRow:
    name: str
    provider: str
    added: Moment


@dataclass(frozen=True, slots=True)
class CreditRow:
    """What may be spent in one currency; `expiring` is what is lost first, at `expires`, where anything expires."""

    amount: str
    expiring: str
    expires: Moment | None


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    timezone: str
    subscriptions: Sequence[SubscriptionCard]
    ended: str
    usage: Sequence[UsageRow]
    credits: Sequence[CreditRow]
    invoices: Sequence[InvoiceRow]
    payments: Sequence[PaymentRow]
    methods: Sequence[MethodRow]


def account(user: User, now: datetime) -> Account:
    """Everything on the page. Rows of other users are never read, also where the reader is an operator."""
    tz = user.timezone
    rows = subscriptions_present(user)
    invoices = (
        Invoice.objects.filter(Q(number__isnull=False) | Q(status=Invoice.Status.PAID), user=user)
        .prefetch_related("lines")
        .order_by("-created_at")[:SHOWN]
    )
    payments = (
        PaymentTransaction.objects.filter(user=user).select_related("method").order_by("-created_at", "-pk")[:SHOWN]
    )
    methods = PaymentMethod.objects.filter(user=user, is_active=True).order_by("-created_at")[:SHOWN]
    return Account(
        name=user.name,
        timezone=tz,
        subscriptions=subscription_cards(rows, tz, now),
        ended="" if rows else _last_ended(user, tz),
        usage=[_usage(state, tz) for state in entitlement(user.pk, now).limits if _is_told(state)],
        credits=[row for account in _credit_accounts(user) if (row := _credit(account, tz, now))],
        invoices=[_invoice(row, tz) for row in invoices],
        payments=[_payment(row, tz) for row in payments],
        methods=[
            MethodRow(wording.method(row), wording.provider(row.provider), wording.day(row.created_at, tz))
            for row in methods
        ],
    )


def _last_ended(user: User, tz: str) -> str:
    """The sentence for somebody who had a subscription."""
    row = (
        subscriptions_of(user)
        .filter(status__in=[Status.CANCELLED, Status.EXPIRED], current_period_start__isnull=False)
        .exclude(end_date=None)
        .order_by("-end_date")
        .first()
    )
    if row is None or row.end_date is None:
        return ""
    return f"Your {row.plan.name} subscription ended on {wording.day(row.end_date, tz).text}."


def _is_told(state: LimitState) -> bool:
    """A total without a limit tells nothing."""
    return state.action != ALL_ACTIONS or state.max is not None


def _usage(state: LimitState, tz: str) -> UsageRow:
    used = wording.number(state.used)
    text = f"{used} used, no limit" if state.max is None else f"{used} of {wording.number(state.max)}"
    full = state.max is not None and state.used >= state.max
    near = state.max is not None and state.used >= state.max * 0.8
    return UsageRow(
        name=wording.limit_name(state),
        text=text,
        used=min(state.used, state.max) if state.max is not None else state.used,
        max=state.max,
        resets=wording.minute(state.resets_at, tz) if state.resets_at and state.max is not None else None,
        tone=Tone.BAD if full else Tone.WAITING if near else Tone.GOOD,
    )


def _credit_accounts(user: User) -> QuerySet[CreditAccount]:
    return credit_accounts_visible(user).filter(user=user, balance__gt=0).order_by("currency")


def _credit(account: CreditAccount, tz: str, now: datetime) -> CreditRow | None:
    """What is over is not shown, though the sweep may not have been yet."""
    grants = [row for row in account.grants.all() if row.remaining and (row.expires_at is None or row.expires_at > now)]
    if not grants:
        return None
    first = grants[0].expires_at
    return CreditRow(
        amount=_sum(grants, account.currency),
        expiring=_sum([row for row in grants if row.expires_at == first], account.currency) if first else "",
        expires=wording.day(first, tz) if first else None,
    )


def _sum(grants: Sequence[CreditGrant], currency: str) -> str:
    return wording.money(sum((row.remaining for row in grants), start=Decimal(0)), currency)


def _invoice(row: Invoice, tz: str) -> InvoiceRow:
    status, tone = _INVOICE_STATUS[Invoice.Status(row.status)]
    is_due = row.status == Invoice.Status.OPEN
    lines = list(row.lines.all())
    return InvoiceRow(
        pdf=row.pk if row.number else None,
        pay=row.subscription_id if is_due and row.reason == Invoice.Reason.USAGE else None,
        number=row.number or "Receipt",
        date=wording.day(row.issued_at or row.created_at, tz),
        description=lines[0].description if lines else "",
        amount=wording.money(row.total, row.currency),
        status=status,
        tone=tone,
    )


def _payment(row: PaymentTransaction, tz: str) -> PaymentRow:
    status, tone = _PAYMENT_STATUS[PaymentTransaction.Status(row.status)]
    is_charge = row.type == PaymentTransaction.Type.CHARGE
    return PaymentRow(
        what=_PAYMENT_TYPE[PaymentTransaction.Type(row.type)],
        date=wording.minute(row.completed_at or row.created_at, tz),
        amount=wording.money(row.amount if is_charge else -row.amount, row.currency),
        method=wording.method(row.method) if row.method else wording.provider(row.provider),
        status=status,
        tone=tone,
    )
