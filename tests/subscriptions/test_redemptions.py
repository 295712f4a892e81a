"""Coupons in use: who may take one, what it lowers, and that each use is counted once."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from payflow.core.money import Money
from payments.models import PaymentTransaction
from payments.services.incoming import ReportedPayment, payment_record_unapplied
from plans.models import Coupon
from plans.services_coupons import coupon_update
from subscriptions.errors import CouponNotApplicable
from subscriptions.models import CouponRedemption, RedemptionStatus, Subscription
from subscriptions.services.redemptions import (
    coupon_check,
    discount_line,
    redemption_activate,
    redemption_release,
    redemption_reserve,
    redemption_used,
    redemptions_of,
    redemptions_release,
)
from tests.factories import CouponFactory, PlanFactory, UserFactory
from tests.flows import fresh, paid
from tests.plans.conftest import subscribe

pytestmark = pytest.mark.django_db

NOW = datetime(2040, 1, 31, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def plan(db):
    return PlanFactory(code="basic")


def pending(user=None, plan=None):
    return subscribe(user or UserFactory(), plan or PlanFactory(), "pending")


def usd(amount):
    return Money(Decimal(amount), "USD")


def check(coupon, user, plan, *, currency="USD", now=NOW):
    code = coupon.code if isinstance(coupon, Coupon) else coupon
    return coupon_check(code=code, user_id=user.pk, plan=plan, currency=currency, now=now)


def reserve(subscription, coupon):
    return redemption_reserve(subscription, coupon, now=NOW)


def active(coupon, subscription=None):
    subscription = subscription or pending()
    reserve(subscription, fresh(coupon))
    return redemption_activate(subscription)


def fault(refusal):
    assert refusal.value.code == "VALIDATION_ERROR"
    [text] = refusal.value.details["coupon"]
    return text


def state():
    return (
        list(Coupon.objects.order_by("pk").values()),
        list(CouponRedemption.objects.order_by("pk").values()),
        list(Subscription.objects.order_by("pk").values()),
    )


def taken(coupon):
    """How often it counts, and the statuses of those who took it."""
    return fresh(coupon).redemptions, list(coupon.taken.order_by("pk").values_list("status", flat=True))


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
