"""Money that moved: PaymentIntents of ours, invoices of Stripe Billing, refunds, disputes.

The money keys: a payment is its PaymentIntent (payments mode) or its invoice (billing mode), a refund and a dispute are
themselves. What moves back names the PaymentIntent; in billing mode `confirm` puts the invoice in its place.
"""

from __future__ import annotations

import logging

from providers.base import EventType, MalformedError, ProviderEvent
from providers.stripe.money import of_minor
from providers.stripe.notice import Notice
from providers.stripe.wire import (
    Object,
    Refs,
    amount_and_currency,
    id_of,
    items_of,
    line_of,
    optional_moment,
    price_of,
    refs_of,
    refs_of_invoice,
    required_id,
    section,
    stored_method,
    subscription_of_invoice,
)
from providers.wire.fields import currency_of, usable_text

#: Codes after which asking the same card again is pointless. Source: Stripe's "hard declines"; the rest may be retried.
HARD_DECLINES = frozenset(
    "fraudulent highest_risk_level incorrect_number invalid_account lost_card merchant_blacklist pickup_card "
    "revocation_of_all_authorizations revocation_of_authorization stolen_card transaction_not_allowed".split()
)
DISPUTE_ENDS = {
    "won": EventType.PAYMENT_DISPUTE_WON,
    "warning_closed": EventType.PAYMENT_DISPUTE_WON,
    "lost": EventType.PAYMENT_DISPUTE_LOST,
}

log = logging.getLogger(__name__)


def decline_code(error: Object) -> str:
    """The issuer's word where there is one, else Stripe's."""
    return usable_text(error.get("decline_code"), 100) or usable_text(error.get("code"), 100) or "declined"


# --- PaymentIntents --------------------------------------------------------------------------------------------------


def payment_succeeded(notice: Notice) -> list[ProviderEvent]:
    """Only what we have made: other PaymentIntents are invoices', told by invoice.paid, or of somebody else's shop."""
    intent, refs = notice.object, _refs_of_intent(notice)
    if refs is None:
        return []
    amount, currency = amount_and_currency(intent, "amount_received", "amount")
    return [
        notice.event(
            EventType.PAYMENT_SUCCEEDED,
            refs,
            provider_payment_id=required_id(intent, "id"),
            amount=amount,
            currency=currency,
            method=_kept_method(intent),
        )
    ]


def payment_failed(notice: Notice) -> list[ProviderEvent]:
    intent, refs = notice.object, _refs_of_intent(notice)
    if refs is None:
        return []
    amount, currency = amount_and_currency(intent, "amount")
    code = decline_code(section(intent, "last_payment_error"))
    return [
        notice.event(
            EventType.PAYMENT_FAILED,
            refs,
            provider_payment_id=required_id(intent, "id"),
            amount=amount,
            currency=currency,
            reason=code,
            recoverable=code not in HARD_DECLINES,
        )
    ]


def _refs_of_intent(notice: Notice) -> Refs | None:
    refs = refs_of(notice.object.get("metadata"))
    if refs.is_ours and notice.object.get("invoice") is None:
        return refs
    log.info("stripe: a PaymentIntent that is not ours says nothing here")
    return None


def _kept_method(intent: Object) -> object:
    """The method of a payment that was told to keep it; its card where the event has the charge."""
    if intent.get("setup_future_usage") != "off_session":
        return None
    charge = section(intent, "latest_charge") or next(iter(items_of(intent.get("charges"))), {})
    return stored_method(
        intent.get("customer"), intent.get("payment_method"), section(charge, "payment_method_details")
    )


# --- invoices --------------------------------------------------------------------------------------------------------


def invoice_paid(notice: Notice) -> list[ProviderEvent]:
    """One payment per invoice, and what it did to the subscription. A free one (a trial's first) is no payment."""
    invoice, subscription = notice.object, subscription_of_invoice(notice.object)
    if subscription is None:
        log.info("stripe: an invoice of no subscription says nothing here")
        return []
    refs, line = refs_of_invoice(invoice), line_of(invoice)
    amount, currency = amount_and_currency(invoice, "amount_paid")
    common = {
        "provider_sub_id": subscription,
        "provider_plan_ref": price_of(line),
        "period_start": optional_moment(section(line, "period").get("start"), "period.start"),
        "period_end": optional_moment(section(line, "period").get("end"), "period.end"),
    }
    told = []
    if amount:
        told.append(
            notice.event(
                EventType.PAYMENT_SUCCEEDED,
                refs,
                provider_payment_id=required_id(invoice, "id"),
                amount=amount,
                currency=currency,
                **common,
            )
        )
    reason = invoice.get("billing_reason")
    if reason == "subscription_create" and amount:
        told.append(notice.event(EventType.SUBSCRIPTION_ACTIVATED, refs, **common))
    elif reason == "subscription_cycle":
        told.append(notice.event(EventType.SUBSCRIPTION_RENEWED, refs, **common))
    return told


