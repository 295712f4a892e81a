"""The look of the operators' admin (django-unfold): names, colours, and the sidebar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse_lazy


def environment(request: HttpRequest) -> list[str] | None:
    """The badge beside the user's name: nobody shall take the sandbox's money for real."""
    return ["sandbox money", "warning"] if settings.SANDBOX_ENABLED else None


def _may_view(app: str, model: str) -> Callable[[HttpRequest], bool]:
    return lambda request: bool(
        request.user.has_perm(f"{app}.view_{model}") or request.user.has_perm(f"{app}.change_{model}")
    )


def _rows(title: str, icon: str, app: str, model: str) -> dict[str, Any]:
    """A link to the list of a model, for those who may see it."""
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{model}_changelist"),
        "permission": _may_view(app, model),
    }


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "PayFlow",
    "SITE_HEADER": "PayFlow",
    "SITE_SUBHEADER": "Billing operations",
    "SITE_SYMBOL": "payments",
    "SITE_URL": "/",
    "SITE_DROPDOWN": [
        {"icon": "home", "title": "Start page", "link": reverse_lazy("admin:index")},
        {"icon": "api", "title": "API docs", "link": reverse_lazy("docs")},
        {"icon": "data_object", "title": "API schema", "link": reverse_lazy("schema")},
        {"icon": "monitor_heart", "title": "Health", "link": reverse_lazy("health-ready")},
    ],
    "ENVIRONMENT": "payflow.settings.admin.environment",
    "DASHBOARD_CALLBACK": "payments.admin.ledger_checks.dashboard",
    "SHOW_BACK_BUTTON": True,
    "COLORS": {
        "primary": {
            "50": "oklch(97.1% .02 178)",
            "100": "oklch(94.2% .045 178)",
            "200": "oklch(89% .08 178)",
            "300": "oklch(82% .11 178)",
            "400": "oklch(74% .12 178)",
            "500": "oklch(64% .11 180)",
            "600": "oklch(53% .095 182)",
            "700": "oklch(46% .08 183)",
            "800": "oklch(39% .065 184)",
            "900": "oklch(33% .05 185)",
            "950": "oklch(25% .04 186)",
        },
    },
    "SIDEBAR": {
        "show_search": True,
        "command_search": False,
        "show_all_applications": False,
        "navigation": [
            {
                "title": "Customers",
                "items": [
                    _rows("Users", "person", "accounts", "user"),
                    _rows("Subscriptions", "autorenew", "subscriptions", "subscription"),
                    _rows("Checkouts", "shopping_cart", "subscriptions", "checkout"),
                    _rows("Status changes", "timeline", "subscriptions", "subscriptionevent"),
                    _rows("Trials taken", "hourglass", "subscriptions", "trialredemption"),
                    _rows("Usage log", "monitoring", "usage", "usagelog"),
                    _rows("Usage meters", "speed", "usage", "usagemeter"),
                ],
            },
            {
                "title": "Catalogue",
                "separator": True,
                "items": [
                    _rows("Plans", "sell", "plans", "plan"),
                    _rows("Price moves", "price_change", "subscriptions", "soldplan"),
                    _rows("Planned changes", "published_with_changes", "subscriptions", "subscriptionchange"),
                    _rows("Coupons", "confirmation_number", "plans", "coupon"),
                    _rows("Coupons taken", "redeem", "subscriptions", "couponredemption"),
                ],
            },
            {
                "title": "Money",
                "separator": True,
                "items": [
                    _rows("Invoices", "receipt_long", "payments", "invoice"),
                    _rows("Payments", "paid", "payments", "paymenttransaction"),
                    _rows("Credit", "wallet", "payments", "creditaccount"),
                    _rows("Grants of credit", "redeem", "payments", "creditgrant"),
                    _rows("Payment methods", "credit_card", "payments", "paymentmethod"),
                    _rows("Tax rates", "percent", "payments", "taxrate"),
                    _rows("Billing periods", "date_range", "subscriptions", "billingperiod"),
                    _rows("Ledger postings", "menu_book", "payments", "ledgerposting"),
                    _rows("Ledger entries", "balance", "payments", "ledgerentry"),
                    _rows("Ledger checks", "fact_check", "payments", "ledgercheck"),
                    _rows("Number series", "tag", "payments", "numbercounter"),
                ],
            },
            {
                "title": "Mail room",
                "separator": True,
                "items": [
                    _rows("Inbound webhooks", "inbox", "webhooks", "inboundevent"),
                    _rows("Domain events", "campaign", "core", "outboxevent"),
                    _rows("Event handling", "checklist", "core", "outboxhandling"),
                    _rows("Provider drifts", "compare_arrows", "subscriptions", "providerdrift"),
                    _rows("Provider commands", "outbound", "subscriptions", "providercommand"),
                    _rows("Provider feeds", "rss_feed", "subscriptions", "providerfeed"),
                    _rows("Provider links", "link", "subscriptions", "providerlink"),
                    _rows("Provider moves", "move_up", "subscriptions", "providermove"),
                    _rows("Subscribers who move", "transfer_within_a_station", "subscriptions", "providermovemember"),
                ],
            },
            {
                "title": "System",
                "separator": True,
                "items": [
                    _rows("Audit", "policy", "core", "auditentry"),
                    _rows("API keys", "key", "accounts", "apikey"),
                    _rows("Roles", "group", "auth", "group"),
                    _rows("Sessions", "devices", "token_blacklist", "outstandingtoken"),
                    _rows("Idempotency keys", "fingerprint", "core", "idempotencykey"),
                    _rows("Clock", "schedule", "core", "clockoffset"),
                    {"title": "API docs", "icon": "api", "link": reverse_lazy("docs")},
                ],
            },
        ],
    },
}
