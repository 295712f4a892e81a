"""Who moves to another provider, and when; where new subscribers begin. Reads only."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import (
    BigIntegerField,
    DateTimeField,
    DurationField,
    Exists,
    ExpressionWrapper,
    F,
    Func,
    OuterRef,
    QuerySet,
)
from django.db.models.functions import Coalesce, Greatest

from payments.models import Invoice, PaymentTransaction
from plans.models import CouponDuration
from providers import registry
from providers.base import Caps
from subscriptions.models import ProviderMove, ProviderMoveMember, Status, Subscription, SubscriptionChange
from subscriptions.services.redemptions import redemptions_of
from subscriptions.state import renews

#: The open members: a link is being made for them, or was sent.
OPEN = [ProviderMoveMember.Status.PREPARING, ProviderMoveMember.Status.INVITED]
#: Nobody is invited before this last part of his period. A provider that renews by itself counts from the day of the payment:
#: its later charges come as much too early, and half a period early is no renewal.
LAST_PART = 3


def slot(key: uuid.UUID) -> int:
    """0 to 99, always the same for the same row: a share of n percent are those below n. `_Slot` is the same in SQL."""
    return int(key.hex[-8:], 16) % 100


class _Slot(Func):
    template = "mod(('x' || right(%(expressions)s::text, 8))::bit(32)::bigint, 100)"
    output_field = BigIntegerField()


def provider_default(user_id: uuid.UUID, currency: str) -> str:
    """The provider of a subscribe that names none: the setting's, or where an active move away from it sends this user.

    The share is taken by the user's id: an attempt that is resumed, or quoted before, comes to the same provider.
    """
    default: str = settings.PAYFLOW_DEFAULT_PROVIDER
    move = ProviderMove.objects.filter(from_provider=default, status=ProviderMove.Status.ACTIVE).first()
    if move is None or slot(user_id) >= move.percent or move.to_provider not in registry.names():
        return default
    return move.to_provider if registry.get(move.to_provider).supports_currency(currency) else default


def candidates(move: ProviderMove, *, now: datetime) -> QuerySet[Any]:
    """The move's share of what is active at the old provider and renews there, with `offer_at`, when its link is due."""
    start = Coalesce("current_period_start", "start_date")
    part = ExpressionWrapper((F("end_date") - start) / LAST_PART, output_field=DurationField())
    last_part = ExpressionWrapper(F("end_date") - part, output_field=DateTimeField())
    days = ExpressionWrapper(F("end_date") - timedelta(days=move.days_before), output_field=DateTimeField())
    return (
        Subscription.objects.filter(
            provider=move.from_provider,
            status=Status.ACTIVE,
            cancelled_at=None,
            auto_renew=True,
            overlaps=None,
            amount__gt=0,
            end_date__gt=now,
        )
        .alias(slot=_Slot(F("pk")))
        .filter(slot__lt=move.percent)
        .annotate(offer_at=Greatest(days, last_part))
    )


def awaiting_offer(move: ProviderMove, *, now: datetime) -> QuerySet[Any]:
    """Of the candidates those whose next period nobody has looked at yet."""
    seen = ProviderMoveMember.objects.filter(move=move, subscription=OuterRef("pk"), period_start=OuterRef("end_date"))
    return candidates(move, now=now).filter(~Exists(seen))


def obstacle(subscription: Subscription, move: ProviderMove, *, now: datetime) -> str | None:
    """Why the subscription cannot move with its next period; None where it can. The caller holds its lock."""
    if subscription.provider != move.from_provider:
        return "it is at another provider"
    if subscription.status != Status.ACTIVE:
        return f"it is {subscription.status}"
    if subscription.is_free or subscription.end_date is None:
        return "it is free"
    if subscription.disputed_at is not None:
        return "a payment is disputed"
    if not renews(subscription):
        return "it does not renew"
    if subscription.overlaps_id is not None:
        return "it stands beside another subscription"
    if subscription.end_date <= now:
        return "its renewal is under way"
    if Invoice.objects.filter(subscription=subscription, status=Invoice.Status.OPEN).exists():
        return "an invoice is open"
    charges = PaymentTransaction.objects.filter(subscription=subscription, type=PaymentTransaction.Type.CHARGE)
    if charges.filter(status=PaymentTransaction.Status.PENDING).exists():
        return "a payment is under way"
    if subscription.changes.filter(status=SubscriptionChange.Status.OPEN).exists():
        return "a change of it is planned"
    return _refused_by_target(subscription, move)


def misfit(subscription: Subscription, member: ProviderMoveMember, *, now: datetime) -> str | None:
    """Why the link that a member has does not say any more what its next period is; None where it does."""
    if member.move.status == ProviderMove.Status.ENDED:
        return "the move was ended"
    if member.checkout is None or member.checkout.status not in ("open", "unknown"):
        return "the link was closed"
    if subscription.end_date != member.period_start:
        return "it went on at the old provider"
    terms = (subscription.plan_id, subscription.amount, subscription.currency)
    if terms != (member.checkout.plan_id, member.price, member.currency):
        return "its plan or price has changed"
    return obstacle(subscription, member.move, now=now)


def _refused_by_target(subscription: Subscription, move: ProviderMove) -> str | None:
    if move.to_provider not in registry.names():
        return "the new provider is not configured"
    target = registry.get(move.to_provider)
    if not target.supports_currency(subscription.currency):
        return f"the new provider does not sell in {subscription.currency}"
    if target.capabilities.renewal_driver == "provider":
        redemption = redemptions_of([subscription.pk]).get(subscription.pk)
        if redemption is not None and redemption.coupon.duration != CouponDuration.FOREVER:
            return "its coupon ends, and the new provider charges the same amount every time"
    return None


def refused_as_source(caps: Caps, manage_url: str | None) -> bool:
    """A store renews by itself until the subscriber stops it there: nobody else can, so nobody is moved away from it."""
    return caps.renewal_driver == "provider" and not caps.cancel_at_period_end and manage_url is not None
