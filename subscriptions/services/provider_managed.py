"""What only the provider can do to a subscription of its own."""

from __future__ import annotations

from datetime import datetime

from payflow.core.money import Money
from plans.models import Plan
from providers import registry
from subscriptions.errors import ProviderManaged
from subscriptions.manage_page import manage_url
from subscriptions.models import CommandKind, Subscription
from subscriptions.services.commands import command_give
from subscriptions.state import renews_by_itself


def refuse_provider_managed(subscription: Subscription, *, told_by: str) -> None:
    """Raises ProviderManaged where the provider renews by itself and cannot be told (its capability `told_by` is False)."""
    if subscription.provider is None or not renews_by_itself(subscription):
        return
    provider = registry.get(subscription.provider)
    if not getattr(provider.capabilities, told_by):
        raise ProviderManaged(details={"manage_url": manage_url(subscription)})


def refuse_unless_told(subscription: Subscription) -> None:
    """Raises ProviderManaged where renewal is turned off and on at the provider only: it has a page for that, and no call."""
    if subscription.provider is None or not renews_by_itself(subscription):
        return
    provider = registry.get(subscription.provider)
    url = manage_url(subscription)
    if url is not None and not provider.capabilities.cancel_at_period_end:
        raise ProviderManaged(details={"manage_url": url})


def provider_asked_for(subscription: Subscription, plan: Plan, price: Money, *, actor: str, at: datetime) -> None:
    """Commits the command by which the provider that keeps the subscription hears of its plan from the next renewal on."""
    if not subscription.provider_sub_id or not renews_by_itself(subscription):
        return
    product = plan.provider_refs.filter(provider=subscription.provider).first()
    arguments = {
        "plan_ref": plan.code,
        "provider_plan_ref": product.ref if product else None,
        "amount": str(price.amount),
        "currency": price.currency,
        "every": plan.billing_interval,
        "cycle": plan.billing_cycle,
        "now": False,
    }
    command_give(subscription, CommandKind.CHANGE, actor=actor, at=at, arguments=arguments)


def provider_told(subscription: Subscription, kind: CommandKind, *, actor: str, at: datetime) -> bool:
    """Commits the command by which the provider that keeps the subscription hears of this, and says whether there is one.

    Where it ends nothing at once it is told to renew no more. A provider without such a call needs none, or was refused
    before. The caller holds the subscription's lock.
    """
    if not subscription.provider_sub_id or not renews_by_itself(subscription):
        return False
    caps = registry.get(str(subscription.provider)).capabilities
    if kind == CommandKind.CANCEL_NOW and not caps.cancel_now:
        kind = CommandKind.CANCEL
    can = {
        CommandKind.CANCEL: caps.cancel_at_period_end,
        CommandKind.CANCEL_NOW: caps.cancel_now,
        CommandKind.RESUME: caps.resume,
        CommandKind.PAUSE: caps.pause,
    }
    if can.get(kind):
        command_give(subscription, kind, actor=actor, at=at)
        return True
    return False
