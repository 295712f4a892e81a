"""Operators' pages of the ledger: what each fact has posted, to look at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from payflow.core.admin_base import (
    CREATED,
    LogAdmin,
    ProviderFilter,
    ReadOnlyInline,
    amount_text,
    page_link,
)
from payments.models import LedgerEntry, LedgerPosting


class PostingInline(ReadOnlyInline):
    model = LedgerPosting
    fields = ("created_at", "kind", "key", "entries")
    verbose_name_plural = "ledger"

    def get_queryset(self, request: HttpRequest) -> QuerySet[LedgerPosting]:
        return super().get_queryset(request).prefetch_related("entries")

    @admin.display(description="entries")
    def entries(self, posting: LedgerPosting) -> str:
        return "\n".join(
            f"{entry.account} {amount_text(entry.amount, entry.currency)}"
            for entry in sorted(posting.entries.all(), key=lambda entry: -entry.amount)
        )


class EntryInline(ReadOnlyInline):
    model = LedgerEntry
    has_page = False
    fields = ("account", "provider", "amount")
    tab = False


@admin.register(LedgerPosting)
class LedgerPostingAdmin(LogAdmin):
    list_display = ("created_at", "kind", "user", "invoice", "payment", "key")
    list_filter = (CREATED,)
    list_select_related = ("user", "invoice", "transaction")
    search_fields = ("key__exact", "invoice__number__exact")
    search_ids = ("pk", "user_id", "invoice_id", "transaction_id")
    fields = ("kind", "key", "user", "invoice", "transaction", "created_at")
    inlines = (EntryInline,)

    @admin.display(description="payment")
    def payment(self, posting: LedgerPosting) -> Any:
        of = posting.transaction
        return page_link(of, f"{of.type} {amount_text(of.amount, of.currency)}") if of else None


@admin.register(LedgerEntry)
class LedgerEntryAdmin(LogAdmin):
    list_display = ("created_at", "account", "amount", "provider", "posting")
    list_filter = ("account", ProviderFilter, CREATED)
    list_select_related = ("posting",)
    search_fields = ("posting__key__exact",)
    search_ids = ("pk", "posting_id", "posting__invoice_id", "posting__transaction_id")
    fields = ("posting", "account", "provider", "amount", "created_at")
