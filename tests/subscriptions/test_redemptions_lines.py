"""The line by which a coupon lowers an invoice: its amount, its reasons, and when there is none."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from payments.invoices import claim
from payments.models import Invoice, InvoiceLine
from subscriptions.services.redemptions import (
    discount_line,
    redemption_activate,
    redemption_release,
    redemption_used,
    redemptions_of,
)
from tests.factories import CouponFactory, PlanFactory
from tests.flows import fresh
from tests.subscriptions.redemptions_world import NOW, active, check, pending, reserve, usd

pytestmark = pytest.mark.django_db


@pytest.fixture
def plan(db):
    return PlanFactory(code="basic")


def test_the_line_of_a_percentage(user, plan):
    coupon = CouponFactory(code="SPRING", percent=Decimal("12.5"), duration="cycles", cycles=3)
    line = discount_line(check(coupon, user, plan), usd("19.99"), plan.pk)
    assert (line.kind, line.description, line.amount) == (InvoiceLine.Kind.DISCOUNT, "Coupon SPRING", usd("-2.50"))
    assert line.explanation == {
        "formula": "base × percent / 100",
        "coupon": "SPRING",
        "base": "19.99",
        "currency": "USD",
        "percent": "12.5",
        "cycle": 1,
        "of": 3,
    }


def test_the_line_of_an_amount_in_its_second_cycle(user, plan):
    coupon = CouponFactory(code="FIVE", kind="fixed", amount=Decimal(5), currency="USD", duration="forever")
    subscription = pending(user, plan)
    redemption_used([active(coupon, subscription)])
    [row] = redemptions_of([subscription.pk]).values()
    line = discount_line(row, usd("19.99"), plan.pk, share=Fraction(1, 3))
    assert line.amount == usd("-1.67")
    assert line.explanation == {
        "formula": "amount × share, at most base",
        "coupon": "FIVE",
        "base": "19.99",
        "currency": "USD",
        "amount": "5.00",
        "share": "1/3",
        "cycle": 2,
        "of": None,
    }


def test_an_invoice_takes_the_line(user, plan):
    subscription = pending(user, plan)
    redemption = reserve(subscription, CouponFactory(percent=Decimal(100)))
    base = usd("10.00")
    charge = discount_line(redemption, base, plan.pk)
    whole = InvoiceLine.Kind.PLAN
    invoice = claim(
        user_id=user.pk,
        subscription_id=subscription.pk,
        reason=Invoice.Reason.CREATE,
        lines=[type(charge)(kind=whole, description="Basic", amount=base), charge],
        period_start=None,
        period_end=None,
        at=NOW,
    ).invoice
    assert (invoice.subtotal, invoice.discount, invoice.total) == (Decimal("10.00"), Decimal("10.00"), Decimal(0))


@pytest.mark.parametrize("annotated", [True, False])
def test_no_line_for_another_plan(plan, annotated):
    subscription = pending()
    row = reserve(subscription, CouponFactory(plans=[plan]))
    if annotated:
        row = redemptions_of([subscription.pk])[subscription.pk]
    assert discount_line(row, usd(10), plan.pk).amount == usd("-1.00")
    assert discount_line(row, usd(10), PlanFactory().pk) is None


def test_no_line_where_there_is_nothing_to_take_off(plan):
    coupon = CouponFactory(percent=Decimal("0.01"))
    assert discount_line(coupon, usd(1), plan.pk) is None
    assert discount_line(coupon, usd(0), plan.pk) is None


def test_no_line_in_another_currency(plan):
    coupon = CouponFactory(kind="fixed", amount=Decimal(5), currency="EUR")
    assert discount_line(coupon, usd(10), plan.pk) is None


@pytest.mark.parametrize("end", [redemption_used, lambda rows: redemption_release(rows[0].subscription)])
def test_no_line_once_it_is_over(plan, end):
    subscription = pending(plan=plan)
    row = reserve(subscription, CouponFactory())
    if end is redemption_used:
        row = redemption_activate(subscription)
    end([row])
    assert discount_line(fresh(row), usd(10), plan.pk) is None
    assert redemptions_of([subscription.pk]) == {}
