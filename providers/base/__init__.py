"""The contract of a payment provider: data, events, errors, and the class to implement.

An adapter gets dataclasses and returns dataclasses. It sees no model, no request and no setting but its own config; it
changes no state of ours and opens no transaction. A decline is a result, a timeout is unknown (`Unavailable`), any other
exception is our fault or the provider's refusal. Amounts are `Decimal` in the major unit, times are aware UTC.
Source: providers.md 0.1. Beyond it, so that an event finds the checkout, charge or refund it belongs to: `order_ref`,
`idempotency_key`, `method`, `parent_payment_id`, payment.dispute_lost; so that what is only hinted at is proven, and what
was missed is found: `confirm_events`, `fetch_events`, `missed_events`, `acknowledge_purchase`.
"""

from providers.base.contract import (
    Caps,
    ConfigFault,
    Provider,
)
from providers.base.data import (
    ChangeRequest,
    ChargeRequest,
    Decline,
    LinkRequest,
    Outcome,
    PaymentResult,
    RefundResult,
    SubRequest,
    SubResult,
    SubState,
    SubStatus,
)
from providers.base.errors import (
    AuthError,
    CurrencyRefused,
    MalformedError,
    NotSupported,
    ProviderError,
    RateLimited,
    RequestRefused,
    RetryableVerifyError,
    SignatureError,
    Unavailable,
    UnknownReference,
)
from providers.base.events import (
    EventType,
    ProviderEvent,
    StoredMethod,
    WebhookAnswer,
)

__all__ = [
    "AuthError",
    "Caps",
    "ChangeRequest",
    "ChargeRequest",
    "ConfigFault",
    "CurrencyRefused",
    "Decline",
    "EventType",
    "LinkRequest",
    "MalformedError",
    "NotSupported",
    "Outcome",
    "PaymentResult",
    "Provider",
    "ProviderError",
    "ProviderEvent",
    "RateLimited",
    "RefundResult",
    "RequestRefused",
    "RetryableVerifyError",
    "SignatureError",
    "StoredMethod",
    "SubRequest",
    "SubResult",
    "SubState",
    "SubStatus",
    "Unavailable",
    "UnknownReference",
    "WebhookAnswer",
]
