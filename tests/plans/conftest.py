from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import Group

from payflow.core.models import AuditEntry, OutboxEvent
from plans import cache
from plans.models import Plan, PlanPrice, PlanProviderRef
from subscriptions.models import Subscription
from tests.factories import StaffFactory

START = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _empty_cache(request):
    # Redis knows nothing of the rollback after a test.
    if request.node.get_closest_marker("django_db"):
        cache.invalidate()


@pytest.fixture
def billing_admin(db):
    return operator("billing-admin")


@pytest.fixture
def viewer(db):
    return operator("viewer")


def operator(role):
    user = StaffFactory()
    user.groups.add(Group.objects.get(name=role))
    return user


def subscribe(user, plan, status="active"):
    """A subscription as far as a plan can see it."""
    return Subscription.objects.create(
        user=user,
        plan=plan,
        family=plan.family,
        status=status,
        start_date=START,
        anchor=START,
        amount=plan.price,
        currency=plan.currency,
        billing_cycle=plan.billing_cycle,
        next_action_at=START if status in ("pending", "trial", "past_due") else None,
    )


def everything():
    """All that a change of plans can write."""
    return (
        list(Plan.objects.order_by("pk").values()),
        list(PlanPrice.objects.order_by("pk").values()),
        list(PlanProviderRef.objects.order_by("pk").values()),
        AuditEntry.objects.count(),
        OutboxEvent.objects.count(),
    )
