"""Plain renewals as a set: a batch is a constant number of statements, however many subscriptions are due.

Plain is what is active, renews, can be charged and has nothing else going on: no open invoice, no planned change, no link
to another provider, no missed period. The rows that this writes are the same that `due` writes one by one, by the same functions.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Semaphore
from typing import NamedTuple

from django.db import transaction

from payflow.core import clock
from payflow.core.sets import batches
from payments import settlement
from payments.invoices import invoices_settle
from payments.models import Invoice, PaymentTransaction
from payments.selectors import can_be_charged
from payments.services.charges import (
    Intent,
    charge_apply,
    charge_ask,
    charges_apply,
    charges_intend,
    charges_wanted,
)
from payments.settlement import Settled
from providers import registry
from providers.base import PaymentResult
from subscriptions.billing import Source, bills_issue, cycle_bill
from subscriptions.models import Status, Subscription, SubscriptionChange
from subscriptions.periods import Period
from subscriptions.services.collecting import LEASE
from subscriptions.services.move_closing import offers_open
from subscriptions.state import Action, next_action, subscriptions_lease, unpaid_period

#: Answers are applied in sets of this many: what a crash leaves to be asked about is no more.
ANSWERS_AT_ONCE = 250

#: How long (real time) after their commit, or a look, it holds that charges are still wanted: what leaves later is looked
#: at again. A look at 250 takes some milliseconds: other than the instant ones every provider has one before each call.
LOOK_HOLDS = timedelta(milliseconds=50)

log = logging.getLogger(__name__)


class Due(NamedTuple):
    """A subscription to be renewed, and the period."""

    subscription: Subscription
    period: Period


def renewals_intend(
    batch: Sequence[Subscription], *, now: datetime
) -> tuple[list[PaymentTransaction], list[Subscription]]:
    """The pending charges of the plain renewals in `batch`, and the rows that are to be handled one by one.

    Inside the claim's transaction. Where the set cannot be written, nothing of it is, and every row is for the other way.
    """
    plain = _plain(batch, now)
    if not plain:
        return [], list(batch)
    try:
        with transaction.atomic():
            charges = _intend(plain, now)
    except Exception:
        log.exception("a set of %s renewals cannot be written; its rows follow one by one", len(plain))
        return [], list(batch)
    done = {each.subscription.pk for each in plain}
    return charges, [subscription for subscription in batch if subscription.pk not in done]


def renewals_collect(charges: Sequence[PaymentTransaction], *, now: datetime, deadline: datetime) -> None:
    """Asks the provider for each charge, just committed, and applies the answers in sets. Outside any transaction.

    What isn't wanted any more when its turn comes is not sent. What has no answer, or no turn before `deadline` (real
    time), stays pending and is asked about by the next sweep.
    """
    committed = clock.wall()
    for some in batches(charges, ANSWERS_AT_ONCE):
        answers = _ask(some, committed, now, deadline)
        if not answers:
            continue
        try:
            charges_apply(answers, at=now)
        except Exception:
            log.exception("a set of %s answers cannot be applied; they follow one by one", len(answers))
            _apply_each(answers, now)


def _plain(batch: Sequence[Subscription], now: datetime) -> list[Due]:
    due = [Due(subscription, period) for subscription in batch if (period := _plain_period(subscription, now))]
    keys = [each.subscription.pk for each in due]
    if not keys:
        return []
    busy = {
        *Invoice.objects.filter(subscription__any=keys, status=Invoice.Status.OPEN).values_list(
            "subscription_id", flat=True
        ),
        *SubscriptionChange.objects.filter(subscription__any=keys, status=SubscriptionChange.Status.OPEN).values_list(
            "subscription_id", flat=True
        ),
        *offers_open(keys),
    }
    return [each for each in due if each.subscription.pk not in busy]


def _plain_period(subscription: Subscription, now: datetime) -> Period | None:
    """The period to be billed, where nothing else is to be thought of."""
    try:
        upcoming = next_action(subscription)
        if (
            upcoming is None
            or upcoming.kind != Action.RENEW
            or upcoming.at > now
            or subscription.status != Status.ACTIVE
            or not can_be_charged(subscription.payment_method)
        ):
            return None
        period = unpaid_period(subscription)
    except Exception:
        log.exception("subscription %s cannot be renewed", subscription.pk)
        return None  # handled by itself it fails by itself
    return period if period.end > now else None


def _intend(plain: Sequence[Due], now: datetime) -> list[PaymentTransaction]:
    invoices = bills_issue(
        [cycle_bill(each.subscription, each.period, Invoice.Reason.CYCLE) for each in plain],
        source=Source.RENEWAL,
        at=now,
    )
    intents, settled = [], []
    for each, invoice in zip(plain, invoices, strict=True):
        if invoice.total:
            assert each.subscription.payment_method is not None
            intents.append(Intent(invoice, each.subscription.payment_method))
        else:
            settled.append(Settled(invoice, None))
    subscriptions_lease([each.subscription for each in plain], now + LEASE)
    charges = charges_intend(intents, at=now)
    invoices_settle([paid.invoice for paid in settled], at=now)
    settlement.paid(settled, at=now)
    return charges


def _ask(
    charges: Sequence[PaymentTransaction], committed: datetime, now: datetime, deadline: datetime
) -> dict[uuid.UUID, PaymentResult]:
    """The provider's answers. As many calls at once as the provider takes: none of them touches the database."""
    at_once = min((registry.get(name).calls_at_once for name in {charge.provider for charge in charges}), default=1)
    in_turn = _still_wanted(charges, committed, now, deadline)
    answers: dict[uuid.UUID, PaymentResult | None] = {}
    if at_once == 1 or len(charges) == 1:
        answers = {charge.pk: _answer(charge) for charge in in_turn}
    else:
        under_way: dict[uuid.UUID, Future[PaymentResult | None]] = {}
        free = Semaphore(at_once)
        with ThreadPoolExecutor(max_workers=at_once) as threads:
            free.acquire()
            for charge in in_turn:  # looked at when a thread is free for it, and sent at once
                under_way[charge.pk] = threads.submit(_answer, charge)
                under_way[charge.pk].add_done_callback(lambda _: free.release())
                free.acquire()
        answers = {key: call.result() for key, call in under_way.items()}
    return {key: answer for key, answer in answers.items() if answer is not None}


def _still_wanted(
    charges: Sequence[PaymentTransaction], committed: datetime, now: datetime, deadline: datetime
) -> Iterator[PaymentTransaction]:
    """Each in its turn, unless somebody has cancelled meanwhile; none after the deadline."""
    wanted = {charge.pk for charge in charges}
    looked = committed
    for position, charge in enumerate(charges):
        wall = clock.wall()
        if wall >= deadline:
            return  # the provider is slow; what is left is no longer ours alone
        if wall - looked > LOOK_HOLDS:
            wanted = charges_wanted([each.pk for each in charges[position:]], at=now)
            looked = wall
        if charge.pk in wanted:
            yield charge


def _answer(charge: PaymentTransaction) -> PaymentResult | None:
    try:
        return charge_ask(charge)
    except Exception:
        # The intent is committed and leased: the next sweep asks the provider what became of it.
        log.exception("charge %s failed", charge.pk)
        return None


def _apply_each(answers: dict[uuid.UUID, PaymentResult], now: datetime) -> None:
    for charge_id, answer in answers.items():
        try:
            charge_apply(transaction_id=charge_id, result=answer, at=now)
        except Exception:
            log.exception("the answer to charge %s cannot be applied", charge_id)
