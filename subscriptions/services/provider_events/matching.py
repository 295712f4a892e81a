"""Whose is it? The charge, checkout, subscription or user that an event speaks of."""

from __future__ import annotations

import uuid
from datetime import datetime

from accounts.models import User
from payflow.core.ids import parse_uuid
from payments.models import PaymentMethod, PaymentTransaction
from payments.services.incoming import (
    find_by_money_key,
    method_keep,
)
from payments.services.unapplied import UNMATCHED_PAYER
from providers.base import ProviderEvent
from subscriptions.models import Checkout, ProviderLink, Subscription


def our_charge(event: ProviderEvent) -> PaymentTransaction | None:
    return PaymentTransaction.objects.filter(
        provider=event.provider,
        type=PaymentTransaction.Type.CHARGE,
        idempotency_key=event.idempotency_key,
    ).first()


def checkout_of(event: ProviderEvent) -> Checkout | None:
    if not event.order_ref:
        return None
    return Checkout.objects.filter(provider=event.provider, order_ref=event.order_ref).first()


def linked(event: ProviderEvent) -> Subscription | None:
    if not event.provider_sub_id:
        return None
    link = ProviderLink.objects.filter(provider=event.provider, provider_sub_id=event.provider_sub_id)
    return Subscription.objects.filter(pk__in=link.values("subscription_id")).first()


def known_payment(event: ProviderEvent) -> PaymentTransaction | None:
    assert event.provider_payment_id is not None
    return find_by_money_key(
        provider=event.provider,
        type=PaymentTransaction.Type.CHARGE,
        provider_txn_id=event.provider_payment_id,
    )


def payer(event: ProviderEvent) -> uuid.UUID:
    """The user whom the provider names by the reference that we gave it; never by e-mail."""
    user_id = parse_uuid(event.user_ref) if event.user_ref else None
    if user_id is not None and User.objects.filter(pk=user_id).exists():
        return user_id
    unmatched, _ = User.objects.get_or_create(
        email=UNMATCHED_PAYER, defaults={"name": "Payments without a payer", "is_active": False, "password": "!"}
    )
    return unmatched.pk


def method_of(event: ProviderEvent, user_id: uuid.UUID, now: datetime) -> PaymentMethod | None:
    if event.method is None:
        return None
    return method_keep(user_id=user_id, provider=event.provider, method=event.method, at=now)
