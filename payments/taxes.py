"""Tax on an amount. Pure."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from payflow.core.money import Money


def tax_of(base: Money, percent: Decimal, *, inclusive: bool) -> Money:
    """The tax on `base`, rounded once: added to it, or, `inclusive`, contained in it."""
    rate = Fraction(percent) / 100
    share = rate / (1 + rate) if inclusive else rate
    return Money.of_fraction(Fraction(base.amount) * share, base.currency)
