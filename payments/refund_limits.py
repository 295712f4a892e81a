"""How much support may refund: SUPPORT_REFUND_LIMIT, for each currency the most that goes back of one payment in total.

No limit at all where the setting is empty; where it is not, a currency that it doesn't name is not support's to refund.
"""

from __future__ import annotations

import re
from decimal import Decimal

from django.conf import settings

from accounts.models import User
from accounts.roles import BILLING_ADMIN, FINANCE, SUPPORT, has_role
from payflow.core.errors import Forbidden
from payflow.core.ids import parse_uuid
from payflow.core.money import CURRENCIES, Money
from payments.models import PaymentTransaction

_LIMIT = re.compile(r"\s*([A-Z]{3})\s*:\s*(\d{1,15}(?:\.\d{1,4})?)\s*")


def refund_limits() -> dict[str, Decimal]:
    """The setting as it is used. Raises ValueError where it is not a list of `CUR:number`."""
    limits: dict[str, Decimal] = {}
    for text in settings.SUPPORT_REFUND_LIMIT:
        found = _LIMIT.fullmatch(text)
        if found is None or found[1] not in CURRENCIES or found[1] in limits:
            raise ValueError(f"{text!r} is not a currency and its limit")
        limits[found[1]] = Decimal(found[2])
    return limits


def check_refund_limit(charge: PaymentTransaction, wanted: Decimal, *, actor: str) -> None:
    """Raises Forbidden where `actor` is support and nothing more, and the charge's refunds would pass the limit.

    All of the charge's refunds count, whoever made them. The caller holds the charge's lock.
    """
    limits = refund_limits()
    if not limits or not _is_support_only(actor):
        return
    limit = Money.rounded(limits.get(charge.currency, Decimal(0)), charge.currency).amount
    if charge.refunded_amount + wanted > limit:
        refunded = Money.rounded(charge.refunded_amount, charge.currency).amount
        raise Forbidden(
            f"Support may refund {limit} {charge.currency} of a payment",
            details={"limit": str(limit), "refunded": str(refunded), "currency": charge.currency},
        )


def _is_support_only(actor: str) -> bool:
    """Of the audit's actors only `user:<id>` has roles; services and the system have none, and no limit."""
    kind, _, key = actor.partition(":")
    user_id = parse_uuid(key) if kind == "user" else None
    user = User.objects.filter(pk=user_id).first() if user_id else None
    return user is not None and has_role(user, SUPPORT) and not has_role(user, BILLING_ADMIN, FINANCE)
