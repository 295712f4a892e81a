"""Nudges: messages that wake a worker at once. Losing one costs time only, the sweep finds the work."""

from __future__ import annotations

import logging
from functools import partial

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)


def nudge(task: str, *args: str) -> None:
    """Sends the task message after the present transaction commits (at once outside one). Never fails the caller."""
    transaction.on_commit(partial(_send, task, args), robust=True)


def _send(task: str, args: tuple[str, ...]) -> None:
    try:
        current_app.send_task(task, args=args, retry=False, ignore_result=True)
    except (OperationalError, OSError) as error:
        log.warning("broker away, %s waits for its sweep (%s)", task, type(error).__name__)
