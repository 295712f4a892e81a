"""Asking a subscriber to pay by hand, where nobody can be charged. Inside the caller's transaction, under its lock."""

from __future__ import annotations

from datetime import datetime

from payments.invoices import invoice_issue
from payments.models import Invoice
from providers import registry
from subscriptions.billing import Source, bill_cycle, open_invoice
from subscriptions.models import Checkout, Subscription
from subscriptions.services.checkouts import link_checkout
from subscriptions.services.settlement import fall_past_due


def invoice_due(subscription: Subscription, *, now: datetime) -> Invoice:
    """The invoice of the next period, made once: open where it was issued before, else a draft."""
    return open_invoice(subscription) or bill_cycle(subscription, source=Source.RENEWAL, at=now)


def payment_request(subscription: Subscription, *, reason: str, now: datetime) -> Checkout | None:
    """Issues the due invoice and begins grace. Returns the page to be opened at the provider after the commit."""
    invoice = invoice_due(subscription, now=now)
    if invoice.status == Invoice.Status.DRAFT:
        invoice_issue(invoice, at=now)
    fall_past_due(subscription, reason=reason, at=now)
    return payment_page(subscription, invoice, now=now)


def payment_page(subscription: Subscription, invoice: Invoice, *, now: datetime) -> Checkout | None:
    """The page on which an open invoice is paid; None where the provider has no such pages."""
    if subscription.provider is None or subscription.provider not in registry.names():
        return None
    if not registry.get(subscription.provider).capabilities.payment_link:
        return None
    return link_checkout(invoice, provider=subscription.provider, now=now)
