"""Operators at the same time: a code is given out once, and no coupon loses the plan that it is limited to."""

from __future__ import annotations

import pytest
from django.db import transaction

from plans.models import Coupon, Plan
from plans.services import plan_delete
from plans.services_coupons import coupon_create, coupon_update
from tests.factories import CouponFactory, PlanFactory
from tests.plans.conftest import START
from tests.races import Race

pytestmark = pytest.mark.django_db(transaction=True)


def create(**fields):
    return coupon_create(code="SPRING", kind="percent", percent=10, actor="test", **fields)


def test_a_code_is_given_out_once():
    race = Race()
    with transaction.atomic():
        create()
        race.start(create)
        race.everybody_waits()
    assert race.finish() == {"ValidationFailed": 1}
    assert Coupon.objects.count() == 1


@pytest.mark.parametrize("way", ["create", "update"])
def test_a_plan_is_not_deleted_from_under_a_coupon(way):
    plan, coupon, race = PlanFactory(code="pro"), CouponFactory(), Race()
    with transaction.atomic():
        if way == "create":
            create(plans=["pro"])
        else:
            coupon_update(coupon_id=coupon.pk, actor="test", plans=["pro"])
        race.start(lambda: plan_delete(plan_id=plan.pk, actor="test", at=START))
        race.everybody_waits()
    assert race.finish() == {"PlanInUse": 1}
    assert [list(row.plans.all()) for row in Coupon.objects.filter(plans__isnull=False)] == [[plan]]


def test_a_coupon_is_not_made_for_a_plan_that_is_being_deleted():
    plan, race = PlanFactory(code="pro"), Race()
    with transaction.atomic():
        plan_delete(plan_id=plan.pk, actor="test", at=START)
        race.start(lambda: create(plans=["pro"]))
        race.everybody_waits()
    assert race.finish() == {"ValidationFailed": 1}
    assert not Coupon.objects.exists()
    assert not Plan.objects.exists()
