"""Checkouts: the provider is asked for a page after the attempt is committed, under the attempt's own key."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime

from django.conf import settings
from django.db import transaction

from payflow.core.errors import ProviderUnavailable, UnsupportedCurrency
from payflow.core.ids import uuid7
from payflow.core.locks import lock_rows
from payments.models import Invoice
from payments.services.charges import hook_url
from providers import registry
from providers.base import CurrencyRefused, LinkRequest, ProviderError, SubRequest, SubResult
from subscriptions.locks import subscription_lock
from subscriptions.models import Checkout, ProviderLink

log = logging.getLogger(__name__)


def checkout_open(*, checkout_id: uuid.UUID) -> Checkout:
    """The checkout with its page. Calls the provider only where there is none yet; outside any transaction.

    Raises ProviderUnavailable: nobody knows whether the provider made the page, the next call resumes the same row.
    """
    checkout = Checkout.objects.select_related("user", "plan", "subscription").get(pk=checkout_id)
    if checkout.url:
        return checkout
    try:
        result = _ask(checkout)
    except CurrencyRefused as error:
        raise UnsupportedCurrency(details={"currency": [checkout.currency]}) from error
    except ProviderError as error:
        log.error("checkout %s: %s at %s", checkout.pk, type(error).__name__, checkout.provider)
        raise ProviderUnavailable(details={"checkout_id": str(checkout.pk)}) from error
    return _opened(checkout, result)


def link_checkout(invoice: Invoice, *, provider: str, now: datetime) -> Checkout:
    """The open page of an invoice to be paid by hand, made once, in the caller's transaction; not yet asked for."""
    assert invoice.subscription_id is not None, "what is paid by hand so far is a subscription's"
    open_ones = Checkout.objects.filter(
        subscription_id=invoice.subscription_id,
        purpose=Checkout.Purpose.INVOICE,
        status__in=[Checkout.Status.OPEN, Checkout.Status.UNKNOWN],
    )
    usable = open_ones.filter(invoice=invoice, expires_at__gt=now).first()
    if usable is not None:
        return usable
    open_ones.update(status=Checkout.Status.EXPIRED)
    return Checkout.objects.create(
        user_id=invoice.user_id,
        purpose=Checkout.Purpose.INVOICE,
        subscription_id=invoice.subscription_id,
        invoice=invoice,
        provider=provider,
        order_ref=uuid7().hex,
        plan_id=invoice.subscription.plan_id if invoice.subscription else None,
        amount=invoice.total,
        currency=invoice.currency,
        success_url=settings.SUCCESS_URL,
        cancel_url=settings.CANCEL_URL,
        expires_at=now + settings.CHECKOUT_LIFETIME,
    )


def _ask(checkout: Checkout) -> SubResult:
    provider = registry.get(checkout.provider)
    plan_ref = checkout.plan.code if checkout.plan else ""
    if checkout.purpose in (Checkout.Purpose.INVOICE, Checkout.Purpose.CHANGE):
        return provider.create_payment_link(
            LinkRequest(
                user_ref=str(checkout.user_id),
                plan_ref=plan_ref,
                order_ref=checkout.order_ref,
                amount=checkout.amount,
                currency=checkout.currency,
                email=checkout.user.email,
                success_url=checkout.success_url,
                fail_url=checkout.cancel_url,
                cancel_url=checkout.cancel_url,
                hook_url=hook_url(checkout.provider),
                idempotency_key=f"checkout_{checkout.pk}",
            )
        )
    assert checkout.plan is not None and checkout.subscription is not None
    ref = checkout.plan.provider_refs.filter(provider=checkout.provider).first()
    return provider.create_subscription(
        SubRequest(
            user_ref=str(checkout.user_id),
            plan_ref=plan_ref,
            provider_plan_ref=ref.ref if ref else None,
            order_ref=checkout.order_ref,
            amount=checkout.amount,
            currency=checkout.currency,
            interval=(checkout.subscription.billing_interval, checkout.subscription.billing_cycle),
            trial_days=checkout.trial_days,
            email=checkout.user.email,
            success_url=checkout.success_url,
            fail_url=checkout.cancel_url,
            cancel_url=checkout.cancel_url,
            hook_url=hook_url(checkout.provider),
            idempotency_key=f"checkout_{checkout.pk}",
            metadata={"plan_name": checkout.plan.name},
        )
    )


def _opened(checkout: Checkout, result: SubResult) -> Checkout:
    with transaction.atomic():
        if checkout.subscription_id is not None:
            subscription = subscription_lock(checkout.subscription_id)
            # A link to another provider names what the subscription is there, once it is paid.
            moves = checkout.purpose == Checkout.Purpose.MOVE
            if result.provider_sub_id and (moves or subscription.provider_sub_id is None):
                if not moves:
                    subscription.provider_sub_id = result.provider_sub_id
                    subscription.save()
                ProviderLink.objects.get_or_create(
                    provider=checkout.provider,
                    provider_sub_id=result.provider_sub_id,
                    defaults={"subscription": subscription},
                )
        locked = lock_rows(Checkout.objects.filter(pk=checkout.pk))[0]
        if not locked.url:
            locked.url = result.checkout_url or ""
            if locked.status == Checkout.Status.UNKNOWN:  # its payment may have been quicker than its answer
                locked.status = Checkout.Status.OPEN
            locked.save()
    return locked
