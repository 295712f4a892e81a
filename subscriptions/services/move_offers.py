"""The sweep of moves: links are prepared, opened at the new provider, sent, renewed and closed.

A link is an intent first: a draft of the next invoice and a checkout, committed together; then the page is asked for under
the checkout's own key; then the subscriber is told. Whoever dies between two of these is followed by the next sweep, and two
sweeps at once find each other's rows.
"""

from __future__ import annotations

import copy
import logging
import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, Min, OuterRef, Q

from payflow.core import clock, outbox
from payflow.core.errors import ProviderUnavailable, UnsupportedCurrency
from payflow.core.ids import uuid7
from payflow.core.locks import claim_rows
from payments.invoices import claims_draft
from payments.models import Invoice
from subscriptions.billing import claims_of, cycle_bill
from subscriptions.locks import subscription_lock
from subscriptions.models import (
    Checkout,
    ProviderMove,
    ProviderMoveMember,
    Status,
    Subscription,
    SubscriptionChange,
)
from subscriptions.services.checkouts import checkout_open
from subscriptions.services.move_closing import member_close
from subscriptions.services.move_rules import OPEN, awaiting_offer, misfit, obstacle
from subscriptions.state import unpaid_period

Member = ProviderMoveMember.Status
#: While one worker asks for a page the others leave it alone for this long (real time): longer than any client waits.
LEASE = timedelta(minutes=2)
#: After a failure, so long until the page is asked for again.
TRY_AGAIN = timedelta(minutes=10)
#: Providers keep a page open for a day (2Checkout, Stripe, the sandbox); so long after it was made there is a fresh one.
PAGE_LASTS = timedelta(hours=20)
NO_PAGE = "the new provider made no page"

log = logging.getLogger(__name__)


def provider_moves_sweep(*, now: datetime, wall: datetime) -> int:
    """One batch each of links to close, links to prepare and pages to ask for. Returns how many it took."""
    return _close_stale(now) + _prepare_due(now, wall) + _open_pages(now, wall)


def provider_moves_due(after: datetime) -> datetime | None:
    """The earliest business moment later than `after` at which a link is to be sent, or is good no more."""
    moments = [
        Checkout.objects.filter(
            purpose=Checkout.Purpose.MOVE,
            status__in=[Checkout.Status.OPEN, Checkout.Status.UNKNOWN],
            expires_at__gt=after,
        ).aggregate(at=Min("expires_at"))["at"]
    ]
    for move in ProviderMove.objects.filter(status=ProviderMove.Status.ACTIVE):
        waiting = awaiting_offer(move, now=after).filter(offer_at__gt=after)
        moments.append(waiting.order_by("offer_at").values_list("offer_at", flat=True).first())
    return min((moment for moment in moments if moment is not None), default=None)


# --- closing ---------------------------------------------------------------------------------------------------------


def _close_stale(now: datetime) -> int:
    """Closes links whose period has begun, or whose subscription is not what it was."""
    subscription = {
        f"subscription__{name}": value
        for name, value in {
            "status": Status.ACTIVE,
            "cancelled_at": None,
            "disputed_at": None,
            "auto_renew": True,
        }.items()
    }
    as_it_was = Q(**subscription) & Q(
        subscription__end_date=F("period_start"),
        subscription__amount=F("price"),
        subscription__plan=F("checkout__plan"),
        subscription__provider=F("move__from_provider"),
        checkout__status__in=[Checkout.Status.OPEN, Checkout.Status.UNKNOWN],
        period_start__gt=now,
    )
    changes = SubscriptionChange.objects.filter(
        subscription=OuterRef("subscription"), status=SubscriptionChange.Status.OPEN
    )
    stale = ProviderMoveMember.objects.filter(status__in=OPEN).filter(
        ~as_it_was | Q(move__status=ProviderMove.Status.ENDED) | Exists(changes)
    )
    closed = 0
    for member_id, subscription_id in stale.values_list("pk", "subscription_id")[: settings.SWEEP_BATCH]:
        try:
            closed += _close(member_id, subscription_id, now)
        except Exception:
            log.exception("the link of member %s cannot be closed", member_id)
    return closed


def _close(member_id: uuid.UUID, subscription_id: uuid.UUID, now: datetime) -> bool:
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        member = _open_member(member_id)
        if member is None:
            return False
        reason = misfit(subscription, member, now=now)
        if reason is not None:
            member_close(member, reason=reason, at=now)
        return reason is not None


# --- preparing -------------------------------------------------------------------------------------------------------


def _prepare_due(now: datetime, wall: datetime) -> int:
    taken = 0
    for move in ProviderMove.objects.filter(status=ProviderMove.Status.ACTIVE).order_by("pk"):
        due = awaiting_offer(move, now=now).filter(
            offer_at__lte=now, end_date__lte=now + timedelta(days=move.days_before)
        )
        for key in due.order_by("end_date").values_list("pk", flat=True)[: settings.SWEEP_BATCH]:
            try:
                taken += _prepare(move, key, now, wall)
            except Exception:
                log.exception("subscription %s cannot be invited", key)
    return taken


