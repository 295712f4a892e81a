"""kill -9 of the web server in the middle of a batch: nothing of it is there, and sent again each event counts once."""

from __future__ import annotations

import threading
import uuid

import psycopg
import pytest

from tests.live.stack import Stack, eventually

# The template of the stack's database is the test database.
pytestmark = pytest.mark.django_db
EVENTS = 300

WRITTEN = """
SELECT (SELECT count(*) FROM usage_logs WHERE user_id = %(user)s),
       (SELECT count(*) FROM usage_events WHERE user_id = %(user)s),
       (SELECT coalesce(sum(used), 0)::int FROM usage_counters WHERE user_id = %(user)s)
"""
#: The batch has raised the counters, written the keys, and waits to write the log.
WAITING = """
SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = 'usage_logs'::regclass AND NOT l.granted AND a.query LIKE '%%COPY usage_logs%%'
"""


def test_a_batch_that_was_killed_in_the_middle_counts_each_event_once_when_it_is_sent_again(stack: Stack) -> None:
    # given a subscriber, and a table that does not take log rows now
    visitor = stack.visitor()
    assert visitor.buy()["status"] == "active"
    made = stack.api("POST", "auth/api-keys/", token=stack.operator(), body={"name": "meter", "scopes": ["usage"]})
    key: str = made.data["key"]
    events = [
        {"user_id": visitor.id, "action": "pages", "quantity": 2, "event_id": str(uuid.uuid4())} for _ in range(EVENTS)
    ]
    outcomes: list[str] = []

    def send_it() -> None:
        try:
            outcomes.append(str(stack.api("POST", "usage/batch", token=key, body={"events": events}).status))
        except OSError as error:
            outcomes.append(type(error).__name__)

    with psycopg.connect(stack.database_url) as other:
        other.execute("LOCK TABLE usage_logs IN SHARE MODE")
        sender = threading.Thread(target=send_it)
        sender.start()
        eventually(lambda: stack.one(WAITING), "the batch at its last statement")

        # when the server dies there
        stack.kill("web")
        sender.join(30)
        assert [outcome for outcome in outcomes if outcome.isdigit()] == []

    # then PostgreSQL undoes all of it, and the same batch is accepted whole by a new server
    eventually(lambda: not stack.one(WAITING), "the end of its session")
    assert _written(stack, visitor.id) == (0, 0, 0)
    stack.web("web", stack.port)
    stack.wait_until_ready()
    again = stack.api("POST", "usage/batch", token=key, body={"events": events})
    assert (again.status, again.data["accepted"], again.data["verdicts"]) == (200, EVENTS, [])
    assert _written(stack, visitor.id) == (EVENTS, EVENTS, 5 * 2 * EVENTS)
    # ... and once more it counts nothing
    third = stack.api("POST", "usage/batch", token=key, body={"events": events})
    assert (third.data["accepted"], third.data["duplicates"]) == (0, EVENTS)
    assert _written(stack, visitor.id) == (EVENTS, EVENTS, 5 * 2 * EVENTS)


def _written(stack: Stack, user: str) -> tuple[int, ...]:
    with psycopg.connect(stack.database_url) as connection:
        row = connection.execute(WRITTEN, {"user": user}).fetchone()
    assert row is not None
    return tuple(row)
