"""What goes to a provider and what comes back from a call. Amounts are in the major unit, times aware UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

# --- data in ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubRequest:
    """A first purchase. `interval` is `(every, cycle)`; `idempotency_key` is the same whenever this attempt is resumed.

    `renewal_amount` is what each later cycle costs, where that is not `amount`: a coupon for the first one.
    """

    user_ref: str
    plan_ref: str
    provider_plan_ref: str | None
    order_ref: str
    amount: Decimal
    currency: str
    interval: tuple[int, str]
    trial_days: int
    email: str
    success_url: str
    fail_url: str
    cancel_url: str
    hook_url: str
    idempotency_key: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    renewal_amount: Decimal | None = None


@dataclass(frozen=True, slots=True)
class LinkRequest:
    """One open invoice to be paid by hand."""

    user_ref: str
    plan_ref: str
    order_ref: str
    amount: Decimal
    currency: str
    email: str
    success_url: str
    fail_url: str
    cancel_url: str
    hook_url: str
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """A charge of a stored method. The key is our transaction's: the same charge is never sent under another."""

    method_ref: str
    customer_ref: str
    amount: Decimal
    currency: str
    idempotency_key: str
    hook_url: str = ""


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """Another plan for a subscription that the provider renews. `now` False: from its next renewal on.

    `provider_plan_ref` is the provider's product where it knows plans, `amount` the new price of a cycle where it does not.
    """

    provider_sub_id: str
    plan_ref: str
    provider_plan_ref: str | None
    amount: Decimal
    currency: str
    interval: tuple[int, str]
    now: bool
    idempotency_key: str


# --- data out --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SubResult:
    """What a checkout or link became. `status`: pending | active."""

    provider_sub_id: str | None
    checkout_url: str | None
    status: str
    expires_at: datetime | None = None


class SubStatus(StrEnum):
    """A provider's word for a subscription, translated. An unknown word is UNKNOWN, never ACTIVE."""

    PENDING = "pending"
    TRIAL = "trial"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    ON_HOLD = "on_hold"
    PAUSED = "paused"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SubState:
    """A subscription as the provider sees it now.

    `period_end` is until when the provider lets it be used, in PAST_DUE its grace's end. `provider_plan_ref` is the
    provider's product, `user_ref` what we had told it about the buyer. `replaces` is the purchase that this one took
    over from (Google's linkedPurchaseToken); `unacknowledged` asks for `acknowledge_purchase`. `as_of` is the
    provider's own time of this state, where it has one.
    """

    provider_sub_id: str
    status: SubStatus
    auto_renew: bool | None = None
    period_start: datetime | None = None
    period_end: datetime | None = None
    provider_plan_ref: str | None = None
    user_ref: str | None = None
    as_of: datetime | None = None
    replaces: str | None = None
    unacknowledged: bool = False
    is_test: bool = False


class Outcome(StrEnum):
    SUCCEEDED = "succeeded"
    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"
    DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class Decline:
    """Why a payment was refused. `recoverable` False (stolen card, account closed): asking again is pointless."""

    code: str
    recoverable: bool


@dataclass(frozen=True, slots=True)
class PaymentResult:
    outcome: Outcome
    provider_txn_id: str | None
    decline: Decline | None = None
    action_url: str | None = None


@dataclass(frozen=True, slots=True)
class RefundResult:
    """`status` of the refund: succeeded | pending | failed. `amount` is what goes back in this refund."""

    status: Literal["succeeded", "pending", "failed"]
    provider_refund_id: str | None
    amount: Decimal | None = None
