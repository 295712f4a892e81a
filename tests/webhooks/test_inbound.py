"""The mail room: what is believed, what is kept, what is answered; and what becomes of it later."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

import pytest

from payflow.core import clock
from payflow.core.errors import InvalidTransition
from payments.models import PaymentTransaction
from providers.sandbox.signature import HEADER, sign
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import LAVA_SECRET, deliver_lava, deliver_sandbox, fresh, ledger, nothing_changes, refused
from tests.providers.sandbox_support import SECRET
from webhooks.models import InboundEvent
from webhooks.services import LEASE, MAX_ATTEMPTS, RETRY_AFTER, inbound_process, inbound_replay, inbound_sweep

URL = "/webhooks/sandbox"


@pytest.fixture
def lava_secret(settings):
    lava = {**settings.PAYFLOW_PROVIDERS["lava"], "secret_key": LAVA_SECRET}
    settings.PAYFLOW_PROVIDERS = {**settings.PAYFLOW_PROVIDERS, "lava": lava}


def event(**changes) -> bytes:
    body = {"id": "evt_1", "type": "nobody.knows", "created_at": clock.wall().isoformat(), "data": {}, **changes}
    return json.dumps(body).encode()


@pytest.fixture
def sandbox(settings):
    sandbox = {**settings.PAYFLOW_PROVIDERS["sandbox"], "webhook_secret": SECRET}
    settings.PAYFLOW_PROVIDERS = {**settings.PAYFLOW_PROVIDERS, "sandbox": sandbox}


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(
    "header",
    ["", "nonsense", "t=1,v1=" + "0" * 64, "ümlaut", "own-secret", "old", "another-body"],
)
def test_a_forged_delivery_is_refused_kept_apart_and_takes_nobodys_place(db, header):
    body, now = event(), clock.wall()
    forged = {
        "own-secret": sign("a guess", body, now),
        "old": sign(SECRET, body, now - timedelta(minutes=6)),
        "another-body": sign(SECRET, body + b" ", now),
    }.get(header, header)

    with nothing_changes():
        refused(deliver_sandbox(body, header=forged), 401, "INVALID_SIGNATURE")

    kept = InboundEvent.objects.get()
    assert (kept.status, bytes(kept.body), kept.next_attempt_at) == ("rejected", body, None)
    assert kept.event_id != "evt_1"
    # the real one is accepted all the same, once
    assert [deliver_sandbox(body).status_code for _ in range(2)] == [200, 200]
    assert InboundEvent.objects.get(event_id="evt_1").status == "received"
    # and the forged one is never processed
    assert inbound_sweep(now=now, wall=clock.wall()) == 1
    with pytest.raises(InvalidTransition):
        inbound_replay(event_id=kept.pk, actor="test", wall=clock.wall())
    assert fresh(kept).status == "rejected"


def test_without_any_signature_it_is_refused_too(db):
    refused(Api().generic("POST", URL, event(), content_type="application/json"), 401, "INVALID_SIGNATURE")


@pytest.mark.usefixtures("sandbox")
def test_what_no_provider_sends_is_refused_and_not_kept(db, api):
    refused(deliver_sandbox(event(), path="nosuch"), 404, "NOT_FOUND")
    refused(api.get("/webhooks/nosuch"), 404, "NOT_FOUND")
    refused(deliver_sandbox(b"x" * (64 * 1024 + 1)), 413, "PAYLOAD_TOO_LARGE")
    refused(deliver_sandbox(b"x" * (512 * 1024 + 1)), 413, "PAYLOAD_TOO_LARGE")
    for method in ("PUT", "PATCH", "DELETE"):
        refused(api.generic(method, URL, event()), 405, "METHOD_NOT_ALLOWED")
    assert InboundEvent.objects.count() == 0


def test_a_panel_that_looks_at_the_address_finds_it(db, api):
    for path in (URL, f"{URL}/", "/webhooks/lava"):
        assert (api.get(path).status_code, api.head(path).status_code) == (200, 200)


@pytest.mark.usefixtures("sandbox")
def test_no_header_with_a_secret_is_kept_and_the_slash_does_not_matter(db):
    body = event()
    headers = {
        HEADER: sign(SECRET, body, clock.wall()),
        "Authorization": "Bearer secret",
        "Cookie": "sessionid=secret",
        "X-API-Key": "secret",
        "X-Request-Id": "r-1",
        "User-Agent": "Sandbox/1",
    }
    answer = Api().generic("POST", f"{URL}/", body, content_type="application/json", headers=headers)

    assert answer.status_code == 200
    kept = InboundEvent.objects.get().headers
    assert kept == {"content-type": "application/json", "x-request-id": "r-1", "user-agent": "Sandbox/1"}


@pytest.mark.usefixtures("sandbox", "lava_secret")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"id": 5}',
        event(id=None),
        event(type="payment.succeeded"),
        b"[" * 60000,
    ],
    ids=range(9),
)
def test_what_is_authentic_but_not_understood_is_answered_and_reviewed(db, body):
    for deliver in (deliver_sandbox, deliver_lava):
        assert [deliver(body).status_code for _ in range(2)] == [200, 200]

    with nothing_changes():
        inbound_sweep(now=clock.now(), wall=clock.wall())

    rows = InboundEvent.objects.order_by("pk")
    assert [(row.provider, row.status, row.attempts) for row in rows] == [
        ("sandbox", "review", 1),
        ("lava", "review", 1),
    ]
    assert all(row.error.startswith("not understood: ") for row in rows)
    assert all(bytes(row.body) == body for row in rows)


@pytest.mark.usefixtures("sandbox")
def test_an_event_that_nobody_knows_is_ignored(db):
    deliver_sandbox(event())
    with nothing_changes():
        inbound_sweep(now=clock.now(), wall=clock.wall())
    row = InboundEvent.objects.get()
    assert (row.status, row.processed, row.next_attempt_at) == ("ignored", True, None)


def test_a_delivery_is_processed_once_and_a_replay_changes_nothing(shop, user, admin):
    subscription = shop.buy(user)
    row = InboundEvent.objects.get()
    assert (row.status, row.processed, row.attempts) == ("processed", True, 1)
    with nothing_changes():
        inbound_process(event_id=row.pk, now=shop.now, wall=clock.wall() + 2 * LEASE)
        assert inbound_sweep(now=shop.now, wall=clock.wall() + 2 * LEASE) == 0

    # when an operator has it processed again
    inbound_replay(event_id=row.pk, actor=f"user:{admin.pk}", wall=clock.wall())
    before = fresh(subscription)
    with nothing_changes():
        shop.drain()

    assert (fresh(row).status, fresh(row).error) == ("processed", "")
    assert fresh(subscription).updated_at == before.updated_at
    assert ledger() == {"provider_clearing": 10, "revenue": -10}


def test_money_in_review_stays_in_review_when_it_is_replayed(shop, user):
    shop.sandbox_event("payment.succeeded", payment_id="pay_x", order_ref="nobody", amount="1.00", currency="USD")
    row = InboundEvent.objects.get()
    assert row.status == "review"

    inbound_replay(event_id=row.pk, actor="test", wall=clock.wall())
    with nothing_changes():
        shop.drain()

    assert (fresh(row).status, fresh(row).error) == ("review", "unapplied: no order of ours")


def test_what_fails_is_tried_again_later_and_in_the_end_left_to_an_operator(shop, user):
    """Its provider is taken out of the settings while a delivery of it waits."""
    checkout = shop.checkout(user, PlanFactory(), provider="lava")
    with_lava = shop.settings.PAYFLOW_PROVIDERS
    shop.lava_invoice(checkout)
    shop.settings.PAYFLOW_PROVIDERS = {"sandbox": with_lava["sandbox"]}
    wall = clock.wall()

    for attempt in range(1, 4):
        with nothing_changes():
            assert inbound_sweep(now=shop.now, wall=wall) == 1
        row = InboundEvent.objects.get()
        assert (row.status, row.attempts) == ("failed", attempt)
        assert row.error.startswith("NotFound")
        assert row.next_attempt_at == wall + RETRY_AFTER[attempt - 1]
        assert inbound_sweep(now=shop.now, wall=row.next_attempt_at - timedelta(seconds=1)) == 0
        wall = row.next_attempt_at
    # when it can be processed again, it is
    shop.settings.PAYFLOW_PROVIDERS = with_lava
    inbound_process(event_id=row.pk, now=shop.now, wall=wall)
    assert (fresh(row).status, fresh(row).error) == ("processed", "")
    assert fresh(checkout.subscription).status == "active"
    assert PaymentTransaction.objects.count() == 1


def test_after_the_last_attempt_an_operator_looks(shop):
    deliver_lava(b'{"invoice_id": "inv-1", "order_id": "sub_x", "status": "failed"}')
    shop.settings.PAYFLOW_PROVIDERS = {"sandbox": shop.settings.PAYFLOW_PROVIDERS["sandbox"]}
    InboundEvent.objects.update(attempts=MAX_ATTEMPTS - 1)

    inbound_sweep(now=shop.now, wall=clock.wall())

    row = InboundEvent.objects.get()
    assert (row.status, row.attempts) == ("review", MAX_ATTEMPTS)
    assert inbound_sweep(now=shop.now, wall=clock.wall() + timedelta(days=9)) == 0


def test_a_worker_leaves_alone_what_another_has_in_hand(shop):
    deliver_lava(b'{"invoice_id": "inv-1", "order_id": "sub_x", "status": "failed"}')
    row, wall = InboundEvent.objects.get(), clock.wall()
    InboundEvent.objects.update(next_attempt_at=wall + LEASE)

    inbound_process(event_id=row.pk, now=shop.now, wall=wall)
    assert inbound_sweep(now=shop.now, wall=wall) == 0
    assert fresh(row).status == "received"
    # its worker died: the lease runs out
    assert inbound_sweep(now=shop.now, wall=wall + LEASE) == 1
    assert fresh(row).status == "ignored"
    inbound_process(event_id=uuid.uuid4(), now=shop.now, wall=wall)  # of nothing: nothing
