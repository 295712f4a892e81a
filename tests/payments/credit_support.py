"""Credit for tests: granted by the service, and the one rule that holds after everything that is done with it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Sum

from payments.models import CreditAccount, CreditGrant, CreditUse, LedgerEntry
from payments.services.credits import Spent, credit_grant, credit_spend
from tests.flows import START

ZERO = Decimal(0)


def give(user: Any, amount: str | int, *, expires: datetime | None = None, at: datetime = START, **fields: Any) -> Any:
    return credit_grant(
        user_id=user.pk,
        amount=Decimal(amount),
        currency=fields.pop("currency", "USD"),
        reason=fields.pop("reason", "sorry"),
        expires_at=expires,
        actor="test",
        at=at,
        **fields,
    )


def spend(user: Any, amount: str | int, key: str, *, at: datetime = START, **fields: Any) -> Spent:
    return credit_spend(
        user_id=user.pk,
        amount=Decimal(amount),
        currency=fields.pop("currency", "USD"),
        key=key,
        reason="a report",
        actor="test",
        at=at,
        **fields,
    )


def balance(user: Any, currency: str = "USD") -> Decimal:
    """What the account has, after a look at the books."""
    books_agree()
    account = CreditAccount.objects.filter(user=user, currency=currency).first()
    return account.balance if account else ZERO


def left(*grants: CreditGrant) -> list[Decimal]:
    """What is left of each grant."""
    found = dict(CreditGrant.objects.values_list("pk", "remaining"))
    return [found[grant.pk] for grant in grants]


def books_agree() -> None:
    """Balance = sum of what is left = the ledger's, never negative. Drafts reserve what the ledger does not know yet."""
    for account in CreditAccount.objects.all():
        remaining = account.grants.aggregate(sum=Sum("remaining"))["sum"] or ZERO
        assert account.balance == remaining >= 0
        reserved = (
            CreditUse.objects.filter(grant__account=account, returned_at=None, invoice__status="draft").aggregate(
                sum=Sum("amount")
            )["sum"]
            or ZERO
        )
        posted = LedgerEntry.objects.filter(
            account="customer_credit", currency=account.currency, posting__user=account.user_id
        ).aggregate(sum=Sum("amount"))["sum"]
        assert -(posted or ZERO) == account.balance + reserved
    for grant in CreditGrant.objects.all():
        used = grant.uses.filter(returned_at=None).aggregate(sum=Sum("amount"))["sum"] or ZERO
        assert grant.remaining + used <= grant.amount
