"""Customers with a plan and some usage, straight into the tables: so many sign-ups would take longer than a measurement."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import connection, transaction

from accounts.models import User
from plans.models import Plan
from plans.seeds import FREE, PREMIUM, plans_seed
from subscriptions.models import Status, Subscription
from usage.models import ALL_ACTIONS, UsageCounter, Window
from usage.windows import FOR_EVER

#: Of three users so many pay, and every other one of all has used something.
PAYING = 2
DOMAIN = "customers.benchmark.invalid"
#: So many of them use the product at the same time, again and again: what is kept of a person holds for a while.
ACTIVE = 500


def customers_make(count: int, now: datetime) -> list[User]:
    """Customers of the documents' plans; those that an earlier workload made, where there are as many."""
    made = list(User.objects.filter(email__endswith=f"@{DOMAIN}").order_by("pk")[:count])
    if len(made) == count:
        return made
    plans_seed(at=now)
    plans = {plan.code: plan for plan in Plan.objects.filter(code__in=[FREE, PREMIUM])}
    users = [User(email=f"user{n}@{DOMAIN}", password="!") for n in range(count)]
    subscriptions = [
        _subscription(user, plans[PREMIUM if n % 3 < PAYING else FREE], now) for n, user in enumerate(users)
    ]
    counters = [counter for user in users[::2] for counter in _counters(user, now)]
    with transaction.atomic():
        User.objects.bulk_create(users, batch_size=1000)
        Subscription.objects.bulk_create(subscriptions, batch_size=1000)
        UsageCounter.objects.bulk_create(counters, batch_size=1000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # what autovacuum would have done by the time there are so many
    return users


def _subscription(user: User, plan: Plan, now: datetime) -> Subscription:
    end = None if plan.is_free else now + timedelta(days=20)
    return Subscription(
        user=user,
        plan=plan,
        family=plan.family,
        status=Status.ACTIVE,
        provider=None if plan.is_free else "lava",
        start_date=now - timedelta(days=10),
        anchor=now - timedelta(days=10),
        current_period_start=now - timedelta(days=10),
        end_date=end,
        next_action_at=end,
        amount=plan.price,
        currency=plan.currency,
        billing_cycle=plan.billing_cycle,
    )


def _counters(user: User, now: datetime) -> Iterator[UsageCounter]:
    today, month = now.date(), now.date().replace(day=1)
    for action in ("translations", ALL_ACTIONS):
        for window, day in ((Window.DAY, today), (Window.MONTH, month)):
            yield UsageCounter(user=user, family="main", action=action, window=window, local_date=day, used=7)
    yield UsageCounter(user=user, family="main", action="translations", window=Window.ALL, local_date=FOR_EVER, used=90)
