"""Access of many at once is the access of each, in a constant number of queries."""

from __future__ import annotations

import uuid
from datetime import timedelta

from subscriptions.access import SubscriptionRow, access, access_of
from subscriptions.models import Status
from tests.factories import UserFactory
from tests.usage.factories import NOON, plan, subscription

#: One user for each: what he has, by status and fields.
STANDINGS = [
    [],
    [(Status.ACTIVE, {})],
    [(Status.ACTIVE, {"end_date": NOON, "auto_renew": False})],
    [(Status.ACTIVE, {"end_date": NOON - timedelta(minutes=59)})],
    [(Status.ACTIVE, {"end_date": NOON - timedelta(minutes=59), "cancelled_at": NOON - timedelta(days=1)})],
    [(Status.ACTIVE, {"end_date": NOON - timedelta(minutes=59), "disputed_at": NOON - timedelta(days=1)})],
    [(Status.ACTIVE, {"end_date": NOON - timedelta(hours=23), "provider": "apple"})],
    [(Status.TRIAL, {"trial_ends_at": NOON + timedelta(days=1)})],
    [(Status.TRIAL, {"trial_ends_at": NOON})],
    [(Status.ACTIVE, {"end_date": None, "amount": 0, "timezone": "Asia/Tokyo", "had_priced_actions": True})],
    [(Status.PAST_DUE, {"grace_until": NOON + timedelta(days=1)})],
    [(Status.SUSPENDED, {})],
    [(Status.PAUSED, {})],
    [(Status.ACTIVE, {"family": "extra"}), (Status.ACTIVE, {"amount": 0}), (Status.TRIAL, {"family": "third"})],
]


def told(entries):
    return [(one.plan.pk, one.subscription and row(one.subscription), one.status, one.until) for one in entries]


def row(subscription):
    """All that a row has, of a subscription too."""
    values = [getattr(subscription, name) for name in SubscriptionRow._fields]
    return [str(value) if isinstance(value, uuid.UUID) else value for value in values]


def test_many_have_what_each_has(db, settings, django_assert_num_queries):
    users = [UserFactory() for _ in STANDINGS]
    for user, rows in zip(users, STANDINGS, strict=True):
        for number, (status, fields) in enumerate(rows):
            subscription(user, plan(price=10 + number), status=status, **fields)
    ids = [str(key) for key in (*(user.pk for user in users), uuid.uuid4())]
    plan(code="everybody")

    for default in ("", "everybody", "nobody"):
        settings.PAYFLOW_DEFAULT_PLAN = default
        with django_assert_num_queries(3 if default else 2):
            found = access_of(ids, NOON)
        assert {key: told(entries) for key, entries in found.items()} == {
            key: told(access(uuid.UUID(key), NOON)) for key in ids
        }
        assert len(found[ids[-1]]) == (default == "everybody")
