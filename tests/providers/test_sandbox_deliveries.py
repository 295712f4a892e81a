"""Webhooks of the sandbox: signed anew at each attempt, tried again, claimed by one worker, swept when forgotten."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery, current_app
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from payflow.core.registry import registered
from providers.base import SignatureError
from providers.sandbox import accounts, deliveries, services
from providers.sandbox.inputs import ChargeInput
from providers.sandbox.models import Behaviour, SandboxDelivery, SandboxMethod, SandboxPayment
from providers.sandbox.tasks import deliver
from tests.providers.sandbox_support import KEY, OTHER_KEY, OTHER_SECRET, SECRET, Receiver, at_once, config

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
Status = SandboxDelivery.Status


@pytest.fixture
def hooks(settings: Any) -> Receiver:
    settings.PAYFLOW_PROVIDERS = {
        "sandbox": config("http://127.0.0.1:9/sandbox"),
        "sandbox-two": config("http://127.0.0.1:9/sandbox", api_key=OTHER_KEY, webhook_secret=OTHER_SECRET),
    }
    return Receiver.emptied()


def delivery(hooks: Receiver, **changes: Any) -> SandboxDelivery:
    number = SandboxDelivery.objects.count()
    fields: dict[str, Any] = {
        "account": accounts.fingerprint(KEY),
        "event_id": f"evt_{number}",
        "hook_url": f"{hooks.url}/webhooks/sandbox?n={number}",
        "body": f'{{"id":"evt_{number}","name":"Zoë"}}',
        "next_attempt_at": NOW,
    }
    return SandboxDelivery.objects.create(**{**fields, **changes})


def test_a_delivery_is_signed_with_its_accounts_secret_at_the_time_of_the_attempt(hooks: Receiver) -> None:
    row, other = delivery(hooks), delivery(hooks, account=accounts.fingerprint(OTHER_KEY))

    assert deliveries.deliveries_send(wall=NOW) == 2

    first, second = hooks.received
    assert (first.method, first.path, first.body) == ("POST", "/webhooks/sandbox?n=0", row.body.encode())
    assert first.headers["content-type"] == "application/json"
    assert first.headers["x-sandbox-signature"].startswith(f"t={int(NOW.timestamp())},v1=")
    for received, secret, foreign in ((first, SECRET, OTHER_SECRET), (second, OTHER_SECRET, SECRET)):
        header = received.headers["x-sandbox-signature"]
        deliveries.signature.verify(header, received.body, secrets=[secret], now=NOW)
        with pytest.raises(SignatureError):
            deliveries.signature.verify(header, received.body, secrets=[foreign], now=NOW)
    for sent in (row, other):
        sent.refresh_from_db()
        assert (sent.status, sent.attempts, sent.last_status) == (Status.DELIVERED, 1, 200)
    assert deliveries.deliveries_send(wall=NOW + timedelta(days=1)) == 0


def test_a_refused_delivery_is_tried_ten_times_ever_more_rarely_and_given_up(hooks: Receiver) -> None:
    row, at, waits = delivery(hooks), NOW, []
    for _ in range(10):
        hooks.answer(500)
        assert deliveries.deliveries_send(wall=at - timedelta(seconds=0.5)) == 0 or at == NOW
        deliveries.deliveries_send(wall=at)
        row.refresh_from_db()
        if row.status == Status.PENDING:
            waits.append(round((row.next_attempt_at - at).total_seconds()))
            at = row.next_attempt_at

    assert waits == [1, 5, 30, 120, 600, 3600, 3600, 3600, 3600]
    assert (row.status, row.attempts, row.last_status) == (Status.GIVEN_UP, 10, 500)
    stamps = [received.headers["x-sandbox-signature"] for received in hooks.received]
    assert len(stamps) == len(set(stamps)) == 10  # signed anew each time
    assert len({received.body for received in hooks.received}) == 1
    assert deliveries.deliveries_send(wall=at + timedelta(days=9)) == 0


@pytest.mark.parametrize("answer", [(302, {"Location": "/"}), (404, {}), (199 + 201, {})])
def test_only_2xx_is_delivered(hooks: Receiver, answer: tuple[int, dict[str, str]]) -> None:
    row = delivery(hooks)
    hooks.answers.append((*answer, b""))

    deliveries.deliveries_send(wall=NOW)

    row.refresh_from_db()
    assert (row.status, row.last_status, len(hooks.received)) == (Status.PENDING, answer[0], 1)


def test_one_bad_row_never_stops_the_others(hooks: Receiver) -> None:
    bad = [
        delivery(hooks, hook_url="http://127.0.0.1:9/nobody"),
        delivery(hooks, hook_url="nonsense"),
        delivery(hooks, hook_url="http://[broken"),
        delivery(hooks, hook_url="http://127.0.0.1:99999999/"),
        delivery(hooks, account="acct_gone"),
    ]
    good = delivery(hooks, next_attempt_at=NOW)

    assert deliveries.deliveries_send(wall=NOW) == 6

    good.refresh_from_db()
    assert good.status == Status.DELIVERED
    for row in bad:
        row.refresh_from_db()
        assert (row.status, row.attempts, row.last_status) == (Status.PENDING, 1, None)
        assert NOW < row.next_attempt_at < NOW + timedelta(seconds=30)


def test_the_claim_is_written_before_anything_is_sent(hooks: Receiver) -> None:
    """A worker that dies while sending leaves a lease, and nobody sends the row again until it has run out."""
    row = delivery(hooks)

    with CaptureQueriesContext(connection) as queries:
        claimed = deliveries._claim(due=NOW, at=NOW)

    assert claimed is not None
    assert any("FOR NO KEY UPDATE" in q["sql"] and "SKIP LOCKED" in q["sql"] for q in queries.captured_queries)
    assert deliveries.deliveries_send(wall=NOW + timedelta(seconds=59)) == 0
    assert deliveries.deliveries_send(wall=NOW + timedelta(seconds=60)) == 1
    row.refresh_from_db()
    assert (row.status, row.attempts) == (Status.DELIVERED, 2)


def test_a_worker_that_lost_its_lease_does_not_undo_what_the_next_one_did(hooks: Receiver) -> None:
    row = delivery(hooks)
    slow = deliveries._claim(due=NOW, at=NOW)
    quick = deliveries._claim(due=NOW + timedelta(minutes=2), at=NOW + timedelta(minutes=2))
    assert slow is not None and quick is not None

    deliveries._write_down(slow, 500, at=NOW + timedelta(minutes=2))
    row.refresh_from_db()
    assert (row.attempts, row.last_status) == (2, None)
    deliveries._write_down(quick, 204, at=NOW + timedelta(minutes=2))
    deliveries._write_down(slow, 500, at=NOW + timedelta(minutes=2))
    row.refresh_from_db()
    assert (row.status, row.last_status) == (Status.DELIVERED, 204)


def test_a_row_whose_last_attempt_died_is_given_up(hooks: Receiver) -> None:
    row = delivery(hooks, attempts=10)

    assert deliveries.deliveries_send(wall=NOW) == 0
    row.refresh_from_db()
    assert (row.status, hooks.received) == (Status.GIVEN_UP, [])


def test_eight_workers_at_once_deliver_each_row_once(hooks: Receiver) -> None:
    for _ in range(12):
        delivery(hooks)

    assert sum(at_once(lambda: deliveries.deliveries_send(wall=NOW), 8)) == 12
    assert sorted(received.json["id"] for received in hooks.received) == sorted(f"evt_{n}" for n in range(12))


def test_a_row_that_somebody_holds_is_left_to_him(hooks: Receiver) -> None:
    held, free = delivery(hooks), delivery(hooks)
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            list(SandboxDelivery.objects.select_for_update().filter(pk=held.pk))
            locked.set()
            done.wait(5)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(5)
    try:
        assert deliveries.deliveries_send(wall=NOW) == 1
    finally:
        done.set()
        thread.join()
    free.refresh_from_db()
    assert free.status == Status.DELIVERED


def test_the_sweep_and_the_task_find_what_is_due(hooks: Receiver) -> None:
    sweep = registered.sweeps["sandbox_deliveries"]
    assert (sweep.every, sweep.next_due) == (timedelta(seconds=15), None)
    delivery(hooks)

    # Business time may be years ahead: the foreign system does not hear of it.
    assert sweep.run(now=NOW + timedelta(days=900), wall=NOW - timedelta(seconds=1)) == 0
    assert sweep.run(now=NOW, wall=NOW) == 1
    delivery(hooks)
    deliver()  # by the real clock, which is past NOW
    assert len(hooks.received) == 2


def charge(hooks: Receiver, key: str = "charge-1") -> SandboxPayment:
    account = accounts.fingerprint(KEY)
    method = SandboxMethod.objects.create(
        account=account, customer_ref="cus_1", brand="visa", last4="4242", hook_url=f"{hooks.url}/hook"
    )
    wanted = ChargeInput(method.ref, "cus_1", Decimal("9.90"), "USD", "")
    payment, behaviour = services.charge_create(
        account=account, key=key, wanted=wanted, wall=NOW, hold=timedelta(seconds=15)
    )
    assert behaviour is Behaviour.OK
    return payment


def test_without_a_broker_the_charge_is_made_and_the_sweep_tells(hooks: Receiver) -> None:
    usual = current_app._get_current_object()
    dead = Celery("dead", broker="redis://127.0.0.1:9/0", set_as_current=False)
    dead.set_current()
    try:
        payment = charge(hooks)
    finally:
        usual.set_current()

    assert payment.status == SandboxPayment.Status.SUCCEEDED
    assert deliveries.deliveries_send(wall=NOW) == 1
    assert hooks.received[0].json["data"]["payment_id"] == payment.ref


def test_the_news_is_rolled_back_with_the_fact(hooks: Receiver) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        charge(hooks)
        raise RuntimeError("the server died before commit")

    assert (SandboxPayment.objects.count(), SandboxDelivery.objects.count()) == (0, 0)


def test_the_body_is_compact_json_and_sent_as_it_is_kept(hooks: Receiver) -> None:
    payment = charge(hooks)

    deliveries.deliveries_send(wall=NOW)

    row = SandboxDelivery.objects.get()
    [received] = hooks.received
    assert received.body == row.body.encode()
    assert b": " not in received.body and b", " not in received.body
    assert received.json == {
        "id": row.event_id,
        "type": "payment.succeeded",
        "created_at": "2026-03-01T12:00:00+00:00",
        "data": {
            "payment_id": payment.ref,
            "order_ref": "",
            "idempotency_key": "charge-1",
            "amount": "9.90",
            "currency": "USD",
            "user_ref": "",
            "plan_ref": "",
            "method": {"ref": payment.method.ref, "customer": "cus_1", "brand": "visa", "last4": "4242"},
        },
    }
