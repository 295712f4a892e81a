"""Trials: one per user and family, begun by a checkout that kept a payment method and took no money."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import IntegrityError, transaction

from payflow.core.errors import InvalidTransition
from payments.models import PaymentMethod
from subscriptions.billing import Source, period_record
from subscriptions.models import Checkout, Status, Subscription, TrialRedemption
from subscriptions.periods import Period
from subscriptions.services.redemptions import redemption_activate
from subscriptions.state import SYSTEM, subscription_move


def trial_start(subscription: Subscription, checkout: Checkout, *, method: PaymentMethod | None, at: datetime) -> None:
    """A checkout kept a method and took no money: its trial begins. The caller holds the lock.

    Raises InvalidTransition where the user has had his trial of this family.
    """
    trial_begin(subscription, days=checkout.trial_days, method=method, at=at)
    checkout.status = Checkout.Status.PAID
    checkout.paid_at = at
    checkout.save()


def trial_begin(subscription: Subscription, *, days: int, method: PaymentMethod | None, at: datetime) -> None:
    """Pending to trial. The first paid period starts where the trial ends; without a method nothing does.

    Raises InvalidTransition where the user has had his trial of this family.
    """
    try:
        with transaction.atomic():
            TrialRedemption.objects.create(
                user_id=subscription.user_id, family=subscription.family, subscription=subscription
            )
    except IntegrityError as error:
        raise InvalidTransition("This trial was used before") from error
    redemption_activate(subscription)
    ends = at + timedelta(days=days)
    period_record(subscription, Period(at, ends), invoice=None, source=Source.TRIAL, at=at)
    subscription_move(
        subscription,
        Status.TRIAL,
        reason="trial_started",
        actor=SYSTEM,
        at=at,
        start_date=at,
        current_period_start=at,
        trial_ends_at=ends,
        end_date=ends,
        anchor=ends,
        payment_method=method,
    )
