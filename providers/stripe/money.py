"""Stripe's minor units, which are not ISO 4217's everywhere.

Whole numbers of the smallest unit; of zero-decimal currencies the amount itself. ISK and UGX have no minor unit and are
sent as if they had two digits; MGA has one and is sent without. In three-decimal currencies the last digit must be 0.
Source: Stripe's page "Supported currencies" (providers.md 5.2 names the principle; the special cases are to be confirmed
in test mode).
"""

from __future__ import annotations

from decimal import Decimal

from payflow.core.money import CURRENCIES, MAX_DIGITS
from providers.base import CurrencyRefused, MalformedError, RequestRefused

ZERO_DIGITS = frozenset("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split())
THREE_DIGITS = frozenset("BHD JOD KWD OMR TND".split())
#: ISO currencies with three digits that Stripe does not list.
NOT_SOLD = frozenset("IQD LYD".split())


def is_sold(currency: str) -> bool:
    return currency in CURRENCIES - NOT_SOLD


def digits_of(currency: str) -> int:
    return 0 if currency in ZERO_DIGITS else 3 if currency in THREE_DIGITS else 2


def to_minor(amount: Decimal, currency: str) -> int:
    """What Stripe is sent for `amount`. Raises CurrencyRefused, and RequestRefused where Stripe cannot charge it exactly."""
    if not is_sold(currency):
        raise CurrencyRefused(f"Stripe does not sell in {currency}")
    minor = amount.scaleb(digits_of(currency))
    if minor != minor.to_integral_value() or (currency in THREE_DIGITS and minor % 10):
        raise RequestRefused(f"Stripe charges no such fraction of {currency}")
    return int(minor)


def of_minor(value: object, currency: str, name: str = "amount") -> Decimal:
    """The major unit of what Stripe sent. Raises MalformedError."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**MAX_DIGITS:
        raise MalformedError(f"{name} is not a whole number of minor units")
    return Decimal(value).scaleb(-digits_of(currency))
