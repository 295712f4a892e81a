"""What the operators' pages share: read-only admins whose amounts carry their currency and whose JSON can be read.

Everything is escaped: text from outside meets HTML in `format_html` only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC
from decimal import Decimal
from functools import cache
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import RangeDateTimeFilter
from unfold.paginator import InfinitePaginator
from unfold.utils import parse_datetime_str

from payflow.core.fields import AmountField
from payflow.core.ids import parse_uuid
from payflow.core.money import has_currency_scale, round_amount

Column = Callable[[Any], Any]

#: The colours of states, whichever table they belong to.
TONES = {
    "active": "success",
    "paid": "success",
    "completed": "success",
    "processed": "success",
    "done": "success",
    "confirmed": "success",
    "moved": "success",
    "trial": "info",
    "open": "info",
    "paused": "info",
    "received": "info",
    "invited": "info",
    "refunded": "info",
    "reserved": "warning",
    "pending": "warning",
    "in_flight": "warning",
    "past_due": "warning",
    "unknown": "warning",
    "preparing": "warning",
    "review": "warning",
    "suspended": "danger",
    "failed": "danger",
    "rejected": "danger",
    "refused": "danger",
    "uncollectible": "danger",
    "reversed": "danger",
}
#: A longer text (a webhook's body, a stored answer) is cut here: pages stay pages.
MAX_TEXT = 64 * 1024


class MomentFilter(RangeDateTimeFilter):  # type: ignore[misc]
    """From and to, in UTC; what is not a moment filters nothing. (unfold's own compares with naive moments.)"""

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        for end, lookup in (("from", "gte"), ("to", "lte")):
            day, hour = (self.used_parameters.get(f"{self.field_path}_{end}_{part}") for part in (0, 1))
            moment = parse_datetime_str(f"{day} {hour or '00:00:00'}")
            if moment is not None:
                queryset = queryset.filter(**{f"{self.field_path}__{lookup}": moment.replace(tzinfo=UTC)})
        return queryset


CREATED = ("created_at", MomentFilter)


def amount_text(amount: Decimal, currency: str) -> str:
    """`1,234.50 USD`: the currency's digits, or all there are where the amount is finer than that (a unit price)."""
    if has_currency_scale(amount, currency):
        return f"{round_amount(amount, currency):,} {currency}"
    return f"{amount.normalize():,f} {currency}"


def text_block(text: str | None) -> SafeString | None:
    """Escaped text of many lines, as it is."""
    if not text:
        return None
    text = text.replace("\0", "\\x00")  # HTML has no NUL
    shown = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}\n… {len(text) - MAX_TEXT} more characters"
    return format_html(
        '<pre class="font-mono overflow-x-auto text-xs" style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>',
        shown,
    )


def json_block(value: Any) -> SafeString | None:
    """Escaped JSON, indented."""
    if value in (None, {}, []):
        return None
    return text_block(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def page_link(row: models.Model | None, text: Any = None) -> Any:
    """A link to a row's page, or its text where it has none."""
    if row is None:
        return None
    label = str(row) if text is None else text
    try:
        url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=(row.pk,))
    except NoReverseMatch:
        return label
    return format_html('<a href="{}" class="text-link">{}</a>', url, label)


class ProviderFilter(admin.SimpleListFilter):
    """The configured providers; the column itself is not asked (DISTINCT reads the whole table)."""

    title = "provider"
    parameter_name = "provider"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in settings.PAYFLOW_PROVIDERS]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        return queryset.filter(provider=self.value()) if self.value() else queryset


class Shown:
    """Replaces the names of amounts, JSON and (in lists) moments, states and references by columns that show them well."""

    model: type[models.Model]

    def shown(self, names: Sequence[Any], *, in_list: bool, labels: bool = True) -> list[Any]:
        # The first column of a list is itself the link to the row's page.
        return [
            self._column(name, short=in_list, linked=in_list and place > 0, label=labels and in_list)
            if isinstance(name, str)
            else name
            for place, name in enumerate(names)
        ]

    def _column(self, name: str, *, short: bool, linked: bool, label: bool) -> Any:
        if hasattr(self, name):
            return name
        field = next((field for field in self.model._meta.fields if field.name == name), None)
        if isinstance(field, AmountField):
            return _amount_column(field)
        if isinstance(field, models.JSONField):
            return _json_column(field)
        if short and isinstance(field, models.DateTimeField):
            return _moment_column(field)
        if linked and isinstance(field, models.ForeignKey):
            return _link_column(field)
        if label and field is not None and field.choices and name == "status":
            return _status_column(field)
        return name


class AuditHistory:
    """The history of a row is what the audit says of it."""

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        url = reverse("admin:core_auditentry_changelist")
        return HttpResponseRedirect(f"{url}?{urlencode({'q': object_id})}")


