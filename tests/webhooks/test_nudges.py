"""Who tells the workers: one message for a delivery that comes alone, a handful for a storm."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from celery import current_app

from payflow.core import clock
from tests.flows import deliver_lava, deliver_sandbox
from tests.providers.sandbox_support import SECRET
from webhooks import tasks
from webhooks.models import InboundEvent
from webhooks.services import DRAIN_BATCH, DRAIN_HELPERS, LEASE, inbound_replay
from webhooks.tasks import drain_inbound, process_inbound

pytestmark = pytest.mark.django_db(transaction=True)
FIRST = ("webhooks.tasks.drain_inbound", (str(DRAIN_HELPERS),))


@pytest.fixture
def sent(monkeypatch):
    """The messages that would have gone to the broker."""
    messages = []
    monkeypatch.setattr(current_app, "send_task", lambda task, args, **options: messages.append((task, args)))
    return messages


@pytest.fixture(autouse=True)
def sandbox(settings):
    sandbox = {**settings.PAYFLOW_PROVIDERS["sandbox"], "webhook_secret": SECRET}
    settings.PAYFLOW_PROVIDERS = {**settings.PAYFLOW_PROVIDERS, "sandbox": sandbox}


def deliver(number: int) -> None:
    body = {"id": f"evt_{number}", "type": "nobody.knows", "created_at": clock.wall().isoformat(), "data": {}}
    assert deliver_sandbox(json.dumps(body).encode()).status_code == 200


def waiting() -> int:
    return InboundEvent.objects.filter(status="received").count()


def test_deliveries_that_come_alone_are_told_of_one_by_one(sent):
    for number in range(3):
        deliver(number)
        assert sent == [FIRST] * (number + 1)
        drain_inbound(*sent[-1][1])
        assert waiting() == 0


def test_a_storm_is_told_of_once_and_drained_whole(sent):
    for number in range(DRAIN_BATCH + 5):
        deliver(number)
        deliver(number)
    assert sent == [FIRST]

    drain_inbound(*sent.pop()[1])

    assert waiting() == 0
    # a full batch has called a helper, which calls others only if it finds a full one too
    assert sent == [("webhooks.tasks.drain_inbound", (str(DRAIN_HELPERS - 1),))]
    drain_inbound(*sent.pop()[1])
    assert sent == []


def test_the_last_helper_calls_nobody(sent):
    for number in range(2 * DRAIN_BATCH):
        deliver(number)
    sent.clear()
    drain_inbound("0")
    assert (waiting(), sent) == (0, [])


def test_who_has_worked_for_long_lets_others_have_their_turn_and_goes_on(sent, monkeypatch):
    monkeypatch.setattr(tasks, "SLICE", 0.0)
    for number in range(2 * DRAIN_BATCH):
        deliver(number)
    sent.clear()

    drain_inbound("0")

    assert waiting() == DRAIN_BATCH
    assert sent == [("webhooks.tasks.drain_inbound", ("0",))]
    drain_inbound(*sent.pop()[1])
    assert waiting() == 0
    drain_inbound(*sent.pop()[1])
    assert sent == []


@pytest.mark.parametrize(
    "left",
    [
        {"status": "failed", "attempts": 1},  # waits for its retry
        {"attempts": 1, "next_attempt_at": clock.wall() - timedelta(minutes=1)},  # of a dead worker, its lease is over
        {"attempts": 1, "next_attempt_at": clock.wall() + LEASE},  # in hand
        {"next_attempt_at": clock.wall() - timedelta(seconds=30)},  # never tried: its message is lost
    ],
    ids=("failed", "abandoned", "in hand", "lost"),
)
def test_what_no_worker_is_on_the_way_to_keeps_nobody_from_being_told(sent, left):
    deliver(0)
    InboundEvent.objects.update(**left)
    sent.clear()

    deliver(1)

    assert sent == [FIRST]


def test_a_forgery_wakes_nobody_and_keeps_nobody_from_being_told(sent):
    assert deliver_sandbox(b"{}", header="forged").status_code == 401
    assert sent == []
    deliver(1)
    assert sent == [FIRST]


def test_a_replay_is_told_of_by_itself(sent):
    deliver(0)
    drain_inbound("0")
    deliver_lava(b"{}")
    row = InboundEvent.objects.get(provider="sandbox")
    sent.clear()

    inbound_replay(event_id=row.pk, actor="test", wall=clock.wall())

    assert sent == [("webhooks.tasks.process_inbound", (str(row.pk),))]
    process_inbound(*sent[0][1])
    row.refresh_from_db()
    assert (row.status, row.attempts) == ("ignored", 1)
