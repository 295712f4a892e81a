"""Operators' pages of the mail room. A delivery is replayed by a confirmed action; its body is shown escaped."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from payflow.core import clock
from payflow.core.admin_actions import Act, Confirmed, ConfirmedActions
from payflow.core.admin_base import CREATED, LogAdmin, ProviderFilter, text_block
from webhooks.models import InboundEvent
from webhooks.services import inbound_replay


def _replay_will(event: InboundEvent) -> str:
    if event.status == InboundEvent.Status.REJECTED:
        return "Nothing: its signature is not valid, it is never processed"
    return f"The {event.provider} delivery is processed again by a worker. What it has done already is not done twice."


def _replay(event: InboundEvent, confirmed: Confirmed) -> str:
    inbound_replay(event_id=event.pk, actor=confirmed.actor, wall=clock.wall())
    return "will be processed again"


@admin.register(InboundEvent)
class InboundEventAdmin(ConfirmedActions, LogAdmin):
    acts = (
        Act(
            name="replay",
            title="Process again",
            question="Process these deliveries again?",
            permission="replay",
            will=_replay_will,
            run=_replay,
            applies=lambda row: row.status != InboundEvent.Status.REJECTED,
            icon="replay",
        ),
    )
    list_display = ("created_at", "provider", "status", "event_id", "attempts", "failure", "processed_at")
    list_filter = ("status", ProviderFilter, CREATED)
    list_defer = ("body", "headers")
    search_fields = ("event_id__startswith",)
    search_help_text = "The beginning of the provider's event id, or our id"
    fieldsets = (
        (None, {"fields": ("provider", "event_id", "status", "attempts", "error_text")}),
        ("Time", {"fields": ("created_at", "next_attempt_at", "processed_at", "updated_at")}),
        ("Row", {"fields": ("id",)}),
    )
    #: Personal data as the provider sent it: only for those who may act on it.
    conditional_sections = {
        "webhooks.change_inboundevent": ("As it came", {"fields": ("headers", "raw_body")}),
    }

    @admin.display(description="error")
    def failure(self, row: InboundEvent) -> str:
        return row.error[:120]

    @admin.display(description="error")
    def error_text(self, row: InboundEvent) -> Any:
        return text_block(row.error)

    @admin.display(description="body")
    def raw_body(self, row: InboundEvent) -> Any:
        return text_block(bytes(row.body).decode(errors="backslashreplace"))

    def has_replay_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("webhooks.change_inboundevent"))
