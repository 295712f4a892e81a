"""Operators' pages of invoices, their lines and their numbers: to look at, and to have on paper."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import path, reverse
from django.utils.html import format_html

from payflow.core.admin_base import CREATED, LogAdmin, ReadOnlyAdmin, ReadOnlyInline
from payments.admin.ledger import PostingInline
from payments.admin.transactions import TransactionInline
from payments.models import Invoice, InvoiceLine, NumberCounter
from payments.pdf import invoice_download


class LineInline(ReadOnlyInline):
    model = InvoiceLine
    fields = ("position", "kind", "description", "quantity", "unit_amount", "amount", "period_start", "period_end")
    ordering = ("position",)
    tab = False


class InvoiceInline(ReadOnlyInline):
    """On the subscription's page."""

    model = Invoice
    fields = ("created_at", "number", "status", "reason", "total", "period_start", "period_end", "paid_at")


@admin.register(Invoice)
class InvoiceAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "status", "user", "total", "reason", "subscription", "issued_at", "due_at", "paid_at")
    list_filter = ("status", "reason", "merchant_of_record", CREATED)
    list_select_related = ("user", "subscription")
    search_fields = ("number__istartswith", "user__email__icontains")
    search_help_text = "Number, e-mail address, or the id of an invoice, user or subscription"
    search_ids = ("pk", "user_id", "subscription_id")
    inlines = (LineInline, TransactionInline, PostingInline)
    fieldsets = (
        (None, {"fields": ("number", "document", "status", "reason", "user", "subscription", "merchant_of_record")}),
        ("Amounts", {"fields": ("subtotal", "discount", "tax", "tax_included", "credit", "total")}),
        (
            "Dates",
            {
                "classes": ("tab",),
                "fields": (
                    "period_start",
                    "period_end",
                    "issued_at",
                    "due_at",
                    "paid_at",
                    "voided_at",
                    "created_at",
                    "updated_at",
                ),
            },
        ),
        ("Row", {"classes": ("tab",), "fields": ("id",)}),
    )

    def get_urls(self) -> list[Any]:
        pdf = path("<uuid:invoice_id>/pdf/", self.admin_site.admin_view(self.pdf), name="payments_invoice_pdf")
        return [pdf, *super().get_urls()]

    @admin.display(description="PDF")
    def document(self, invoice: Invoice) -> Any:
        if not invoice.number:
            return None
        url = reverse("admin:payments_invoice_pdf", args=(invoice.pk,))
        return format_html('<a href="{}" class="text-link">{}.pdf</a>', url, invoice.number)

    def pdf(self, request: HttpRequest, invoice_id: uuid.UUID) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return invoice_download(get_object_or_404(Invoice.objects.exclude(number=None), pk=invoice_id))


@admin.register(InvoiceLine)
class InvoiceLineAdmin(LogAdmin):
    list_display = ("description", "kind", "amount", "quantity", "unit_amount", "invoice", "period_start", "period_end")
    list_filter = ("kind", CREATED)
    list_select_related = ("invoice",)
    list_defer = ("explanation",)
    search_fields = ("invoice__number__exact",)
    search_ids = ("pk", "invoice_id")
    fields = (
        "invoice",
        "position",
        "kind",
        "description",
        "quantity",
        "unit_amount",
        "amount",
        "period_start",
        "period_end",
        "explanation",
        "created_at",
    )


@admin.register(NumberCounter)
class NumberCounterAdmin(ReadOnlyAdmin):
    list_display = ("series", "year", "last")
    search_fields = ("series",)
    search_ids = ()
    fields = ("series", "year", "last")
