"""What a coupon takes off: never more than there is, never less than nothing, rounded once."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payflow.core.errors import UnsupportedCurrency
from payflow.core.money import Money, minor_unit
from plans.coupons import discount_of
from plans.models import Coupon

CURRENCIES = st.sampled_from(["USD", "JPY", "KWD"])
PERCENTS = st.decimals(min_value=Decimal("0.0001"), max_value=100, places=4)
SHARES = st.fractions(min_value=0, max_value=1)


def percent(value):
    return Coupon(code="P", kind="percent", percent=Decimal(value))


def fixed(amount, currency="USD"):
    return Coupon(code="F", kind="fixed", amount=Decimal(amount), currency=currency)


def usd(amount):
    return Money(Decimal(amount), "USD")


@st.composite
def money(draw, currency=None, smallest=0):
    currency = currency or draw(CURRENCIES)
    units = draw(st.integers(min_value=smallest, max_value=10**12))
    return Money(units * minor_unit(currency), currency)


@pytest.mark.parametrize(
    ("terms", "base", "share", "discount"),
    [
        (percent(10), usd("19.99"), 1, "2.00"),
        (percent(50), usd("0.01"), 1, "0.01"),  # a half goes up
        (percent(49), usd("0.01"), 1, "0.00"),
        (percent("33.3333"), usd("9.99"), 1, "3.33"),
        (percent(10), usd("5.00"), Fraction(1, 2), "0.50"),  # the base is half a cycle already
        (percent(100), usd("19.99"), 1, "19.99"),
        (percent(50), Money(Decimal(333), "JPY"), 1, "167"),
        (percent("12.5"), Money(Decimal("1.004"), "KWD"), 1, "0.126"),
        (fixed(5), usd("19.99"), 1, "5.00"),
        (fixed(5), usd("4.99"), 1, "4.99"),
        (fixed(5), usd("19.99"), Fraction(1, 3), "1.67"),
        (fixed("0.01"), usd("19.99"), Fraction(1, 2), "0.01"),
        (fixed(5), usd("19.99"), 0, "0.00"),
        (fixed(500, "JPY"), Money(Decimal(900), "JPY"), Fraction(1, 3), "167"),
        (fixed(5), usd("-3.00"), 1, "0.00"),
        (percent(10), usd("-3.00"), 1, "0.00"),
    ],
)
def test_examples(terms, base, share, discount):
    assert str(discount_of(terms, base, share=Fraction(share)).amount) == discount


@given(base=money(), terms=PERCENTS.map(percent))
def test_a_percentage_is_within_the_base_and_off_by_half_a_unit_at_most(base, terms):
    discount = discount_of(terms, base)
    assert Money.zero(base.currency) <= discount <= base
    exact = Fraction(base.amount) * Fraction(terms.percent) / 100
    assert abs(Fraction(discount.amount) - exact) <= Fraction(minor_unit(base.currency)) / 2


@given(data=st.data(), currency=CURRENCIES, share=SHARES)
def test_an_amount_is_within_the_base_and_off_by_half_a_unit_at_most(data, currency, share):
    base, off = data.draw(money(currency)), data.draw(money(currency, smallest=1))
    discount = discount_of(fixed(off.amount, currency), base, share=share)
    exact = min(Fraction(off.amount) * share, Fraction(base.amount))
    assert Money.zero(currency) <= discount <= base
    assert abs(Fraction(discount.amount) - exact) <= Fraction(minor_unit(currency)) / 2


@given(base=money(), more=st.integers(min_value=0, max_value=10**6), terms=PERCENTS.map(percent))
def test_a_percentage_of_more_is_never_less(base, more, terms):
    larger = base + Money(more * minor_unit(base.currency), base.currency)
    assert discount_of(terms, larger) >= discount_of(terms, base)
    assert larger - discount_of(terms, larger) >= Money.zero(base.currency)


@given(base=money(), share=SHARES)
def test_everything_off_is_everything(base, share):
    assert discount_of(percent(100), base, share=share) == base


@pytest.mark.parametrize("base", ["10", "0"])
def test_an_amount_of_another_currency_is_refused(base):
    with pytest.raises(UnsupportedCurrency) as refusal:
        discount_of(fixed(5, "EUR"), usd(base))
    assert refusal.value.details == {"currency": ["USD"]}


@pytest.mark.parametrize("share", [Fraction(-1, 2), Fraction(3, 2)])
def test_a_share_is_part_of_a_cycle(share):
    with pytest.raises(ValueError, match="part of a cycle"):
        discount_of(fixed(5), usd(10), share=share)
