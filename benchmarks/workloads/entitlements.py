"""The paywall's question, `GET /api/v1/entitlements/`, asked by people with tokens; beside it a constant."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework_simplejwt.tokens import AccessToken

from accounts.models import User
from benchmarks.http import HttpSide, encode
from benchmarks.workload import Bench, Side, Workload
from benchmarks.wsgi_paths import BARE
from payflow.core import clock
from plans.models import Plan
from plans.seeds import FREE, PREMIUM, plans_seed
from subscriptions.models import Status, Subscription
from usage.models import ALL_ACTIONS, UsageCounter, Window
from usage.windows import FOR_EVER

#: As long as the feature's answer for a premium user, give or take a field.
CONSTANT = b'{"message":"OK","data":{"entitled":true,"plan":{"code":"premium"},"padding":"' + b"x" * 900 + b'"}}'
#: Of three users so many pay, and every other one of those has used something.
PAYING = 2


def constant(request: HttpRequest) -> HttpResponse:
    # The length is the middleware's to write; without middleware the answer would be sent in chunks.
    return HttpResponse(CONSTANT, content_type="application/json", headers={"Content-Length": str(len(CONSTANT))})


urlpatterns = [path("benchmark/constant", constant)]


class Entitlements(Workload):
    name = "entitlements"
    what = "GET /api/v1/entitlements/ with a JWT, beside a bare Django view that answers constant JSON"
    target = 0.5

    def prepare(self, bench: Bench) -> None:
        now = clock.now()
        plans_seed(at=now)
        self._tokens = [str(AccessToken.for_user(user)) for user in _make_users(bench.options.users, now)]
        random.Random(1).shuffle(self._tokens)

    def sides(self) -> Sequence[Side]:
        return [
            HttpSide("entitlements", self._requests, contains='"entitled":true'),
            HttpSide("constant view", lambda count: [encode("GET", "/benchmark/constant")]),
            HttpSide("without middleware", lambda count: [encode("GET", f"{BARE}/benchmark/constant")]),
        ]

    def _requests(self, count: int) -> Iterator[bytes]:
        for token in self._tokens:
            yield encode("GET", "/api/v1/entitlements/", headers={"Authorization": f"Bearer {token}"})


def _make_users(count: int, now: datetime) -> list[User]:
    """Straight into the tables, as `count` sign-ups and payments would take longer than the measurement."""
    plans = {plan.code: plan for plan in Plan.objects.filter(code__in=[FREE, PREMIUM])}
    users = [User(email=f"user{n}@benchmark.invalid", password="!") for n in range(count)]
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


WORKLOAD = Entitlements()
