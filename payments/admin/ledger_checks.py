"""The operators' page of ledger checks, and its line on the start page."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.enums import ActionVariant

from accounts.roles import BILLING_ADMIN, FINANCE, has_role
from payflow.core import clock
from payflow.core.admin_base import CREATED, LogAdmin
from payflow.core.ids import parse_uuid
from payments.ledger_proofs import PROOFS
from payments.models import LedgerCheck
from payments.services.ledger_check import EVERY, ledger_check_run

#: Where the ids that a proof names have a page.
PAGES = {
    "posting_balances": "payments_ledgerposting",
    "invoice_is_posted": "payments_invoice",
    "invoice_numbers": "payments_invoice",
    "one_charge_per_invoice": "payments_invoice",
    "refunded_amount": "payments_paymenttransaction",
}


class CheckNow:
    """What the confirmation page asks."""

    name = "check_now"
    title = "Check now"
    question = "Check the books now?"
    dangerous = False


@admin.register(LedgerCheck)
class LedgerCheckAdmin(LogAdmin):
    list_display = ("created_at", "sound", "fault_count", "finished_at")
    list_filter = ("is_sound", CREATED)
    list_defer = ("faults",)
    fields = ("sound", "created_at", "finished_at", "what_is_wrong", "checked")
    actions_list = ("check_now",)

    @admin.display(description="sound", boolean=True, ordering="is_sound")
    def sound(self, check: LedgerCheck) -> bool:
        return check.is_sound

    @admin.display(description="faults")
    def fault_count(self, check: LedgerCheck) -> int:
        return check.fault_count

    @admin.display(description="faults")
    def what_is_wrong(self, check: LedgerCheck) -> Any:
        if check.is_sound:
            return "None"
        listed = format_html_join(
            "",
            '<li class="mb-2">{} {}<br>expected {}<br>found {}</li>',
            ((fault["check"], _row_link(fault), fault["expected"], fault["found"]) for fault in check.faults),
        )
        more = check.fault_count - len(check.faults)
        return format_html("<ul>{}</ul>{}", listed, f"… and {more} more" if more else "")

    def check_now(self, request: HttpRequest) -> HttpResponse:
        """Asks, and once confirmed runs the proofs; the browser waits for them."""
        if not self.has_check_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            check = ledger_check_run(actor=f"user:{request.user.pk}", wall=clock.wall())
            level = messages.SUCCESS if check.is_sound else messages.ERROR
            self.message_user(request, f"The ledger: {check}", level)
            return HttpResponseRedirect(reverse("admin:payments_ledgercheck_change", args=(check.pk,)))
        postings = reverse("admin:payments_ledgerposting_changelist")
        context = {
            **self.admin_site.each_context(request),
            "title": CheckNow.title,
            "opts": self.opts,
            "act": CheckNow,
            "rows": [("all", "The ledger", postings, f"{len(PROOFS)} proofs over all rows; nothing is changed.")],
            "action_url": request.get_full_path(),
            "back_url": reverse("admin:payments_ledgercheck_changelist"),
        }
        return TemplateResponse(request, "admin/payflow/confirm.html", context)

    # What unfold draws the button of the list from.
    check_now.short_description = CheckNow.title  # type: ignore[attr-defined]
    check_now.allowed_permissions = ["check"]  # type: ignore[attr-defined]
    check_now.icon = "fact_check"  # type: ignore[attr-defined]
    check_now.variant = ActionVariant.DEFAULT  # type: ignore[attr-defined]
    check_now.attrs = {}  # type: ignore[attr-defined]

    def has_check_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return has_role(request.user, BILLING_ADMIN, FINANCE)


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Unfold's DASHBOARD_CALLBACK: what the start page says of the books, to those who may see them."""
    if not request.user.has_perm("payments.view_ledgercheck"):
        return context
    check = LedgerCheck.objects.defer("faults").order_by("-created_at").first()
    # A sweep that comes every hour is late after two.
    late = check is None or clock.wall() - check.created_at > EVERY + 2 * (EVERY / 24)
    url = reverse("admin:payments_ledgercheck_changelist")
    if check is not None and not check.is_sound:
        url = reverse("admin:payments_ledgercheck_change", args=(check.pk,))
    return {**context, "ledger": {"check": check, "late": late, "url": url}}


def _row_link(fault: dict[str, str]) -> Any:
    page = PAGES.get(fault["check"])
    if page is None or parse_uuid(fault["id"]) is None:
        return fault["id"]
    url = reverse(f"admin:{page}_change", args=(fault["id"],))
    return format_html('<a href="{}" class="text-link">{}</a>', url, fault["id"])
