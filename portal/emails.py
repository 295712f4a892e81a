"""E-mails about subscriptions and money: an outbox handler, at least once per event, one mail for each thing that happened.

What is told is read when the mail is written. A failure of the mail server is raised: the outbox tries again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.urls import reverse

from accounts.models import User
from payflow.core import clock
from payflow.core.errors import DomainError
from payflow.core.registry import Occurrence
from payments.models import Invoice, PaymentTransaction
from payments.selectors import can_be_charged, tax_rate_of
from portal import wording
from portal.cards import ends_with_its_time
from subscriptions.billing import open_invoice
from subscriptions.models import Checkout, ProviderMoveMember, Status, Subscription, SubscriptionChange
from subscriptions.services.checkouts import checkout_open
from subscriptions.state import is_sold_by_provider

#: Other events tell the same, or the subscriber did nothing and lost nothing.
TOLD_ELSEWHERE = {
    # subscription.renewed; of a dispute the subscriber hears from his bank, and he owes nothing
    "subscription.active": frozenset({"renewed", "recovered", "resumed", "dispute_won", "dispute_lost"}),
    "subscription.suspended": frozenset({"disputed"}),
    "subscription.cancelled": frozenset({"refunded", "superseded"}),  # payment.refunded
    "subscription.expired": frozenset({"replaced", "checkout_expired"}),
}

Letter = tuple[User, str, dict[str, Any]]


def mail_send(occurrence: Occurrence) -> None:
    """Sends the mail of an event, if it has one and its reader can receive it. Raises what the mail server raises."""
    letter = _LETTERS[occurrence.type](occurrence)
    if letter is None:
        return
    user, template, context = letter
    if not is_reachable(user):
        return
    frame = {"name": user.name, "account_url": _address("portal:account"), "plans_url": _address("portal:pricing")}
    subject, _, body = render_to_string(f"emails/{template}.txt", {**frame, **context}).strip().partition("\n")
    EmailMessage(
        subject=" ".join(subject.removeprefix("Subject:").split()),
        # Template tags leave blank lines behind; a paragraph needs one.
        body=re.sub(r"\n{3,}", "\n\n", body.strip()) + "\n",
        to=[user.email],
        headers={
            # The same event sent twice is one mail to every mailbox that looks.
            "Message-ID": f"<{occurrence.id}@{urlsplit(settings.PAYFLOW_BASE_URL).hostname or 'payflow'}>",
            "Auto-Submitted": "auto-generated",
        },
    ).send()


def is_reachable(user: User) -> bool:
    """False for closed accounts and for addresses that stand in for one (`@supabase.invalid`, RFC 2606)."""
    return user.is_active and bool(user.email) and not user.email.lower().endswith(".invalid")


def _started(occurrence: Occurrence) -> Letter | None:
    if _is_told_elsewhere(occurrence):
        return None
    return _about(occurrence, "started")


def _trial(occurrence: Occurrence) -> Letter | None:
    return _about(occurrence, "trial")


def _renewed(occurrence: Occurrence) -> Letter | None:
    invoice = Invoice.objects.filter(pk=occurrence.payload["invoice"]).first()
    amount = wording.money(invoice.total, invoice.currency) if invoice else ""
    return _about(occurrence, "renewed", paid=amount, invoice=invoice.number if invoice else "")


def _past_due(occurrence: Occurrence) -> Letter | None:
    return _unpaid(occurrence, Status.PAST_DUE, "past_due")


def _suspended(occurrence: Occurrence) -> Letter | None:
    if _is_told_elsewhere(occurrence):
        return None
    return _unpaid(occurrence, Status.SUSPENDED, "suspended")


def _ended(occurrence: Occurrence) -> Letter | None:
    if _is_told_elsewhere(occurrence) or occurrence.payload.get("from") == Status.PENDING:
        return None
    return _about(occurrence, "ended", unpaid=occurrence.payload.get("reason") == "unpaid")


def _trial_ending(occurrence: Occurrence) -> Letter | None:
    return _about(occurrence, "trial_ending") if _subscription(occurrence).status == Status.TRIAL else None


def _paused(occurrence: Occurrence) -> Letter | None:
    row = _subscription(occurrence)
    resumes = wording.day(row.resumes_at, row.user.timezone).text if row.resumes_at else ""
    return _about(occurrence, "paused", resumes=resumes)


def _cancel_scheduled(occurrence: Occurrence) -> Letter | None:
    return _about(occurrence, "cancel_scheduled")


def _changed(occurrence: Occurrence) -> Letter | None:
    return _about_change(occurrence, "plan_changed")


def _change_scheduled(occurrence: Occurrence) -> Letter | None:
    return _about_change(occurrence, "change_scheduled")


def _move_offered(occurrence: Occurrence) -> Letter | None:
    """While the link is still good: who has paid, or can't any more, is not asked."""
    member = ProviderMoveMember.objects.select_related("checkout", "subscription__user").get(
        pk=occurrence.payload["member"]
    )
    link = member.checkout
    good = member.status == ProviderMoveMember.Status.INVITED
    if not good or link is None or member.period_start.isoformat() != occurrence.payload["pay_by"]:
        return None
    return _about(
        occurrence,
        "move_offered",
        due=wording.money(link.amount, link.currency),
        pay_url=link.url or _address("portal:account"),
        pay_by=wording.minute(member.period_start, member.subscription.user.timezone).text,
        from_provider=wording.provider(occurrence.payload["from_provider"]),
        to_provider=wording.provider(occurrence.payload["to_provider"]),
    )


