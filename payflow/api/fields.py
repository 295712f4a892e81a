"""Serializer parts that the apps share: `?fields=`, money, free JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NoReturn

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.fields import Field

from payflow.core.errors import ValidationFailed
from payflow.core.money import has_currency_scale, round_amount

_AMOUNT = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,4})?")


class SelectedFields(serializers.Serializer[Any]):
    """`?fields=a,b` leaves only these in the answer, of one row or a list. Put it before the serializer's base class.

    Raises ValidationFailed for a name that the serializer lacks. Nested serializers are given whole.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Only the outermost serializer gets a context at its construction.
        request = kwargs.get("context", {}).get("request")
        self._selected = selected_names(request.query_params) if request is not None else None
        if self._selected and "data" not in kwargs:
            check_names(self._selected, self.fields)

    @property
    def _readable_fields(self) -> Iterable[Field[Any, Any, Any, Any]]:  # type: ignore[override]
        for name, field in self.fields.items():
            if not field.write_only and (not self._selected or name in self._selected):
                yield field


class OneOf(serializers.ChoiceField):
    """A choice whose refusal names what there is to choose from."""

    def fail(self, key: str, **kwargs: Any) -> NoReturn:
        if key == "invalid_choice":
            raise serializers.ValidationError(f"One of: {', '.join(map(str, self.choices))}", code=key)
        super().fail(key, **kwargs)


class CurrencyField(serializers.RegexField):
    """The shape of a currency; whether there is such a one is for the service to say."""

    default_error_messages = {"invalid": "A currency of ISO 4217: three capital letters, such as USD"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(r"^[A-Z]{3}$", **kwargs)


def selected_names(query: Mapping[str, Any]) -> frozenset[str]:
    """The names in `?fields=`; empty where there is no selection."""
    return frozenset(name.strip() for name in str(query.get("fields", "")).split(",") if name.strip())


def check_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Raises ValidationFailed where `names` has one that is not in `known`."""
    if unknown := sorted(set(names) - set(known)):
        raise ValidationFailed("Unknown field", details={"fields": [f"Unknown field: {name}" for name in unknown]})


def select(row: Mapping[str, Any], query: Mapping[str, Any]) -> Mapping[str, Any]:
    """`?fields=` for a view without serializers."""
    if not (names := selected_names(query)):
        return row
    check_names(names, row)
    return {name: value for name, value in row.items() if name in names}


@extend_schema_field({"type": "number", "format": "decimal", "example": 6.90})
class MoneyAmountField(serializers.Field):  # type: ignore[type-arg]
    """An amount: a JSON number with the digits of its row's currency (6.90 USD, 690 JPY).

    `currency_field` names the row's column with the currency. In comes a JSON number or a string of digits with at most
    15 before and 4 after the point; signs, exponents, booleans and anything else are refused. Whether the amount fits
    its currency is for the service to say, which knows the currency.
    """

    default_error_messages = {
        "invalid": "A valid amount is required",
        "negative": "An amount is not negative",
        "zero": "An amount is more than zero",
    }

    def __init__(
        self, *, currency_field: str = "currency", allow_negative: bool = False, allow_zero: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.currency_field = currency_field
        self.allow_negative = allow_negative
        self.allow_zero = allow_zero

    def get_attribute(self, instance: Any) -> Any:
        amount = super().get_attribute(instance)
        if amount is None:
            return None
        return amount, _lookup(instance, self.currency_field)

    def to_representation(self, value: Any) -> Decimal:
        amount, currency = value if isinstance(value, tuple) else (value, None)
        amount = Decimal(amount)
        if currency and has_currency_scale(amount, currency):
            return round_amount(amount, currency)
        return amount

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, int | Decimal | str):
            self.fail("invalid")
        # str(Decimal("1E+3")) keeps its exponent, and so is refused here.
        text = str(data)
        if not _AMOUNT.fullmatch(text):
            self.fail("invalid")
        amount = Decimal(text)
        if amount.is_signed() and not self.allow_negative:
            self.fail("negative")
        if not amount and not self.allow_zero:
            self.fail("zero")
        return amount


def plain_json(value: Any) -> Any:
    """`value` with its Decimals as int or float, for JSON columns. Never for money."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {name: plain_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain_json(item) for item in value]
    return value


def _lookup(instance: Any, path: str) -> Any:
    for name in path.split("."):
        instance = instance[name] if isinstance(instance, Mapping) else getattr(instance, name)
    return instance
