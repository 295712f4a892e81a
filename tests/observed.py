"""What is there after a story: rows, books and refusals, as a test wants to read them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Sum

from payments.models import CreditAccount, CreditGrant, Invoice, LedgerEntry, PaymentTransaction
from subscriptions.models import Subscription

#: Everything that a refused request might leave behind.
TABLES = (
    "users",
    "subscriptions",
    "checkouts",
    "provider_links",
    "subscription_events",
    "billing_periods",
    "trial_redemptions",
    "payment_methods",
    "invoices",
    "invoice_lines",
    "payment_transactions",
    "credit_accounts",
    "credit_grants",
    "credit_uses",
    "number_counters",
    "ledger_postings",
    "ledger_entries",
    "subscription_changes",
    "outbox_events",
    "audit_entries",
)


def fresh(row: Any) -> Any:
    return type(row).objects.get(pk=row.pk)


def ledger(currency: str = "USD") -> dict[str, Decimal]:
    """The balance of every account that has one: debits positive, credits negative."""
    rows = LedgerEntry.objects.filter(currency=currency).values_list("account").annotate(sum=Sum("amount"))
    return {account: balance for account, balance in rows.order_by("account") if balance}


def charges(subscription: Subscription) -> list[tuple[str, int, str]]:
    """Status, attempt and failure of the subscription's charges, oldest first."""
    rows = PaymentTransaction.objects.filter(subscription=subscription, type="charge").order_by("pk")
    return [(row.status, row.attempt, row.failure_code) for row in rows]


def invoices(subscription: Subscription) -> list[str]:
    """The statuses of the subscription's invoices, oldest first."""
    return list(subscription.invoices.order_by("pk").values_list("status", flat=True))


def periods(subscription: Subscription) -> list[tuple[datetime, datetime]]:
    """What is billed or granted, and not superseded."""
    return list(subscription.periods.filter(superseded_at=None).order_by("start").values_list("start", "end"))


def credit(user: Any, currency: str = "USD") -> Decimal:
    """What the user may still spend; the account, its grants and the ledger must agree on it."""
    accounts = CreditAccount.objects.filter(user=user, currency=currency)
    balance = sum((row.balance for row in accounts), start=Decimal(0))
    grants = CreditGrant.objects.filter(account__in=accounts).aggregate(sum=Sum("remaining"))["sum"] or Decimal(0)
    entries = LedgerEntry.objects.filter(posting__user=user, account="customer_credit", currency=currency)
    posted = -(entries.aggregate(sum=Sum("amount"))["sum"] or 0)
    # What a draft has reserved is posted when it is issued.
    reserved = Invoice.objects.filter(user=user, currency=currency, status="draft").aggregate(sum=Sum("credit"))["sum"]
    assert (grants, posted - (reserved or 0)) == (balance, balance)
    return balance


def steps(subscription: Subscription) -> list[tuple[str, str]]:
    """Every transition: to which status and why."""
    return list(subscription.events.order_by("sequence").values_list("to_status", "reason"))


def world() -> set[tuple[str, str]]:
    """Every row of the tables that money and subscriptions live in, as text."""
    with connection.cursor() as cursor:
        # `last_login` and the like are no money: of users only the number counts.
        cursor.execute(
            " UNION ALL ".join(
                f"SELECT '{table}', t.id::text FROM {table} t"
                if table == "users"
                else f"SELECT '{table}', t::text FROM {table} t"
                for table in TABLES
            )
        )
        return set(cursor.fetchall())


@contextlib.contextmanager
def nothing_changes() -> Iterator[None]:
    before = world()
    yield
    assert world() == before


def refused(response: Any, status: int, code: str) -> Any:
    """The envelope of a refusal; answers its details."""
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert set(body) == {"message", "data", "error", "code", "details"}
    assert body["data"] is None
    assert body["error"]
    return body["details"]
