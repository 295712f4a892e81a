"""Exact money: a Decimal with an ISO 4217 currency, rounded once, HALF_UP.

No float is accepted anywhere. The scale is the currency's own (JPY 0, USD 2, KWD 3); the database repeats the rule with
`fits_currency()` (see `payflow.core.sql`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from fractions import Fraction
from functools import cache
from typing import Any

from payflow.core.errors import UnsupportedCurrency

MAX_DIGITS = 19
MAX_SCALE = 4
#: The first amount that a numeric(19,4) cannot hold.
_BOUND = Decimal(10) ** (MAX_DIGITS - MAX_SCALE)

#: ISO 4217 currencies whose minor unit is not 1/100 (list one, 2024; funds and metals are not money here).
ZERO_DIGITS = frozenset("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split())
THREE_DIGITS = frozenset("BHD IQD JOD KWD LYD OMR TND".split())
TWO_DIGITS = frozenset(
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE "
    "CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR "
    "KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB "
    "PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY "
    "TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW".split()
)
CURRENCIES = ZERO_DIGITS | TWO_DIGITS | THREE_DIGITS


def currency_digits(currency: str) -> int:
    """Decimal places of an ISO 4217 currency. Raises UnsupportedCurrency for a code that is not in the list."""
    if currency in TWO_DIGITS:
        return 2
    if currency in ZERO_DIGITS:
        return 0
    if currency in THREE_DIGITS:
        return 3
    raise UnsupportedCurrency(f"{currency!r} is not an ISO 4217 currency", details={"currency": [str(currency)]})


@cache
def minor_unit(currency: str) -> Decimal:
    """The smallest amount of a currency: 0.01 for USD, 1 for JPY."""
    return Decimal(1).scaleb(-currency_digits(currency))


def round_amount(amount: Decimal, currency: str) -> Decimal:
    """`amount` rounded HALF_UP to the currency's digits: the one rounding rule. Zero has no sign.

    Raises ValueError for infinity and for more digits than a Decimal computes with.
    """
    try:
        return amount.quantize(minor_unit(currency), rounding=ROUND_HALF_UP) + 0
    except InvalidOperation as error:
        raise ValueError(f"{amount} is not an amount") from error


def has_currency_scale(amount: Decimal, currency: str) -> bool:
    """True where `amount` needs no rounding in its currency and its column can hold it."""
    return _in_bounds(amount) and amount == round_amount(amount, currency)


def _in_bounds(amount: Decimal) -> bool:
    return amount.is_finite() and amount.copy_abs() < _BOUND


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An amount that fits its currency exactly. Raises ValueError for a float, a NaN or too many digits."""

    amount: Decimal
    currency: str

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Decimal):
            raise ValueError(f"money takes a Decimal, not {type(self.amount).__name__}")
        amount = self.amount
        # Rounded once: money is made many times for each invoice.
        rounded = round_amount(amount, self.currency) if _in_bounds(amount) else None
        if rounded is None or rounded != amount:
            raise ValueError(f"{amount} does not fit {self.currency}")
        object.__setattr__(self, "amount", rounded)

    @classmethod
    def rounded(cls, amount: Decimal, currency: str) -> Money:
        return cls(round_amount(amount, currency), currency)

    @classmethod
    def of_fraction(cls, amount: Fraction, currency: str) -> Money:
        """An exact amount, rounded HALF_UP by the currency's digits: for formulas that multiply and divide first."""
        scaled = abs(amount) * 10 ** currency_digits(currency)
        units = (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator)
        sign = -1 if amount < 0 else 1
        return cls(sign * units * minor_unit(currency), currency)

    @classmethod
    def zero(cls, currency: str) -> Money:
        return cls(Decimal(0), currency)

    def __add__(self, other: Money) -> Money:
        return self._with(self.amount + self._same(other))

    def __sub__(self, other: Money) -> Money:
        return self._with(self.amount - self._same(other))

    def __neg__(self) -> Money:
        return self._with(-self.amount)

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.amount <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.amount > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.amount >= self._same(other)

    def __bool__(self) -> bool:
        return bool(self.amount)

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"

    def _with(self, amount: Decimal) -> Money:
        """A sum or difference of amounts that fit the currency has their scale: it can only be too large."""
        if not _in_bounds(amount):
            raise ValueError(f"{amount} does not fit {self.currency}")
        money = object.__new__(Money)
        object.__setattr__(money, "amount", amount)
        object.__setattr__(money, "currency", self.currency)
        return money

    def _same(self, other: Any) -> Decimal:
        if not isinstance(other, Money):
            raise TypeError(f"money is added to money, not to {type(other).__name__}")
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} do not mix")
        return other.amount


def split(money: Money, weights: list[Decimal]) -> list[Money]:
    """`money` divided in proportion to `weights`, its sum preserved (largest remainder; ties go to the earlier part).

    Raises ValueError where there is no positive weight.
    """
    if any(not weight.is_finite() or weight < 0 for weight in weights) or not any(weights):
        raise ValueError("weights are not negative and at least one is positive")
    # Fractions: quotients of 28 digits would decide some remainders wrongly.
    total = sum(map(Fraction, weights))
    unit = minor_unit(money.currency)
    sign = -1 if money.amount < 0 else 1
    units = int(abs(money.amount) / unit)
    exact = [units * Fraction(weight) / total for weight in weights]
    floors = [int(share) for share in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (floors[i] - exact[i], i))
    for i in by_remainder[: units - sum(floors)]:
        floors[i] += 1
    return [Money(sign * part * unit, money.currency) for part in floors]