def _prepare(move: ProviderMove, subscription_id: uuid.UUID, now: datetime, wall: datetime) -> bool:
    """The draft of the next invoice and its checkout, or why there is none. False where another sweep was first."""
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        member = ProviderMoveMember.objects.filter(move=move, subscription=subscription).first()
        end = subscription.end_date
        if end is None or (member is not None and (member.status in OPEN or member.period_start == end)):
            return False
        member = member or ProviderMoveMember(move=move, subscription=subscription, created_at=now)
        member.period_start, member.price, member.currency = end, subscription.amount, subscription.currency
        reason = obstacle(subscription, move, now=now)
        if reason is None:
            invoice = _draft(subscription, move, now)
            reason = None if invoice else "credit pays its next period"
            member.checkout = _page(subscription, move, invoice, now) if invoice else None
        member.status = Member.LEFT if reason else Member.PREPARING
        member.reason, member.next_attempt_at = reason or "", None if reason else wall
        member.save()
    return True


def _draft(subscription: Subscription, move: ProviderMove, now: datetime) -> Invoice | None:
    """The next period's invoice as the new provider sells it: its tax, its credit. None where nothing is left to pay."""
    there = copy.copy(subscription)  # not to be saved: it moves when it is paid
    there.provider, there.provider_sub_id = move.to_provider, None
    [claim], purses = claims_of([cycle_bill(there, unpaid_period(there), Invoice.Reason.CYCLE)], at=now)
    if not claim.invoice.total:
        return None
    purses.close()
    claims_draft([claim])
    return claim.invoice


def _page(subscription: Subscription, move: ProviderMove, invoice: Invoice, now: datetime) -> Checkout:
    assert subscription.end_date is not None
    return Checkout.objects.create(
        user_id=subscription.user_id,
        purpose=Checkout.Purpose.MOVE,
        subscription=subscription,
        invoice=invoice,
        provider=move.to_provider,
        order_ref=uuid7().hex,
        plan_id=subscription.plan_id,
        amount=invoice.total,
        currency=invoice.currency,
        success_url=settings.SUCCESS_URL,
        cancel_url=settings.CANCEL_URL,
        expires_at=subscription.end_date,
        created_at=now,
    )


# --- opening ---------------------------------------------------------------------------------------------------------


def _open_pages(now: datetime, wall: datetime) -> int:
    """Asks for the pages that are missing, and for fresh ones where a provider has closed its own by now."""
    with transaction.atomic():
        waiting = ProviderMoveMember.objects.filter(status__in=OPEN, next_attempt_at__lte=wall)
        claimed = claim_rows(waiting.order_by("next_attempt_at"), limit=settings.SWEEP_BATCH)
        ProviderMoveMember.objects.filter(pk__in=[row.pk for row in claimed]).update(next_attempt_at=wall + LEASE)
    for row in claimed:
        if clock.wall() >= wall + LEASE:
            break  # by now the rest may be another worker's
        try:
            _open(row, now)
        except Exception:
            log.exception("the page of member %s cannot be opened", row.pk)
    return len(claimed)


def _open(row: ProviderMoveMember, now: datetime) -> None:
    checkout_id = _page_to_open(row, now)
    if checkout_id is None:
        return
    try:
        checkout_open(checkout_id=checkout_id)
    except UnsupportedCurrency:
        _without_page(row, "the new provider refuses the currency", now, for_good=True)
    except ProviderUnavailable:
        _without_page(row, NO_PAGE, now, for_good=False)
    else:
        _invite(row, now)


def _page_to_open(row: ProviderMoveMember, now: datetime) -> uuid.UUID | None:
    """The member's checkout; a new one of the same invoice where its page has been open for long. None where it is over."""
    with transaction.atomic():
        subscription = subscription_lock(row.subscription_id)
        member = _open_member(row.pk)
        if member is None or misfit(subscription, member, now=now) is not None:
            return None
        checkout = member.checkout
        assert checkout is not None and checkout.invoice is not None
        if member.status == Member.INVITED and checkout.url:
            checkout.status = Checkout.Status.SUPERSEDED  # first: a subscription has one open link
            checkout.save()
            member.checkout = _page(subscription, member.move, checkout.invoice, now)
            member.save()
        assert member.checkout is not None
        return member.checkout.pk


def _invite(row: ProviderMoveMember, now: datetime) -> None:
    """The page is there: its reader is told, once for each period."""
    with transaction.atomic():
        subscription_lock(row.subscription_id)
        member = _open_member(row.pk)
        if member is None:
            return  # paid or closed while the page was made
        told = member.status == Member.INVITED
        member.status, member.reason = Member.INVITED, ""
        member.next_attempt_at = clock.wall() + PAGE_LASTS
        member.save()
        if not told:
            outbox.emit(
                type="subscription.move_offered",
                subject_type="subscription",
                subject_id=row.subscription_id,
                payload={
                    "member": str(member.pk),
                    "from_provider": member.move.from_provider,
                    "to_provider": member.move.to_provider,
                    "pay_by": member.period_start.isoformat(),
                },
                at=now,
            )


def _without_page(row: ProviderMoveMember, reason: str, now: datetime, *, for_good: bool) -> None:
    with transaction.atomic():
        subscription_lock(row.subscription_id)
        member = _open_member(row.pk)
        if member is None:
            return
        member.reason, member.next_attempt_at = reason, clock.wall() + TRY_AGAIN
        member.save()
        if for_good:
            member_close(member, reason=reason, at=now)


def _open_member(member_id: uuid.UUID) -> ProviderMoveMember | None:
    rows = ProviderMoveMember.objects.filter(pk=member_id, status__in=OPEN)
    return rows.select_related("move", "checkout__invoice").first()
