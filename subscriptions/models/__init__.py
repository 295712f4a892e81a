"""Subscriptions, what was billed for them, attempts to buy, and their links to providers."""

from subscriptions.models.changes import (
    ChangeEffective,
    ChangeReason,
    ChangeStatus,
    CouponRedemption,
    RedemptionStatus,
    SoldPlan,
    SubscriptionChange,
)
from subscriptions.models.checkouts import (
    Checkout,
    CheckoutPurpose,
    CheckoutStatus,
    ProviderLink,
)
from subscriptions.models.commands import CommandKind, CommandStatus, ProviderCommand
from subscriptions.models.moves import MemberStatus, MoveStatus, ProviderMove, ProviderMoveMember
from subscriptions.models.periods import (
    BillingPeriod,
    PeriodSource,
)
from subscriptions.models.reconciliation import DriftResolution, ProviderDrift, ProviderFeed
from subscriptions.models.subscriptions import (
    LIVE,
    Status,
    Subscription,
    SubscriptionEvent,
    TrialRedemption,
)

__all__ = [
    "LIVE",
    "BillingPeriod",
    "ChangeEffective",
    "ChangeReason",
    "ChangeStatus",
    "Checkout",
    "CheckoutPurpose",
    "CheckoutStatus",
    "CommandKind",
    "CommandStatus",
    "CouponRedemption",
    "DriftResolution",
    "MemberStatus",
    "MoveStatus",
    "PeriodSource",
    "ProviderCommand",
    "ProviderDrift",
    "ProviderFeed",
    "ProviderLink",
    "ProviderMove",
    "ProviderMoveMember",
    "RedemptionStatus",
    "SoldPlan",
    "Status",
    "Subscription",
    "SubscriptionChange",
    "SubscriptionEvent",
    "TrialRedemption",
]
