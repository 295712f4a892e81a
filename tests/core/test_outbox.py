"""What happened is told: with its transaction or not at all, at least once, to each handler by itself."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from payflow.core import clock
from payflow.core.ids import uuid7
from payflow.core.models import OutboxEvent, OutboxHandling
from payflow.core.outbox import BATCH, LEASE, RETRY_AFTER, emit, outbox_drain
from payflow.core.registry import OutboxHandler, register_outbox_handler

SUBJECT = uuid7()


def tell(type="invoice.paid", **payload):
    emit(type=type, subject_type="invoice", subject_id=SUBJECT, payload=payload, at=clock.now())


def handler(name, handle, types=("invoice.paid",)):
    register_outbox_handler(OutboxHandler(name, frozenset(types), handle))


def drain(wall):
    return outbox_drain(now=wall, wall=wall)


@pytest.fixture
def told(registry):
    """What the handler `good` has heard."""
    heard = []
    handler("good", heard.append)
    return heard


def handlings(**filters):
    return list(OutboxHandling.objects.filter(**filters).order_by("created_at", "pk"))


# --- writing ---------------------------------------------------------------------------------------------------------


def test_an_event_is_told_as_it_happened(told, db):
    at = clock.now() - timedelta(days=3)
    emit(type="invoice.paid", subject_type="invoice", subject_id=SUBJECT, payload={"amount": "6.90"}, at=at)
    assert drain(clock.wall()) == 1
    [occurrence] = told
    event = OutboxEvent.objects.get()
    assert (occurrence.id, occurrence.type, occurrence.subject_id) == (event.pk, "invoice.paid", SUBJECT)
    assert (occurrence.payload, occurrence.occurred_at) == ({"amount": "6.90"}, at)
    assert event.subject_type == "invoice"


def test_it_rolls_back_with_its_transaction(told, db):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        tell()
        raise ZeroDivisionError
    assert (OutboxEvent.objects.count(), OutboxHandling.objects.count()) == (0, 0)
    assert drain(clock.wall()) == 0
    assert told == []


def test_only_who_wants_a_type_hears_of_it(told, db):
    heard = []
    handler("other", heard.append, types=["invoice.void", "invoice.paid"])
    tell()
    tell("invoice.void")
    tell("invoice.open")
    assert drain(clock.wall()) == 3
    assert [occurrence.type for occurrence in told] == ["invoice.paid"]
    assert [occurrence.type for occurrence in heard] == ["invoice.paid", "invoice.void"]
    assert OutboxEvent.objects.count() == 3, "what nobody wants is kept too"


def test_a_worker_is_nudged_after_the_commit_and_only_where_somebody_listens(
    told, db, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks() as nudges:
        tell()
    assert len(nudges) == 1
    with django_capture_on_commit_callbacks() as nudges:
        tell("invoice.open")
    assert nudges == []


def test_events_are_append_only(told, db):
    tell()
    for statement in ("UPDATE outbox_events SET type = 'x'", "DELETE FROM outbox_events"):
        with pytest.raises(IntegrityError, match="outbox_events is append-only"), transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(statement)


def test_one_handler_has_one_row_per_event(told, db):
    tell()
    [row] = handlings()
    with pytest.raises(IntegrityError, match="uniq_outbox_handling"), transaction.atomic():
        OutboxHandling.objects.create(event=row.event, handler="good", next_attempt_at=row.next_attempt_at)


# --- handling --------------------------------------------------------------------------------------------------------


def test_what_is_done_is_not_done_again(told, db):
    tell()
    wall = clock.wall()
    assert [drain(wall), drain(wall), drain(wall + timedelta(days=1))] == [1, 0, 0]
    [row] = handlings()
    assert (row.status, row.attempts, row.error) == ("done", 1, "")
    assert len(told) == 1


def test_the_oldest_come_first_and_in_batches(told, db):
    for number in range(BATCH + 1):
        tell(number=number)
    wall = clock.wall()
    assert [drain(wall), drain(wall), drain(wall)] == [BATCH, 1, 0]
    assert [occurrence.payload["number"] for occurrence in told] == list(range(BATCH + 1))


def test_a_failing_handler_stops_nobody(told, db):
    def fail(occurrence):
        raise ConnectionError("the mail server is away")

    handler("bad", fail)
    tell()
    tell()
    assert drain(clock.wall()) == 4
    assert len(told) == 2
    assert Counter((row.handler, row.status) for row in handlings()) == {("good", "done"): 2, ("bad", "pending"): 2}
    assert {row.error for row in handlings(handler="bad")} == {"ConnectionError: the mail server is away"}


@pytest.mark.parametrize(
    "text", ["foreign \0 byte", "half a pair \ud800", "x" * 5000], ids=["NUL", "surrogate", "long"]
)
def test_nor_does_one_whose_words_cannot_be_stored(registry, db, text, caplog):
    heard = []
    # What pytest captures goes from process to process as UTF-8, which has no half pairs.
    caplog.set_level(logging.CRITICAL, logger="payflow.core.outbox")

    def fail(occurrence):
        raise ValueError(text)

    handler("bad", fail)
    handler("good", heard.append)
    tell()
    tell()
    assert drain(clock.wall()) == 4
    assert len(heard) == 2
    assert {row.attempts for row in handlings(handler="bad")} == {1}
    assert all(row.error.startswith("ValueError: ") and len(row.error) <= 1000 for row in handlings(handler="bad"))


def test_failures_are_tried_again_on_schedule_and_given_up_after_the_last(registry, db):
    times = []

    def fail(occurrence):
        times.append(occurrence)
        raise ValueError("no")

    handler("bad", fail)
    tell()
    wall = clock.wall()
    for number, pause in enumerate(RETRY_AFTER, start=1):
        assert drain(wall) == 1
        [row] = handlings()
        assert (row.status, row.attempts, row.next_attempt_at) == ("pending", number, wall + pause)
        assert drain(wall + pause - timedelta(microseconds=1)) == 0
        wall += pause
    assert drain(wall) == 1
    [row] = handlings()
    assert (row.status, row.attempts, row.error) == ("failed", len(RETRY_AFTER) + 1, "ValueError: no")
    assert drain(wall + timedelta(days=30)) == 0
    assert len(times) == len(RETRY_AFTER) + 1 == 7


def test_a_success_after_failures_is_a_success(registry, db):
    answers = [ValueError("no"), None]

    def handle(occurrence):
        if (error := answers.pop(0)) is not None:
            raise error

    handler("moody", handle)
    tell()
    wall = clock.wall()
    drain(wall)
    drain(wall + RETRY_AFTER[0])
    [row] = handlings()
    assert (row.status, row.attempts, row.error) == ("done", 2, "")


def test_a_handler_that_is_gone_is_a_failure_like_any_other(told, registry, db):
    tell()
    registry.outbox_handlers.clear()
    drain(clock.wall())
    [row] = handlings()
    assert (row.status, row.error) == ("pending", "LookupError: no handler is registered as good")


def test_what_a_dead_worker_held_comes_back_after_its_lease(registry, db):
    class Killed(BaseException):
        pass

    deaths = [Killed()]
    heard = []

    def handle(occurrence):
        if deaths:
            raise deaths.pop()
        heard.append(occurrence)

    handler("deadly", handle)
    tell()
    wall = clock.wall()
    with pytest.raises(Killed):
        drain(wall)
    assert drain(wall + LEASE - timedelta(seconds=1)) == 0
    assert drain(wall + LEASE) == 1
    assert len(heard) == 1


# --- two workers -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_drains_at_once_handle_each_row_once_outside_any_transaction(registry):
    heard = []
    both_have_claimed = threading.Barrier(2, timeout=10)
    first_of_thread = threading.local()

    def handle(occurrence):
        if not getattr(first_of_thread, "met", False):
            first_of_thread.met = True
            both_have_claimed.wait()
        heard.append((occurrence.payload["number"], connection.in_atomic_block))

    handler("slow", handle)
    with transaction.atomic():
        for number in range(BATCH * 2):
            tell(number=number)
    wall, taken = clock.wall(), []

    def work():
        try:
            taken.append(drain(wall))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert taken == [BATCH, BATCH]
    assert sorted(heard) == [(number, False) for number in range(BATCH * 2)]
    assert set(OutboxHandling.objects.values_list("status", "attempts")) == {("done", 1)}


def test_a_batch_that_outlives_its_lease_leaves_the_rest_to_who_took_it(registry, db):
    """The first of two rows takes longer than the lease; another worker comes, does both, and the first one fails."""
    heard = []

    def handle(occurrence):
        heard.append(occurrence.payload["number"])
        if heard == [1]:
            while clock.wall() < claimed_at + LEASE:
                time.sleep(0.01)
            assert drain(clock.wall()) == 2, "nobody knows that the first worker is not dead"
            raise ValueError("too late")

    handler("slow", handle)
    for number in (1, 2):
        tell(number=number)
    claimed_at = clock.wall() - LEASE + timedelta(seconds=0.5)
    OutboxHandling.objects.filter(event__payload__number=1).update(next_attempt_at=claimed_at - timedelta(seconds=2))
    OutboxHandling.objects.filter(event__payload__number=2).update(next_attempt_at=claimed_at - timedelta(seconds=1))

    assert drain(claimed_at) == 2

    assert heard == [1, 1, 2]
    assert {(row.status, row.error) for row in handlings()} == {("done", "")}
