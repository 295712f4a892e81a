"""The usage log and the meters, to look at. Counters and events have composite keys, which Django's admin cannot show."""

from __future__ import annotations

from django.contrib import admin
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import FieldTextFilter
from unfold.paginator import InfinitePaginator

from payflow.core.admin_base import MomentFilter
from usage.models import UsageLog, UsageMeter


class ReadOnly(ModelAdmin):
    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


@admin.register(UsageLog)
class UsageLogAdmin(ReadOnly):
    list_display = ("created_at", "user", "action", "quantity", "content_id", "event_id")
    list_filter = (("action", FieldTextFilter), ("created_at", MomentFilter))
    list_filter_submit = True
    list_select_related = ("user",)
    search_fields = ("user__email__iexact", "content_id__exact", "event_id__exact")
    search_help_text = "The whole e-mail address, content id or event id"
    ordering = ("-created_at",)
    # Neither the page nor its total counts a log of millions of rows.
    paginator = InfinitePaginator
    show_full_result_count = False


@admin.register(UsageMeter)
class UsageMeterAdmin(ReadOnly):
    """What was used of priced actions, and how much of it is settled."""

    list_display = ("user", "action", "period_start", "period_end", "used", "billed", "charged", "currency")
    list_filter = (("price__action", FieldTextFilter), "price__settlement", ("period_start", MomentFilter))
    list_filter_submit = True
    list_select_related = ("user", "price")
    search_fields = ("user__email__iexact",)
    search_help_text = "The whole e-mail address"
    ordering = ("-pk",)
    paginator = InfinitePaginator
    show_full_result_count = False

    @admin.display(ordering="price__action")
    def action(self, row):
        return row.price.action
