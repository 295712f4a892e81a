"""The Lava emulator: what it puts on the wire, its invoices and their payment, a whole purchase, and the program."""

from __future__ import annotations

import ast
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from providers.base import EventType, SignatureError, SubRequest
from providers.lava.adapter import LavaProvider
from tests.emulators import lava as emulator_module
from tests.emulators.lava import LavaEmulator, Number, signature, webhook_body
from tests.providers.lava_support import (
    API_KEY,
    ROOT,
    SECRET_KEY,
    VECTORS,
    Shop,
    call,
    click,
    control,
    create,
    post_create,
)


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.stop()


@pytest.fixture
def lava() -> Iterator[LavaEmulator]:
    with LavaEmulator(api_key=API_KEY, secret_key=SECRET_KEY, retry_pauses=(0.02, 0.02)) as emulator:
        yield emulator


def adapter(lava: LavaEmulator) -> LavaProvider:
    return LavaProvider("lava", {"base_url": lava.base_url, "api_key": API_KEY, "secret_key": SECRET_KEY})


# --- bytes -----------------------------------------------------------------------------------------------------------


def test_webhook_is_the_documents_byte_for_byte() -> None:
    body = webhook_body(
        invoice_id="xxx",
        order_id="sub_xxx",
        status="success",
        pay_time="2024-10-23T12:00:00Z",
        amount=Number("6.99"),
        custom_fields={"user_id": "user_123"},
    )

    assert body == (
        b'{"invoice_id":"xxx","order_id":"sub_xxx","status":"success","pay_time":"2024-10-23T12:00:00Z",'
        b'"amount":6.99,"custom_fields":{"user_id":"user_123"}}'
    )


@pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")
def test_bytes_and_signatures_are_the_vectors() -> None:
    pack = json.loads(VECTORS.read_text())
    for case in pack["cases"]:
        raw = case["raw_body"].encode()
        valid = case.get("valid", True)
        assert (signature(pack["secret_key"], raw) == case["signature"]) is valid, case["name"]
        if case["name"] in ("compact", "failed"):
            assert webhook_body(**json.loads(raw)) == raw


def test_signature_is_over_the_bytes_that_are_sent(lava: LavaEmulator, shop: Shop) -> None:
    lava.pay(create(lava, shop)["invoice_id"])

    headers, body = shop.take()
    assert headers["x-lava-signature"] == hmac.new(SECRET_KEY.encode(), body, hashlib.sha256).hexdigest()
    assert headers["content-type"] == "application/json"
    assert list(json.loads(body)) == ["invoice_id", "order_id", "status", "pay_time", "amount", "custom_fields"]
    assert b'"amount":6.99,' in body
    assert "про".encode() in body


@pytest.mark.parametrize("sum_", ["6.90", "990.00", "1200", "0.10"])
def test_amount_keeps_the_digits_of_the_sum(lava: LavaEmulator, shop: Shop, sum_: str) -> None:
    order = {"order_id": "sub_1", "hook_url": shop.hook_url, "success_url": "http://a/", "fail_url": "http://a/"}
    rest = json.dumps({**order, "expire": 300, "custom_fields": {}})
    _, _, answer = post_create(lava, f'{{"sum":{sum_},{rest[1:]}'.encode())

    lava.pay(json.loads(answer)["invoice_id"])

    assert f'"amount":{sum_},'.encode() in shop.take()[1]


# --- creating --------------------------------------------------------------------------------------------------------


def test_every_call_makes_a_new_invoice(lava: LavaEmulator, shop: Shop) -> None:
    first, second = create(lava, shop), create(lava, shop)

    assert first["http_status"] == 200
    assert first["url"] == f"{lava.origin}/pay/{first['invoice_id']}"
    assert first["invoice_id"] != second["invoice_id"]
    assert len(lava.invoices) == 2


