"""One subscription in words: its state, what comes next, and what its owner can do about it. Reads only."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from accounts.models import User
from payments.models import Invoice
from portal import wording
from portal.wording import Moment, Tone
from subscriptions.access import access_until
from subscriptions.billing import open_invoices
from subscriptions.models import LIVE, Checkout, Status, Subscription, SubscriptionChange
from subscriptions.selectors import subscriptions_with_plan
from subscriptions.services.planned import can_withdraw
from subscriptions.state import renews, renews_by_itself
from subscriptions.upcoming import Upcoming, renewals_upcoming

PAYABLE = frozenset({Status.PAST_DUE, Status.SUSPENDED})
RUNNING = frozenset({Status.TRIAL, Status.ACTIVE})


@dataclass(frozen=True, slots=True)
class Fact:
    """A term and what it is; `iso` where that is a moment."""

    term: str
    text: str
    iso: str = ""


@dataclass(frozen=True, slots=True)
class PlannedCard:
    """What the subscription will be. `pay` is where it is paid, where it waits for that."""

    text: str
    on: Moment | None
    pay: str
    keep: str


@dataclass(frozen=True, slots=True)
class SubscriptionCard:
    """`checkout` is where a begun payment goes on; `cancel` the label of the button, empty where there is none.

    `bill` are the lines of the next renewal, where there is more to tell than its total. `move` is where the next period is
    paid at another provider, and `move_note` what that means.
    """

    id: uuid.UUID
    plan: str
    price: str
    status: str
    tone: Tone
    note: str
    facts: Sequence[Fact]
    bill: Sequence[tuple[str, str]] = ()
    planned: PlannedCard | None = None
    checkout: str = ""
    move: str = ""
    move_note: str = ""
    cancel: str = ""
    cancel_note: str = ""
    can_keep: bool = False
    can_pay: bool = False
    can_pay_otherwise: bool = False
    can_pause: bool = False
    can_resume: bool = False
    can_change: bool = False


def subscriptions_of(user: User) -> QuerySet[Subscription]:
    """The user's own, with everything that a card reads."""
    return subscriptions_with_plan().select_related("payment_method").filter(user=user)


def subscriptions_present(user: User) -> list[Subscription]:
    """Live and pending ones, the most important first."""
    rows = subscriptions_of(user).filter(status__in=[*LIVE, Status.PENDING])
    return sorted(rows, key=lambda row: (row.status == Status.PENDING, row.is_free, row.created_at))


def subscription_cards(rows: Sequence[Subscription], tz: str, now: datetime) -> list[SubscriptionCard]:
    """Rows of `subscriptions_of`, told in the zone `tz`; a constant number of queries."""
    running = [row for row in rows if row.status in RUNNING and not ends_with_its_time(row)]
    upcoming = renewals_upcoming(running, now=now)
    due = open_invoices([row.pk for row in rows if row.status in PAYABLE])
    return [_card(row, upcoming.get(row.pk), due.get(row.pk), tz, now) for row in rows]


def _card(
    row: Subscription, upcoming: Upcoming | None, due: Invoice | None, tz: str, now: datetime
) -> SubscriptionCard:
    ends = ends_with_its_time(row)
    status, tone = wording.status(row.status, ends=ends)
    cancel, cancel_note = _cancelling(row, tz)
    running = row.status in RUNNING and row.end_date is not None and now < row.end_date
    changeable = not row.is_free and not renews_by_itself(row)
    return SubscriptionCard(
        id=row.pk,
        plan=row.plan.name,
        price=_price(row),
        status=status,
        tone=tone,
        note=_note(row, ends, upcoming, due, tz, now),
        facts=_facts(row, ends, tz, now),
        bill=_bill(upcoming),
        planned=_planned(row, tz, now),
        checkout=_checkout(row, now),
        move=_page(row, Checkout.Purpose.MOVE, now),
        move_note=_move_note(row, tz),
        cancel=cancel,
        cancel_note=cancel_note,
        can_keep=running and row.cancelled_at is not None,
        can_pay=row.status in PAYABLE,
        can_pay_otherwise=row.status in PAYABLE and row.payment_method_id is not None,
        can_pause=row.status == Status.ACTIVE and running and changeable and not ends,
        can_resume=row.status == Status.PAUSED,
        can_change=running and changeable,
    )


def ends_with_its_time(row: Subscription) -> bool:
    """True where nothing follows the present period."""
    if not renews(row):
        return True
    return row.status == Status.TRIAL and row.payment_method_id is None and not renews_by_itself(row)


def _price(row: Subscription | SubscriptionChange) -> str:
    if not row.amount:
        return "Free"
    return f"{wording.price(row.amount, row.currency)} {wording.cycle(row.billing_cycle, row.billing_interval)}"


def _planned(row: Subscription, tz: str, now: datetime) -> PlannedCard | None:
    """An open change of the plan, or of its price."""
    changes: list[SubscriptionChange] = getattr(row, "open_changes", [])  # prefetched
    if not changes:
        return None
    [change] = changes
    name = change.plan.name
    keep = f"Keep {row.plan.name}" if can_withdraw(change) else ""
    if change.effective == SubscriptionChange.Effective.ON_PAYMENT:
        return PlannedCard(
            f"{name} begins as soon as it is paid.", None, _page(row, Checkout.Purpose.CHANGE, now), keep
        )
    what = (
        f"Its price becomes {_price(change)}" if change.plan_id == row.plan_id else f"{name} follows ({_price(change)})"
    )
    return PlannedCard(what, wording.day(change.effective_at, tz), "", keep)


