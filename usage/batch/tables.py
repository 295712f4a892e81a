"""A batch on its way into the tables: one statement for each of them, its rows as arrays, the log's by COPY.

The log comes first: nobody waits for its rows, and what others wait for is held the shorter. Then, as in the single use's
statement, so that neither can wait for the other in a circle: counters, in the order of their keys; meters, in theirs; event
keys. Whoever waits for an event key holds every counter and meter that it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice

from django.db import connection

from payflow.core.ids import uuid7, uuid7_text
from usage.batch.counts import Group, Key, Layout, UserCounts, entries_of
from usage.batch.events import Entry
from usage.batch.meters import MeterKey, MeterUnits

# A probe of the key for each row, however few or many the table has: as a join the planner might read all of it.
_KNOWN = """
SELECT number, digest FROM (
    SELECT w.number, (
        SELECT e.request_hash FROM usage_events e WHERE e.user_id = w.user_id AND e.event_id = w.event_id
    ) AS digest
    FROM unnest(%s::uuid[], %s::text[]) WITH ORDINALITY AS w (user_id, event_id, number)
    OFFSET 0
) AS looked WHERE digest IS NOT NULL
"""
_RAISE = """
WITH raised AS (
    INSERT INTO usage_counters AS c (user_id, family, action, "window", local_date, used)
    SELECT user_id, family, action, "window", local_date, units
    FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::date[], %s::bigint[])
        AS w (user_id, family, action, "window", local_date, units)
    ORDER BY user_id, family COLLATE "C", action COLLATE "C", "window" COLLATE "C", local_date
    ON CONFLICT (user_id, family, action, "window", local_date) DO UPDATE SET used = c.used + EXCLUDED.used
    RETURNING user_id, family, action, "window", local_date, used
)
SELECT array_agg(
    used ORDER BY user_id, family COLLATE "C", action COLLATE "C", "window" COLLATE "C", local_date
) FROM raised
"""
_METER = """
WITH raised AS (
    INSERT INTO usage_meters AS m (
        id, created_at, user_id, subscription_id, price_id, period_start, period_end, currency, used, billed, charged
    )
    SELECT id, %s, user_id, subscription_id, price_id, period_start, period_end, currency, units, 0, 0
    FROM unnest(
        %s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::bigint[]
    ) AS w (id, user_id, subscription_id, price_id, period_start, period_end, currency, units)
    ORDER BY user_id, subscription_id, price_id, period_start
    ON CONFLICT ON CONSTRAINT uniq_usage_meters_period DO UPDATE SET used = m.used + EXCLUDED.used
    RETURNING user_id, subscription_id, price_id, period_start, used
)
SELECT array_agg(used ORDER BY user_id, subscription_id, price_id, period_start) FROM raised
"""
_EVENTS = """
INSERT INTO usage_events (user_id, event_id, request_hash, answer, created_at)
SELECT user_id, event_id, digest, jsonb_build_object('id', id, 'occurred_at', occurred_at), %s
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::uuid[], %s::timestamptz[])
    AS w (user_id, event_id, digest, id, occurred_at)
