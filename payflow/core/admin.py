"""Operators' pages of the core: audit, outbox, idempotency keys, the clock; and the sessions of the token library."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from rest_framework_simplejwt.token_blacklist import admin as token_admin  # registers first, so that we can replace it
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken

from payflow.core import clock
from payflow.core.admin_actions import Act, Confirmed, ConfirmedActions
from payflow.core.admin_base import CREATED, LogAdmin, ReadOnlyAdmin, ReadOnlyInline, text_block
from payflow.core.models import AuditEntry, ClockOffset, IdempotencyKey, OutboxEvent, OutboxHandling
from payflow.core.outbox import outbox_retry

assert token_admin
admin.site.unregister([OutstandingToken, BlacklistedToken])
admin.site.index_title = "Operations"

#: The pages of what audit entries and events speak of, by `subject_type`.
SUBJECT_PAGES = {
    "api_key": "accounts_apikey",
    "invoice": "payments_invoice",
    "ledger_check": "payments_ledgercheck",
    "payment": "payments_paymenttransaction",
    "plan": "plans_plan",
    "subscription": "subscriptions_subscription",
    "tax_rate": "payments_taxrate",
    "user": "accounts_user",
    "webhook_event": "webhooks_inboundevent",
}


class AboutSubject:
    """The column `subject`: a link to the row that an entry is about."""

    @admin.display(description="subject")
    def subject(self, row: Any) -> Any:
        return _row_link(row.subject_type, row.subject_id, f"{row.subject_type} …{str(row.subject_id)[-12:]}")


def _row_link(kind: str, key: Any, text: str) -> Any:
    try:
        url = reverse(f"admin:{SUBJECT_PAGES[kind]}_change", args=(key,))
    except (KeyError, NoReverseMatch):
        return text
    return format_html('<a href="{}" class="text-link">{}</a>', url, text)


@admin.register(AuditEntry)
class AuditEntryAdmin(AboutSubject, LogAdmin):
    list_display = ("created_at", "action", "subject", "who", "data")
    search_fields = ("actor__startswith", "action__startswith")
    search_help_text = "The id of what was changed, an actor (user:…) or an action (subscription.cancel)"
    search_ids = ("pk", "subject_id")
    fields = ("created_at", "action", "subject", "subject_id", "who", "actor", "data")

    @admin.display(description="actor", ordering="actor")
    def who(self, row: AuditEntry) -> Any:
        kind, _, key = row.actor.partition(":")
        return _row_link(kind, key, row.actor) if kind == "user" else row.actor


class HandlingInline(ReadOnlyInline):
    model = OutboxHandling
    fields = ("handler", "status", "attempts", "next_attempt_at", "error")
    tab = False


@admin.register(OutboxEvent)
class OutboxEventAdmin(AboutSubject, LogAdmin):
    list_display = ("created_at", "type", "subject", "occurred_at")
    list_defer = ("payload",)
    search_fields = ("type__startswith",)
    search_help_text = "The id of the subject or the beginning of the type (subscription.)"
    search_ids = ("pk", "subject_id")
    fields = ("type", "subject", "subject_id", "occurred_at", "created_at", "payload")
    inlines = (HandlingInline,)


def _retry(row: OutboxHandling, confirmed: Confirmed) -> str:
    outbox_retry(handling_id=row.pk, actor=confirmed.actor, wall=clock.wall())
    return "will be tried again"


@admin.register(OutboxHandling)
class OutboxHandlingAdmin(ConfirmedActions, LogAdmin):
    acts = (
        Act(
            name="retry",
            title="Try again",
            question="Let these handlers try again?",
            permission="retry",
            will=lambda row: f"{row.handler} handles {row.event.type} again",
            run=_retry,
            applies=lambda row: row.status != OutboxHandling.Status.DONE,
            icon="replay",
        ),
    )
    list_display = ("handler", "status", "event", "attempts", "next_attempt_at", "failure")
    list_filter = ("status", CREATED)
    list_select_related = ("event",)
    search_fields = ("handler__startswith", "event__type__startswith")
    search_ids = ("pk", "event_id", "event__subject_id")
    fields = ("handler", "status", "event", "attempts", "next_attempt_at", "created_at", "whole_error")

    @admin.display(description="error")
    def failure(self, row: OutboxHandling) -> str:
        return row.error[:120]

    @admin.display(description="error")
    def whole_error(self, row: OutboxHandling) -> Any:
        return text_block(row.error)

    def has_retry_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("core.change_outboxhandling"))


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(LogAdmin):
    list_display = ("created_at", "principal", "key", "status", "response_status", "expires_at")
    list_filter = ("status", CREATED)
    list_defer = ("response_body",)
    search_fields = ("principal__startswith", "key__exact")
    search_help_text = "The whole key, or the principal (user:…)"
    fields = (
        "principal",
        "key",
        "status",
        "request_hash",
        "created_at",
        "claimed_at",
        "expires_at",
        "response_status",
        "answer",
    )

    @admin.display(description="stored answer")
    def answer(self, row: IdempotencyKey) -> Any:
        return text_block(row.response_body)


@admin.register(ClockOffset)
class ClockOffsetAdmin(ReadOnlyAdmin):
    list_display = ("ahead",)
    fields = ("ahead",)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        return queryset, False  # one row


@admin.register(OutstandingToken)
class OutstandingTokenAdmin(LogAdmin):
    """Refresh tokens that are out. The token itself, which would be a login, is never shown."""

    list_display = ("created_at", "user", "jti", "expires_at")
    list_select_related = ("user",)
    list_defer = ("token",)
    search_fields = ("user__email__icontains", "jti__exact")
    search_ids = ("user_id",)
    fields = ("user", "jti", "created_at", "expires_at")


@admin.register(BlacklistedToken)
class BlacklistedTokenAdmin(LogAdmin):
    list_display = ("blacklisted_at", "user", "jti")
    list_filter = ()
    list_select_related = ("token__user",)
    list_defer = ("token__token",)
    search_fields = ("token__user__email__icontains", "token__jti__exact")
    search_ids = ("token__user_id",)
    fields = ("user", "jti", "blacklisted_at")

    @admin.display(description="user", ordering="token__user")
    def user(self, row: BlacklistedToken) -> Any:
        return row.token.user

    @admin.display(description="jti", ordering="token__jti")
    def jti(self, row: BlacklistedToken) -> Any:
        return row.token.jti
