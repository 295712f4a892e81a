"""Links to another provider that are good no more. Under the subscription's lock, in the caller's transaction."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime

from payments.invoices import invoice_void
from payments.models import Invoice
from subscriptions.models import Checkout, MemberStatus, ProviderMoveMember, Subscription
from subscriptions.periods import Period

_OPEN = [MemberStatus.PREPARING, MemberStatus.INVITED]


def move_offer_close(subscription: Subscription, *, reason: str, at: datetime) -> None:
    """Closes the open link, if there is one: its draft is void, so that credit which it held is there for what follows."""
    rows = ProviderMoveMember.objects.filter(subscription=subscription, status__in=_OPEN)
    for member in rows.select_related("checkout__invoice"):
        member_close(member, reason=reason, at=at)


def offers_open(subscription_ids: Collection[uuid.UUID]) -> list[uuid.UUID]:
    """Which of the subscriptions have an open link."""
    rows = ProviderMoveMember.objects.filter(subscription__any=subscription_ids, status__in=_OPEN)
    return list(rows.values_list("subscription_id", flat=True))


def member_close(member: ProviderMoveMember, *, reason: str, at: datetime) -> None:
    """The subscription stays where it is, for this period; a link that could never be made has failed."""
    checkout = member.checkout
    assert checkout is not None and checkout.invoice is not None, "an open member has a page of an invoice"
    if checkout.status in (Checkout.Status.OPEN, Checkout.Status.UNKNOWN):
        checkout.status = Checkout.Status.EXPIRED
        checkout.save()
    if checkout.invoice.status == Invoice.Status.DRAFT:
        invoice_void(checkout.invoice, at=at)
    failed = member.status == MemberStatus.PREPARING and bool(member.reason)
    member.status = MemberStatus.FAILED if failed else MemberStatus.LEFT
    member.reason = member.reason if failed else reason[:200]
    member.next_attempt_at = None
    member.save()


def is_left_behind(subscription: Subscription, provider: str, period: Period) -> bool:
    """Did the subscription move away from `provider` before most of the period for which that reports money?"""
    if subscription.provider == provider:
        return False
    middle = period.start + (period.end - period.start) / 2
    return ProviderMoveMember.objects.filter(
        subscription=subscription,
        status=MemberStatus.MOVED,
        move__from_provider=provider,
        period_start__lte=middle,
    ).exists()
