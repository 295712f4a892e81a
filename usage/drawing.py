"""Pay as you go: a unit and its price, drawn from credit, in one transaction.

The meter's lock comes first: the price of a unit depends on how many were used before it. The credit account's comes after the
counters, next to last as everywhere. So one user's units of one action are priced one after another, and none is counted unpaid.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from payflow.core.locks import lock_rows
from payflow.core.money import Money
from payments.credits import ShortOfCredit, credit_available, credit_draw
from plans.pricing import Pricing, price, price_exact
from usage import statement
from usage.errors import CreditExhausted
from usage.metering import Priced, meter_of
from usage.models import UsageMeter


def usage_draw(
    row: statement.Row, counters: statement.Counters, use: Priced, now: datetime
) -> tuple[Sequence[int], Money]:
    """Counts `row` and draws what it costs. Returns what is used of each slot, and the price.

    Raises CreditExhausted, and what `usage_write` raises; nothing is left behind.
    """
    meter_id = meter_of(use, at=now).pk
    with transaction.atomic():
        [meter] = lock_rows(UsageMeter.objects.filter(pk=meter_id))
        charge = _charge(use.pricing, meter.used, row.quantity)
        metered = statement.Metered(
            meter.pk,
            drawn=row.quantity,
            charge=charge.amount,
            told={"charge": {"amount": str(charge.amount), "currency": charge.currency}},
        )
        # First: an event that is known gets its answer, whatever has become of the credit.
        used = statement.usage_write(row, counters, now, metered=metered)
        if _costs(use.pricing, meter.used, row.quantity):
            _draw(row.user_id, row.action, charge, row.id, now)
    return used, charge


def draw_asked(use: Priced, quantity: int, now: datetime) -> Money:
    """What `quantity` units would draw now. Raises CreditExhausted."""
    charge = _charge(use.pricing, use.used, quantity)
    if _costs(use.pricing, use.used, quantity):
        with transaction.atomic():
            available = credit_available(user_id=use.user_id, currency=charge.currency, at=now)
        if charge > available or not available:
            raise CreditExhausted(action=use.price.action, needed=charge, available=available)
    return charge


def _draw(user_id: uuid.UUID, action: str, charge: Money, log_id: uuid.UUID, now: datetime) -> None:
    try:
        credit_draw(user_id=user_id, money=charge, key=f"usage:{log_id}", at=now)
    except ShortOfCredit as short:
        raise CreditExhausted(action=action, needed=charge, available=short.available) from short


def _charge(pricing: Pricing, used: int, quantity: int) -> Money:
    """By the sums, each rounded once: what is drawn for a cycle is the price of its use, in whatever steps it came."""
    return price(pricing, used + quantity) - price(pricing, used)


def _costs(pricing: Pricing, used: int, quantity: int) -> bool:
    """Units that are included cost nothing; those of which the next hundred make a cent do."""
    return price_exact(pricing, used + quantity) > price_exact(pricing, used)
