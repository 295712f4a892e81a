"""What stands above the money hears of it here, inside the money's own transaction.

`subscriptions` registers from its `ready()`. `lock` comes first: subscriptions are locked before invoices.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from payments.models import Invoice, PaymentTransaction


class Settled(NamedTuple):
    """An invoice that is paid; by credit alone where there is no transaction."""

    invoice: Invoice
    transaction: PaymentTransaction | None


class Declined(NamedTuple):
    invoice: Invoice
    transaction: PaymentTransaction


class Unsent(NamedTuple):
    """A charge that has not left, by its key; where it is an invoice's, why that was made."""

    key: uuid.UUID
    subscription_id: uuid.UUID | None
    invoice_reason: str | None


class OnPaid(Protocol):
    def __call__(self, settled: Sequence[Settled], *, at: datetime) -> None: ...


class OnFailed(Protocol):
    def __call__(self, declined: Sequence[Declined], *, at: datetime) -> None: ...


class OnReversal(Protocol):
    def __call__(self, *, charge: PaymentTransaction, reversal: PaymentTransaction, at: datetime) -> None: ...


class OnRefundAmiss(Protocol):
    def __call__(self, *, charge: PaymentTransaction, reason: str, at: datetime) -> None: ...


class Unwanted(Protocol):
    def __call__(self, charges: Sequence[Unsent]) -> set[uuid.UUID]: ...


class Lock(Protocol):
    def __call__(self, subscription_ids: Collection[uuid.UUID]) -> None: ...


@dataclass(frozen=True, slots=True)
class Listener:
    """`on_paid`: invoices are settled; `on_failed`: charges of them were declined; `on_refunded`: money went back.

    `on_refund_amiss`: an operator has to look, since a refund was refused, came back, or moved another amount than was asked
    for. `on_refund_reversed`: a refund came back. `on_disputed`: a chargeback was opened (pending), lost (completed)
    or won (failed). `unwanted`: which charges that have not left are not to be sent any more?
    """

    lock: Lock
    on_paid: OnPaid
    on_failed: OnFailed
    on_refunded: OnReversal
    on_refund_amiss: OnRefundAmiss
    on_refund_reversed: OnReversal
    on_disputed: OnReversal
    unwanted: Unwanted


_listeners: list[Listener] = []


def register(
    *,
    lock: Lock,
    on_paid: OnPaid,
    on_failed: OnFailed,
    on_refunded: OnReversal,
    on_refund_amiss: OnRefundAmiss,
    on_refund_reversed: OnReversal,
    on_disputed: OnReversal,
    unwanted: Unwanted,
) -> None:
    _listeners.append(
        Listener(lock, on_paid, on_failed, on_refunded, on_refund_amiss, on_refund_reversed, on_disputed, unwanted)
    )


def lock_subscriptions(subscription_ids: Collection[uuid.UUID]) -> None:
    """Takes the subscriptions' locks before the caller locks invoices or transactions."""
    if subscription_ids:
        for listener in _listeners:
            listener.lock(subscription_ids)


def paid(settled: Sequence[Settled], *, at: datetime) -> None:
    if settled:
        for listener in _listeners:
            listener.on_paid(settled, at=at)


def failed(declined: Sequence[Declined], *, at: datetime) -> None:
    if declined:
        for listener in _listeners:
            listener.on_failed(declined, at=at)


def refunded(*, charge: PaymentTransaction, reversal: PaymentTransaction, at: datetime) -> None:
    for listener in _listeners:
        listener.on_refunded(charge=charge, reversal=reversal, at=at)


def refund_amiss(*, charge: PaymentTransaction, reason: str, at: datetime) -> None:
    for listener in _listeners:
        listener.on_refund_amiss(charge=charge, reason=reason, at=at)


def refund_reversed(*, charge: PaymentTransaction, reversal: PaymentTransaction, at: datetime) -> None:
    for listener in _listeners:
        listener.on_refund_reversed(charge=charge, reversal=reversal, at=at)


def disputed(*, charge: PaymentTransaction, reversal: PaymentTransaction, at: datetime) -> None:
    for listener in _listeners:
        listener.on_disputed(charge=charge, reversal=reversal, at=at)


def unwanted(charges: Sequence[Unsent]) -> set[uuid.UUID]:
    """The keys of those that are not to be sent any more: where one of the listeners says so."""
    return set().union(*(listener.unwanted(charges) for listener in _listeners))
