"""Whose purchase is it? The subscription that an event speaks of, or at least the user to whom it belongs."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from accounts.models import User
from payflow.core.ids import parse_uuid
from providers.base import ProviderEvent
from subscriptions.locks import subscription_lock, user_lock
from subscriptions.models import Checkout, ProviderLink, Subscription
from subscriptions.services.provider_events.matching import checkout_of, linked
from subscriptions.services.provider_events.verdicts import OwnerNotKnownYet


@dataclass(frozen=True, slots=True)
class Owner:
    """`subscription` is locked, and None where the purchase begins one. `checkout` is the one that it was made at."""

    user: User
    subscription: Subscription | None
    checkout: Checkout | None
    named_other: bool = False


def owner_lock(event: ProviderEvent) -> Owner:
    """The owner, user and subscription locked. Raises OwnerNotKnownYet where the event names nobody whom we know.

    A link decides before the reference that the provider repeats: what belongs to one user is never moved to another
    because an event says so (`named_other` tells that it did).
    """
    checkout = checkout_of(event)
    subscription = _subscription_of(event, checkout)
    user_id = subscription.user_id if subscription else checkout.user_id if checkout else _named(event)
    if user_id is None:
        raise OwnerNotKnownYet("a purchase of nobody whom we know yet")
    user = user_lock(user_id)
    # Whoever begins a purchase holds the user's lock: what was not there a moment ago may be there now.
    subscription = subscription or _subscription_of(event, checkout)
    if subscription is not None and subscription.user_id != user_id:
        raise OwnerNotKnownYet("its owner was found while we looked")
    named = _named(event)
    return Owner(
        user,
        subscription_lock(subscription.pk) if subscription else None,
        checkout,
        named_other=named is not None and named != user_id,
    )


def link_current(subscription: Subscription, event: ProviderEvent) -> None:
    """From now on the provider's name for the subscription is the event's. The caller saves the subscription."""
    if not event.provider_sub_id or subscription.provider_sub_id == event.provider_sub_id:
        return
    ProviderLink.objects.get_or_create(
        provider=event.provider,
        provider_sub_id=event.provider_sub_id,
        defaults={"subscription": subscription},
    )
    subscription.provider, subscription.provider_sub_id = event.provider, event.provider_sub_id


def is_replaced(subscription: Subscription, event: ProviderEvent) -> bool:
    """True for news of a purchase that another has taken over from, or of a provider that was left."""
    if subscription.provider != event.provider:
        return True
    current = subscription.provider_sub_id
    return bool(event.provider_sub_id and current and current != event.provider_sub_id)


def _subscription_of(event: ProviderEvent, checkout: Checkout | None) -> Subscription | None:
    if (found := linked(event)) is not None:
        return found
    if event.replaces:
        link = ProviderLink.objects.filter(provider=event.provider, provider_sub_id=event.replaces)
        if (replaced := Subscription.objects.filter(pk__in=link.values("subscription_id")).first()) is not None:
            return replaced
    return checkout.subscription if checkout else None


def _named(event: ProviderEvent) -> uuid.UUID | None:
    """The user whom the provider names by the reference that the app or we gave it; never by e-mail."""
    user_id = parse_uuid(event.user_ref) if event.user_ref else None
    return user_id if user_id is not None and User.objects.filter(pk=user_id).exists() else None
