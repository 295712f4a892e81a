"""What work leaves behind, without keys and minutes: the same where the same has happened, and once."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import models

from payflow.core import clock
from payflow.core.models import AuditEntry, OutboxEvent, OutboxHandling
from payments.models import CreditGrant, Invoice, InvoiceLine, LedgerEntry, LedgerPosting, PaymentMethod
from payments.models import PaymentTransaction as Transaction
from payments.services.ledger_check import ledger_check_run
from providers.sandbox.models import SandboxPayment, SandboxRefund
from subscriptions.models import (
    BillingPeriod,
    Checkout,
    ProviderCommand,
    ProviderDrift,
    ProviderMoveMember,
    Subscription,
    SubscriptionChange,
    SubscriptionEvent,
)
from subscriptions.state import next_action
from webhooks.models import InboundEvent

Trace = dict[str, Counter[tuple[Any, ...]]]

#: The tables that money and subscriptions live in, and what in their rows is no key and no moment of its own.
TABLES: tuple[tuple[type[models.Model], tuple[str, ...]], ...] = (
    (SandboxPayment, ("kind", "status", "amount", "refunded")),
    (SandboxRefund, ("amount",)),
    (
        Transaction,
        ("type", "status", "amount", "refunded_amount", "attempt", "failure_code", "reason", "invoice__reason"),
    ),
    (Invoice, ("number",)),
    (Invoice, ("status", "reason", "subtotal", "discount", "tax", "credit", "total")),
    (InvoiceLine, ("kind", "amount", "invoice__reason")),
    (BillingPeriod, ("plan__name", "start", "end", "source", "amount", "superseded_at")),
    (LedgerPosting, ("kind",)),
    (LedgerEntry, ("posting__kind", "account", "amount")),
    (CreditGrant, ("source", "amount", "remaining")),
    (OutboxEvent, ("type",)),
    (OutboxHandling, ("event__type", "handler", "status")),
    (
        Subscription,
        (
            "plan__name",
            "provider",
            "status",
            "amount",
            "anchor",
            "current_period_start",
            "end_date",
            "next_action_at",
            "dunning_step",
        ),
    ),
    (SubscriptionEvent, ("subscription__plan__name", "sequence", "from_status", "to_status", "reason")),
    (SubscriptionChange, ("plan__name", "status", "effective")),
    (Checkout, ("purpose", "provider", "status")),
    (ProviderMoveMember, ("status", "period_start", "reason")),
    (ProviderCommand, ("provider", "kind", "status")),
    (ProviderDrift, ("provider",)),
    (PaymentMethod, ("provider", "is_active")),
    (AuditEntry, ("action",)),
)


def trace() -> Trace:
    """How many rows of each kind there are. The books must be proved, and every next action be the one that follows."""
    assert ledger_check_run(actor="system", wall=clock.wall()).faults == []
    for row in Subscription.objects.all():
        upcoming = next_action(row)
        assert row.next_action_at == (upcoming.at if upcoming else None), f"{row.status}: it would never be looked at"
    assert not InboundEvent.objects.exclude(status__in=["processed", "ignored"]).exists()
    assert not OutboxHandling.objects.exclude(status="done").exists()
    found: Trace = {}
    for model, fields in TABLES:
        rows = model._default_manager.values_list(*fields)
        found[f"{model.__name__}({', '.join(fields)})"] = Counter(tuple(map(_plain, row)) for row in rows)
    return found


def differences(expected: Trace, actual: Trace) -> dict[str, tuple[Counter[Any], Counter[Any]]]:
    """By table: what is missing, and what is too much."""
    pairs = {name: (expected[name] - actual[name], actual[name] - expected[name]) for name in expected}
    return {name: pair for name, pair in pairs.items() if any(pair)}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H}"  # what was asked for again is some minutes later
    return str(value.normalize()) if isinstance(value, Decimal) else value
