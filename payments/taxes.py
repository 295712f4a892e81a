"""Tax on an amount. Pure: which rate a buyer has is a matter of `payments.selectors`."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from payflow.core.money import Money


def tax_of(base: Money, percent: Decimal, *, inclusive: bool) -> Money:
    """The tax on `base`: added to it (base x p / 100), or, `inclusive`, contained in it (base x p / (100 + p)).

    Exact until it is rounded once, HALF_UP, away from zero: the tax of a credit is the credited tax. Raises ValueError for
    a percentage outside 0 to 100.
    """
    if not percent.is_finite() or not 0 <= percent <= 100:
        raise ValueError(f"{percent} is not a percentage from 0 to 100")
    share = Fraction(percent) / (100 + Fraction(percent) if inclusive else 100)
    return Money.of_fraction(Fraction(base.amount) * share, base.currency)
