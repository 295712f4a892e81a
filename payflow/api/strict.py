"""What a request may say: a name that nobody reads is refused, in a body and in a list's query string.

A misspelt field must not be a request of its own: `{"amout": 1}` would refund everything, `?usr=` would list everybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import serializers
from rest_framework.request import Request

from payflow.core.errors import ValidationFailed

#: May stand in every list's query string. There is one order and one form: clients that send `ordering` or `format` to
#: whatever they talk to are not turned away.
COMMON_PARAMETERS = frozenset({"fields", "format", "ordering"})


class KnownFieldsOnly(serializers.Serializer[Any]):
    """The base of every serializer that reads a body, nested ones too. Put it before the serializer's base class.

    `read_only_names` may stand in a body and change nothing: what was read can be sent back.
    """

    unknown_fault: str = "There is no such field"
    read_only_names: frozenset[str] = frozenset()

    def to_internal_value(self, data: Any) -> Any:
        names: Iterable[str] = data if isinstance(data, Mapping) else ()
        unknown = unknown_names(names, self.fields.keys() | self.read_only_names, self.unknown_fault)
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as error:
            # A misspelt name is told beside the one that it leaves missing.
            raise serializers.ValidationError({**error.detail, **unknown}) from error  # type: ignore[dict-item]
        if unknown:
            raise serializers.ValidationError(unknown)
        return values


class NoFields(KnownFieldsOnly):
    """The body of a request that needs none: empty, or an object without fields."""


def body(serializer_class: type[KnownFieldsOnly], request: Request, *, partial: bool = False) -> dict[str, Any]:
    """The fields of a request's body. Raises a ValidationError with the faults by field."""
    serializer = serializer_class(data=request.data, partial=partial)
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values


def check_fields(data: Mapping[str, Any], known: Iterable[str]) -> None:
    """The same for a body that no serializer reads. Raises ValidationFailed."""
    if unknown := unknown_names(data, known, KnownFieldsOnly.unknown_fault):
        raise ValidationFailed(details=unknown)


def check_parameters(query: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raises ValidationFailed for a name in the query string that is neither `known` nor common."""
    if unknown := unknown_names(query, COMMON_PARAMETERS.union(known), "There is no such parameter"):
        raise ValidationFailed(details=unknown)


class KnownFilters(DjangoFilterBackend):  # type: ignore[misc]
    """The filters of a list, which knows no other names than theirs, its pages' and the common ones."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        # A single row is looked up through the filters too; what is asked of it is its view's to read.
        if not view.detail:
            filterset = self.get_filterset_class(view, queryset)
            filters = filterset.base_filters if filterset else ()
            pages = view.paginator.get_schema_operation_parameters(view) if view.paginator else ()
            check_parameters(request.query_params, {*filters, *(page["name"] for page in pages)})
        filtered: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return filtered


def unknown_names(names: Iterable[str], known: Iterable[str], fault: str) -> dict[str, list[str]]:
    """The fault of each of `names` that is not `known`; empty where there is none."""
    return {name: [fault] for name in sorted(set(names).difference(known))}
