"""A store purchase that the app sends: the signed transaction of Apple, the purchase token of Google.

The store is asked what it is; only its authentic answer changes anything. What it says was paid goes the same way as its
notifications. The same token again, from the same user (restoring purchases, another device), answers the same.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

from django.db import IntegrityError

from accounts.models import User
from payflow.core.errors import ProviderUnavailable, ValidationFailed
from payflow.core.ids import parse_uuid
from providers import registry
from providers.base import (
    MalformedError,
    Provider,
    ProviderError,
    ProviderEvent,
    RequestRefused,
    SignatureError,
    SubState,
    UnknownReference,
)
from subscriptions.errors import PurchaseTaken
from subscriptions.models import ProviderLink, Subscription
from subscriptions.services.reconciliation import events_apply

#: From here on all that the store knows of a purchase is read.
BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)
#: What the store says when the token is none of its own, or not of this app.
_NOT_AUTHENTIC = (SignatureError, MalformedError, RequestRefused, UnknownReference)


def purchase_attach(*, user_id: uuid.UUID, provider: str, token: str, now: datetime) -> tuple[Subscription, bool]:
    """Binds a purchase to the user; True where that is new. Outside any transaction.

    Raises ValidationFailed (not a store, not authentic, a test purchase where tests don't count, nothing was paid),
    PurchaseTaken (it belongs to somebody else), ProviderUnavailable (the store could not be asked: nothing has changed).
    """
    store = _store(provider)
    try:
        state = store.attach_purchase(user_ref=str(user_id), token=token)
        if state.is_test and not store.believes_tests:
            raise ValidationFailed.field("purchase_token", "A test purchase grants nothing here")
        known = _owner(store, state)
        _refuse_others(known, state, user_id)
        events = store.fetch_events(state.provider_sub_id, since=BEGINNING)
    except _NOT_AUTHENTIC as error:
        raise ValidationFailed.field("purchase_token", "The store does not know this purchase") from error
    except ProviderError as error:
        raise ProviderUnavailable("The purchase could not be checked; send it again") from error
    _apply([_of_user(event, state, user_id) for event in events], now)
    subscription = _owner(store, state)
    if subscription is None:
        raise ValidationFailed.field("purchase_token", "Nothing was paid with this purchase")
    _refuse_others(subscription, state, user_id)
    return subscription, known is None


def _store(name: str) -> Provider:
    if name not in registry.names():
        raise ValidationFailed.field("provider", f"{name!r} is not a configured payment provider")
    provider = registry.get(name)
    if not provider.capabilities.attach:
        raise ValidationFailed.field("purchase_token", f"{name!r} sells no purchases to attach")
    return provider


def _owner(store: Provider, state: SubState) -> Subscription | None:
    names = [state.provider_sub_id, *([state.replaces] if state.replaces else [])]
    links = ProviderLink.objects.filter(provider=store.name, provider_sub_id__in=names)
    return Subscription.objects.filter(pk__in=links.values("subscription_id")).first()


def _refuse_others(known: Subscription | None, state: SubState, user_id: uuid.UUID) -> None:
    """By the link that there is; without one, by the user whom the app named to the store when it was bought."""
    if known is not None:
        if known.user_id != user_id:
            raise PurchaseTaken
        return
    named = parse_uuid(state.user_ref) if state.user_ref else None
    if named is not None and named != user_id and User.objects.filter(pk=named).exists():
        raise PurchaseTaken


def _of_user(event: ProviderEvent, state: SubState, user_id: uuid.UUID) -> ProviderEvent:
    return replace(event, user_ref=str(user_id), replaces=event.replaces or state.replaces)


def _apply(events: list[ProviderEvent], now: datetime) -> None:
    """Two devices may attach at once: whoever comes second finds what the first has written."""
    try:
        events_apply(events, now=now)
    except IntegrityError:
        events_apply(events, now=now)
