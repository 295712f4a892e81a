"""The countries of ISO 3166-1, and no others."""

from __future__ import annotations

import pytest

from payflow.core.countries import countries, country_code


def test_there_are_as_many_as_the_standard_assigns():
    assert len(countries()) == 249
    assert countries()["DE"] == "Germany"
    names = list(countries().values())
    assert names == sorted(names)


@pytest.mark.parametrize("text", ["DE", "de", " De "])
def test_a_code_in_any_case(text):
    assert country_code(text) == "DE"


@pytest.mark.parametrize("text", ["", "D", "DEU", "UK", "EU", "XK", "ZZ", "AC", "001", "Germany", "Ω"])
def test_what_is_no_country(text):
    with pytest.raises(ValueError, match="two letters, such as DE"):
        country_code(text)
