"""The plans of the two documents, to the digit, and once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from plans.models import Plan
from plans.seeds import plans_seed
from tests.plans.conftest import everything

pytestmark = pytest.mark.django_db

FIELDS = (
    "name",
    "description",
    "price",
    "currency",
    "billing_cycle",
    "billing_interval",
    "trial_days",
    "features",
    "max_usage_per_day",
    "max_usage_per_month",
    "family",
    "is_active",
)
COMMON = {"currency": "USD", "billing_cycle": "monthly", "billing_interval": 1, "trial_days": 0, "family": "main"}
UNLIMITED = {"max_usage_per_day": None, "max_usage_per_month": None}
EXPECTED = {
    "free": {
        **COMMON,
        **UNLIMITED,
        "name": "Free",
        "description": None,
        "price": Decimal("0.00"),
        "features": {"translations_per_day": 30, "books": 2},
        "is_active": True,
    },
    "premium": {
        **COMMON,
        **UNLIMITED,
        "name": "Premium",
        "description": None,
        "price": Decimal("6.99"),
        "features": {"translations_per_day": 300, "books": -1, "offline": True},
        "is_active": True,
    },
    "pro": {
        **COMMON,
        "name": "Pro Plan",
        "description": "Professional plan with advanced features",
        "price": Decimal("19.99"),
        "features": {
            "feature1": True,
            "feature2": True,
            "feature3": True,
            "max_storage": "100GB",
            "api_calls": 10000,
        },
        "max_usage_per_day": 200,
        "max_usage_per_month": 6000,
        "is_active": True,
    },
}


def test_the_plans_are_those_of_the_documents():
    assert [plan.code for plan in plans_seed()] == ["free", "premium", "pro"]
    assert {plan.code: {name: getattr(plan, name) for name in FIELDS} for plan in Plan.objects.all()} == EXPECTED
    # The model's own order: the shop window.
    assert list(Plan.objects.values_list("code", flat=True)) == ["free", "premium", "pro"]


def test_a_second_time_changes_nothing(api):
    plans_seed()
    before = everything()
    assert plans_seed() == []
    assert everything() == before
    assert b'"price":0.00' in api.get("/api/v1/plans/free").content


def test_what_an_operator_changed_or_removed_by_hand_is_respected():
    plans_seed()
    Plan.objects.filter(code="premium").update(price=Decimal("7.99"), is_active=False)
    Plan.objects.filter(code="pro").delete()
    assert [plan.code for plan in plans_seed()] == ["pro"]
    premium = Plan.objects.get(code="premium")
    assert (premium.price, premium.is_active) == (Decimal("7.99"), False)
