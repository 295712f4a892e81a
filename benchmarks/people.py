"""Subscribers by the hundred thousand, written by SQL in one transaction: a world as payments would have left it.

Each has an account, a stored method and an active subscription whose first period is paid: period, invoice with its line,
charge, and the books of both. Keys follow from a number (`pg_temp.key`), so that no table waits for another's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from benchmarks.instant import NAME as PROVIDER
from payflow.core import clock
from plans.models import Plan

PLAN_CODE = "benchmark"

#: Coprime to any size in use: neighbours in the tables are due at different times, as they are in life.
STRIDE = 1_000_003
#: Fewer than these are written with the indexes in place.
MANY = 5_000


@dataclass(frozen=True)
class Group:
    """So many people who subscribed at `since`, or one after the other in the `minutes` from then."""

    people: int
    since: datetime
    cycle: str = "monthly"
    interval: int = 1
    minutes: int = 1


#: UUIDv7: the time, the version, then what tells the tables apart. In PostgreSQL 18 alone there is a function for it.
KEY = """
CREATE FUNCTION pg_temp.key(kind text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(1420070400000 + n), 12, '0') || '7' || lpad(to_hex(n & 4095), 3, '0')
            || '8' || left(md5(kind || n::text), 15))::uuid
$$
"""

PEOPLE = """
CREATE TEMPORARY TABLE people ON COMMIT DROP AS
SELECT n, since + make_interval(mins => spot %% minutes) AS since, cycle, billing_interval,
       since + make_interval(mins => spot %% minutes)
             + billing_interval * CASE cycle WHEN 'yearly' THEN interval '1 year' ELSE interval '1 month' END AS until
FROM (SELECT n, (n * %(stride)s %% %(total)s)::int AS spot FROM generate_series(1, %(total)s::bigint) n) numbered
JOIN unnest(%(firsts)s::int[], %(ends)s::int[], %(sinces)s::timestamptz[], %(cycles)s::text[], %(intervals)s::int[],
            %(minutes)s::int[]) AS groups (first, "end", since, cycle, billing_interval, minutes)
  ON spot >= first AND spot < "end"
"""

INSERTS = """
INSERT INTO users (id, created_at, updated_at, email, password, name, timezone, country, is_active, is_staff,
                   is_superuser)
SELECT pg_temp.key('user', n), since, since, 'subscriber' || n || '@benchmark.invalid', '!', 'Subscriber ' || n, 'UTC',
       '', true, false, false
FROM people;

INSERT INTO payment_methods (id, created_at, updated_at, user_id, provider, method_ref, customer_ref, kind, brand, last4,
                             is_active)
SELECT pg_temp.key('method', n), since, since, pg_temp.key('user', n), %(provider)s, 'method-' || n, 'customer-' || n,
       'card', 'Visa', '4242', true
FROM people;

INSERT INTO subscriptions (id, created_at, updated_at, user_id, plan_id, family, status, provider, start_date, end_date,
                           anchor, timezone, current_period_start, auto_renew, payment_method_id, amount, currency,
                           billing_cycle, billing_interval, dunning_step, next_action_at)
SELECT pg_temp.key('subscription', n), since, since, pg_temp.key('user', n), %(plan)s, 'main', 'active', %(provider)s,
       since, until, since, 'UTC', since, true, pg_temp.key('method', n), %(amount)s, %(currency)s, cycle,
       billing_interval, 0, until
FROM people;

INSERT INTO subscription_events (id, created_at, subscription_id, sequence, from_status, to_status, reason, actor, at)
SELECT pg_temp.key('event' || step, n), since, pg_temp.key('subscription', n), step, from_status, to_status, reason,
       'system', since
FROM people, (VALUES (1, '', 'pending', 'checkout'), (2, 'pending', 'active', 'paid'))
    AS steps (step, from_status, to_status, reason);

INSERT INTO invoices (id, created_at, updated_at, number, user_id, subscription_id, status, reason, currency, subtotal,
                      discount, tax, credit, total, merchant_of_record, period_start, period_end, issued_at, due_at,
                      paid_at)
SELECT pg_temp.key('invoice', n), since, since,
       format('INV-%%s-%%s', date_part('year', since), lpad((before + row_number() OVER (ORDER BY since, n))::text, 6, '0')),
       pg_temp.key('user', n), pg_temp.key('subscription', n), 'paid', 'create', %(currency)s, %(amount)s, 0, 0, 0,
       %(amount)s, false, since, until, since, since, since
FROM people, (SELECT coalesce(max(last), 0) AS before FROM number_counters WHERE series = 'invoice' AND year = %(year)s)
    AS counter;

INSERT INTO number_counters AS c (series, year, last) VALUES ('invoice', %(year)s, %(total)s)
ON CONFLICT (series, year) DO UPDATE SET last = c.last + EXCLUDED.last;

INSERT INTO invoice_lines (id, created_at, invoice_id, position, kind, description, quantity, unit_amount, amount,
                           currency, period_start, period_end, explanation)
SELECT pg_temp.key('line', n), since, pg_temp.key('invoice', n), 1, 'plan', 'Benchmark (' || cycle || ')', 1,
       %(amount)s, %(amount)s, %(currency)s, since, until, jsonb_build_object('formula', 'price of one cycle')
FROM people;

INSERT INTO billing_periods (id, created_at, subscription_id, start, "end", cycle, plan_id, amount, currency, invoice_id,
                             source)
