"""Taking a planned change of plan back."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import transaction

from payflow.core import audit
from payflow.core.errors import InvalidTransition
from payflow.core.money import Money
from payments.errors import PaymentInProgress
from payments.models import PaymentTransaction
from subscriptions.locks import subscription_lock
from subscriptions.models import Subscription, SubscriptionChange
from subscriptions.services.changes import change_take_back, open_change
from subscriptions.services.provider_managed import provider_asked_for


def can_withdraw(change: SubscriptionChange) -> bool:
    """A change of plan is its subscriber's to take back; what an operator planned for the price of his plan is not."""
    return change.reason != SubscriptionChange.Reason.PRICE_MOVE


def plan_change_withdraw(*, subscription_id: uuid.UUID, actor: str, now: datetime) -> Subscription:
    """The planned change will not be: the plan stays, and what waits for its payment is closed.

    Raises InvalidTransition where nothing is planned that can be taken back, PaymentInProgress while it is being paid.
    """
    with transaction.atomic():
        subscription = subscription_lock(subscription_id)
        planned = open_change(subscription)
        if planned is None or not can_withdraw(planned):
            raise InvalidTransition("There is no planned change to take back")
        if PaymentTransaction.objects.filter(
            subscription=subscription,
            type=PaymentTransaction.Type.CHARGE,
            status=PaymentTransaction.Status.PENDING,
        ).exists():
            raise PaymentInProgress("A payment of this subscription is under way")
        change_take_back(planned, at=now)
        present = Money(subscription.amount, subscription.currency)
        provider_asked_for(subscription, subscription.plan, present, actor=actor, at=now)
        audit.record(
            actor=actor,
            action="subscription.change_cancel",
            subject_type="subscription",
            subject_id=subscription.pk,
            data={"plan": planned.plan.code},
        )
    return subscription
