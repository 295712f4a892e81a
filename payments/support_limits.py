"""How much support may give away: SUPPORT_REFUND_LIMIT of a payment, SUPPORT_CREDIT_LIMIT to a customer.

For each currency the most in total, whoever gave it; a currency that a limit doesn't name is not support's to give. Without
a refund limit support refunds whatever was paid; without a credit limit it grants nothing, for a grant has no payment that
bounds it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Sum

from accounts.models import User
from accounts.roles import BILLING_ADMIN, FINANCE, SUPPORT, has_role
from payflow.core.errors import Forbidden
from payflow.core.ids import parse_uuid
from payflow.core.money import CURRENCIES, Money
from payments.credits import REVOKED
from payments.models import CreditGrant, CreditSource, PaymentTransaction

#: Goodwill older than this no longer counts: a customer of many years may have two bad days.
CREDIT_DAYS = 30

_LIMIT = re.compile(r"\s*([A-Z]{3})\s*:\s*(\d{1,15}(?:\.\d{1,4})?)\s*")


def limits_read(texts: Sequence[str]) -> dict[str, Decimal]:
    """A setting as it is used. Raises ValueError where it is not a list of `CUR:number`."""
    limits: dict[str, Decimal] = {}
    for text in texts:
        found = _LIMIT.fullmatch(text)
        if found is None or found[1] not in CURRENCIES or found[1] in limits:
            raise ValueError(f"{text!r} is not a currency and its limit")
        limits[found[1]] = Decimal(found[2])
    return limits


def check_refund_limit(charge: PaymentTransaction, wanted: Decimal, *, actor: str) -> None:
    """Raises Forbidden where `actor` is support and nothing more, and the charge's refunds would pass the limit.

    All of the charge's refunds count, whoever made them. The caller holds the charge's lock.
    """
    limits = limits_read(settings.SUPPORT_REFUND_LIMIT)
    if not limits or not _is_support_only(actor):
        return
    limit = _limit(limits, charge.currency)
    if charge.refunded_amount + wanted > limit:
        refunded = Money.rounded(charge.refunded_amount, charge.currency).amount
        raise Forbidden(
            f"Support may refund {limit} {charge.currency} of a payment",
            details={"limit": str(limit), "refunded": str(refunded), "currency": charge.currency},
        )


def check_credit_limit(grant: CreditGrant, *, actor: str, at: datetime) -> None:
    """Raises Forbidden where `actor` is support and nothing more, and the goodwill with `grant` passes the limit.

    All of the account's goodwill of the last 30 days counts, whoever granted it, but not what was taken back. The caller
    has written the grant and so holds the account's lock.
    """
    if not _is_support_only(actor):
        return
    limit = _limit(limits_read(settings.SUPPORT_CREDIT_LIMIT), grant.currency)
    given = CreditGrant.objects.filter(
        account_id=grant.account_id, source=CreditSource.GOODWILL, created_at__gt=at - timedelta(days=CREDIT_DAYS)
    ).exclude(explanation__has_key=REVOKED)
    total = given.aggregate(sum=Sum("amount"))["sum"]
    if total > limit:
        before = Money.rounded(total - grant.amount, grant.currency).amount
        raise Forbidden(
            f"Support may grant a customer {limit} {grant.currency} in {CREDIT_DAYS} days",
            details={"limit": str(limit), "granted": str(before), "currency": grant.currency},
        )


def may_grant_credit(operator: Any) -> bool:
    """Billing admins and finance, and support where there is a limit up to which it may."""
    return has_role(operator, BILLING_ADMIN, FINANCE) or (
        bool(settings.SUPPORT_CREDIT_LIMIT) and has_role(operator, SUPPORT)
    )


def _limit(limits: dict[str, Decimal], currency: str) -> Decimal:
    return Money.rounded(limits.get(currency, Decimal(0)), currency).amount


def _is_support_only(actor: str) -> bool:
    """Of the audit's actors only `user:<id>` has roles; services and the system have none, and no limit."""
    kind, _, key = actor.partition(":")
    user_id = parse_uuid(key) if kind == "user" else None
    user = User.objects.filter(pk=user_id).first() if user_id else None
    return user is not None and has_role(user, SUPPORT) and not has_role(user, BILLING_ADMIN, FINANCE)