def _bill(upcoming: Upcoming | None) -> list[tuple[str, str]]:
    if upcoming is None or len(upcoming.claim.lines) == 1:
        return []
    invoice = upcoming.claim.invoice
    return [*wording.lines(upcoming.claim.lines), ("Next renewal", wording.money(invoice.total, invoice.currency))]


def _note(row: Subscription, ends: bool, upcoming: Upcoming | None, due: Invoice | None, tz: str, now: datetime) -> str:
    """The one sentence that a customer needs in this state. Amounts are those of invoices: with tax, discount and credit."""
    end = wording.day(row.end_date, tz).text if row.end_date else ""
    invoice = upcoming.claim.invoice if upcoming else due
    amount = wording.money(invoice.total, invoice.currency) if invoice else "what is due"
    match Status(row.status):
        case Status.PENDING:
            return "We are waiting for your payment. Nothing is charged until you complete it."
        case Status.TRIAL if ends:
            return f"Your trial ends on {end}. Nothing will be charged."
        case Status.TRIAL if upcoming is None:
            return f"Your trial runs until {end}."
        case Status.TRIAL:
            return f"Your trial runs until {end}. Then you pay {amount}."
        case Status.ACTIVE if row.end_date is None:
            return "Yours for as long as you like. No payment needed."
        case Status.ACTIVE if ends:
            return f"You have access until {end}. It will not renew."
        case Status.ACTIVE if row.end_date is not None and row.end_date <= now:
            return "Your renewal is under way."
        case Status.ACTIVE if upcoming is None:
            return f"You have access until {end}. Nothing is charged after that."
        case Status.ACTIVE:
            return f"Renews on {end} for {amount}."
        case Status.PAST_DUE:
            until = row.grace_until
            if until is None or until <= now:
                return f"We could not collect {amount}. Pay now to get your access back."
            return f"We could not collect {amount}. You keep access until {wording.day(until, tz).text}."
        case Status.SUSPENDED:
            return f"Your access is on hold because {amount} could not be collected. Pay now to get it back."
        case Status.PAUSED:
            back = f" It resumes on {wording.day(row.resumes_at, tz).text}." if row.resumes_at else ""
            return f"Your subscription is paused.{back}"
        case Status.CANCELLED | Status.EXPIRED:
            return f"Your subscription ended on {end}." if end else "Your subscription has ended."


def _facts(row: Subscription, ends: bool, tz: str, now: datetime) -> list[Fact]:
    facts = []
    until = row.end_date if row.status == Status.ACTIVE else access_until(row)
    if until is not None and until > now:
        facts.append(_fact("Access until", until, tz))
    if row.end_date is not None and row.status in RUNNING and not ends:
        facts.append(_fact("First payment" if row.status == Status.TRIAL else "Next renewal", row.end_date, tz))
    if row.status != Status.PENDING:
        facts.append(_fact("Started", row.start_date, tz))
    if row.payment_method is not None:
        facts.append(Fact("Pays with", wording.method(row.payment_method)))
    elif row.provider:
        facts.append(Fact("Pays with", wording.provider(row.provider)))
    return facts


def _fact(term: str, moment: datetime, tz: str) -> Fact:
    told = wording.minute(moment, tz)
    return Fact(term, told.text, told.iso)


def _checkout(row: Subscription, now: datetime) -> str:
    """The open page of the subscription's first payment."""
    return _page(row, Checkout.Purpose.SUBSCRIBE, now) if row.status == Status.PENDING else ""


def _move_note(row: Subscription, tz: str) -> str:
    """What paying the link to another provider comes to, where there is one."""
    pages: list[Checkout] = getattr(row, "open_checkouts", [])  # prefetched
    link = next((page for page in pages if page.purpose == Checkout.Purpose.MOVE), None)
    if link is None or row.end_date is None:
        return ""
    amount, end = wording.money(link.amount, link.currency), wording.day(row.end_date, tz).text
    return (
        f"Our payments move to {wording.provider(link.provider)}. Pay your next period there by {end} ({amount}); it begins"
        f" when the present one ends. If {wording.provider(row.provider or '')} should charge it too, that goes back to you."
    )


def _page(row: Subscription, purpose: str, now: datetime) -> str:
    pages: list[Checkout] = getattr(row, "open_checkouts", [])  # prefetched
    return next((page.url for page in pages if page.purpose == purpose and page.url and now < page.expires_at), "")


def _cancelling(row: Subscription, tz: str) -> tuple[str, str]:
    """The label of the button and what pressing it does."""
    match Status(row.status):
        case Status.PENDING:
            return "Discard this order", "The order is closed. Nothing was charged, and nothing will be."
        case Status.TRIAL | Status.ACTIVE if row.cancelled_at is not None:
            return "", ""
        case Status.TRIAL | Status.ACTIVE if row.end_date is not None:
            end = wording.day(row.end_date, tz).text
            keeps = f"You keep access until {end} and pay nothing more. You can change your mind until then."
            return "Cancel subscription", keeps
        case Status.TRIAL | Status.ACTIVE:
            return "Cancel subscription", "Your access ends at once."
        case Status.PAST_DUE | Status.SUSPENDED | Status.PAUSED:
            return "Cancel subscription", "Your subscription ends at once, and what is due is no longer owed."
        case _:
            return "", ""
