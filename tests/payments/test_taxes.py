"""Tax of an amount: exact, rounded once."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payflow.core.money import Money, currency_digits, minor_unit
from payments.taxes import tax_of

percents = st.decimals(0, 100, places=4)


@st.composite
def amounts(draw, least=0):
    currency = draw(st.sampled_from(["JPY", "USD", "KWD"]))
    return Money(Decimal(draw(st.integers(least, 10**14))).scaleb(-currency_digits(currency)), currency)


@pytest.mark.parametrize(
    ("base", "currency", "percent", "inclusive", "tax"),
    [
        ("10.00", "USD", "20", False, "2.00"),
        ("10.00", "USD", "20", True, "1.67"),
        ("12.00", "EUR", "20", True, "2.00"),
        ("0.10", "USD", "5", False, "0.01"),  # half a cent goes up
        ("0.09", "USD", "5", False, "0.00"),
        ("1000", "JPY", "8", False, "80"),
        ("1000", "JPY", "8", True, "74"),
        ("1.234", "KWD", "5", False, "0.062"),
        ("10.00", "USD", "7.7", False, "0.77"),
        ("10.00", "USD", "8.8750", False, "0.89"),
        ("9.99", "USD", "100", True, "5.00"),
        ("-10.00", "USD", "20", True, "-1.67"),
        ("-0.10", "USD", "5", False, "-0.01"),
        ("0", "USD", "20", False, "0.00"),
    ],
)
def test_the_tax_of(base, currency, percent, inclusive, tax):
    assert tax_of(Money(Decimal(base), currency), Decimal(percent), inclusive=inclusive) == Money(
        Decimal(tax), currency
    )


@given(amounts(), percents, st.booleans())
def test_it_is_the_exact_tax_rounded_once_half_up(base, percent, inclusive):
    tax = tax_of(base, percent, inclusive=inclusive)

    exact = Fraction(base.amount) * Fraction(percent) / (100 + Fraction(percent) if inclusive else 100)
    half = Fraction(minor_unit(base.currency)) / 2
    assert tax.currency == base.currency
    assert tax.amount >= 0
    assert -half < Fraction(tax.amount) - exact <= half


@given(amounts(), percents)
def test_what_contains_a_tax_is_the_net_and_the_tax_of_the_net(base, percent):
    tax = tax_of(base, percent, inclusive=True)
    net = base - tax

    assert tax + net == base
    assert 0 <= net.amount <= base.amount
    again = tax_of(net, percent, inclusive=False)
    assert abs(again.amount - tax.amount) <= minor_unit(base.currency)


@given(amounts(), st.booleans())
def test_nothing_percent_is_nothing(base, inclusive):
    assert not tax_of(base, Decimal("0.0000"), inclusive=inclusive)


@given(amounts(), percents, st.booleans())
def test_the_tax_of_a_credit_is_the_credited_tax(base, percent, inclusive):
    assert tax_of(-base, percent, inclusive=inclusive) == -tax_of(base, percent, inclusive=inclusive)


@given(amounts(least=1), percents, st.booleans())
def test_more_is_not_taxed_less(base, percent, inclusive):
    less = Money(base.amount - minor_unit(base.currency), base.currency)
    assert tax_of(less, percent, inclusive=inclusive) <= tax_of(base, percent, inclusive=inclusive)


@pytest.mark.parametrize("percent", ["-0.0001", "100.0001", "NaN", "Infinity"])
def test_what_is_no_percentage_is_refused(percent):
    with pytest.raises(ValueError, match="percentage"):
        tax_of(Money(Decimal(1), "USD"), Decimal(percent), inclusive=False)
