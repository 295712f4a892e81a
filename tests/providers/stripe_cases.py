"""What each documented type of Stripe's events tells, in either mode: the table of providers.md 5.2, spelt out."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from providers.base import EventType, StoredMethod
from tests.providers.stripe_support import (
    MONTH_END,
    NOW,
    SECONDS,
    charge,
    dispute,
    intent,
    invoice,
    refund,
    session,
    subscription,
)

E = EventType


REFS = {"order_ref": "order_1", "user_ref": "user_123", "plan_ref": "premium"}
MONEY = {"amount": Decimal("6.99"), "currency": "USD"}
PERIOD = {"period_start": NOW, "period_end": MONTH_END}
SUB = {"provider_sub_id": "sub_1", "provider_plan_ref": "price_1", **REFS}
PAID = {"type": E.PAYMENT_SUCCEEDED, "provider_payment_id": "in_1", **SUB, **MONEY, **PERIOD}
STATE = {**SUB, **PERIOD}
FAILED = {"type": E.PAYMENT_FAILED, "provider_payment_id": "in_1", **SUB, **MONEY}
GRACE = {"type": E.SUBSCRIPTION_GRACE, "provider_sub_id": "sub_1", **REFS}
PAST_DUE = {"type": E.SUBSCRIPTION_GRACE, **SUB, "period_start": NOW}
REFUNDED = {
    "type": E.PAYMENT_REFUNDED,
    "provider_payment_id": "re_1",
    "parent_payment_id": "pi_1",
    "amount": Decimal("2.00"),
    "currency": "USD",
    "reason": "requested_by_customer",
}
DISPUTED = {
    "type": E.PAYMENT_DISPUTED,
    "provider_payment_id": "dp_1",
    "parent_payment_id": "pi_1",
    "reason": "fraudulent",
    **MONEY,
}
INTENT = {"provider_payment_id": "pi_1", **REFS, **MONEY}
METHOD = StoredMethod("pm_1", "cus_1")

BILLING = [
    (
        "checkout.session.completed",
        session(mode="subscription", subscription="sub_1", invoice="in_1"),
        None,
        [{"type": E.SUBSCRIPTION_CREATED, "provider_sub_id": "sub_1", **REFS}],
    ),
    ("checkout.session.completed", session(), None, []),
    ("checkout.session.completed", session(mode="setup", setup_intent="seti_1"), None, []),
    (
        "checkout.session.async_payment_failed",
        session(mode="subscription", subscription="sub_1", invoice="in_1"),
        None,
        [
            {
                "type": E.PAYMENT_FAILED,
                "provider_sub_id": "sub_1",
                "provider_payment_id": "in_1",
                "reason": "async_payment_failed",
                **REFS,
            }
        ],
    ),
    (
        "customer.subscription.created",
        subscription(status="incomplete"),
        None,
        [{"type": E.SUBSCRIPTION_CREATED, **STATE}],
    ),
    (
        "customer.subscription.created",
        subscription(),
        None,
        [{"type": E.SUBSCRIPTION_CREATED, **STATE}, {"type": E.SUBSCRIPTION_ACTIVATED, **STATE}],
    ),
    (
        "customer.subscription.created",
        subscription(status="trialing", trial_end=SECONDS + 60),
        None,
        [
            {"type": type_, **STATE, "period_end": NOW + timedelta(minutes=1), "is_trial": True}
            for type_ in (E.SUBSCRIPTION_CREATED, E.SUBSCRIPTION_ACTIVATED)
        ],
    ),
    (
        "customer.subscription.updated",
        subscription(),
        {"status": "incomplete"},
        [{"type": E.SUBSCRIPTION_ACTIVATED, **STATE}],
    ),
    (
        "customer.subscription.updated",
        subscription(),
        {"status": "past_due"},
        [{"type": E.SUBSCRIPTION_ACTIVATED, **STATE}],
    ),
    (
        "customer.subscription.updated",
        subscription(),
        {"status": "paused"},
        [{"type": E.SUBSCRIPTION_RESUMED, **STATE}],
    ),
    (
        "customer.subscription.updated",
        subscription(cancel_at_period_end=True, cancel_at=int(MONTH_END.timestamp())),
        {"cancel_at_period_end": False, "cancel_at": None},
        [{"type": E.SUBSCRIPTION_CANCELED, **STATE}],
    ),
    (
        "customer.subscription.updated",
        subscription(cancel_at=SECONDS + 60),
        {"cancel_at": None},
        [{"type": E.SUBSCRIPTION_CANCELED, **STATE, "period_end": NOW + timedelta(minutes=1)}],
    ),
    (
        "customer.subscription.updated",
        subscription(),
        {"cancel_at_period_end": True, "cancel_at": 1},
        [{"type": E.SUBSCRIPTION_RESUMED, **STATE}],
    ),
    ("customer.subscription.updated", subscription(status="past_due"), {"status": "active"}, [PAST_DUE]),
    (
        "customer.subscription.updated",
        subscription(status="unpaid"),
        {"status": "past_due"},
        [{"type": E.SUBSCRIPTION_ON_HOLD, **SUB, "period_end": NOW}],
    ),
    (
        "customer.subscription.updated",
        subscription(status="paused"),
        {"status": "trialing"},
        [{"type": E.SUBSCRIPTION_PAUSED, **STATE}],
    ),
    (
        "customer.subscription.updated",
        subscription(status="incomplete_expired"),
        {"status": "incomplete"},
        [{"type": E.SUBSCRIPTION_EXPIRED, **STATE}],
    ),
    (
        "customer.subscription.updated",
        subscription(pause_collection={"behavior": "void"}),
        {"pause_collection": None},
        [{"type": E.SUBSCRIPTION_PAUSED, **STATE}],
    ),
    (
        "customer.subscription.updated",
        subscription(),
        {"pause_collection": {"behavior": "void"}},
        [{"type": E.SUBSCRIPTION_RESUMED, **STATE}],
    ),
    (
        "customer.subscription.updated",
        subscription(),
        {"items": {"data": [{"price": {"id": "price_0"}}]}},
        [{"type": E.SUBSCRIPTION_PLAN_CHANGED, **STATE}],
    ),
    ("customer.subscription.updated", subscription(), {"items": {"data": [{"price": {"id": "price_1"}}]}}, []),
    (
        "customer.subscription.updated",
        subscription(status="trialing", trial_end=SECONDS + 60),
        {"trial_end": 1},
        [{"type": E.SUBSCRIPTION_EXTENDED, **STATE, "period_end": NOW + timedelta(minutes=1), "is_trial": True}],
    ),
    ("customer.subscription.updated", subscription(), {"metadata": {}, "default_payment_method": None}, []),
    ("customer.subscription.updated", subscription(status="of tomorrow"), {"status": "active"}, []),
    (
        "customer.subscription.deleted",
        subscription(status="canceled", ended_at=SECONDS - 60, cancellation_details={"reason": "payment_failed"}),
        None,
        [
            {
                "type": E.SUBSCRIPTION_EXPIRED,
                **SUB,
                "period_end": NOW - timedelta(minutes=1),
                "reason": "payment_failed",
            }
        ],
    ),
    (
        "customer.subscription.deleted",
        subscription(status="canceled"),
        None,
        [{"type": E.SUBSCRIPTION_EXPIRED, **SUB, "period_end": NOW}],
    ),
    ("customer.subscription.paused", subscription(status="paused"), None, [{"type": E.SUBSCRIPTION_PAUSED, **STATE}]),
    ("customer.subscription.resumed", subscription(), None, [{"type": E.SUBSCRIPTION_RESUMED, **STATE}]),
    ("invoice.paid", invoice(), None, [PAID, {"type": E.SUBSCRIPTION_RENEWED, **STATE}]),
    ("invoice.payment_succeeded", invoice(), None, [PAID, {"type": E.SUBSCRIPTION_RENEWED, **STATE}]),
    (
        "invoice.paid",
        invoice(billing_reason="subscription_create"),
        None,
        [PAID, {"type": E.SUBSCRIPTION_ACTIVATED, **STATE}],
    ),
    ("invoice.paid", invoice(billing_reason="subscription_update"), None, [PAID]),
    ("invoice.paid", invoice(billing_reason="subscription_create", amount_paid=0), None, []),
    ("invoice.paid", invoice(amount_paid=0), None, [{"type": E.SUBSCRIPTION_RENEWED, **STATE}]),
    ("invoice.paid", invoice(parent=None, subscription=None), None, []),
    ("invoice.payment_failed", invoice(), None, [{**FAILED, "reason": "declined"}, GRACE]),
    ("invoice.payment_failed", invoice(billing_reason="subscription_create"), None, [{**FAILED, "reason": "declined"}]),
    ("invoice.payment_action_required", invoice(), None, [{**FAILED, "reason": "requires_action"}, GRACE]),
    ("invoice.marked_uncollectible", invoice(), None, [{**FAILED, "reason": "uncollectible", "hard": True}]),
    ("payment_intent.succeeded", intent(), None, []),
    ("payment_intent.payment_failed", intent(), None, []),
]
PAYMENTS = [
    ("payment_intent.succeeded", intent(), None, [{"type": E.PAYMENT_SUCCEEDED, **INTENT, "method": METHOD}]),
    ("payment_intent.succeeded", intent(setup_future_usage=None), None, [{"type": E.PAYMENT_SUCCEEDED, **INTENT}]),
    (
        "payment_intent.succeeded",
        intent(metadata={"payflow_key": "charge_1"}, setup_future_usage=None),
        None,
        [{"type": E.PAYMENT_SUCCEEDED, "provider_payment_id": "pi_1", "idempotency_key": "charge_1", **MONEY}],
    ),
    ("payment_intent.succeeded", intent(metadata={}), None, []),
    ("payment_intent.succeeded", intent(metadata={"shop": "another"}), None, []),
    ("payment_intent.succeeded", intent(invoice="in_1"), None, []),
    (
        "payment_intent.payment_failed",
        intent(last_payment_error={"code": "card_declined", "decline_code": "insufficient_funds"}),
        None,
        [{"type": E.PAYMENT_FAILED, **INTENT, "reason": "insufficient_funds"}],
    ),
    (
        "payment_intent.payment_failed",
        intent(last_payment_error={"code": "card_declined", "decline_code": "stolen_card"}),
        None,
        [{"type": E.PAYMENT_FAILED, **INTENT, "reason": "stolen_card", "hard": True}],
    ),
    ("payment_intent.payment_failed", intent(metadata={}), None, []),
    ("checkout.session.completed", session(payment_intent="pi_1"), None, []),
    (
        "checkout.session.completed",
        session(mode="setup", setup_intent="seti_1"),
        None,
        [{"type": E.SUBSCRIPTION_ACTIVATED, **REFS}],
    ),
    (
        "checkout.session.completed",
        session(mode="setup", setup_intent="seti_1", metadata={**session()["metadata"], "payflow_trial": "true"}),
        None,
        [{"type": E.SUBSCRIPTION_ACTIVATED, "is_trial": True, **REFS}],
    ),
    ("checkout.session.completed", session(mode="setup", setup_intent="seti_1", metadata={}), None, []),
    ("checkout.session.completed", session(mode="subscription", subscription="sub_1"), None, []),
    (
        "checkout.session.async_payment_failed",
        session(payment_intent="pi_1"),
        None,
        [{"type": E.PAYMENT_FAILED, "provider_payment_id": "pi_1", "reason": "async_payment_failed", **REFS}],
    ),
    ("invoice.paid", invoice(), None, []),
    ("customer.subscription.deleted", subscription(status="canceled"), None, []),
]
EITHER = [
    ("refund.created", refund(), None, [REFUNDED]),
    ("refund.updated", refund(), None, [REFUNDED]),
    ("charge.refund.updated", refund(), None, [REFUNDED]),
    (
        "refund.created",
        refund(metadata={"payflow_key": "refund_1"}),
        None,
        [{**REFUNDED, "idempotency_key": "refund_1"}],
    ),
    ("refund.created", refund(status="pending"), None, []),
    ("refund.created", refund(payment_intent=None), None, [{**REFUNDED, "parent_payment_id": "ch_1"}]),
    (
        "refund.failed",
        refund(status="failed", failure_reason="lost_or_stolen_card"),
        None,
        [{**REFUNDED, "type": E.PAYMENT_REFUND_REVERSED, "reason": "lost_or_stolen_card"}],
    ),
    ("refund.updated", refund(status="canceled"), None, [{**REFUNDED, "type": E.PAYMENT_REFUND_REVERSED}]),
    (
        "charge.refunded",
        charge(amount_refunded=500),
        {"amount_refunded": 200},
        [
            {
                "type": E.PAYMENT_REFUNDED,
                "provider_payment_id": "ch_1:500",
                "parent_payment_id": "pi_1",
                "amount": Decimal("3.00"),
                "currency": "USD",
            }
        ],
    ),
    (
        "charge.refunded",
        charge(),
        {"amount_refunded": 0},
        [
            {
                "type": E.PAYMENT_REFUNDED,
                "provider_payment_id": "ch_1:200",
                "parent_payment_id": "pi_1",
                "amount": Decimal("2.00"),
                "currency": "USD",
            }
        ],
    ),
    (
        "charge.refunded",
        charge(refunds={"data": [refund(), refund(id="re_2", amount=100)]}),
        {"amount_refunded": 200},
        [REFUNDED, {**REFUNDED, "provider_payment_id": "re_2", "amount": Decimal("1.00")}],
    ),
    ("charge.dispute.created", dispute(), None, [DISPUTED]),
    ("charge.dispute.created", dispute(status="warning_needs_response"), None, [DISPUTED]),
    ("charge.dispute.funds_withdrawn", dispute(), None, [DISPUTED]),
    ("charge.dispute.closed", dispute(status="won"), None, [{**DISPUTED, "type": E.PAYMENT_DISPUTE_WON}]),
    ("charge.dispute.closed", dispute(status="warning_closed"), None, [{**DISPUTED, "type": E.PAYMENT_DISPUTE_WON}]),
    ("charge.dispute.closed", dispute(status="lost"), None, [{**DISPUTED, "type": E.PAYMENT_DISPUTE_LOST}]),
    ("charge.dispute.closed", dispute(status="of tomorrow"), None, []),
    ("charge.dispute.funds_reinstated", dispute(status="won"), None, [{**DISPUTED, "type": E.PAYMENT_DISPUTE_WON}]),
]
SILENT = (
    "customer.subscription.trial_will_end customer.subscription.pending_update_applied "
    "customer.subscription.pending_update_expired invoice.upcoming invoice.created invoice.finalized invoice.updated "
    "invoice.sent invoice.voided setup_intent.succeeded setup_intent.setup_failed customer.created customer.updated "
    "customer.deleted payment_method.attached payment_method.detached charge.succeeded terminal.reader of.tomorrow"
).split()
CASES = [
    *(("billing", *case) for case in [*BILLING, *EITHER]),
    *(("payments", *case) for case in [*PAYMENTS, *EITHER]),
]
#: What is not as documented, by its type.
MALFORMED: list[tuple[str, dict[str, Any]]] = [
    ("invoice.paid", invoice(id=None)),
    ("invoice.paid", invoice(amount_paid="699")),
    ("invoice.paid", invoice(amount_paid=6.99)),
    ("invoice.paid", invoice(amount_paid=-1)),
    ("invoice.paid", invoice(currency="xxx")),
    ("payment_intent.succeeded", intent(id=None)),
    ("payment_intent.succeeded", intent(amount_received="699")),
    ("payment_intent.succeeded", intent(amount_received=6.99)),
    ("payment_intent.payment_failed", intent(currency="xxx")),
    ("refund.created", refund(charge=None, payment_intent=None)),
    ("refund.created", refund(amount=None)),
    ("customer.subscription.deleted", subscription(id={})),
    ("customer.subscription.deleted", subscription(ended_at="soon")),
    ("charge.refunded", charge(amount_refunded=True)),
]
