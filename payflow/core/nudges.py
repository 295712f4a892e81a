"""Nudges: messages that wake a worker at once. Losing one costs time only, the sweep finds the work."""

from __future__ import annotations

import logging

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

log = logging.getLogger(__name__)


def nudge(task: str, *args: str) -> None:
    """Sends the task message after the present transaction commits (at once outside one). Never fails the caller."""
    # Not a partial: Django names what fails by its __qualname__, and the name's lack would reach the caller.
    transaction.on_commit(lambda: _send(task, args), robust=True)


def _send(task: str, args: tuple[str, ...]) -> None:
    try:
        current_app.send_task(task, args=args, retry=False, ignore_result=True)
    except (OperationalError, RedisError, OSError) as error:
        log.warning("broker away, %s waits for its sweep (%s)", task, type(error).__name__)
