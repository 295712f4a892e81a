"""What units of an action come to: each model, its edges, and what holds for every price list."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payflow.core.money import Money
from plans.models import PriceModel
from plans.pricing import Pricing, Tier, explained, price, price_exact

D = Decimal
TIERS = (Tier(100, D("0.10"), D(0)), Tier(1000, D("0.05"), D("2")), Tier(None, D("0.01"), D(0)))


def pricing(model="per_unit", *, currency="USD", included=0, unit=None, size=None, tiers=()):
    return Pricing(PriceModel(model), currency, included, D(unit) if unit else None, size, tiers)


@pytest.mark.parametrize(
    ("terms", "used", "amount"),
    [
        (pricing(unit="0.5"), 0, "0"),
        (pricing(unit="0.5"), 3, "1.50"),
        (pricing(unit="0.5", included=10), 10, "0"),
        (pricing(unit="0.5", included=10), 11, "0.50"),
        # fractions of a cent are summed before they are rounded, half up
        (pricing(unit="0.0025"), 1, "0"),
        (pricing(unit="0.0025"), 2, "0.01"),
        (pricing(unit="0.0025"), 1000, "2.50"),
        (pricing(unit="0.5", currency="JPY"), 1, "1"),
        (pricing(unit="0.0005", currency="KWD"), 1, "0.001"),
        (pricing("package", unit="5", size=100), 1, "5"),
        (pricing("package", unit="5", size=100), 100, "5"),
        (pricing("package", unit="5", size=100), 101, "10"),
        (pricing("package", unit="5", size=100, included=50), 150, "5"),
        (pricing("graduated", tiers=TIERS), 100, "10"),
        (pricing("graduated", tiers=TIERS), 101, "12.05"),
        (pricing("graduated", tiers=TIERS), 1000, "57"),
        (pricing("graduated", tiers=TIERS), 1001, "57.01"),
        (pricing("graduated", tiers=TIERS, included=1000), 1100, "10"),
        (pricing("volume", tiers=TIERS), 100, "10"),
        (pricing("volume", tiers=TIERS), 101, "7.05"),
        (pricing("volume", tiers=TIERS), 1001, "10.01"),
        (pricing("volume", tiers=TIERS, included=5), 5, "0"),
    ],
)
def test_each_model_at_its_edges(terms, used, amount):
    assert price(terms, used) == Money(D(amount), terms.currency)


def test_less_than_nothing_is_refused():
    with pytest.raises(ValueError, match="less than nothing"):
        price(pricing(unit="1"), -1)


def test_the_explanation_has_every_term_of_the_formula():
    assert explained(pricing("graduated", tiers=TIERS[1:], included=7)) == {
        "formula": "sum over tiers of (units in the tier * unit_amount + flat_amount)",
        "model": "graduated",
        "currency": "USD",
        "included": 7,
        "tiers": [
            {"up_to": 1000, "unit_amount": "0.05", "flat_amount": "2"},
            {"up_to": None, "unit_amount": "0.01", "flat_amount": "0"},
        ],
    }
    assert explained(pricing("package", unit="5.00", size=100)) == {
        "formula": "ceil((used - included) / package_size) * unit_amount",
        "model": "package",
        "currency": "USD",
        "included": 0,
        "unit_amount": "5",
        "package_size": 100,
    }


amounts = st.decimals(0, 50, places=6)
units = st.integers(0, 5000)


@st.composite
def tier_lists(draw, flat=amounts):
    steps = draw(st.lists(st.integers(1, 400), max_size=4))
    ends = [sum(steps[: n + 1]) for n in range(len(steps))]
    return tuple(Tier(end, draw(amounts), draw(flat)) for end in [*ends, None])


@st.composite
def price_lists(draw, models=tuple(PriceModel)):
    model = draw(st.sampled_from(models))
    tiered = model in (PriceModel.GRADUATED, PriceModel.VOLUME)
    return Pricing(
        model,
        draw(st.sampled_from(["USD", "JPY", "KWD"])),
        draw(st.integers(0, 500)),
        None if tiered else draw(amounts),
        draw(st.integers(1, 300)) if model == PriceModel.PACKAGE else None,
        draw(tier_lists()) if tiered else (),
    )


RISING = (PriceModel.PER_UNIT, PriceModel.GRADUATED, PriceModel.PACKAGE)


@given(terms=price_lists(), used=units)
def test_never_negative_free_while_included_and_rounded_once(terms, used):
    found = price(terms, used)

    assert found.amount >= 0
    assert not price(terms, min(used, terms.included))
    assert found == Money.of_fraction(price_exact(terms, used), terms.currency)


@given(terms=price_lists(models=RISING), used=units, more=units)
def test_a_further_unit_never_costs_less_than_nothing(terms, used, more):
    assert price(terms, used + more) >= price(terms, used)


@given(terms=price_lists(), cuts=st.lists(units, max_size=5))
def test_lines_of_pieces_sum_to_the_price_of_the_whole(terms, cuts):
    """What has been invoiced is taken off the price of all: in whatever pieces usage comes."""
    moments = [0, *sorted(cuts)]
    charged = Money.zero(terms.currency)
    for used in moments:
        charged += price(terms, used) - charged

    assert charged == price(terms, moments[-1])


@given(tiers=tier_lists(flat=st.just(D(0))), included=st.integers(0, 50), edge=st.integers(0, 4))
def test_graduated_prices_go_on_at_the_edge_of_a_tier_where_they_left_off(tiers, included, edge):
    terms = Pricing(PriceModel.GRADUATED, "USD", included, tiers=tiers)
    number = edge % len(tiers)
    if tiers[number].up_to is None:
        return
    at = included + tiers[number].up_to

    assert price_exact(terms, at + 1) - price_exact(terms, at) == Fraction(tiers[number + 1].unit_amount)
    assert price_exact(terms, at) - price_exact(terms, at - 1) == Fraction(tiers[number].unit_amount)
