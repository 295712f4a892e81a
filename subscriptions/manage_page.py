"""The provider's page where a subscriber manages what the provider keeps."""

from __future__ import annotations

from providers import registry
from subscriptions.models import Subscription


def manage_url(subscription: Subscription) -> str | None:
    """None where the provider has no such page. Of a plan that is sold as several products nobody knows here which it was."""
    if subscription.provider is None:
        return None
    products = list(
        subscription.plan.provider_refs.filter(provider=subscription.provider).values_list("ref", flat=True)[:2]
    )
    return registry.get(subscription.provider).manage_url(
        subscription.provider_sub_id or "", provider_plan_ref=products[0] if len(products) == 1 else None
    )
