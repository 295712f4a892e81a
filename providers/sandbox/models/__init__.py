"""The sandbox's own books. `account` is a fingerprint of an API key; every query names it."""

from providers.sandbox.models.faults import FaultKind, SandboxFault
from providers.sandbox.models.payments import (
    MAX_URL,
    Behaviour,
    CheckoutKind,
    CheckoutStatus,
    DeliveryStatus,
    DisputeStatus,
    PaymentKind,
    PaymentStatus,
    Public,
    SandboxCheckout,
    SandboxDelivery,
    SandboxDispute,
    SandboxMethod,
    SandboxPayment,
    SandboxRefund,
    new_token,
)
from providers.sandbox.models.subscriptions import (
    Cycle,
    SandboxEvent,
    SandboxProduct,
    SandboxSubscription,
    SubscriptionStatus,
)

__all__ = [
    "MAX_URL",
    "Behaviour",
    "CheckoutKind",
    "CheckoutStatus",
    "Cycle",
    "DeliveryStatus",
    "DisputeStatus",
    "FaultKind",
    "PaymentKind",
    "PaymentStatus",
    "Public",
    "SandboxCheckout",
    "SandboxDelivery",
    "SandboxDispute",
    "SandboxEvent",
    "SandboxFault",
    "SandboxMethod",
    "SandboxPayment",
    "SandboxProduct",
    "SandboxRefund",
    "SandboxSubscription",
    "SubscriptionStatus",
    "new_token",
]
