"""What a coupon takes off an amount. Pure: whether it may be used, and by whom, is the subscriptions' to say."""

from __future__ import annotations

import math
from fractions import Fraction

from payflow.core.errors import UnsupportedCurrency
from payflow.core.money import Money, minor_unit
from plans.models import Coupon, CouponKind

WHOLE = Fraction(1)


def discount_of(terms: Coupon, base: Money, *, share: Fraction = WHOLE) -> Money:
    """What `terms` take off `base`: from zero to all of it, in its currency, rounded once, HALF_UP.

    `share` is the part of a whole cycle that `base` is for, 0 to 1: a fixed amount is lowered with it; a percentage is
    of a base that is already lower. Raises UnsupportedCurrency where a fixed amount is in another currency than `base`;
    ValueError for a share that is none.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"{share} is not a part of a cycle")
    if terms.kind == CouponKind.FIXED:
        if terms.currency != base.currency:
            raise UnsupportedCurrency(
                f"{terms.code} is an amount in {terms.currency}", details={"currency": [base.currency]}
            )
        assert terms.amount is not None, "coupons_percent_or_amount"
        exact = Fraction(terms.amount) * share
    else:
        assert terms.percent is not None, "coupons_percent_or_amount"
        exact = Fraction(base.amount) * Fraction(terms.percent) / 100
    if exact <= 0 or base.amount <= 0:
        return Money.zero(base.currency)
    return min(_rounded(exact, base.currency), base)


def _rounded(exact: Fraction, currency: str) -> Money:
    # As a fraction until here: a Decimal's 28 digits would already have rounded a third of a cycle.
    unit = minor_unit(currency)
    units = math.floor(exact / Fraction(unit) + Fraction(1, 2))
    return Money(units * unit, currency)