SELECT pg_temp.key('period', n), since, pg_temp.key('subscription', n), since, until, cycle, %(plan)s, %(amount)s,
       %(currency)s, pg_temp.key('invoice', n), 'checkout'
FROM people;

INSERT INTO payment_transactions (id, created_at, updated_at, recorded_at, subscription_id, user_id, invoice_id,
                                  provider, provider_txn_id, type, status, amount, currency, refunded_amount, method_id,
                                  payment_method, idempotency_key, attempt, failure_code, recoverable, reason, metadata,
                                  completed_at)
SELECT pg_temp.key('charge', n), since, since, since, pg_temp.key('subscription', n), pg_temp.key('user', n),
       pg_temp.key('invoice', n), %(provider)s, 'first:' || pg_temp.key('charge', n), 'charge', 'completed', %(amount)s,
       %(currency)s, 0, pg_temp.key('method', n), 'card', 'charge_' || pg_temp.key('charge', n), 1, '', true, '', '{}',
       since
FROM people;

INSERT INTO ledger_postings (id, created_at, key, kind, user_id, invoice_id, transaction_id)
SELECT pg_temp.key(kind, n), since,
       CASE kind WHEN 'charge' THEN 'transaction:' || pg_temp.key('charge', n)
                 ELSE 'invoice:' || pg_temp.key('invoice', n) || ':issued' END,
       kind, pg_temp.key('user', n), pg_temp.key('invoice', n),
       CASE kind WHEN 'charge' THEN pg_temp.key('charge', n) END
FROM people, (VALUES ('invoice_issued'), ('charge')) AS kinds (kind);

INSERT INTO ledger_entries (id, created_at, posting_id, account, provider, amount, currency)
SELECT pg_temp.key(kind || account, n), since, pg_temp.key(kind, n), account, provider, sign * %(amount)s::numeric,
       %(currency)s
FROM people, (VALUES ('invoice_issued', 'receivable', '', 1), ('invoice_issued', 'revenue', '', -1),
                     ('charge', 'provider_clearing', %(provider)s, 1), ('charge', 'receivable', '', -1))
    AS sides (kind, account, provider, sign);
"""

TABLES = re.findall(r"^INSERT INTO (\w+) \(", INSERTS, re.MULTILINE)

#: What drops and what makes each index, by its constraint where it has one.
INDEXES = """
SELECT CASE WHEN c.oid IS NULL THEN format('DROP INDEX %%I', i.indexrelid::regclass)
            ELSE format('ALTER TABLE %%s DROP CONSTRAINT %%I', i.indrelid::regclass, c.conname) END,
       CASE WHEN c.oid IS NULL THEN pg_get_indexdef(i.indexrelid)
            ELSE format('ALTER TABLE %%s ADD CONSTRAINT %%I %%s', i.indrelid::regclass, c.conname,
                        pg_get_constraintdef(c.oid)) END
FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'u'
WHERE i.indrelid::regclass::text = ANY(%s) AND NOT i.indisprimary AND NOT i.indisexclusion
"""


def people_make(groups: Sequence[Group]) -> None:
    """Writes everybody, and brings statistics and the visibility map to where autovacuum would have them.

    All of one year, which numbers their invoices. Raises ValueError otherwise.
    """
    years = {group.since.year for group in groups}
    if len(years) != 1:
        raise ValueError("their first invoices are numbered in one series")
    with transaction.atomic(), connection.cursor() as cursor:
        plan = Plan.objects.create(
            code=PLAN_CODE,
            name="Benchmark",
            price="9.99",
            currency="USD",
            billing_cycle="monthly",
            created_at=clock.now(),
        )
        given = _ranges(groups) | {
            "plan": plan.pk,
            "amount": plan.price,
            "currency": plan.currency,
            "provider": PROVIDER,
            "year": years.pop(),
            "stride": STRIDE,
        }
        cursor.execute("SELECT usesuper FROM pg_user WHERE usename = current_user")
        if cursor.fetchone() == (True,):
            # The triggers would look at five million rows that are right by construction.
            cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(KEY)
        cursor.execute(PEOPLE, given)
        many = sum(group.people for group in groups) > MANY
        with _indexes_made_afterwards(cursor) if many else nullcontext():
            for statement in INSERTS.split(";\n"):
                cursor.execute(statement, given)
        cursor.execute("DROP FUNCTION pg_temp.key")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")


@contextmanager
def _indexes_made_afterwards(cursor: CursorWrapper) -> Iterator[None]:
    """Sorting once is four times as fast as keeping thirty indexes in order. Primary keys stay: foreign keys need them.

    So does the exclusion constraint: a GiST index that was sorted is a better one than life would have grown, and a row
    more costs it a third.
    """
    cursor.execute(INDEXES, [TABLES])
    drops, makes = zip(*cursor.fetchall(), strict=True)
    cursor.execute(";".join(drops))
    yield
    for make in makes:
        cursor.execute(make)


def _ranges(groups: Sequence[Group]) -> dict[str, Any]:
    """The groups as columns, each with the range of places that is its own."""
    ends = [sum(group.people for group in groups[: number + 1]) for number in range(len(groups))]
    return {
        "total": ends[-1],
        "firsts": [end - group.people for end, group in zip(ends, groups, strict=True)],
        "ends": ends,
        "sinces": [group.since for group in groups],
        "cycles": [group.cycle for group in groups],
        "intervals": [group.interval for group in groups],
        "minutes": [group.minutes for group in groups],
    }
