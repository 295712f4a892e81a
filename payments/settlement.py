"""What stands above the money hears of it here, inside the money's own transaction.

`subscriptions` registers from its `ready()`. `lock` comes first: subscriptions are locked before invoices.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from payments.models import Invoice, PaymentTransaction


class OnCharge(Protocol):
    def __call__(self, *, invoice: Invoice, transaction: PaymentTransaction, at: datetime) -> None: ...


class OnReversal(Protocol):
    def __call__(self, *, charge: PaymentTransaction, reversal: PaymentTransaction, at: datetime) -> None: ...


class Lock(Protocol):
    def __call__(self, subscription_id: uuid.UUID) -> None: ...


@dataclass(frozen=True, slots=True)
class Listener:
    """`on_paid`: the invoice is settled; `on_failed`: a charge of it was declined; `on_refunded`: money went back."""

    lock: Lock
    on_paid: OnCharge
    on_failed: OnCharge
    on_refunded: OnReversal


_listeners: list[Listener] = []


def register(*, lock: Lock, on_paid: OnCharge, on_failed: OnCharge, on_refunded: OnReversal) -> None:
    _listeners.append(Listener(lock, on_paid, on_failed, on_refunded))


def lock_subscription(subscription_id: uuid.UUID | None) -> None:
    """Takes the subscription's lock before the caller locks an invoice or a transaction."""
    if subscription_id is not None:
        for listener in _listeners:
            listener.lock(subscription_id)


def paid(*, invoice: Invoice, transaction: PaymentTransaction, at: datetime) -> None:
    for listener in _listeners:
        listener.on_paid(invoice=invoice, transaction=transaction, at=at)


def failed(*, invoice: Invoice, transaction: PaymentTransaction, at: datetime) -> None:
    for listener in _listeners:
        listener.on_failed(invoice=invoice, transaction=transaction, at=at)


def refunded(*, charge: PaymentTransaction, reversal: PaymentTransaction, at: datetime) -> None:
    for listener in _listeners:
        listener.on_refunded(charge=charge, reversal=reversal, at=at)
