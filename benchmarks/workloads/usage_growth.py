"""How one use and the statistics of one user cost as the log grows: 10 thousand, a million, ten million rows.

All rows lie in the partition that is written, which is the hardest case: each month has its own. The INSERT beside it goes into a
table of its own and says what the machine did meanwhile.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from django.db import connection
from rest_framework_simplejwt.tokens import AccessToken

from accounts.models import User
from benchmarks.customers import ACTIVE, customers_make
from benchmarks.http import HttpSide, encode
from benchmarks.load import quantile
from benchmarks.workload import Bench, Options, Sample, Side, Workload, WrongAnswer
from benchmarks.workloads.usage import BODY, TABLE, tokens_of, uses_of
from payflow.core import clock

#: So many of the customers used something on every day of a year.
REGULARS = 200
QUESTIONS = 200
FILL = """
INSERT INTO usage_logs (id, user_id, subscription_id, action, content_id, quantity, metadata, occurred_at, created_at)
SELECT (lpad(to_hex(n), 12, '0') || substr(md5(n::text), 1, 20))::uuid, s.user_id, s.id, 'translations', 'chapter-12', 1,
    '{"device": "phone"}', at, at
FROM generate_series(%(first)s::bigint, %(last)s::bigint) n
JOIN (SELECT user_id, id, row_number() OVER (ORDER BY id) - 1 AS number FROM subscriptions) s
    ON s.number = n %% (SELECT count(*) FROM subscriptions)
CROSS JOIN LATERAL (SELECT %(start)s::timestamptz + n * interval '1 microsecond' AS at) moment
"""
COUNTERS = """
INSERT INTO usage_counters (user_id, family, action, "window", local_date, used)
SELECT u.id, 'main', action, 'day', day, 5
FROM (SELECT id FROM users ORDER BY id LIMIT %(regulars)s) u, unnest('{*,books,pages,translations}'::text[]) action,
    generate_series(%(today)s::date - 365, %(today)s::date, '1 day') day
ON CONFLICT DO NOTHING
"""


@dataclass
class Log:
    """The side that is asked for: the log is filled to the size first, then people use something for some seconds."""

    requests: HttpSide
    name: str = "usage log"

    def measure(self, bench: Bench, amount: float) -> Sample:
        _fill(int(amount))
        if bench.options.warmup:
            self.requests.measure(bench, bench.options.warmup)
        sample = self.requests.measure(bench, bench.options.seconds)
        return replace(sample, notes=_statistics(bench))


@dataclass
class Control:
    requests: HttpSide
    name: str = "one INSERT"

    def measure(self, bench: Bench, amount: float) -> Sample:
        del amount  # its table stays as it is
        return self.requests.measure(bench, bench.options.seconds)


class UsageGrowth(Workload):
    name = "usage_growth"
    what = "one use, and the statistics of one user (ms), with so many rows in the log; beside a view with one INSERT"
    #: A log doesn't shrink.
    most_rounds = 1

    def scales(self, options: Options) -> Sequence[int]:
        return options.rows

    def prepare(self, bench: Bench) -> None:
        self._tokens = tokens_of(customers_make(bench.options.users, clock.now()))[:ACTIVE]
        with connection.cursor() as cursor:
            cursor.execute(TABLE)
            cursor.execute("TRUNCATE usage_logs")
            cursor.execute(COUNTERS, {"regulars": REGULARS, "today": clock.now().date()})
            cursor.execute("VACUUM (ANALYZE) usage_counters")

    def sides(self) -> Sequence[Side]:
        insert = encode("POST", "/benchmark/use", body=BODY)
        return [
            Log(HttpSide("usage log", lambda count: uses_of(self._tokens), status=201)),
            Control(HttpSide("one INSERT", lambda count: [insert])),
        ]


def _fill(size: int) -> None:
    start = clock.now().replace(hour=0, minute=0, second=0, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM usage_logs")
        (present,) = cursor.fetchone()
        if present < size:
            cursor.execute(FILL, {"first": present, "last": size - 1, "start": start})
        cursor.execute("VACUUM (ANALYZE) usage_logs")
        cursor.execute("CHECKPOINT")


def _statistics(bench: Bench) -> dict[str, float]:
    """Of one regular after the other, over HTTP: milliseconds."""
    times = []
    server = http.client.HTTPConnection("127.0.0.1", bench.port, timeout=30)
    since = clock.now().date() - timedelta(days=360)
    for user in User.objects.order_by("pk")[: min(REGULARS, QUESTIONS)]:
        headers = {"Authorization": f"Bearer {AccessToken.for_user(user)}"}
        began = time.perf_counter()
        server.request("GET", f"/api/v1/usage/?from={since}", headers=headers)
        answer = server.getresponse()
        body = answer.read()
        times.append((time.perf_counter() - began) * 1000)
        if answer.status != 200:
            raise WrongAnswer(f"statistics: {answer.status} {body[:200]!r}")
    server.close()
    return {"stats p50": quantile(times, 0.5), "stats p99": quantile(times, 0.99)}


WORKLOAD = UsageGrowth()
