"""What subscribing would cost, line by line, before it is done: by the functions that do it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from accounts.services import user_country_keep
from payflow.core.errors import ValidationFailed
from payments.composition import LineDraft
from payments.invoices import Claim
from payments.models import Invoice
from plans.models import Plan
from subscriptions.billing import Bill, claims_of
from subscriptions.locks import user_lock
from subscriptions.models import Status
from subscriptions.quotes import cycle_line, plan_price
from subscriptions.services.redemptions import discount_line
from subscriptions.services.subscribe import (
    checkout_resumable,
    coupon_taken,
    pending_supersede,
    provider_chosen,
    subscription_new,
    trial_days_of,
)


@dataclass(frozen=True, slots=True)
class SubscribeQuote:
    """The first invoice, not written, and the days of trial before it is charged."""

    claim: Claim
    trial_days: int


def subscription_quote(
    *,
    user_id: uuid.UUID,
    plan: Plan,
    provider: str | None,
    currency: str | None,
    coupon: str | None,
    country: str | None,
    now: datetime,
) -> SubscribeQuote:
    """What `subscription_create` with the same arguments would charge first, for a plan with a price. Changes nothing.

    An attempt that it would go on with is quoted as it stands. Raises as it does, but not for what is subscribed already.
    """
    if not plan.is_active:
        raise ValidationFailed.field("plan_id", "This plan is not sold any more")
    price = plan_price(plan, currency)
    chosen = provider_chosen(provider, plan, price.currency, user_id)
    with transaction.atomic():
        user = user_lock(user_id)
        before = user.country
        if country:
            user_country_keep(user, country)
        taken = coupon_taken(coupon, user, plan, price, chosen, now) if coupon else None
        days = trial_days_of(user, plan, chosen)
        resumed = checkout_resumable(user, plan, price, chosen, taken, now) if user.country == before else None
        if resumed is not None and resumed.invoice is not None:
            claim = Claim(resumed.invoice, list(resumed.invoice.lines.all()))
        else:
            pending_supersede(user, plan.family, actor="", now=now)  # as subscribing will: it gives its credit back
            subscription = subscription_new(user, plan, price, status=Status.PENDING, provider=chosen.name, now=now)
            charges: list[LineDraft] = [cycle_line(subscription, None)]
            if taken is not None and (discount := discount_line(taken, price, plan.pk)) is not None:
                charges.append(discount)
            bill = Bill(subscription, Invoice.Reason.CREATE, charges, None, discounted=True)
            [claim], _ = claims_of([bill], at=now)
        transaction.set_rollback(True)
        return SubscribeQuote(claim, days)
