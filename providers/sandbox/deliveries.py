"""Delivering webhooks: claim under a lease, send outside any transaction, write down what came of it.

A worker that dies in between leaves a lease that runs out; the receiver may then see a delivery twice, under the same
event id, as with every provider.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta
from functools import lru_cache
from urllib.parse import urlsplit

from django.db import transaction

from payflow.core.http import HttpClient, NoAnswer
from payflow.core.locks import claim_rows
from providers.sandbox import signature
from providers.sandbox.accounts import account_of_row
from providers.sandbox.models import SandboxDelivery

#: Seconds until the next attempt, after the first, second, ... failure; the last one repeats.
BACKOFF = (1, 5, 30, 120, 600, 3600)
MAX_ATTEMPTS = 10
ANSWER_SECONDS = 5.0
#: Longer than an attempt takes (3 s to connect, 5 s for each read of the answer), or the next worker sends it twice.
LEASE = timedelta(seconds=60)
#: One run stays below Celery's limit of 300 s even where no receiver answers.
BATCH = 20

Status = SandboxDelivery.Status
log = logging.getLogger(__name__)


def deliveries_send(*, wall: datetime, limit: int = BATCH) -> int:
    """Attempts what is due at `wall`, each once; returns how many were attempted."""
    started = time.monotonic()
    # Those whose last attempt died with its worker.
    SandboxDelivery.objects.filter(status=Status.PENDING, attempts__gte=MAX_ATTEMPTS, next_attempt_at__lte=wall).update(
        status=Status.GIVEN_UP
    )
    for taken in range(limit):
        at = wall + timedelta(seconds=time.monotonic() - started)
        delivery = _claim(due=wall, at=at)
        if delivery is None:
            return taken
        answered = _attempt(delivery, at=at)
        _write_down(delivery, answered, at=wall + timedelta(seconds=time.monotonic() - started))
    return limit


def _claim(*, due: datetime, at: datetime) -> SandboxDelivery | None:
    """The next due delivery, its attempt counted and its lease written before anything is sent."""
    waiting = SandboxDelivery.objects.filter(
        status=Status.PENDING, attempts__lt=MAX_ATTEMPTS, next_attempt_at__lte=due
    ).order_by("next_attempt_at", "pk")
    with transaction.atomic():
        for delivery in claim_rows(waiting, limit=1):
            delivery.attempts += 1
            delivery.next_attempt_at = at + LEASE
            delivery.save(update_fields=["attempts", "next_attempt_at"])
            return delivery
    return None


def _attempt(delivery: SandboxDelivery, *, at: datetime) -> int | None:
    """The receiver's status, or None without an answer. Never raises: one bad row must not stop the others."""
    account = account_of_row(delivery.account)
    if account is None:
        log.warning("%s belongs to an account that is no longer configured", delivery.event_id)
        return None
    try:
        body = delivery.body.encode()
        parts = urlsplit(delivery.hook_url)
        origin = f"{parts.scheme}://{parts.netloc}"
        answer = _client(origin).request(
            "POST",
            delivery.hook_url[len(origin) :],
            headers={
                "Content-Type": "application/json",
                "User-Agent": "PayFlow-Sandbox/1",
                signature.HEADER: signature.sign(account.webhook_secret, body, at),
            },
            content=body,
            idempotent=False,  # the next attempt is ours to time
        )
    except NoAnswer as silence:
        log.info("%s was not delivered: %s", delivery.event_id, silence)
        return None
    except Exception:
        log.exception("%s cannot be delivered", delivery.event_id)
        return None
    return answer.status


def _write_down(delivery: SandboxDelivery, answered: int | None, *, at: datetime) -> None:
    mine = SandboxDelivery.objects.filter(pk=delivery.pk)
    if answered is not None and 200 <= answered < 300:
        if delivery.repeats:
            mine.filter(repeats=delivery.repeats).update(
                repeats=delivery.repeats - 1, attempts=0, next_attempt_at=at, last_status=answered
            )
            return
        # True whoever holds the lease by now: it has arrived.
        mine.update(status=Status.DELIVERED, last_status=answered)
        return
    # A failure counts only while the attempt is still the latest.
    latest = mine.filter(status=Status.PENDING, attempts=delivery.attempts)
    if delivery.attempts >= MAX_ATTEMPTS:
        latest.update(status=Status.GIVEN_UP, last_status=answered)
    else:
        wait = BACKOFF[min(delivery.attempts, len(BACKOFF)) - 1]
        latest.update(next_attempt_at=at + timedelta(seconds=wait), last_status=answered)


@lru_cache(maxsize=64)
def _client(origin: str) -> HttpClient:
    """One client per receiver, so that the circuit breaker of a dead one leaves the others alone."""
    return HttpClient("sandbox webhook", origin, answer_seconds=ANSWER_SECONDS, tries=1)
