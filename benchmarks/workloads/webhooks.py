"""Webhook intake: genuine deliveries of Lava, each new, stored and answered; beside it a view that inserts one row."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from celery import current_app
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from benchmarks.http import HttpSide, encode
from benchmarks.workload import Bench, Side, Workload, WrongAnswer
from benchmarks.wsgi_paths import AS_API, BARE
from payflow.core.ids import uuid7
from providers.lava.webhooks import SIGNATURE_HEADER, sign

#: The same columns and values as `webhook_events`, no index but the key, no check, no trigger.
TABLE = """
CREATE TABLE IF NOT EXISTS benchmark_rows (
    id uuid PRIMARY KEY, provider varchar(50) NOT NULL, event_id varchar(255) NOT NULL, body bytea NOT NULL,
    headers jsonb NOT NULL, status varchar(20) NOT NULL, created_at timestamptz NOT NULL)
"""
INSERT = "INSERT INTO benchmark_rows VALUES (%s, 'lava', %s, %s, %s, 'received', now())"
HEADERS = '{"content-type": "application/json", "user-agent": "payflow-benchmark"}'
KEY = "lava:00000000-0000-0000-0000-000000000000:success"


@csrf_exempt
def insert_row(request: HttpRequest) -> HttpResponse:
    """The least that a Django view with persistent connections can do to keep what it was sent."""
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [uuid7(), KEY, request.body, HEADERS])
    return HttpResponse(b"OK", content_type="text/plain", headers={"Content-Length": "2"})


urlpatterns = [path("benchmark/insert", insert_row)]


class Webhooks(Workload):
    name = "webhooks"
    what = "POST /webhooks/lava, signed and each new, beside a bare Django view that inserts one row of that size"
    target = 0.6

    def prepare(self, bench: Bench) -> None:
        _take_nudges()
        self._number = itertools.count(1)
        with connection.cursor() as cursor:
            cursor.execute(TABLE)

    def sides(self) -> Sequence[Side]:
        insert, as_api, bare = (f"{where}/benchmark/insert" for where in ("", AS_API, BARE))
        return [
            HttpSide("webhook intake", self._deliveries, once=True, verify=_stored_and_nudged),
            HttpSide("one INSERT", lambda count: self._bodies(insert, count), once=True, verify=_inserted),
            HttpSide("the same as API view", lambda count: self._bodies(as_api, count), once=True, verify=_inserted),
            HttpSide("without middleware", lambda count: self._bodies(bare, count), once=True, verify=_inserted),
        ]

    def _deliveries(self, count: int) -> Iterator[bytes]:
        for _ in range(count):
            body = _document_body(next(self._number))
            signature = sign(str(settings.PAYFLOW_PROVIDERS["lava"]["secret_key"]), body)
            yield encode("POST", "/webhooks/lava", headers={SIGNATURE_HEADER: signature}, body=body)

    def _bodies(self, where: str, count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield encode("POST", where, headers={SIGNATURE_HEADER: "0" * 64}, body=_document_body(next(self._number)))


def _document_body(number: int) -> bytes:
    """The document's webhook, fields in its order."""
    invoice = UUID(int=number, version=4)
    return json.dumps(
        {
            "invoice_id": str(invoice),
            "order_id": f"sub_{invoice.hex}",
            "status": "success",
            "pay_time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "amount": 6.99,
            "custom_fields": {"user_id": str(invoice), "plan_id": "premium"},
        },
        separators=(",", ":"),
    ).encode()


def _stored_and_nudged(answers: int) -> None:
    _take_rows("webhook_events", answers)
    if not _take_nudges():
        raise WrongAnswer("webhook intake: no worker would have been told")


def _take_nudges() -> int:
    """How many messages there were. No worker runs here: left alone, the queue would grow from round to round."""
    with current_app.connection_for_write() as broker:
        channel: Any = broker.default_channel
        return int(channel.queue_purge("celery"))


def _inserted(answers: int) -> None:
    _take_rows("benchmark_rows", answers)


def _take_rows(table: str, expected: int) -> None:
    """One row for each answer; then away with them, so that every round begins with the same empty table."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        (found,) = cursor.fetchone()
        cursor.execute(f"TRUNCATE {table}")
    if found != expected:
        raise WrongAnswer(f"{table}: {found} rows for {expected} answers")


WORKLOAD = Webhooks()