@pytest.mark.parametrize("key", ["", "wrong", "ключ".encode().decode("latin-1")])
def test_wrong_key_is_401(lava: LavaEmulator, key: str) -> None:
    status, _, answer = post_create(lava, b"{}", key)

    assert status == 401
    assert json.loads(answer) == {"error": "the API key is wrong"}


@pytest.mark.parametrize(
    "changes",
    [
        *({field: ...} for field in emulator_module.CREATE_FIELDS),
        {"sum": "6.99"},
        {"sum": 0},
        {"sum": -1},
        {"sum": None},
        {"order_id": ""},
        {"order_id": 7},
        {"hook_url": "ftp://a/"},
        {"success_url": None},
        {"fail_url": "javascript:x"},
        {"expire": 0},
        {"expire": 1.5},
        {"expire": "300"},
        {"custom_fields": "x"},
        {"currency": "USD"},
    ],
    ids=repr,
)
def test_request_that_is_not_the_documents_is_400(lava: LavaEmulator, shop: Shop, changes: dict[str, Any]) -> None:
    assert create(lava, shop, **changes)["http_status"] == 400
    assert not lava.invoices


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 60000])
def test_body_that_is_no_object_is_400(lava: LavaEmulator, body: bytes) -> None:
    assert post_create(lava, body)[0] == 400


def test_unknown_address_is_404(lava: LavaEmulator) -> None:
    assert call(lava.origin, "GET", "/v1/invoice/create")[0] == 404
    assert call(lava.origin, "GET", "/pay/none")[0] == 404
    assert call(lava.origin, "POST", "/pay/none", b"outcome=pay")[0] == 404
    assert control(lava, "orders/none/renew")[0] == 404
    assert control(lava, "orders/none/repeat")[0] == 404
    assert call(lava.origin, "POST", "/v1/invoice/create", b"x" * 70000)[0] == 413


# --- paying ----------------------------------------------------------------------------------------------------------


def test_page_asks_for_the_outcome_and_escapes(lava: LavaEmulator, shop: Shop) -> None:
    url = create(lava, shop, order_id="<script>")["url"]

    status, headers, page = call(lava.origin, "GET", urlsplit(url).path)

    assert status == 200
    assert headers["content-type"].startswith("text/html")
    assert b"<script>" not in page
    for outcome in (b"pay", b"decline", b"abandon"):
        assert b'name="outcome" value="' + outcome + b'"' in page


def test_pay_sends_the_webhook_before_the_browser_leaves(lava: LavaEmulator, shop: Shop) -> None:
    url = create(lava, shop)["url"]

    assert click(lava, url, outcome="pay") == (303, "http://127.0.0.1/success?a=1")

    [body] = shop.bodies()
    assert (body["status"], body["amount"], body["order_id"]) == ("success", 6.99, "sub_1")
    assert lava.deliveries[0].http_status == 200


def test_decline_fails_and_abandon_says_nothing(lava: LavaEmulator, shop: Shop) -> None:
    url = create(lava, shop)["url"]

    assert click(lava, url, outcome="abandon") == (303, "http://127.0.0.1/cancel")
    assert shop.bodies() == []
    assert click(lava, url, outcome="decline") == (303, "http://127.0.0.1/cancel")
    assert [body["status"] for body in shop.bodies()] == ["failed"]
    assert click(lava, url, outcome="pay") == (303, "http://127.0.0.1/success?a=1")
    assert [body["status"] for body in shop.bodies()] == ["success"]


def test_second_click_on_a_paid_invoice_pays_nothing(lava: LavaEmulator, shop: Shop) -> None:
    url = create(lava, shop)["url"]
    click(lava, url, outcome="pay")

    assert click(lava, url, outcome="pay") == (303, "http://127.0.0.1/success?a=1")
    assert click(lava, url, outcome="decline") == (303, "http://127.0.0.1/success?a=1")
    assert len(shop.bodies()) == 1


def test_unknown_outcome_is_400(lava: LavaEmulator, shop: Shop) -> None:
    assert click(lava, create(lava, shop)["url"], outcome="steal")[0] == 400


