"""Giving back what of the paid time will not be lived. Inside the caller's transaction, under the subscription's lock."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from django.db.models import F

from payflow.core.money import Money
from payments.credits import INSTEAD, grant_write
from payments.models import CreditSource, Invoice, PaymentTransaction
from payments.services.refunds import refund_reserve
from subscriptions.billing import periods_ahead
from subscriptions.models import Status, Subscription
from subscriptions.unused import TODAY, Gone, Unused, paid_by, unserved_credit, unused

#: Why a dispute's opening suspends, where the setting says so.
DISPUTED = "disputed"
#: In a refund's metadata: the unused time that has ended with it, worth what it gave back. Should it come back, that is owed.
ENDED = "ended"


def unused_time_refund(subscription: Subscription, *, actor: str, now: datetime) -> list[uuid.UUID]:
    """Reserves refunds of the unused time, of the newest payments first, and returns them to be sent after the commit.

    Only payments that this time was bought with are refunded. What credit had paid comes back as credit. Raises
    RefundNotSupported.
    """
    ahead, parts = periods_ahead(subscription, now), unused_parts(subscription, now)
    rest = Money.zero(subscription.currency)
    tax = Money.zero(subscription.currency)
    for part in parts:
        rest, tax = rest + part.gross, tax + part.tax
    worth, reserved = rest, []
    left = [(part, part.gross) for part in parts]
    for charge in _payments([row.invoice for row in ahead if row.invoice is not None]):
        amount = min(rest.amount, charge.amount - charge.refunded_amount)
        if not amount:
            break
        refund = refund_reserve(
            charge_id=charge.pk,
            amount=amount,
            reason="unused time",
            actor=actor,
            key=f"refund_unused_{subscription.pk}_{charge.pk}_{now.isoformat()}",
            at=now,
        )
        ended_remember(refund, _take_off(left, Money(amount, rest.currency)))
        reserved.append(refund.pk)
        rest -= Money(amount, rest.currency)
    if rest:
        grant_write(
            user_id=subscription.user_id,
            money=rest,
            source=CreditSource.UNUSED_TIME,
            reason=f"Unused time of {subscription.plan.name}",
            key=f"cancel:{subscription.pk}:{now.isoformat()}",
            at=now,
            tax=Money.of_fraction(Fraction(tax.amount) * Fraction(rest.amount) / Fraction(worth.amount), rest.currency),
            explanation={"parts": [part.explanation for part in parts]},
        )
    return reserved


def _take_off(left: list[tuple[Unused, Money]], wanted: Money) -> list[tuple[Unused, Money]]:
    """Takes so much off the end of what is left of the parts, the latest time first, and answers what of which."""
    taken = []
    while wanted:
        part, worth = left.pop()
        some = min(worth, wanted)
        taken.append((part, some))
        wanted -= some
        if some < worth:
            left.append((part, worth - some))
    return taken


def ended_remember(refund: PaymentTransaction, ended: Sequence[tuple[Unused, Money]]) -> None:
    """What of which unused time has ended with the refund and is given back by it."""
    told = [
        {"gross": str(gross.amount), "tax": str(part.tax_in(gross).amount), "explanation": part.explanation}
        for part, gross in ended
    ]
    refund.metadata = {**refund.metadata, ENDED: told}
    refund.save(update_fields=["metadata"])


def ended_grant(refund: PaymentTransaction, *, reason: str, at: datetime) -> None:
    """The refund came back: the time that has ended with it becomes credit, and no more than came back."""
    rest = Money(refund.amount, refund.currency)
    for number, told in enumerate(refund.metadata.get(ENDED, [])):
        gross = Money(Decimal(told["gross"]), refund.currency)
        owed = min(gross, rest)
        rest -= owed
        if owed:
            tax = Fraction(Decimal(told["tax"])) * Fraction(owed.amount) / Fraction(gross.amount)
            grant_write(
                user_id=refund.user_id,
                money=owed,
                source=CreditSource.UNUSED_TIME,
                reason=reason,
                key=f"refund_reversed:{refund.pk}:{number}",
                at=at,
                tax=Money.of_fraction(tax, refund.currency),
                explanation={**told["explanation"], INSTEAD: str(refund.parent_id)},
            )


def unused_parts(subscription: Subscription, at: datetime, gone: Gone = TODAY) -> list[Unused]:
    """What is left of each of them; nothing where it was not paid for, or was given back."""
    return [unused(row, at=at, tz=subscription.timezone, gone=gone) for row in periods_ahead(subscription, at)]


def unused_parts_grant(subscription: Subscription, parts: Iterable[Unused], *, key: str, at: datetime) -> None:
    """What was unused becomes credit, once for each `key` and stretch of time."""
    for part in parts:
        if part.gross:
            grant_write(
                user_id=subscription.user_id,
                money=part.gross,
                source=CreditSource.UNUSED_TIME,
                reason=f"Unused time of {subscription.plan.name}",
                key=f"{key}:{part.since.isoformat()}",
                at=at,
                tax=part.tax,
                explanation=part.explanation,
            )


def shut_out_since(subscription: Subscription) -> datetime | None:
    """From when an open dispute has kept him out of what he had paid for, if it has."""
    if subscription.status != Status.SUSPENDED:
        return None
    suspended = subscription.events.filter(to_status=Status.SUSPENDED).latest("sequence")
    return suspended.at if suspended.reason == DISPUTED else None


def shut_out_grant(subscription: Subscription, *, key: str, since: datetime, at: datetime, gone: Gone = TODAY) -> None:
    """What was paid for [since, at), in which nobody was let in, becomes credit, once for each `key`."""
    tz, parts = subscription.timezone, []
    for row in periods_ahead(subscription, since):
        if row.start < at:
            rest = unused(row, at=min(at, row.end), tz=tz, gone=gone)
            parts.append(unused(row, at=since, tz=tz, gone=gone).less(rest))
    unused_parts_grant(subscription, parts, key=key, at=at)


def shut_out_end(subscription: Subscription, *, at: datetime) -> None:
    """It ends while a dispute suspends it: the suspension becomes credit now, which is held until the dispute is won.

    Nobody who has been kept out of paid time loses it by giving up; a dispute that is lost takes the credit.
    """
    if (since := shut_out_since(subscription)) is not None:
        key = f"dispute:{subscription.pk}:{since.isoformat()}"
        shut_out_grant(subscription, key=key, since=since, at=at, gone=Gone(won=True))


def unserved_credit_grant(subscription: Subscription, invoice: Invoice, *, at: datetime) -> None:
    """The invoice is given up: credit that it had consumed comes back, but for the time in which its subscriber was let in.

    Once for each invoice. A void one gives back all that it consumed; of one that stands, what was lived has been had.
    """
    if not invoice.credit or invoice.period_start is None:
        return
    left = unserved_credit(
        invoice,
        subscription.plan,
        since=_let_in_until(subscription, invoice.period_start),
        tz=subscription.timezone,
    )
    if left.gross:
        grant_write(
            user_id=subscription.user_id,
            money=left.gross,
            source=CreditSource.UNUSED_TIME,
            reason=f"Unserved time of {subscription.plan.name}",
            key=f"writeoff:{invoice.pk}",
            at=at,
            tax=left.tax,
            explanation=left.explanation,
        )


def _let_in_until(subscription: Subscription, start: datetime) -> datetime:
    """In the unpaid period that began at `start`: grace ended, or a dispute shut him out before that."""
    suspended = subscription.events.filter(to_status=Status.SUSPENDED, at__gte=start)
    ends = [subscription.grace_until, suspended.order_by("sequence").values_list("at", flat=True).first()]
    return min((end for end in ends if end is not None), default=start)


def _payments(invoices: Iterable[Invoice]) -> list[PaymentTransaction]:
    charges = PaymentTransaction.objects.filter(
        invoice__in={each.pk for invoice in invoices for each in paid_by(invoice)},
        type=PaymentTransaction.Type.CHARGE,
        status=PaymentTransaction.Status.COMPLETED,
        refunded_amount__lt=F("amount"),
    )
    return list(charges.order_by("-completed_at", "-pk"))
