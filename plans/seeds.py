"""The plans of the two documents. Made once; what an operator changed since is left alone."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from payflow.core import clock
from plans.models import Plan
from plans.services import plan_create

FREE, PREMIUM, PRO = "free", "premium", "pro"


def plans_seed(*, at: datetime | None = None) -> list[Plan]:
    """`free` and `premium` of the second document, the first document's Pro Plan as `pro`. Answers those it made."""
    taken = set(Plan.objects.filter(code__in=(FREE, PREMIUM, PRO)).values_list("code", flat=True))
    moment = at or clock.now()
    made = []
    if FREE not in taken:
        made.append(_free(moment))
    if PREMIUM not in taken:
        made.append(_premium(moment))
    if PRO not in taken:
        made.append(_pro(moment))
    return made


def _free(at: datetime) -> Plan:
    # No totals here and in premium: the second document limits by features only.
    return plan_create(
        code=FREE,
        name="Free",
        price=Decimal("0.00"),
        currency="USD",
        billing_cycle="monthly",
        features={"translations_per_day": 30, "books": 2},
        max_usage_per_day=None,
        max_usage_per_month=None,
        sort_order=10,
        actor="system",
        at=at,
    )


def _premium(at: datetime) -> Plan:
    return plan_create(
        code=PREMIUM,
        name="Premium",
        price=Decimal("6.99"),
        currency="USD",
        billing_cycle="monthly",
        features={"translations_per_day": 300, "books": -1, "offline": True},
        max_usage_per_day=None,
        max_usage_per_month=None,
        sort_order=20,
        actor="system",
        at=at,
    )


def _pro(at: datetime) -> Plan:
    return plan_create(
        code=PRO,
        name="Pro Plan",
        description="Professional plan with advanced features",
        price=Decimal("19.99"),
        currency="USD",
        billing_cycle="monthly",
        features={
            "feature1": True,
            "feature2": True,
            "feature3": True,
            "max_storage": "100GB",
            "api_calls": 10000,
        },
        max_usage_per_day=200,
        max_usage_per_month=6000,
        is_active=True,
        sort_order=30,
        actor="system",
        at=at,
    )
