"""Collecting what an open invoice asks for: by credit, by charging the stored method, or by hand where nobody can be charged.

Inside the caller's transaction, under the subscription's lock; what is left to do with the provider is returned as an errand
for after the commit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from payments import settlement
from payments.invoices import invoices_settle
from payments.models import Invoice, PaymentTransaction
from payments.selectors import can_be_charged
from payments.services.charges import charge_intend, charge_send
from payments.settlement import Settled
from providers import registry
from subscriptions.billing import Source, bill_cycle, open_invoice
from subscriptions.models import Checkout, Subscription
from subscriptions.services.checkouts import checkout_open, link_checkout
from subscriptions.services.settlement import fall_past_due
from subscriptions.state import subscription_update

#: While a call is under way the row is left alone; longer than any client waits for an answer.
LEASE = timedelta(minutes=5)

#: What is left to do with the provider once the transaction has committed.
Errand = Callable[[], object]


def collect(subscription: Subscription, invoice: Invoice, *, now: datetime) -> Errand | None:
    """Lets the invoice be paid in the way there is. Without any, grace begins and the errand opens a page to pay on."""
    if not invoice.total:
        subscription_update(subscription)
        invoices_settle([invoice], at=now)
        settlement.paid([Settled(invoice, None)], at=now)
        return None
    method = subscription.payment_method
    if can_be_charged(method):
        subscription_update(subscription, lease_until=now + LEASE)
        charge = charge_intend(invoice=invoice, method=method, at=now)
        return partial(charge_send, transaction_id=charge.pk, at=now)
    fall_past_due(subscription, reason="no_payment_method", at=now)
    return page_errand(payment_page(subscription, invoice, now=now))


def payment_request(subscription: Subscription, *, reason: str, now: datetime) -> Checkout | None:
    """Asks for the next period by hand and begins grace. Returns the page to be opened at the provider after the commit."""
    invoice = open_invoice(subscription) or bill_cycle(subscription, source=Source.RENEWAL, at=now)
    if not invoice.total:
        collect(subscription, invoice, now=now)
        return None
    fall_past_due(subscription, reason=reason, at=now)
    return payment_page(subscription, invoice, now=now)


def payment_page(subscription: Subscription, invoice: Invoice, *, now: datetime) -> Checkout | None:
    """The page on which an open invoice is paid; None where the provider has no such pages."""
    if subscription.provider is None or subscription.provider not in registry.names():
        return None
    if not registry.get(subscription.provider).capabilities.payment_link:
        return None
    return link_checkout(invoice, provider=subscription.provider, now=now)


def page_errand(checkout: Checkout | None) -> Errand | None:
    return partial(checkout_open, checkout_id=checkout.pk) if checkout else None


def charge_under_way(subscription: Subscription) -> PaymentTransaction | None:
    """The charge of the subscription that has no answer yet, if any."""
    return PaymentTransaction.objects.filter(
        subscription=subscription,
        type=PaymentTransaction.Type.CHARGE,
        status=PaymentTransaction.Status.PENDING,
    ).first()
