"""Periods that went by while we were down: billed, or given, as MISSED_PERIODS says; never many charges at once."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings

from payments.models import PaymentTransaction
from subscriptions.billing import Source, period_record
from subscriptions.models import Subscription
from subscriptions.state import subscription_update, unpaid_period

BILL_ALL, BILL_CURRENT, FORGIVE = POLICIES = ("bill_all", "bill_current", "forgive")
TOO_MANY_CHARGES = "too many charges in a day"
DAY = timedelta(days=1)

log = logging.getLogger(__name__)


def missed_periods_settle(subscription: Subscription, *, now: datetime, wall: datetime) -> bool:
    """May the next period be billed now? Before that, what the policy gives is recorded as given.

    A period is missed where all of it lies behind. `bill_all` bills each, one after another; `bill_current` gives the missed
    ones and bills the one under way; `forgive` gives that one too. While periods are caught up a subscription is charged at
    most MAX_CHARGES_PER_DAY times in a day of real time; then an operator is told and the rest waits a day.
    """
    if unpaid_period(subscription).end > now:
        return True
    if settings.MISSED_PERIODS == BILL_ALL:
        return _within_limit(subscription, now, wall)
    while (period := unpaid_period(subscription)).end <= now or (
        settings.MISSED_PERIODS == FORGIVE and period.start <= now
    ):
        period_record(subscription, period, invoice=None, source=Source.FORGIVEN, at=now)
        subscription.current_period_start, subscription.end_date = period.start, period.end
    subscription_update(subscription)
    assert subscription.end_date is not None
    return subscription.end_date <= now


def _within_limit(subscription: Subscription, now: datetime, wall: datetime) -> bool:
    charged = PaymentTransaction.objects.filter(
        subscription=subscription, type=PaymentTransaction.Type.CHARGE, recorded_at__gt=wall - DAY
    )
    if charged.count() < settings.MAX_CHARGES_PER_DAY:
        return True
    log.warning("subscription %s: %s; the rest waits a day", subscription.pk, TOO_MANY_CHARGES)
    subscription_update(subscription, review_reason=TOO_MANY_CHARGES, lease_until=now + DAY)
    return False
