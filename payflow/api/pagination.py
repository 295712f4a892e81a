"""Pages by cursor: constant cost however deep, and no row twice or missed while others are added."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.db.models import Field, Model, Q, QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.utils.urls import remove_query_param, replace_query_param

from payflow.core.errors import ValidationFailed

MAX_PAGE_SIZE = 200
#: Counting further costs more than the page itself; `?count=exact` asks for it.
COUNTED_TO = 1000


class CursorPages(BasePagination):
    """`{"results", "next", "previous", "count"}`, newest first. A subclass may order by other columns that are not null.

    Keys are UUIDv7, so that `id` settles the order of rows of one moment. Raises ValidationFailed for a cursor, a
    page_size or a count that it did not offer.
    """

    ordering: ClassVar[tuple[str, ...]] = ("-created_at", "-id")

    def paginate_queryset(  # type: ignore[override]  # a list is not paged
        self, queryset: QuerySet[Any], request: Request, view: Any = None
    ) -> list[Any]:
        self._url, self._model = request.build_absolute_uri(), queryset.model
        self.count = self._count(queryset, request.query_params.get("count"))
        size = self._page_size(request.query_params.get("page_size"))
        backward, values = self._position(queryset.model, request.query_params.get("cursor"))
        ordering = [_flip(name) for name in self.ordering] if backward else list(self.ordering)
        if values is not None:
            queryset = queryset.filter(_beyond(ordering, values))
        rows = list(queryset.order_by(*ordering)[: size + 1])
        more, rows = len(rows) > size, rows[:size]
        if backward:
            rows.reverse()
        has_next, has_previous = (True, more) if backward else (more, values is not None)
        self.next = self._link(rows[-1], backward=False) if rows and has_next else None
        self.previous = self._link(rows[0], backward=True) if rows and has_previous else None
        return rows

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"results": data, "next": self.next, "previous": self.previous, "count": self.count})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["results", "next", "previous", "count"],
            "properties": {
                "results": schema,
                "next": link,
                "previous": link,
                "count": {"type": "integer", "nullable": True, "description": f"Exact to {COUNTED_TO}, else null"},
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            _parameter("cursor", {"type": "string"}, "Where the page begins, from `next` or `previous`"),
            _parameter("page_size", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE_SIZE}, "Rows on a page"),
            _parameter("count", {"type": "string", "enum": ["exact"]}, f"Count beyond {COUNTED_TO} rows too"),
        ]

    def _count(self, queryset: QuerySet[Any], wish: str | None) -> int | None:
        if wish not in (None, "", "exact"):
            raise ValidationFailed.field("count", 'Only "exact" is known')
        if wish:
            return queryset.order_by().count()
        counted = queryset.order_by()[: COUNTED_TO + 1].count()
        return counted if counted <= COUNTED_TO else None

    def _page_size(self, text: str | None) -> int:
        if not text:
            return api_settings.PAGE_SIZE or MAX_PAGE_SIZE
        if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
            raise ValidationFailed.field("page_size", f"A whole number from 1 to {MAX_PAGE_SIZE}")
        return min(int(text), MAX_PAGE_SIZE)

    def _position(self, model: type[Model], cursor: str | None) -> tuple[bool, list[Any] | None]:
        if not cursor:
            return False, None
        try:
            backward, *texts = json.loads(base64.urlsafe_b64decode(cursor.encode()))
            names = [name.removeprefix("-") for name in self.ordering]
            values = [_column(model, n).to_python(t) for n, t in zip(names, texts, strict=True)]
        except (ValueError, TypeError, binascii.Error, ValidationError, RecursionError) as error:
            raise ValidationFailed.field("cursor", "This cursor was not made here") from error
        if any(value is None for value in values) or not isinstance(backward, bool):
            raise ValidationFailed.field("cursor", "This cursor was not made here")
        return backward, values

    def _link(self, row: Model, *, backward: bool) -> str:
        # By the queryset's model: a row may be a sum over several of its rows.
        texts = [_column(self._model, n.removeprefix("-")).value_to_string(row) for n in self.ordering]
        cursor = base64.urlsafe_b64encode(json.dumps([backward, *texts]).encode()).decode()
        return replace_query_param(remove_query_param(self._url, "cursor"), "cursor", cursor)


def _column(model: type[Model], name: str) -> Field[Any, Any]:
    column = model._meta.get_field(name)
    assert isinstance(column, Field)
    return column


def _flip(name: str) -> str:
    return name[1:] if name.startswith("-") else f"-{name}"


def _beyond(ordering: list[str], values: list[Any]) -> Q:
    """Rows after `values` in `ordering`; the bound on the first column alone is what an index can use."""
    condition, equal = Q(), Q()
    for name, value in zip(ordering, values, strict=True):
        column, side = name.removeprefix("-"), "lt" if name.startswith("-") else "gt"
        condition |= equal & Q(**{f"{column}__{side}": value})
        equal &= Q(**{column: value})
    first, side = ordering[0].removeprefix("-"), "lte" if ordering[0].startswith("-") else "gte"
    return Q(**{f"{first}__{side}": values[0]}) & condition


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "required": False, "in": "query", "description": description, "schema": schema}
