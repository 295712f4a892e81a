"""A nudge that cannot be sent costs its caller nothing."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest
from celery import current_app
from django.conf import settings as django_settings
from django.db import transaction
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from payflow.core.nudges import nudge

TASK = "payflow.core.tasks.run_sweep"

#: Nobody listens on port 9. A process of its own: Celery's pools of connections are made once per process.
CALLER = f"""
import time
from payflow.core.nudges import nudge
for _ in range(2):
    started = time.monotonic()
    nudge({TASK!r}, "outbox")
    print(time.monotonic() - started)
"""


@pytest.fixture
def sent(monkeypatch):
    """The messages that would have gone to the broker."""
    messages = []
    monkeypatch.setattr(current_app, "send_task", lambda task, args, **options: messages.append((task, args, options)))
    return messages


def test_a_broker_that_is_away_costs_the_caller_nothing():
    caller = subprocess.run(
        [sys.executable, "-c", CALLER],
        env={**os.environ, "CELERY_BROKER_URL": "redis://127.0.0.1:9/0"},
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert caller.returncode == 0, caller.stderr
    assert caller.stderr.count(f"broker away, {TASK} waits for its sweep") == 2
    assert [float(seconds) < 4 for seconds in caller.stdout.split()] == [True, True], caller.stdout


def test_it_is_sent_after_the_commit(sent, db, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        nudge(TASK, "outbox")
        assert sent == []
    assert sent == [(TASK, ("outbox",), {"retry": False, "ignore_result": True})]


def test_a_rolled_back_transaction_sends_none(sent, db, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True), pytest.raises(ZeroDivisionError), transaction.atomic():
        nudge(TASK, "outbox")
        raise ZeroDivisionError
    assert sent == []


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_it_is_sent_at_once(sent):
    nudge(TASK, "outbox")
    assert len(sent) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OperationalError, ConnectionResetError, TimeoutError, RedisError])
def test_no_error_of_the_broker_reaches_the_caller(monkeypatch, caplog, error):
    def send_task(*args, **options):
        raise error("no")

    monkeypatch.setattr(current_app, "send_task", send_task)
    with caplog.at_level(logging.WARNING):
        with transaction.atomic():
            nudge(TASK, "outbox")
        nudge(TASK, "outbox")
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == [f"broker away, {TASK} waits for its sweep ({error.__name__})"] * 2


@pytest.mark.django_db(transaction=True)
def test_nor_does_any_other_fault(monkeypatch):
    def send_task(*args, **options):
        raise RuntimeError("no")

    monkeypatch.setattr(current_app, "send_task", send_task)
    with transaction.atomic():
        nudge(TASK, "outbox")
    nudge(TASK, "outbox")
