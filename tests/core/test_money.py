"""Exact money: one rounding rule, splits that keep their sum, and a database that agrees."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from payflow.core.errors import UnsupportedCurrency
from payflow.core.money import (
    CURRENCIES,
    THREE_DIGITS,
    TWO_DIGITS,
    ZERO_DIGITS,
    Money,
    currency_digits,
    has_currency_scale,
    minor_unit,
    round_amount,
    split,
)

currencies = st.sampled_from(["JPY", "USD", "KWD"])
units = st.integers(-(10**15) + 1, 10**15 - 1)
weights = st.lists(st.decimals(0, 10**9, places=4), min_size=1, max_size=12).filter(any)


def money_of(number: int, currency: str) -> Money:
    return Money(Decimal(number).scaleb(-currency_digits(currency)), currency)


# --- what money is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        ("7", "USD", "7.00 USD"),
        ("6.9", "USD", "6.90 USD"),
        ("6.9000", "USD", "6.90 USD"),
        ("1000", "JPY", "1000 JPY"),
        ("1E+3", "JPY", "1000 JPY"),
        ("1.005", "KWD", "1.005 KWD"),
        ("-0", "USD", "0.00 USD"),
        ("999999999999999.99", "USD", "999999999999999.99 USD"),
    ],
)
def test_an_amount_has_its_currencys_digits(amount, currency, text):
    assert str(Money(Decimal(amount), currency)) == text


@pytest.mark.parametrize("amount", [7, 6.9, "6.90", None, True])
def test_nothing_but_a_decimal_is_an_amount(amount):
    with pytest.raises(ValueError, match="takes a Decimal"):
        Money(amount, "USD")


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("NaN", "USD"),
        ("sNaN", "USD"),
        ("Infinity", "USD"),
        ("-Infinity", "USD"),
        ("0.001", "USD"),
        ("0.5", "JPY"),
        ("0.0001", "KWD"),
        ("1E-400", "USD"),
        ("1000000000000000", "USD"),
        ("-1000000000000000", "JPY"),
        ("1E+27", "USD"),
        ("1E+400", "USD"),
        ("999999999999999.999999999999999999999999", "USD"),
    ],
)
def test_what_does_not_fit_is_refused(amount, currency):
    assert not has_currency_scale(Decimal(amount), currency)
    with pytest.raises(ValueError, match="does not fit"):
        Money(Decimal(amount), currency)


@pytest.mark.parametrize("currency", ["", "usd", "XXX", "US", "USDT", "XAU", "€"])
def test_an_unknown_currency_is_named(currency):
    with pytest.raises(UnsupportedCurrency) as refusal:
        Money(Decimal(1), currency)
    assert refusal.value.details == {"currency": [currency]}
    assert refusal.value.http_status == 400


def test_every_currency_has_one_scale():
    assert not (ZERO_DIGITS & TWO_DIGITS or TWO_DIGITS & THREE_DIGITS or ZERO_DIGITS & THREE_DIGITS)
    assert {len(code) for code in CURRENCIES} == {3}
    assert (currency_digits("JPY"), currency_digits("USD"), currency_digits("KWD")) == (0, 2, 3)
    assert (minor_unit("JPY"), minor_unit("USD"), minor_unit("KWD")) == (1, Decimal("0.01"), Decimal("0.001"))


def test_sums_and_comparisons_stay_in_one_currency():
    one, two, yen = Money(Decimal(1), "USD"), Money(Decimal(2), "USD"), Money(Decimal(1), "JPY")
    assert one + one == two
    assert two - one == one
    assert -one == Money(Decimal(-1), "USD")
    assert one < two <= two and two > one >= one
    assert one and not Money.zero("USD")
    assert one != yen
    for mix in (one.__add__, one.__sub__, one.__lt__, one.__le__, one.__gt__, one.__ge__):
        with pytest.raises(ValueError, match="do not mix"):
            mix(yen)
    with pytest.raises(TypeError, match="money is added to money"):
        one + Decimal(1)


# --- rounding --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("0.005", "USD", "0.01"),
        ("0.0049999999999", "USD", "0.00"),
        ("2.675", "USD", "2.68"),
        ("-0.005", "USD", "-0.01"),
        ("-0.004", "USD", "0.00"),
        ("0.5", "JPY", "1"),
        ("1.5", "JPY", "2"),
        ("2.5", "JPY", "3"),
        ("1.0005", "KWD", "1.001"),
    ],
)
def test_half_goes_away_from_zero(amount, currency, rounded):
    assert str(round_amount(Decimal(amount), currency)) == rounded


@given(amount=st.decimals(-(10**14), 10**14, places=9), currency=currencies)
def test_rounding_is_nearest_and_done_once(amount, currency):
    rounded = round_amount(amount, currency)
    assert abs(Fraction(rounded) - Fraction(amount)) <= Fraction(minor_unit(currency)) / 2
    assert round_amount(rounded, currency) == rounded
    assert rounded == amount.quantize(minor_unit(currency), rounding=ROUND_HALF_UP)
    assert Money.rounded(amount, currency).amount == rounded


@pytest.mark.parametrize("amount", ["Infinity", "1E+40", "sNaN"])
def test_what_no_amount_can_be_is_refused(amount):
    with pytest.raises(ValueError, match="is not an amount"):
        round_amount(Decimal(amount), "USD")


# --- splitting -------------------------------------------------------------------------------------------------------


@given(number=units, currency=currencies, weights=weights)
def test_a_split_keeps_its_sum_and_its_proportions(number, currency, weights):
    money, unit = money_of(number, currency), Fraction(minor_unit(currency))
    parts = split(money, weights)
    total = sum(map(Fraction, weights))
    assert len(parts) == len(weights)
    assert sum((part.amount for part in parts), Decimal(0)) == money.amount
    for part, weight in zip(parts, weights, strict=True):
        exact = Fraction(money.amount) * Fraction(weight) / total
        assert abs(Fraction(part.amount) - exact) < unit
        assert part.currency == currency
        assert part.amount == 0 or (part.amount > 0) == (money.amount > 0)
        if not weight:
            assert not part


@given(number=units, currency=currencies, weights=weights)
def test_a_negative_split_mirrors_the_positive_one(number, currency, weights):
    money = money_of(number, currency)
    assert split(-money, weights) == [-part for part in split(money, weights)]


@given(count=st.integers(1, 40), number=units)
def test_equal_weights_differ_by_one_unit_and_the_earlier_part_has_it(count, number):
    amounts = [abs(part.amount) for part in split(money_of(number, "USD"), [Decimal(1)] * count)]
    assert amounts == sorted(amounts, reverse=True)
    assert amounts[0] - amounts[-1] <= Decimal("0.01")


def test_examples_by_hand():
    def amounts(amount, currency, weights):
        return [str(part.amount) for part in split(Money(Decimal(amount), currency), [Decimal(w) for w in weights])]

    assert amounts("10.00", "USD", ["1", "1", "1"]) == ["3.34", "3.33", "3.33"]
    assert amounts("-10.00", "USD", ["1", "1", "1"]) == ["-3.34", "-3.33", "-3.33"]
    assert amounts("100", "JPY", ["1", "1", "1"]) == ["34", "33", "33"]
    assert amounts("0.01", "USD", ["0", "1", "3"]) == ["0.00", "0.00", "0.01"]
    assert amounts("0.00", "USD", ["1", "2"]) == ["0.00", "0.00"]
    assert amounts("1.000", "KWD", ["1", "0", "2"]) == ["0.333", "0.000", "0.667"]
    # One weight is larger than the others by less than 28 digits show.
    assert amounts("0.01", "USD", ["1", "1.0000000000000000000000000000000001"]) == ["0.00", "0.01"]


@pytest.mark.parametrize(
    "weights",
    [[], ["0"], ["0", "0"], ["1", "-1"], ["2", "-1"], ["NaN"], ["1", "sNaN"], ["Infinity"], ["1", "-Infinity"]],
)
def test_a_split_needs_weights(weights):
    with pytest.raises(ValueError, match="weights"):
        split(Money(Decimal(1), "USD"), [Decimal(weight) for weight in weights])


# --- the database's half ---------------------------------------------------------------------------------------------


def _fits(rows):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT fits_currency(amount::numeric, currency) FROM unnest(%s::text[], %s::text[]) AS t (amount, currency)",
            [[str(amount) for amount, _ in rows], [currency for _, currency in rows]],
        )
        return [fits for (fits,) in cursor.fetchall()]


def test_the_database_agrees_for_every_currency(db):
    amounts = [
        Decimal(text) for text in ("0 1 -1 0.1 0.01 0.001 0.0001 12.3456 -0.5 100.00 100.10 1e3 1e14 -1e-4".split())
    ]
    amounts += [Decimal("999999999999999.9999"), Decimal("1e15"), Decimal("-1e15"), Decimal("NaN")]
    rows = [(amount, currency) for currency in sorted(CURRENCIES) for amount in amounts]
    assert _fits(rows) == [has_currency_scale(amount, currency) for amount, currency in rows]


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.tuples(
            st.one_of(
                st.decimals(-(10**16), 10**16, places=4),
                st.decimals(-(10**6), 10**6, places=2),
                st.integers(-(10**6), 10**6).map(Decimal),
            ),
            st.sampled_from(sorted(CURRENCIES)),
        ),
        min_size=20,
        max_size=60,
    )
)
def test_the_database_agrees_for_any_amount(django_db_setup, django_db_blocker, rows):
    with django_db_blocker.unblock():  # reads only: no transaction to roll back
        assert _fits(rows) == [has_currency_scale(amount, currency) for amount, currency in rows]


def test_the_database_knows_no_other_currency(db):
    rows = [(Decimal(1), code) for code in ("", "usd", "XXX", "USDT", "XAU")] + [(Decimal(1), None)]
    assert _fits(rows) == [False] * len(rows)


def test_no_amount_is_no_wrong_amount(db):
    with connection.cursor() as cursor:
        cursor.execute("SELECT fits_currency(NULL, 'USD')")
        assert cursor.fetchone() == (True,)