def _usage_invoiced(occurrence: Occurrence) -> Letter | None:
    """Asks for money only while it is still owed."""
    invoice = Invoice.objects.prefetch_related("lines").get(pk=occurrence.payload["invoice"])
    if invoice.status not in (Invoice.Status.OPEN, Invoice.Status.PAID):
        return None
    method = _subscription(occurrence).payment_method
    return _about(
        occurrence,
        "usage_invoiced",
        invoice=invoice.number,
        lines=wording.lines(list(invoice.lines.all())),
        total=wording.money(invoice.total, invoice.currency),
        is_paid=invoice.status == Invoice.Status.PAID,
        method=wording.method(method) if method is not None and can_be_charged(method) else "",
    )


def _usage_unpaid(occurrence: Occurrence) -> Letter | None:
    invoice = Invoice.objects.get(pk=occurrence.payload["invoice"])
    if invoice.status != Invoice.Status.OPEN:
        return None
    total = wording.money(invoice.total, invoice.currency)
    return _about(occurrence, "usage_unpaid", invoice=invoice.number, total=total)


def _about_change(occurrence: Occurrence, template: str) -> Letter | None:
    change = SubscriptionChange.objects.select_related("plan", "from_plan", "subscription__user").get(
        pk=occurrence.payload["change"]
    )
    if change.status == SubscriptionChange.Status.CANCELLED:
        return None
    price = _price(change.subscription, change)
    return _about(
        occurrence,
        template,
        from_plan=change.from_plan.name,
        to_plan=change.plan.name,
        new_price=price if change.amount else "",
        on=wording.day(change.effective_at, change.subscription.user.timezone).text,
        same_plan=change.plan_id == change.from_plan_id,
    )


def _refunded(occurrence: Occurrence) -> Letter | None:
    charge = PaymentTransaction.objects.select_related("user", "subscription__plan").get(pk=occurrence.subject_id)
    ended = charge.subscription is not None and charge.subscription.status == Status.CANCELLED
    context = {
        "amount": wording.money(Decimal(occurrence.payload["amount"]), occurrence.payload["currency"]),
        "plan": charge.subscription.plan.name if charge.subscription else "",
        "ended": ended and charge.status == PaymentTransaction.Status.REFUNDED,
    }
    return charge.user, "refunded", context


_LETTERS: dict[str, Callable[[Occurrence], Letter | None]] = {
    "subscription.active": _started,
    "subscription.trial": _trial,
    "subscription.renewed": _renewed,
    "subscription.past_due": _past_due,
    "subscription.suspended": _suspended,
    "subscription.cancelled": _ended,
    "subscription.expired": _ended,
    "subscription.trial_ending": _trial_ending,
    "subscription.paused": _paused,
    "subscription.cancel_scheduled": _cancel_scheduled,
    "subscription.plan_changed": _changed,
    "subscription.change_scheduled": _change_scheduled,
    "subscription.move_offered": _move_offered,
    "subscription.usage_invoiced": _usage_invoiced,
    "subscription.usage_unpaid": _usage_unpaid,
    "payment.refunded": _refunded,
}
TYPES = frozenset(_LETTERS)


def _is_told_elsewhere(occurrence: Occurrence) -> bool:
    return occurrence.payload.get("reason") in TOLD_ELSEWHERE.get(occurrence.type, ())


def _unpaid(occurrence: Occurrence, status: Status, template: str) -> Letter | None:
    """Asks for money only while it is still owed."""
    subscription = _subscription(occurrence)
    if subscription.status != status:
        return None
    more = {"pay_url": _payment_page(subscription) or _address("portal:account")}
    if (invoice := open_invoice(subscription)) is not None:
        more["amount"] = wording.money(invoice.total, invoice.currency)
    return _about(occurrence, template, **more)


def _about(occurrence: Occurrence, template: str, **more: Any) -> Letter:
    row = _subscription(occurrence)
    tz = row.user.timezone
    context = {
        "plan": row.plan.name,
        "is_free": row.is_free,
        "price": _price(row, row),
        "amount": wording.money(row.amount, row.currency),
        "end": wording.day(row.end_date, tz).text if row.end_date else "",
        "grace": wording.day(row.grace_until, tz).text if row.grace_until else "",
        "renews": not row.is_free and not ends_with_its_time(row),
    }
    return row.user, template, {**context, **more}


def _price(subscription: Subscription, of: Subscription | SubscriptionChange) -> str:
    """`$6.99 per month`, and the tax that comes on top; tax that the price contains needs no word."""
    price = f"{wording.money(of.amount, of.currency)} {wording.cycle(of.billing_cycle, of.billing_interval)}"
    rate = None if is_sold_by_provider(subscription) else tax_rate_of(subscription.user.country)
    return f"{price} plus {wording.tax(rate)}" if rate and not rate.inclusive else price


def _payment_page(subscription: Subscription) -> str:
    """The open page of what is due; empty where there is none or the provider does not answer.

    The mail may be quicker than the errand that opens the page at the provider: then it is opened here, under the same
    key.
    """
    page = (
        Checkout.objects.filter(
            subscription=subscription,
            purpose=Checkout.Purpose.INVOICE,
            status__in=[Checkout.Status.OPEN, Checkout.Status.UNKNOWN],
            expires_at__gt=clock.now(),
        )
        .order_by("-created_at")
        .first()
    )
    if page is None:
        return ""
    try:
        return page.url or checkout_open(checkout_id=page.pk).url
    except DomainError:
        return ""


def _subscription(occurrence: Occurrence) -> Subscription:
    return Subscription.objects.select_related("user", "plan").get(pk=occurrence.subject_id)


def _address(name: str) -> str:
    return f"{settings.PAYFLOW_BASE_URL}{reverse(name)}"
