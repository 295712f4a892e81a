"""Coupons in use: who may take one, and what reserving one counts."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payments.models import PaymentTransaction
from payments.services.incoming import ReportedPayment, payment_record_unapplied
from plans.models import Coupon
from plans.services_coupons import coupon_update
from subscriptions.errors import CouponNotApplicable
from subscriptions.models import CouponRedemption
from subscriptions.services.redemptions import (
    redemption_release,
)
from tests.factories import CouponFactory, PlanFactory
from tests.flows import fresh, paid
from tests.plans.conftest import subscribe
from tests.subscriptions.redemptions_world import (
    NOW,
    SECOND,
    check,
    fault,
    pending,
    plan,
    reserve,
    state,
    taken,
    usd,
)

__all__ = ["plan"]

pytestmark = pytest.mark.django_db


# --- who may take it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["SPRING", "spring", "  Spring "])
def test_a_code_is_found_however_it_is_written(user, plan, code):
    coupon = CouponFactory(code="SPRING")
    assert check(code, user, plan) == coupon


REFUSED = [
    ({"code": "OTHER"}, "There is no such coupon"),
    ({"is_active": False}, "This coupon is no longer offered"),
    ({"starts_at": NOW + SECOND}, "This coupon is not valid yet"),
    ({"ends_at": NOW}, "This coupon has expired"),
    ({"max_redemptions": 2, "redemptions": 2}, "This coupon is used up"),
    ({"kind": "fixed", "amount": Decimal(5), "currency": "EUR"}, "This coupon is for prices in EUR"),
]


@pytest.mark.parametrize(("fields", "reason"), REFUSED)
def test_what_cannot_be_used_says_why_and_takes_nothing(user, plan, fields, reason):
    CouponFactory(**{"code": "SPRING", **fields})
    before = state()
    with pytest.raises(CouponNotApplicable) as refusal:
        check("SPRING", user, plan)
    assert (fault(refusal), str(refusal.value)) == (reason, reason)
    assert state() == before


@pytest.mark.parametrize(
    "fields",
    [
        {"starts_at": NOW, "ends_at": NOW + SECOND},
        {"max_redemptions": 2, "redemptions": 1},
        {"kind": "fixed", "amount": Decimal(5), "currency": "USD"},
        {"first_time_only": True},
    ],
)
def test_what_can_be_used(user, plan, fields):
    assert check(CouponFactory(**fields), user, plan).redemptions == fields.get("redemptions", 0)


@pytest.mark.parametrize("code", ["ſPRING", "SPR\0ING", "", "%"])
def test_what_is_no_code_is_no_coupon(user, plan, code):
    CouponFactory(code="SPRING")
    with pytest.raises(CouponNotApplicable, match="no such coupon"):
        check(code, user, plan)


def test_it_is_for_its_plans(user, plan):
    coupon = CouponFactory(plans=[plan, PlanFactory()])
    assert check(coupon, user, plan) == coupon
    with pytest.raises(CouponNotApplicable, match="not for this plan"):
        check(coupon, user, PlanFactory())


def test_first_time_is_before_any_money(user, other_user, plan):
    coupon = CouponFactory(first_time_only=True)
    free = PlanFactory(price=Decimal(0))
    subscribe(user, free, "active")
    assert check(coupon, user, plan) == coupon
    paid(other_user, plan)
    with pytest.raises(CouponNotApplicable, match="first-time"):
        check(coupon, other_user, plan)


def test_a_refunded_customer_has_paid_before(user, plan):
    _, charge = paid(user, plan)
    PaymentTransaction.objects.filter(pk=charge.pk).update(status="refunded", refunded_amount=charge.amount)
    with pytest.raises(CouponNotApplicable, match="first-time"):
        check(CouponFactory(first_time_only=True), user, plan)


def test_money_that_settles_nothing_is_money(user, plan):
    payment = ReportedPayment(
        provider="sandbox",
        provider_txn_id="pay_1",
        money=usd(10),
        user_id=user.pk,
        subscription_id=None,
        method=None,
        raw={},
    )
    payment_record_unapplied(payment=payment, reason="unknown order", at=NOW)
    with pytest.raises(CouponNotApplicable, match="first-time"):
        check(CouponFactory(first_time_only=True), user, plan)


@pytest.mark.parametrize("status", ["reserved", "active", "ended"])
def test_once_per_user(user, other_user, plan, status):
    coupon = CouponFactory()
    CouponRedemption.objects.create(
        coupon=coupon, user=user, subscription=subscribe(user, plan, "active"), status=status
    )
    with pytest.raises(CouponNotApplicable, match="used this coupon already"):
        check(coupon, user, plan)
    assert check(coupon, other_user, plan) == coupon


def test_released_is_free_again(user, plan):
    coupon, subscription = CouponFactory(max_redemptions=1), pending(user, plan)
    reserve(subscription, coupon)
    redemption_release(subscription)
    assert check(coupon, user, plan) == coupon


def test_what_his_own_checkout_holds_does_not_refuse_him(user, other_user, plan):
    """The last one is his, until he subscribes anew: then it is the same checkout, or another that supersedes it."""
    coupon = CouponFactory(max_redemptions=1)
    reserve(pending(user, plan), coupon)
    assert check(coupon, user, plan) == coupon
    with pytest.raises(CouponNotApplicable, match="used up"):
        check(coupon, other_user, plan)
    with pytest.raises(CouponNotApplicable, match="used this coupon already"):
        check(coupon, user, PlanFactory(family="extra"))


def test_a_check_asks_as_often_for_many_plans(user, plan):
    few, many = CouponFactory(plans=[plan]), CouponFactory(plans=[plan, *PlanFactory.create_batch(5)])
    counts = []
    for coupon in (few, many):
        with CaptureQueriesContext(connection) as queries:
            check(coupon, user, plan)
        counts.append(len(queries))
    assert counts == [2, 2]


# --- reserving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "cycles"),
    [({}, 1), ({"duration": "cycles", "cycles": 3}, 3), ({"duration": "forever"}, None)],
)
def test_reserving_counts_and_copies_how_long(user, plan, fields, cycles):
    coupon, subscription = CouponFactory(**fields), pending(user, plan)
    row = fresh(reserve(subscription, coupon))
    assert (row.coupon, row.user, row.subscription) == (coupon, user, subscription)
    assert (row.status, row.cycles, row.cycles_used, row.created_at) == ("reserved", cycles, 0, NOW)
    assert taken(coupon) == (1, ["reserved"])


#: What may happen between the check and the reservation, and what the customer is told.
MEANWHILE = [
    ({"is_active": False}, "This coupon is no longer offered"),
    ({"starts_at": NOW + SECOND}, "This coupon is not valid yet"),
    ({"ends_at": NOW}, "This coupon has expired"),
    ({"redemptions": 1}, "This coupon is used up"),
    ({"percent": Decimal(11)}, "This coupon has just been changed; please look again"),
    ({"duration": "forever"}, "This coupon has just been changed; please look again"),
]


@pytest.mark.parametrize(("change", "reason"), MEANWHILE)
def test_what_changed_since_the_check_refuses_and_leaves_nothing(user, plan, change, reason):
    coupon = check(CouponFactory(max_redemptions=1), user, plan)
    subscription = pending(user, plan)
    Coupon.objects.update(**change)
    before = state()
    with pytest.raises(CouponNotApplicable) as refusal:
        reserve(subscription, coupon)
    assert fault(refusal) == reason
    assert state() == before


def test_a_coupon_that_was_deleted_meanwhile(user, plan):
    coupon, subscription = CouponFactory(), pending(user, plan)
    Coupon.objects.filter(pk=coupon.pk).delete()
    with pytest.raises(CouponNotApplicable, match="no such coupon"):
        reserve(subscription, coupon)


def test_a_new_name_or_more_plans_do_not_refuse(user, plan, admin):
    coupon = check(CouponFactory(plans=[plan]), user, plan)
    coupon_update(coupon_id=coupon.pk, actor="test", name="New", plans=[])
    assert reserve(pending(user, plan), coupon).status == "reserved"


def test_the_same_coupon_twice_leaves_the_count_and_the_transaction_as_they_were(user):
    coupon = CouponFactory()
    reserve(pending(user, PlanFactory()), coupon)
    second = pending(user, PlanFactory(family="extra"))
    before = state()
    with pytest.raises(CouponNotApplicable, match="used this coupon already"):
        reserve(second, coupon)
    # The caller's transaction goes on.
    assert state() == before


def test_one_coupon_for_a_subscription(user):
    subscription, other = pending(user), CouponFactory()
    reserve(subscription, CouponFactory())
    before = state()
    with pytest.raises(CouponNotApplicable, match="on this subscription already"):
        reserve(subscription, other)
    assert state() == before
