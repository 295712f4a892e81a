"""A link to another provider is paid: the same subscription goes on there. Under its lock, with the money's transaction."""

from __future__ import annotations

from datetime import datetime

from payflow.core import audit, outbox
from payflow.core.money import Money
from payments.invoices import amount_due
from payments.models import Invoice
from payments.services.incoming import ReportedPayment, payment_apply
from subscriptions.billing import Source, period_record
from subscriptions.models import (
    Checkout,
    CommandKind,
    DriftResolution,
    ProviderDrift,
    ProviderLink,
    ProviderMoveMember,
    Subscription,
)
from subscriptions.periods import Period
from subscriptions.services.drifts import drift_resolve
from subscriptions.services.move_rules import OPEN, misfit
from subscriptions.services.provider_managed import provider_told
from subscriptions.state import SYSTEM, subscription_update


def move_settle(
    checkout: Checkout, subscription: Subscription, payment: ReportedPayment, *, now: datetime
) -> str | None:
    """Lets the payment of a link be the next period's, and moves the subscription; or says why it settles nothing.

    The period begins where the paid one ends, whenever before that it is paid. The old provider is told to renew no more
    where it can be told; what it charges all the same is unapplied.
    """
    rows = ProviderMoveMember.objects.filter(subscription=subscription, status__in=OPEN)
    member = rows.select_related("move", "checkout").filter(checkout__invoice=checkout.invoice_id).first()
    if member is None or member.checkout is None:
        return "its link was closed"
    if (reason := misfit(subscription, member, now=now)) is not None:
        return f"it cannot move: {reason}"
    invoice = checkout.invoice
    assert invoice is not None, "a link is an invoice's"
    if payment.money != amount_due(invoice) or payment.money != Money(checkout.amount, checkout.currency):
        return "not the amount of its link"
    _close_pages(member, checkout, now)
    # The old provider's deadline is the end of what it was paid for: before the subscription runs on.
    provider_told(subscription, CommandKind.CANCEL, actor=SYSTEM, at=now)
    _goes_on_at(subscription, checkout, payment)
    _record(subscription, member, invoice, now)
    payment_apply(payment=payment, invoice=invoice, at=now)
    return None


def _close_pages(member: ProviderMoveMember, paid: Checkout, now: datetime) -> None:
    """Of the pages that the same link has had, this one is paid and none is open."""
    if member.checkout is not None and member.checkout.pk != paid.pk:
        member.checkout.status = Checkout.Status.SUPERSEDED
        member.checkout.save()
    paid.status, paid.paid_at = Checkout.Status.PAID, now
    paid.save()
    member.status, member.moved_at, member.next_attempt_at = ProviderMoveMember.Status.MOVED, now, None
    member.checkout, member.reason = paid, ""
    member.save()


def _goes_on_at(subscription: Subscription, checkout: Checkout, payment: ReportedPayment) -> None:
    """From now on only the new provider is asked, and only its word counts: nothing that the old one kept is charged."""
    for drift in ProviderDrift.objects.filter(subscription=subscription, resolved_at=None):
        drift_resolve(drift, DriftResolution.OURS, actor="", at=checkout.paid_at or drift.seen_at)
    # Made when the page was opened, where the provider names what it sells before it is paid; its keys rise with time.
    links = ProviderLink.objects.filter(subscription=subscription, provider=checkout.provider, pk__gt=checkout.pk)
    link = links.order_by("-pk").first()
    subscription_update(
        subscription,
        provider=checkout.provider,
        provider_sub_id=link.provider_sub_id if link else None,
        payment_method=payment.method,
        provider_seen_at=None,
        provider_checked_at=None,
    )


def _record(subscription: Subscription, member: ProviderMoveMember, invoice: Invoice, now: datetime) -> None:
    assert invoice.period_start is not None and invoice.period_end is not None, "a link is a period's"
    period = Period(invoice.period_start, invoice.period_end)
    period_record(subscription, period, invoice=invoice, source=Source.CHECKOUT, at=now)
    told = {"from_provider": member.move.from_provider, "to_provider": member.move.to_provider}
    outbox.emit(
        type="subscription.moved",
        subject_type="subscription",
        subject_id=subscription.pk,
        payload={**told, "period_start": period.start.isoformat()},
        at=now,
    )
    audit.record(
        actor=SYSTEM,
        action="subscription.move_provider",
        subject_type="subscription",
        subject_id=subscription.pk,
        data={**told, "move": str(member.move_id)},
    )
