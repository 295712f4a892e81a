"""What only the provider can do to a subscription of its own."""

from __future__ import annotations

from providers import registry
from subscriptions.errors import ProviderManaged
from subscriptions.models import Subscription
from subscriptions.state import renews_by_itself


def refuse_provider_managed(subscription: Subscription, *, told_by: str) -> None:
    """Raises ProviderManaged where the provider renews by itself and cannot be told (its capability `told_by` is False)."""
    if subscription.provider is None or not renews_by_itself(subscription):
        return
    provider = registry.get(subscription.provider)
    if not getattr(provider.capabilities, told_by):
        raise ProviderManaged(details={"manage_url": provider.manage_url(subscription.provider_sub_id or "")})


def refuse_unless_told(subscription: Subscription) -> None:
    """Raises ProviderManaged where renewal is turned off and on at the provider only: it has a page for that, and no call."""
    if subscription.provider is None or not renews_by_itself(subscription):
        return
    provider = registry.get(subscription.provider)
    url = provider.manage_url(subscription.provider_sub_id or "")
    if url is not None and not provider.capabilities.cancel_at_period_end:
        raise ProviderManaged(details={"manage_url": url})