def invoice_failed(notice: Notice) -> list[ProviderEvent]:
    """A charge of Stripe's that failed, waits for the payer, or was given up. Not the first one: grace begins."""
    invoice, subscription = notice.object, subscription_of_invoice(notice.object)
    if subscription is None:
        return []
    refs = refs_of_invoice(invoice)
    amount, currency = amount_and_currency(invoice, "amount_due")
    given_up = notice.type == "invoice.marked_uncollectible"
    failure = section(invoice, "charge")  # the whole charge in the shape of old, an id or nothing now
    told = [
        notice.event(
            EventType.PAYMENT_FAILED,
            refs,
            provider_sub_id=subscription,
            provider_payment_id=required_id(invoice, "id"),
            provider_plan_ref=price_of(line_of(invoice)),
            amount=amount,
            currency=currency,
            reason=_failure(notice, failure),
            recoverable=not given_up and failure.get("failure_code") not in HARD_DECLINES,
        )
    ]
    if not given_up and invoice.get("billing_reason") != "subscription_create":
        told.append(notice.event(EventType.SUBSCRIPTION_GRACE, refs, provider_sub_id=subscription))
    return told


def _failure(notice: Notice, charge: Object) -> str:
    if notice.type == "invoice.payment_action_required":
        return "requires_action"
    if notice.type == "invoice.marked_uncollectible":
        return "uncollectible"
    return usable_text(charge.get("failure_code"), 100) or "declined"


# --- refunds ---------------------------------------------------------------------------------------------------------


def refund(notice: Notice) -> list[ProviderEvent]:
    """A refund that is through, or that has come back. One that is under way says nothing yet."""
    status = notice.object.get("status")
    if notice.type == "refund.failed" or status in ("failed", "canceled"):
        return [refund_event(notice, notice.object, EventType.PAYMENT_REFUND_REVERSED)]
    if status == "succeeded":
        return [refund_event(notice, notice.object, EventType.PAYMENT_REFUNDED)]
    return []


def charge_refunded(notice: Notice) -> list[ProviderEvent]:
    """`amount_refunded` is the charge's sum. The shape of old lists its refunds; without them this is what was added,
    under a key of the charge's, and a hint: `confirm` reads the refunds themselves."""
    charge = notice.object
    if listed := items_of(charge.get("refunds")):
        found = [item for item in listed if item.get("status") in (None, "succeeded")]
        return [refund_event(notice, {"charge": charge, **item}, EventType.PAYMENT_REFUNDED) for item in found]
    currency = currency_of(charge.get("currency"))
    total = of_minor(charge.get("amount_refunded"), currency, "amount_refunded")
    before = of_minor(notice.previous.get("amount_refunded", 0), currency, "amount_refunded before")
    if total < before:
        raise MalformedError("amount_refunded has shrunk")
    if total == before:
        return []
    return [
        notice.event(
            EventType.PAYMENT_REFUNDED,
            Refs(),
            provider_payment_id=f"{required_id(charge, 'id')}:{charge['amount_refunded']}",
            parent_payment_id=id_of(charge.get("payment_intent")) or required_id(charge, "id"),
            amount=total - before,
            currency=currency,
        )
    ]


def refund_event(notice: Notice, refund: Object, type_: EventType) -> ProviderEvent:
    """A Refund as an event; its `charge` may be the whole charge, which knows the PaymentIntent of old refunds."""
    amount, currency = amount_and_currency(refund, "amount")
    return notice.event(
        type_,
        refs_of(refund.get("metadata")),
        provider_payment_id=required_id(refund, "id"),
        parent_payment_id=_reversed_payment(refund),
        amount=amount,
        currency=currency,
        reason=usable_text(refund.get("failure_reason")) or usable_text(refund.get("reason")),
    )


# --- disputes --------------------------------------------------------------------------------------------------------


def dispute(notice: Notice) -> list[ProviderEvent]:
    """By the dispute's own status; a closed inquiry (warning_closed) took no money, and so is won."""
    status = notice.object.get("status")
    if isinstance(status, str) and status in DISPUTE_ENDS:
        return [dispute_event(notice, DISPUTE_ENDS[status])]
    if notice.type in ("charge.dispute.created", "charge.dispute.funds_withdrawn"):
        return [dispute_event(notice, EventType.PAYMENT_DISPUTED)]
    log.warning("stripe: a dispute ended with a status that is not known; ignored")
    return []


def dispute_event(notice: Notice, type_: EventType) -> ProviderEvent:
    amount, currency = amount_and_currency(notice.object, "amount")
    return notice.event(
        type_,
        Refs(),
        provider_payment_id=required_id(notice.object, "id"),
        parent_payment_id=_reversed_payment(notice.object),
        amount=amount,
        currency=currency,
        reason=usable_text(notice.object.get("reason")),
    )


def _reversed_payment(reversal: Object) -> str:
    """The PaymentIntent; the charge where there never was one (the Charges API of old)."""
    return (
        id_of(reversal.get("payment_intent"))
        or id_of(section(reversal, "charge").get("payment_intent"))
        or required_id(reversal.get("charge"), "charge")
    )
