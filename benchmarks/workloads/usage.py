"""One use: `POST /api/v1/usage/log` of people with tokens, checked, counted and logged; beside it a view with one INSERT."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from rest_framework_simplejwt.tokens import AccessToken

from accounts.models import User
from benchmarks.customers import ACTIVE, customers_make
from benchmarks.http import HttpSide, encode
from benchmarks.workload import Bench, Side, Workload, WrongAnswer
from benchmarks.wsgi_paths import AS_API, BARE
from payflow.core import clock
from payflow.core.ids import uuid7
from subscriptions.models import Subscription

URL = "/api/v1/usage/log"
BODY = b'{"action":"translations","content_id":"chapter-12","metadata":{"device":"phone"}}'
#: The columns and values of `usage_logs`, no index but the key.
TABLE = """
CREATE TABLE IF NOT EXISTS benchmark_uses (
    id uuid PRIMARY KEY, user_id uuid NOT NULL, subscription_id uuid NOT NULL, action varchar(50) NOT NULL,
    content_id varchar(255), quantity integer NOT NULL, event_id varchar(255), metadata jsonb,
    occurred_at timestamptz NOT NULL, created_at timestamptz NOT NULL)
"""
INSERT = """
INSERT INTO benchmark_uses VALUES
    (%s, %s, %s, 'translations', 'chapter-12', 1, NULL, '{"device": "phone"}', now(), now())
"""


@csrf_exempt
def insert_row(request: HttpRequest) -> HttpResponse:
    """The least that a Django view with persistent connections can do to note a use."""
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [uuid7(), uuid7(), uuid7()])
    return HttpResponse(b"OK", content_type="text/plain", headers={"Content-Length": "2"})


urlpatterns = [path("benchmark/use", insert_row)]


def uses_of(tokens: Sequence[str]) -> Iterator[bytes]:
    """One use by each."""
    for token in tokens:
        yield encode("POST", URL, headers={"Authorization": f"Bearer {token}"}, body=BODY)


def tokens_of(customers: Sequence[User]) -> list[str]:
    """Of those who pay, in no order: the others' limits are soon reached."""
    paying = Subscription.objects.filter(user__in=customers, amount__gt=0).values_list("user_id", flat=True)
    known = set(paying)
    tokens = [str(AccessToken.for_user(user)) for user in customers if user.pk in known]
    random.Random(1).shuffle(tokens)
    return tokens


class Usage(Workload):
    name = "usage"
    what = "POST /api/v1/usage/log with a JWT: a limit checked, five counters, the log; beside a view with one INSERT"
    target = 0.6

    def prepare(self, bench: Bench) -> None:
        self._tokens = tokens_of(customers_make(bench.options.users, clock.now()))[:ACTIVE]
        with connection.cursor() as cursor:
            cursor.execute(TABLE)

    def sides(self) -> Sequence[Side]:
        insert, as_api, bare = (encode("POST", f"{where}/benchmark/use", body=BODY) for where in ("", AS_API, BARE))
        return [
            HttpSide("usage log", lambda count: uses_of(self._tokens), status=201, verify=_logged),
            HttpSide("one INSERT", lambda count: [insert], verify=_inserted),
            HttpSide("the same as API view", lambda count: [as_api], verify=_inserted),
            HttpSide("without middleware", lambda count: [bare], verify=_inserted),
        ]


def _logged(answers: int) -> None:
    _take_rows("usage_logs", answers)


def _inserted(answers: int) -> None:
    _take_rows("benchmark_uses", answers)


def _take_rows(table: str, expected: int) -> None:
    """One row for each answer; then away with them, so that every round begins with the same empty table."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        (found,) = cursor.fetchone()
        cursor.execute(f"TRUNCATE {table}")
    if found != expected:
        raise WrongAnswer(f"{table}: {found} rows for {expected} answers")


WORKLOAD = Usage()