ORDER BY user_id, event_id COLLATE "C"
ON CONFLICT DO NOTHING
"""
_LOG = """
COPY usage_logs (id, user_id, subscription_id, action, quantity, content_id, event_id, metadata, occurred_at, created_at)
FROM STDIN
"""
#: As COPY's text format has it.
NULL = r"\N"


class WrittenByOthers(Exception):
    """Some of the events are known since they were looked for. They are committed: who looks again finds them."""


def events_known(entries: Sequence[Entry]) -> dict[int, bool]:
    """Position → was it the same content, of the events that were written before."""
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN, _keys(entries))
        found = [(entries[number - 1], digest) for number, digest in cursor.fetchall()]
    return {entry.position: entry.digest == digest for entry, digest in found}


def counters_raise(counts: Sequence[UserCounts]) -> list[list[int]]:
    """Adds the units, and returns what is used then of each user's counters.

    `counts` is in key order.
    """
    texts: dict[Layout, list[str]] = {}
    columns: list[list[str]] = [[] for _ in range(len(Key._fields))]
    users: list[str] = []
    units: list[int] = []
    for one in counts:
        written = texts.get(one.layout)
        if written is None:
            written = texts[one.layout] = [
                ",".join(map(_quoted, column)) for column in zip(*one.layout.keys, strict=True)
            ]
        for column, text in zip(columns, written, strict=True):
            column.append(text)
        users += [one.user_id] * len(one.units)
        units += one.units
    with connection.cursor() as cursor:
        cursor.execute(_RAISE, [_array(column) for column in (users, *columns, map(str, units))])
        (used,) = cursor.fetchone()
    left = iter(used or ())
    return [list(islice(left, len(one.units))) for one in counts]


def meters_raise(meters: Mapping[MeterKey, MeterUnits], *, now: datetime) -> dict[MeterKey, int]:
    """Adds the units, making the meters that are missing, and returns what is used then. `meters` is in key order."""
    if not meters:
        return {}
    keys = [list(column) for column in zip(*meters, strict=True)]
    uses = [meter.use for meter in meters.values()]
    more = (
        [use.cycle.end for use in uses],
        [use.price.currency for use in uses],
        [meter.units for meter in meters.values()],
    )
    with connection.cursor() as cursor:
        cursor.execute(_METER, [now, [uuid7() for _ in meters], *keys, *more])
        (used,) = cursor.fetchone()
    return dict(zip(meters, used, strict=True))


def events_insert(groups: Iterable[Group], ids: Mapping[int, str], *, now: datetime) -> None:
    """Writes the keys under the `ids` of the log's rows; waits for who writes the same at this moment.

    Raises WrittenByOthers where somebody did.
    """
    entries = list(entries_of(groups))
    columns = [
        *_keys(entries),
        _array(entry.digest for entry in entries),
        _array(ids[entry.position] for entry in entries),
    ]
    with connection.cursor() as cursor:
        cursor.execute(_EVENTS, [now, *columns, _array(entry.occurred_at.isoformat() for entry in entries)])
        if cursor.rowcount < len(entries):
            raise WrittenByOthers


def log_copy(groups: Iterable[Group], ids: Mapping[int, str], *, now: datetime) -> None:
    """Logs the events. `created_at`, and so the partition, is that of the receipt."""
    end = f"\t{now.isoformat()}\n"
    lines = []
    for group in groups:
        subscription = group.subscription_id or NULL
        lines += [_line(entry, ids[entry.position], subscription, end) for entry in group.entries]
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(_LOG) as copy:
        copy.write("".join(lines))


def new_ids(groups: Iterable[Group]) -> dict[int, str]:
    """Position → the key of the log's row to be."""
    return {entry.position: uuid7_text() for entry in entries_of(groups)}


def _keys(entries: Sequence[Entry]) -> list[str]:
    return [_array(entry.user_id for entry in entries), _array(_quoted(entry.event_id) for entry in entries)]


def _line(entry: Entry, key: str, subscription: str, end: str) -> str:
    """A row as COPY's text format has it; what is known to be plain goes as it is."""
    content = NULL if entry.content_id is None else _escaped(entry.content_id)
    metadata = NULL if entry.metadata is None else _escaped(entry.metadata)
    return (
        f"{key}\t{entry.user_id}\t{subscription}\t{entry.action}\t{entry.quantity}\t{content}"
        f"\t{_escaped(entry.event_id)}\t{metadata}\t{entry.occurred_at.isoformat()}{end}"
    )


def _escaped(text: str) -> str:
    if text.isprintable() and "\\" not in text:
        return text
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _array(items: Iterable[str]) -> str:
    """An array as PostgreSQL reads it, as text: psycopg would write each element by itself, at many times the cost."""
    return "{" + ",".join(items) + "}"


def _quoted(value: object) -> str:
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
