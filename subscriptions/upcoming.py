"""The next renewals as they will be billed if nobody does anything: by the functions that bill them. Writes nothing."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db import transaction

from payments.invoices import Claim
from payments.models import Invoice
from subscriptions.becoming import become_at_end
from subscriptions.billing import claims_of, cycle_bill
from subscriptions.models import Subscription, SubscriptionChange
from subscriptions.state import unpaid_period


@dataclass(frozen=True, slots=True)
class Upcoming:
    """A renewal's moment, the subscription as it is then (not to be saved), and its invoice, not written."""

    at: datetime
    subscription: Subscription
    claim: Claim


def renewals_upcoming(rows: Sequence[Subscription], *, now: datetime) -> dict[uuid.UUID, Upcoming]:
    """By subscription, for `rows` of `subscriptions_with_plan` that run on after their period; a constant number of queries.

    With the planned change, coupon, tax and credit of that moment; an earlier renewal of the same user takes its credit
    first. Of metered usage only what is known now. What is free then, or overdue already, is left out.
    """
    foreseen = sorted(filter(None, (_foreseen(row, now) for row in rows)), key=lambda pair: pair[0])
    if not foreseen:
        return {}
    bills = [replace(cycle_bill(row, unpaid_period(row), Invoice.Reason.CYCLE), at=at) for at, row in foreseen]
    with transaction.atomic():  # credit is read under its lock
        claims, _ = claims_of(bills, at=now)
    return {row.pk: Upcoming(at, row, claim) for (at, row), claim in zip(foreseen, claims, strict=True)}


def _foreseen(row: Subscription, now: datetime) -> tuple[datetime, Subscription] | None:
    end = row.end_date
    if end is None or end <= now:
        return None
    changes: list[SubscriptionChange] = getattr(row, "open_changes", [])
    # A change that waits for its payment is given up when its period is over.
    planned = next((each for each in changes if each.effective == SubscriptionChange.Effective.PERIOD_END), None)
    after = copy.copy(row)
    if planned is not None:
        for name, value in become_at_end(after, planned).items():
            setattr(after, name, value)
    return None if after.is_free else (end, after)
