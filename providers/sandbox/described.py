"""A subscription as the API and the webhooks show it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from providers.sandbox.models import SandboxSubscription


def subscription_shown(subscription: SandboxSubscription) -> dict[str, Any]:
    """`as_of` is when its state last changed; times are RFC 3339 in UTC, or null."""
    return {
        "id": subscription.ref,
        "status": subscription.status,
        "auto_renew": subscription.auto_renew,
        "product_ref": subscription.product.product_ref,
        "period_start": moment_text(subscription.period_start),
        "period_end": moment_text(subscription.period_end),
        "grace_until": moment_text(subscription.grace_until),
        "as_of": moment_text(subscription.changed_at),
        "user_ref": subscription.user_ref,
        "plan_ref": subscription.plan_ref,
        "order_ref": subscription.order_ref,
        "replaces": subscription.replaces.ref if subscription.replaces else "",
        "unacknowledged": subscription.acknowledge_by is not None,
        "test": subscription.is_test,
    }


def moment_text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None
