"""Many at once: the maximum holds, nobody has a coupon twice, losers leave nothing, nobody waits for ever.

A competitor holds the coupon's row until everybody waits for it, so that they really meet.
"""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from django.db import transaction

from payflow.core.locks import lock_rows
from plans.models import Coupon
from plans.services_coupons import coupon_delete, coupon_update
from subscriptions.locks import subscription_lock, user_lock
from subscriptions.models import CouponRedemption, Subscription
from subscriptions.services.redemptions import redemption_activate, redemption_release, redemption_reserve
from tests.factories import CouponFactory, PlanFactory, UserFactory
from tests.flows import fresh
from tests.plans.conftest import subscribe
from tests.races import Race
from tests.subscriptions.redemptions_world import NOW, pending, reserve, taken

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def held(coupon):
    """The coupon's row is locked by somebody else until the end of the block."""
    with transaction.atomic():
        lock_rows(Coupon.objects.filter(pk=coupon.pk))
        yield


def checkout(subscription, coupon):
    """As a checkout does it: user, subscription, coupon."""
    user_lock(subscription.user_id)
    return redemption_reserve(subscription_lock(subscription.pk), coupon, now=NOW)


def given_back(subscription, coupon):
    """As an expired checkout leaves it."""
    reserve(subscription, coupon)
    with transaction.atomic():
        redemption_release(subscription)


def test_the_last_redemptions_are_taken_by_as_many_as_there_are():
    coupon = CouponFactory(max_redemptions=3, redemptions=1)
    subscriptions = [pending() for _ in range(8)]
    before = {row.pk: row for row in Subscription.objects.all()}
    race = Race()
    with held(coupon):
        for subscription in subscriptions:
            race.start(checkout, subscription, coupon)
        race.everybody_waits()
    assert race.finish() == {"CouponRedemption": 2, "CouponNotApplicable": 6}
    assert taken(coupon) == (3, ["reserved", "reserved"])
    winners = set(CouponRedemption.objects.values_list("subscription_id", flat=True))
    assert len(winners) == 2
    assert all(fresh(row).updated_at == before[row.pk].updated_at for row in subscriptions)


def test_of_one_users_two_checkouts_one_takes_it():
    """Without the lock of the user, which is what usually keeps them apart."""
    coupon, user = CouponFactory(), UserFactory()
    subscriptions = [subscribe(user, PlanFactory(family=family), "pending") for family in ("main", "extra")]
    race = Race()
    with held(coupon):
        for subscription in subscriptions:
            race.start(reserve, subscription, coupon)
        race.everybody_waits()
    assert race.finish() == {"CouponRedemption": 1, "CouponNotApplicable": 1}
    assert taken(coupon) == (1, ["reserved"])


def test_one_that_is_being_given_back_is_taken_until_it_is():
    """Nobody waits for it: told that it is used up, the customer asks again."""
    coupon, expiring, subscription = CouponFactory(max_redemptions=1), pending(), pending()
    reserve(expiring, coupon)
    before, after = Race(), Race()
    with transaction.atomic():
        redemption_release(expiring)
        before.start(checkout, subscription, coupon)
        assert before.finish() == {"CouponNotApplicable": 1}
    after.start(checkout, subscription, coupon)
    assert after.finish() == {"CouponRedemption": 1}
    assert taken(coupon) == (1, ["released", "reserved"])


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"percent": 20}, "CouponNotApplicable"),
        ({"is_active": False}, "CouponNotApplicable"),
        ({"max_redemptions": 1}, "CouponRedemption"),
        ({"name": "New"}, "CouponRedemption"),
    ],
)
def test_nobody_takes_what_an_operator_has_changed_meanwhile(change, outcome):
    coupon, subscription = CouponFactory(), pending()
    race = Race()
    with transaction.atomic():
        coupon_update(coupon_id=coupon.pk, actor="test", **change)
        race.start(checkout, subscription, coupon)
        race.everybody_waits()
    assert race.finish() == {outcome: 1}
    assert fresh(coupon).redemptions == (outcome == "CouponRedemption")


def test_nobody_takes_what_is_deleted_meanwhile():
    coupon, subscription = CouponFactory(), pending()
    race = Race()
    with transaction.atomic():
        assert coupon_delete(coupon_id=coupon.pk, actor="test") is None
        race.start(checkout, subscription, coupon)
        race.everybody_waits()
    assert race.finish() == {"CouponNotApplicable": 1}
    assert not CouponRedemption.objects.exists()


def test_an_operator_who_comes_second_finds_it_redeemed():
    coupon, subscription = CouponFactory(), pending()
    race = Race()
    with transaction.atomic():
        reserve(subscription, coupon)
        race.start(lambda: coupon_update(coupon_id=coupon.pk, actor="test", percent=20))
        race.start(lambda: coupon_delete(coupon_id=coupon.pk, actor="test"))
        race.everybody_waits()
    assert race.finish() == {"ValidationFailed": 1, "Coupon": 1}
    assert (fresh(coupon).percent, fresh(coupon).is_active) == (10, False)


def test_late_payments_fill_what_is_left_and_are_all_honoured():
    coupon = CouponFactory(max_redemptions=1)
    late = [pending() for _ in range(4)]
    for subscription in late:
        given_back(subscription, coupon)
    race = Race()
    with held(coupon):
        for subscription in late:
            race.start(lambda subscription=subscription: redemption_activate(subscription_lock(subscription.pk)))
        race.everybody_waits()
    assert race.finish() == {"CouponRedemption": 4}
    assert taken(coupon) == (1, ["active"] * 4)


def test_a_late_payment_and_a_new_checkout_of_one_user_do_not_wait_for_each_other():
    coupon, user = CouponFactory(), UserFactory()
    late, new = (subscribe(user, PlanFactory(family=family), "pending") for family in ("main", "extra"))
    given_back(late, coupon)
    race = Race()
    with held(coupon):
        race.start(lambda: redemption_activate(subscription_lock(late.pk)))
        race.start(checkout, new, coupon)
        race.everybody_waits()
    # Whoever is first has it: the other one is told so, or stays without.
    assert race.finish() in (
        {"CouponRedemption": 1, "CouponNotApplicable": 1},
        {"NoneType": 1, "CouponRedemption": 1},
    )
    assert taken(coupon)[0] == 1


def test_an_expiring_checkout_and_a_new_one_of_one_user_do_not_wait_for_each_other():
    coupon, user = CouponFactory(), UserFactory()
    old, new = (subscribe(user, PlanFactory(family=family), "pending") for family in ("main", "extra"))
    reserve(old, coupon)
    race = Race()
    with held(coupon):
        race.start(lambda: redemption_release(subscription_lock(old.pk)))
        race.start(checkout, new, coupon)
        race.everybody_waits()
    assert race.finish() in (
        {"NoneType": 1, "CouponRedemption": 1},
        {"NoneType": 1, "CouponNotApplicable": 1},
    )
    counted = CouponRedemption.objects.exclude(status="released").count()
    assert fresh(coupon).redemptions == counted