def test_amount_and_time_can_be_chosen(lava: LavaEmulator, shop: Shop) -> None:
    url = create(lava, shop)["url"]

    click(lava, url, outcome="pay", amount="1.00", pay_time="2031-01-02T03:04:05Z")

    [body] = shop.bodies()
    assert (body["amount"], body["pay_time"]) == (1.00, "2031-01-02T03:04:05Z")


# --- with the adapter ------------------------------------------------------------------------------------------------


def test_purchase_and_renewals_through_the_adapter(lava: LavaEmulator, shop: Shop) -> None:
    provider = adapter(lava)
    request = SubRequest(
        user_ref="user_123",
        plan_ref="premium",
        provider_plan_ref=None,
        order_ref="0198c0de",
        amount=Decimal("6.90"),
        currency="USD",
        interval=(1, "monthly"),
        trial_days=0,
        email="anna@example.com",
        success_url="http://127.0.0.1/success",
        fail_url="http://127.0.0.1/cancel",
        cancel_url="http://127.0.0.1/cancel",
        hook_url=shop.hook_url,
        idempotency_key="checkout:1",
    )
    url = provider.create_subscription(request).checkout_url
    assert url is not None
    click(lava, url, outcome="decline")
    click(lava, url, outcome="pay")
    lava.renew("sub_0198c0de")
    lava.renew("sub_0198c0de", outcome="failed")
    lava.repeat("sub_0198c0de")

    now, seen = datetime.now(UTC), []
    for _ in range(5):
        headers, body = shop.take()
        provider.verify_webhook(headers, body, now)
        with pytest.raises(SignatureError):
            provider.verify_webhook(headers, body.replace(b"6.90", b"0.10"), now)
        [event] = provider.parse_webhook(headers, body)
        assert event.event_id == provider.delivery_key(headers, body) + "#0"
        seen.append(event)

    paid, failed = EventType.PAYMENT_SUCCEEDED, EventType.PAYMENT_FAILED
    assert [event.type for event in seen] == [failed, paid, paid, failed, failed]
    assert {event.order_ref for event in seen} == {"0198c0de"}
    assert {(event.user_ref, event.plan_ref) for event in seen} == {("user_123", "premium")}
    assert {str(event.amount) for event in seen} == {"6.90"}
    assert len({event.provider_payment_id for event in seen}) == 3
    assert len({event.event_id for event in seen}) == 4, "only the repeated one is the same delivery"
    assert all(abs((now - event.occurred_at).total_seconds()) < 60 for event in seen)


# --- the program -----------------------------------------------------------------------------------------------------


def test_it_shares_no_code_with_what_it_tests() -> None:
    own = emulator_module.__name__
    files = sorted(Path(emulator_module.__file__).parent.rglob("*.py"))
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    imported = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    others = {name for name in imported if name != own and not name.startswith(f"{own}.")}

    assert len(files) > 1
    assert {name.split(".")[0] for name in others} <= sys.stdlib_module_names | {"__future__"}


def test_program_says_where_it_listens_and_stops_when_told() -> None:
    environment = {**os.environ, "LAVA_API_KEY": API_KEY, "LAVA_SECRET_KEY": SECRET_KEY}
    command = [sys.executable, "-m", "tests.emulators.lava", "--port", "0"]
    program = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout is not None
        line = program.stdout.readline().strip()
        prefix, _, url = line.rpartition(" ")
        assert prefix == "lava emulator on"
        assert urlsplit(url).hostname == "127.0.0.1"
        assert urlsplit(url).path == "/v1"
        assert call(url, "POST", "/v1/invoice/create", b"{}")[0] == 401
        program.send_signal(signal.SIGTERM)
        assert program.wait(5) == 0
    finally:
        program.kill()
        program.communicate()


def test_program_does_not_start_without_its_keys() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LAVA_")}

    done = subprocess.run(
        [sys.executable, "-m", "tests.emulators.lava"], cwd=ROOT, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 2
    assert "LAVA_API_KEY" in done.stderr
