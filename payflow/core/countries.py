"""Countries: the officially assigned codes of ISO 3166-1 alpha-2, with their English names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from babel import Locale

#: What CLDR lists beside the standard: exceptional reservations, unions, Kosovo's user-assigned code, test and unknown.
_NOT_ASSIGNED = frozenset("AC CP CQ DG EA EU EZ IC QO TA UN XA XB XK ZZ".split())

COUNTRY_HINT = "A country's code of ISO 3166-1: two letters, such as DE"


def country_code(text: str) -> str:
    """The code in capitals. Raises ValueError, in words for the caller, for what is not a country's."""
    code = text.strip().upper()
    if code not in countries():
        raise ValueError(COUNTRY_HINT)
    return code


@cache
def countries() -> Mapping[str, str]:
    """Code to name, in the order of the names."""
    territories = Locale.parse("en").territories
    named = {code: name for code, name in territories.items() if len(code) == 2 and code not in _NOT_ASSIGNED}
    return MappingProxyType(dict(sorted(named.items(), key=lambda item: item[1])))
