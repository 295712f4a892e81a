"""Columns and checks that money tables share."""

from __future__ import annotations

from typing import Any

from django.db import models

from payflow.core.money import MAX_DIGITS, MAX_SCALE


class AmountField(models.DecimalField):  # type: ignore[type-arg]
    """numeric(19,4): an amount in the currency of its row. Pair it with `fits_currency`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", MAX_DIGITS)
        kwargs.setdefault("decimal_places", MAX_SCALE)
        super().__init__(*args, **kwargs)


def fits_currency(
    amount: str, name: str, *, currency: str = "currency", nullable: bool = False
) -> models.CheckConstraint:
    """The amount has no more decimals than its currency (JPY 0, USD 2, KWD 3), and the currency exists.

    `nullable`: a row without an amount needs no currency.
    """
    fits = models.Func(
        models.F(amount), models.F(currency), function="fits_currency", output_field=models.BooleanField()
    )
    return models.CheckConstraint(
        condition=models.Q(**{amount: None}) | models.Q(fits) if nullable else fits, name=name
    )


def one_of(field: str, choices: type[models.TextChoices], name: str) -> models.CheckConstraint:
    """The column holds one of the enum's values."""
    return models.CheckConstraint(condition=models.Q(**{f"{field}__in": choices.values}), name=name)


def not_negative(field: str, name: str) -> models.CheckConstraint:
    return models.CheckConstraint(condition=models.Q(**{f"{field}__gte": 0}), name=name)
