"""Changing the plan: previewed, asked for, paid for. What happens is the quote, to the cent."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import transaction

from payflow.core import audit, outbox
from payflow.core.errors import InvalidTransition, ValidationFailed
from payflow.core.ids import uuid7
from payflow.core.money import Money
from payments import settlement
from payments.credits import Purses, grant_write
from payments.errors import PaymentInProgress
from payments.invoices import Claim, claims_draft, claims_issue, invoices_settle
from payments.models import CreditSource, Invoice, PaymentTransaction
from payments.services.charges import charge_intend, charge_resolve, charge_send, raise_unless_paid
from payments.settlement import Settled
from plans.models import Plan
from providers import registry
from subscriptions.billing import claims_of, current_period
from subscriptions.change_quotes import ChangeQuote, Effective, change_quote
from subscriptions.locks import subscription_lock
from subscriptions.models import Checkout, Subscription, SubscriptionChange
from subscriptions.services.changes import change_apply, change_cancel, change_fact, change_take_back, open_change
from subscriptions.services.checkouts import checkout_open
from subscriptions.services.move_closing import move_offer_close
from subscriptions.services.provider_managed import provider_asked_for

#: How long a preview's moment may be used: what was shown is what happens.
QUOTE_LIFETIME = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Preview:
    """A quote and the invoice that it would make (not written); None where nothing is charged now."""

    quote: ChangeQuote
    claim: Claim | None
    purses: Purses | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """`checkout` is set where the change waits for its payment; `change` is None where a planned one was taken back."""

    subscription: Subscription
    change: SubscriptionChange | None
    checkout: Checkout | None


@dataclass(frozen=True, slots=True)
class _Begun:
    """What a request has come to so far; `change` is None where it took a planned one back."""

    change: SubscriptionChange | None
    charge: PaymentTransaction | None = None
    checkout: Checkout | None = None


def plan_change_preview(
    *, subscription_id: uuid.UUID, plan: Plan, when: str | None, currency: str | None, now: datetime
) -> Preview:
    """What `plan_change` with `quoted_at` of this preview will do, to the cent. Changes nothing. Raises as it does."""
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        _refuse_while_charging(subscription)
        if (planned := open_change(subscription)) is not None:
            change_cancel(planned, at=now)  # as the change itself will: it gives its credit back
        move_offer_close(subscription, reason="its plan changes", at=now)
        preview = _preview(subscription, plan, when=when, currency=currency, at=now)
        transaction.set_rollback(True)
        return preview


def plan_change(
    *,
    subscription_id: uuid.UUID,
    plan: Plan,
    when: str | None,
    currency: str | None,
    quoted_at: datetime | None,
    total: Decimal | None,
    actor: str,
    now: datetime,
    next_amount: Decimal | None = None,
    request_id: uuid.UUID | None = None,
) -> Changed:
    """Changes the plan now, where it costs more; at the end of the period, where it costs less; `when` decides otherwise.

    `quoted_at` is the moment of a preview, and comes with its `total`. What the caller expects, that and `next_amount`, is
    refused where it is another. The present plan, while another is planned, takes that back. The same `request_id` again is
    the same change. Raises as `change_quote`; ValidationFailed (an old preview, another price), PaymentInProgress,
    PaymentDeclined (nothing has changed), ProviderUnavailable (the payment is asked about, and the change happens if it was
    made), InvalidTransition (the same request's change was given up meanwhile).
    """
    if quoted_at is not None and total is None:
        raise ValidationFailed.field(
            "total", "What the preview of quoted_at had shown: without it the price may be another"
        )
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        before = _begun_before(subscription, request_id) if request_id else None
        begun = before
        if begun is None:
            _refuse_while_charging(subscription)
            planned = open_change(subscription)
            if planned is not None and _is_taken_back(planned, plan):
                planned.quote["taken_back_by"] = str(request_id) if request_id else None
                change_take_back(planned, at=now)
                present = Money(subscription.amount, subscription.currency)
                provider_asked_for(subscription, subscription.plan, present, actor=actor, at=now)
                _audit("subscription.change_cancel", subscription, actor, {"plan": planned.plan.code})
                return Changed(subscription, None, None)
            if planned is not None:
                change_cancel(planned, at=now)  # first: it gives its credit back
            move_offer_close(subscription, reason="its plan changes", at=now)
            at = _moment(subscription, quoted_at, now)
            preview = _preview(subscription, plan, when=when, currency=currency, at=at)
            _expect(preview, total=total, next_amount=next_amount)
            begun = _begin(subscription, preview, replaces=planned, request_id=request_id, actor=actor, now=now)
    change, checkout = begun.change, begun.checkout
    if begun.charge is not None:
        send = charge_send if before is None else charge_resolve
        charge = send(transaction_id=begun.charge.pk, at=now)
        raise_unless_paid(charge)
        if charge.invoice_id is None:
            raise InvalidTransition("The change was given up before its payment was known; the payment is kept apart")
    if checkout is not None:
        checkout = checkout_open(checkout_id=checkout.pk)
    return Changed(Subscription.objects.get(pk=subscription_id), _fresh(change) if change else None, checkout)


def _preview(
    subscription: Subscription, plan: Plan, *, when: str | None, currency: str | None, at: datetime
) -> Preview:
    quote = change_quote(subscription, plan, when=when, currency=currency, at=at)
    if quote.bill is None:
        return Preview(quote, None)
    [claim], purses = claims_of([quote.bill], at=at)
    if not claim.invoice.total:
        quote = replace(quote, effective=Effective.NOW)  # there is nothing to wait for
    return Preview(quote, claim, purses)


def _is_taken_back(planned: SubscriptionChange, plan: Plan) -> bool:
    """Asking for the present plan takes a change of plan back; what an operator planned for its price is no such change."""
    return plan.pk == planned.from_plan_id != planned.plan_id


def _moment(subscription: Subscription, quoted_at: datetime | None, now: datetime) -> datetime:
    """The moment from which the change holds: that of the preview, while it may be used."""
    if quoted_at is None:
        return now
    running = current_period(subscription, now)  # not a period before it: what a change has ended meanwhile stays ended
    start = running.start if running else subscription.start_date
    if not max(now - QUOTE_LIFETIME, start) <= quoted_at <= now:
        raise ValidationFailed.field("quoted_at", "This preview is too old; ask for another")
    return quoted_at


def _expect(preview: Preview, *, total: Decimal | None, next_amount: Decimal | None) -> None:
    due = preview.claim.invoice.total if preview.claim else Decimal(0)
    figures = {"total": (total, due), "next_amount": (next_amount, preview.quote.price.amount)}
    details = {
        name: [f"It is {actual} now"]
        for name, (expected, actual) in figures.items()
        if expected is not None and expected != actual
    }
    if details:
        raise ValidationFailed("The price is another now; ask for another preview", details=details)


def _begun_before(subscription: Subscription, request_id: uuid.UUID) -> _Begun | None:
    """What the same request had come to when its process died, if it was here at all.

    Raises InvalidTransition where the change was given up since.
    """
    changes = subscription.changes.order_by("-pk")
    charge = PaymentTransaction.objects.filter(idempotency_key=_charge_key(subscription, request_id)).first()
    if charge is not None:
        return _Begun(changes.filter(invoice=charge.invoice_id).first() if charge.invoice_id else None, charge)
    change = changes.filter(quote__request=str(request_id)).first()
    if change is None:
        return _Begun(None) if changes.filter(quote__taken_back_by=str(request_id)).exists() else None
    if change.status == SubscriptionChange.Status.CANCELLED:
        raise InvalidTransition("The change was given up meanwhile")
    waits = change.invoice_id is not None and change.status == SubscriptionChange.Status.OPEN
    return _Begun(change, checkout=subscription.checkouts.get(invoice=change.invoice_id) if waits else None)


def _charge_key(subscription: Subscription, request_id: uuid.UUID) -> str:
    return f"charge_{request_id}_{subscription.pk}"


def _refuse_while_charging(subscription: Subscription) -> None:
    pending = PaymentTransaction.objects.filter(
        subscription=subscription,
        type=PaymentTransaction.Type.CHARGE,
        status=PaymentTransaction.Status.PENDING,
    )
    if pending.exists():
        raise PaymentInProgress("A payment of this subscription is under way")


def _begin(
    subscription: Subscription,
    preview: Preview,
    *,
    replaces: SubscriptionChange | None,
    request_id: uuid.UUID | None,
    actor: str,
    now: datetime,
) -> _Begun:
    """The change, and what must be paid for it first."""
    quote = preview.quote
    change = _write(subscription, preview, replaces=replaces, request_id=request_id, actor=actor, now=now)
    _audit("subscription.change_plan", subscription, actor, {"plan": quote.plan.code, "change": str(change.pk)})
    if preview.claim is None or preview.purses is None:
        if quote.effective == Effective.NOW:
            change_apply(subscription, change, at=now)
        else:
            provider_asked_for(subscription, quote.plan, quote.price, actor=actor, at=now)
            outbox.emit_all([change_fact("subscription.change_scheduled", change)], at=now)
        return _Begun(change)
    invoice, method = preview.claim.invoice, subscription.payment_method
    if quote.effective == Effective.ON_PAYMENT:
        preview.purses.close()
        claims_draft([preview.claim])
        return _Begun(change, checkout=_page(subscription, change, invoice, now))
    if quote.rest:
        grant_write(
            user_id=subscription.user_id,
            money=quote.rest,
            source=CreditSource.UNUSED_TIME,
            reason=f"Unused time of {subscription.plan.name}",
            key=f"change:{change.pk}",
            at=now,
            tax=quote.rest_tax,
            explanation=quote.explanation,
        )
    preview.purses.close()
    claims_issue([preview.claim], at=now)
    if invoice.total:
        assert method is not None, "what happens now is charged to a stored method"
        key = _charge_key(subscription, request_id) if request_id else None
        return _Begun(change, charge_intend(invoice=invoice, method=method, at=now, key=key))
    invoices_settle([invoice], at=now)
    settlement.paid([Settled(invoice, None)], at=now)
    return _Begun(change)


def _write(
    subscription: Subscription,
    preview: Preview,
    *,
    replaces: SubscriptionChange | None,
    request_id: uuid.UUID | None,
    actor: str,
    now: datetime,
) -> SubscriptionChange:
    quote, claim = preview.quote, preview.claim
    at_end = quote.effective == Effective.PERIOD_END
    effective = SubscriptionChange.Effective.PERIOD_END if at_end else SubscriptionChange.Effective.ON_PAYMENT
    return SubscriptionChange.objects.create(
        subscription=subscription,
        effective=effective,
        effective_at=quote.effective_at,
        from_plan_id=subscription.plan_id,
        plan=quote.plan,
        amount=quote.price.amount,
        currency=quote.price.currency,
        billing_cycle=quote.plan.billing_cycle,
        billing_interval=quote.plan.billing_interval,
        invoice_id=claim.invoice.pk if claim else None,
        actor=actor,
        created_at=now,
        quote={
            "at": quote.quoted_at.isoformat(),
            "period": [quote.period.start.isoformat(), quote.period.end.isoformat()] if quote.period else None,
            "new_anchor": quote.new_anchor,
            "total": str(claim.invoice.total) if claim else "0",
            "credit_granted": str(quote.rest.amount),
            "replaces": str(replaces.pk) if replaces else None,
            "request": str(request_id) if request_id else None,
        },
    )


def _page(subscription: Subscription, change: SubscriptionChange, invoice: Invoice, now: datetime) -> Checkout:
    """Where the change is paid; the provider is asked for the page after the commit."""
    name = subscription.provider
    if name is None or name not in registry.names() or not registry.get(name).capabilities.payment_link:
        raise InvalidTransition("There is no payment method to charge")
    return Checkout.objects.create(
        user_id=subscription.user_id,
        purpose=Checkout.Purpose.CHANGE,
        subscription=subscription,
        invoice=invoice,
        provider=name,
        order_ref=uuid7().hex,
        plan_id=change.plan_id,
        amount=invoice.total,
        currency=invoice.currency,
        success_url=settings.SUCCESS_URL,
        cancel_url=settings.CANCEL_URL,
        expires_at=now + settings.CHECKOUT_LIFETIME,
    )


def _fresh(change: SubscriptionChange) -> SubscriptionChange:
    return SubscriptionChange.objects.select_related("plan", "from_plan", "invoice").get(pk=change.pk)


def _audit(action: str, subscription: Subscription, actor: str, data: dict[str, Any]) -> None:
    audit.record(actor=actor, action=action, subject_type="subscription", subject_id=subscription.pk, data=data)