class ReadOnlyAdmin(Shown, AuditHistory, ModelAdmin):  # type: ignore[misc]
    """Rows to look at: nobody adds, changes or deletes them here. What is done to them is done by confirmed actions.

    `search_ids` are the columns that a whole UUID in the search box is compared with; `list_defer` are the columns that
    a list does not read; `conditional_sections` are fieldsets shown to whoever has the permission in their key.
    """

    list_per_page = 50
    show_full_result_count = False
    list_filter_submit = True
    ordering = ("-pk",)  # UUIDv7: the newest first, by the index there is
    compressed_fields = True
    search_ids: Sequence[str] = ("pk",)
    list_defer: Sequence[str] = ()
    conditional_sections: dict[str, tuple[str, dict[str, Any]]] = {}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows: models.QuerySet[Any] = super().get_queryset(request)
        return rows.defer(*self.list_defer) if self.list_defer else rows

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return self.shown(super().get_list_display(request), in_list=True)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        names = self.fields or [field.name for field in self.model._meta.fields]
        return self.shown(names, in_list=False)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        sections = list(super().get_fieldsets(request, obj))
        sections += [
            section for permission, section in self.conditional_sections.items() if request.user.has_perm(permission)
        ]
        return [
            (title, {**options, "fields": self.shown(options["fields"], in_list=False)}) for title, options in sections
        ]

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        key = parse_uuid(search_term.strip())
        if key is not None and self.search_ids:
            matches = models.Q.create([(name, key) for name in self.search_ids], connector=models.Q.OR)
            return queryset.filter(matches), False
        # PostgreSQL's text takes no NUL.
        found: tuple[models.QuerySet[Any], bool] = super().get_search_results(
            request, queryset, search_term.replace("\0", "")
        )
        return found


class LogAdmin(ReadOnlyAdmin):
    """Tables that only grow: neither a page nor its total counts them."""

    paginator = InfinitePaginator
    list_filter: Sequence[Any] = (CREATED,)


class ReadOnlyInline(Shown, TabularInline):  # type: ignore[misc]
    """Rows of the page's row. `related` names the references that their columns show."""

    extra = 0
    can_delete = False
    hide_title = True
    has_page = True
    tab = True
    per_page = 20
    related: Sequence[str] = ()
    ordering = ("-pk",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows: models.QuerySet[Any] = super().get_queryset(request)
        return rows.select_related(*self.related) if self.related else rows

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        columns = self.shown(self.fields, in_list=True, labels=False)
        return [*columns, "page"] if self.has_page else columns

    @admin.display(description="")
    def page(self, row: Any) -> Any:
        return page_link(row, "Open")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        return self.get_fields(request, obj)


def _one_line(text: str) -> SafeString:
    return format_html('<span class="whitespace-nowrap">{}</span>', text)


@cache  # one function per column: Django compares them
def _amount_column(field: AmountField) -> Column:
    @admin.display(description=field.verbose_name, ordering=field.name)
    def column(row: Any) -> SafeString | None:
        amount = getattr(row, field.name)
        return None if amount is None else _one_line(amount_text(amount, row.currency))

    column.__name__ = field.name
    return column


@cache
def _json_column(field: models.Field[Any, Any]) -> Column:
    @admin.display(description=field.verbose_name)
    def column(row: Any) -> SafeString | None:
        return json_block(getattr(row, field.name))

    column.__name__ = field.name
    return column


@cache
def _moment_column(field: models.Field[Any, Any]) -> Column:
    """Short, and on one line: a list has many columns."""

    @admin.display(description=field.verbose_name, ordering=field.name)
    def column(row: Any) -> SafeString | None:
        moment = getattr(row, field.name)
        return None if moment is None else _one_line(f"{moment:%Y-%m-%d %H:%M}")

    column.__name__ = field.name
    return column


@cache
def _link_column(field: models.Field[Any, Any]) -> Column:
    @admin.display(description=field.verbose_name, ordering=field.name)
    def column(row: Any) -> Any:
        related = getattr(row, field.name)
        text = str(related)
        return page_link(related, _one_line(text) if len(text) < 24 else text)

    column.__name__ = field.name
    return column


@cache
def _status_column(field: models.Field[Any, Any]) -> Column:
    labels = dict(field.flatchoices)

    @admin.display(description=field.verbose_name, ordering=field.name)
    def column(row: Any) -> tuple[str, str]:
        value = getattr(row, field.name)
        return value, labels.get(value, value)

    column.__name__ = field.name
    column.label = {**dict.fromkeys(labels, ""), **TONES}  # type: ignore[attr-defined]
    return column
