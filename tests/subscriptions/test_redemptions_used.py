"""Coupons in use: released, activated and used up, each counted once, and what the database refuses."""

from __future__ import annotations

import itertools

import pytest
from django.db import IntegrityError, transaction

from plans.models import Coupon
from plans.services_coupons import coupon_update
from subscriptions.models import CouponRedemption, RedemptionStatus
from subscriptions.services.redemptions import (
    discount_line,
    redemption_activate,
    redemption_release,
    redemption_reserve,
    redemption_used,
    redemptions_of,
    redemptions_release,
)
from tests.factories import CouponFactory, PlanFactory
from tests.flows import fresh
from tests.subscriptions.redemptions_world import (
    NOW,
    SECOND,
    active,
    pending,
    plan,
    reserve,
    state,
    taken,
    usd,
)

__all__ = ["plan"]

pytestmark = pytest.mark.django_db


# --- releasing and activating -----------------------------------------------------------------------------------------


def test_a_released_one_is_counted_no_more_and_once_only():
    coupon, subscription = CouponFactory(max_redemptions=1), pending()
    reserve(subscription, coupon)
    for _ in range(2):
        redemption_release(subscription)
        assert taken(coupon) == (0, ["released"])
    assert reserve(pending(), coupon).status == "reserved"


def test_what_is_active_is_not_released():
    coupon, subscription = CouponFactory(), pending()
    active(coupon, subscription)
    redemption_release(subscription)
    assert taken(coupon) == (1, ["active"])


def test_a_batch_is_released_in_three_queries(django_assert_num_queries):
    first, second = CouponFactory(), CouponFactory()
    rows = [reserve(pending(), coupon) for coupon in (first, first, second)]
    kept = reserve(pending(), first)
    with django_assert_num_queries(3):
        redemptions_release([row.subscription_id for row in rows])
    assert taken(first) == (1, ["released", "released", "reserved"])
    assert taken(second) == (0, ["released"])
    with django_assert_num_queries(1):
        redemptions_release([row.subscription_id for row in rows])
    assert fresh(kept).status == "reserved"


def test_activating_counts_nothing_again():
    coupon, subscription = CouponFactory(max_redemptions=1), pending()
    reserved = reserve(subscription, coupon)
    for _ in range(2):
        row = redemption_activate(subscription)
        assert (row, row.status) == (reserved, "active")
    assert taken(coupon) == (1, ["active"])


def test_a_subscription_without_a_coupon_has_none_to_activate():
    reserve(pending(), CouponFactory())
    assert redemption_activate(pending()) is None


def test_what_has_ended_is_not_activated_again():
    coupon, subscription = CouponFactory(), pending()
    redemption_used([active(coupon, subscription)])
    assert redemption_activate(subscription) is None
    assert taken(coupon) == (1, ["ended"])


def test_a_late_payment_takes_the_coupon_again():
    coupon, subscription = CouponFactory(max_redemptions=1), pending()
    reserve(subscription, coupon)
    redemption_release(subscription)
    # Its window and whether it is offered are for new customers.
    coupon_update(coupon_id=coupon.pk, actor="test", is_active=False, ends_at=NOW - SECOND)
    row = redemption_activate(subscription)
    assert (row.status, fresh(row).status) == ("active", "active")
    assert taken(coupon) == (1, ["active"])


def test_a_late_payment_of_one_that_is_used_up_is_honoured_and_not_counted():
    coupon, late = CouponFactory(max_redemptions=1), pending()
    reserve(late, coupon)
    redemption_release(late)
    active(coupon)
    assert redemption_activate(late).status == "active"
    assert taken(coupon) == (1, ["active", "active"])


def test_a_late_payment_where_the_user_has_it_elsewhere_by_now_stays_released(user):
    coupon, late = CouponFactory(), pending(user, PlanFactory())
    reserve(late, coupon)
    redemption_release(late)
    elsewhere = pending(user, PlanFactory(family="extra"))
    reserve(elsewhere, fresh(coupon))
    before = state()
    assert redemption_activate(late) is None
    assert state() == before
    # Released first, as what the payment supersedes is, it goes to the one that was paid.
    redemption_release(elsewhere)
    assert redemption_activate(late).status == "active"
    assert taken(coupon) == (1, ["active", "released"])


def test_of_two_released_ones_the_newest_is_the_promised_one(user):
    older, newer, subscription = CouponFactory(), CouponFactory(), pending(user)
    for number, coupon in enumerate((older, newer)):
        redemption_reserve(subscription, coupon, now=NOW + number * SECOND)
        redemption_release(subscription)
    assert redemption_activate(subscription).coupon == newer


# --- using it up ------------------------------------------------------------------------------------------------------


def test_a_coupon_ends_with_its_last_cycle():
    rows = [
        active(CouponFactory()),
        active(CouponFactory(duration="cycles", cycles=3)),
        active(CouponFactory(duration="forever")),
    ]
    seen = []
    for _ in range(4):
        counted = redemption_used(rows)
        seen.append((counted, [(row.status, row.cycles_used) for row in map(fresh, rows)]))
    assert seen == [
        (3, [("ended", 1), ("active", 1), ("active", 1)]),
        (2, [("ended", 1), ("active", 2), ("active", 2)]),
        (2, [("ended", 1), ("ended", 3), ("active", 3)]),
        (1, [("ended", 1), ("ended", 3), ("active", 4)]),
    ]


def test_only_what_is_active_is_used(user):
    reserved, others = reserve(pending(user), CouponFactory()), active(CouponFactory())
    assert redemption_used([reserved]) == 0
    assert redemption_used([]) == 0
    assert [(row.status, row.cycles_used) for row in map(fresh, (reserved, others))] == [("reserved", 0), ("active", 0)]


def test_batches_are_constant_in_queries(plan, django_assert_num_queries):
    rows = [active(CouponFactory(duration="forever", plans=[plan]), pending(plan=plan)) for _ in range(5)]
    released = pending()
    reserve(released, CouponFactory())
    redemption_release(released)
    ids = [released.pk, *(row.subscription_id for row in rows)]
    with django_assert_num_queries(1):
        found = redemptions_of(ids)
        lines = [discount_line(row, usd(10), plan.pk) for row in found.values()]
    assert {row.pk for row in found.values()} == {row.pk for row in rows}
    assert set(found) == set(ids[1:])
    assert [line.amount for line in lines] == [usd("-1.00")] * 5
    with django_assert_num_queries(1):
        assert redemption_used(list(found.values())) == 5


# --- what the database refuses ----------------------------------------------------------------------------------------

STEPS = {
    ("reserved", "active"),
    ("reserved", "released"),
    ("released", "active"),
    ("active", "ended"),
}


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(RedemptionStatus.values, 2)))
def test_the_database_knows_the_steps(user, before, after):
    row = CouponRedemption.objects.create(coupon=CouponFactory(), user=user, subscription=pending(user), status=before)
    try:
        with transaction.atomic():
            CouponRedemption.objects.filter(pk=row.pk).update(status=after)
        was_allowed = True
    except IntegrityError:
        was_allowed = False
    assert was_allowed == ((before, after) in STEPS)


@pytest.mark.parametrize("change", [{"redemptions": 2}, {"redemptions": -1}])
def test_the_database_keeps_the_count_within_the_maximum(change):
    coupon = CouponFactory(max_redemptions=1, redemptions=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Coupon.objects.filter(pk=coupon.pk).update(**change)
