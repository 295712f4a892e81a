"""The emulator of 2Checkout itself: its bytes are the documents', and it does what its control surface says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.emulators.twocheckout import TwoCheckoutEmulator, messages
from tests.providers.twocheckout_support import (
    BUY_LINK_SECRET,
    SECRET_KEY,
    VECTORS,
    bought,
    call,
    click,
    control,
    days,
    emulator,
    provider_at,
    sub_request,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tco() -> Iterator[TwoCheckoutEmulator]:
    with emulator() as running:
        yield running


# --- its bytes -------------------------------------------------------------------------------------------------------

with_vectors = pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")


def vector(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


@with_vectors
def test_real_notification_signed_by_it_is_the_shared_one() -> None:
    raw = (VECTORS / "ipn_complete_resigned.form").read_text().strip()
    known = vector("ipn_complete_resigned.json")
    fields = [pair for pair in parse_qsl(raw, keep_blank_values=True) if pair[0] not in dict(messages.SIGNATURES)]

    assert messages.source([value for _, value in fields]) == known["source_string"]
    assert messages.signed_form(fields, known["secret_key"]).decode() == raw


@with_vectors
@pytest.mark.parametrize("index", range(5))
def test_subscription_notices_are_signed_as_the_shared_ones(index: int) -> None:
    known = vector("lcn_constructed.json")
    message = known["messages"][index]
    fields = [(name, value) for name, value in message.items() if name not in dict(messages.SIGNATURES)]

    signed = dict(parse_qsl(messages.signed_form(fields, known["secret_key"]).decode(), keep_blank_values=True))

    assert signed == message


@with_vectors
def test_receipts_header_and_token_are_taken_as_published() -> None:
    ipn, lcn = vector("docs_worked_examples.json")
    for example in (ipn, lcn):
        fields = [(name.replace("[0]", "[]"), value) for name, value in example["fields"][:-1]]
        for answer in (example.get("response_sha3"), example["response_md5"]):
            if answer:
                assert messages.receipt_is_right(fields, example["secret_key"], answer)
                assert not messages.receipt_is_right(fields, "another", answer)
    header = vector("api_auth_header.json")
    value = header["header_sha3"].partition(": ")[2]
    assert messages.header_is_right(value, header["vendor_code"], header["secret_key"])
    assert not messages.header_is_right(value, header["vendor_code"], "another")
    word = vector("buylink_jwt_hs512.json")
    assert messages.token_claims(word["token"], word["secret_word"]) == word["claims"]


@pytest.mark.parametrize(
    "answer", ["", "OK", '<sig algo="sha3-256" date="20260101000000">00</sig>', "<EPAYMENT>1|2</EPAYMENT>"]
)
def test_anything_else_is_no_receipt(answer: str) -> None:
    fields = [("IPN_PID[]", "1"), ("IPN_PNAME[]", "x"), ("IPN_DATE", "20260101000000")]

    assert not messages.receipt_is_right(fields, SECRET_KEY, answer)


# --- its shop --------------------------------------------------------------------------------------------------------


def test_link_that_somebody_changed_buys_nothing(tco: TwoCheckoutEmulator) -> None:
    url = provider_at(tco).create_subscription(sub_request()).checkout_url or ""

    assert click(url.replace("price=9.99", "price=0.01", 1), "pay")[0] == 403
    assert click(url, "pay")[0] == 303
    assert len(tco.orders) == 1


def test_page_shows_what_is_bought(tco: TwoCheckoutEmulator) -> None:
    url = provider_at(tco).create_subscription(sub_request()).checkout_url or ""

    status, headers, body = call(url, "GET", url.removeprefix(tco.origin))

    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Premium, für alle" in body.decode() and "9.99 usd" in body.decode()


# --- its control surface ---------------------------------------------------------------------------------------------


def test_operators_and_buyers_deeds_by_http(tco: TwoCheckoutEmulator) -> None:
    order = bought(tco)
    ref = order.subscription or ""

    assert control(tco, f"subscriptions/{ref}/renew")[1]["ExpirationDate"] > ""
    assert control(tco, f"orders/{order.ref}/refund", {"amount": "1.00"})[1]["Refunds"][0]["Amount"] == "1.00"
    assert control(tco, f"orders/{order.ref}/chargeback", {"resolution": "OPEN"})[1]["ChargebackResolution"] == "OPEN"
    assert control(tco, f"subscriptions/{ref}/change", {"recurring": False})[1]["RecurringEnabled"] is False
    assert control(tco, f"repeat/{ref}")[1]["kind"] == "lcn"
    assert control(tco, "orders/404/refund")[0] == 404
    assert control(tco, "nowhere")[0] == 404
    status, _, state = call(tco.origin, "GET", "/control/state")
    assert status == 200 and len(json.loads(state)["orders"]) == 2
    assert SECRET_KEY not in state.decode() and BUY_LINK_SECRET not in state.decode()


def test_time_that_goes_by_renews_and_ends(tco: TwoCheckoutEmulator) -> None:
    ref = bought(tco).subscription or ""

    control(tco, "advance", {"days": 95})
    assert [order.kind for order in tco.orders.values()] == ["SALE", "RENEWAL", "RENEWAL", "RENEWAL"]
    tco.change(ref, card_declines=True)
    tco.advance(days(40))
    assert tco.subscription(ref).reported == "EXPIRED"
    reasons = [dict(d.fields)["DISPATCH_REASON"] for d in tco.deliveries if d.kind == "lcn"]
    assert reasons == ["LICENCE_CHANGE"] * 3 + ["LICENCE_PASTDUE", "LICENCE_EXPIRATION"]


def test_answers_carry_its_own_clock(tco: TwoCheckoutEmulator) -> None:
    control(tco, "clock", {"ahead_seconds": 86400 * 400})

    _, headers, _ = call(tco.origin, "GET", "/control/state")

    shown = datetime.strptime(headers["date"], "%a, %d %b %Y %H:%M:%S %Z")
    assert abs((shown - tco.now().replace(tzinfo=None)).total_seconds()) < 5


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"amount": 20}, "INVALID_REFUND_AMOUNT"),
        ({"amount": 4, "items": []}, "INVALID_ITEMS"),
        ({"reason": "Mine"}, "INVALID_REASON"),
    ],
)
def test_refund_that_is_not_the_documents_is_refused(
    tco: TwoCheckoutEmulator, fields: dict[str, Any], code: str
) -> None:
    order = bought(tco)
    amount = fields.get("amount", 5)
    wish = {
        "amount": amount,
        "comment": "c",
        "reason": "Other",
        "items": [{"LineItemReference": f"line{order.ref}", "Quantity": 1, "Amount": amount}],
        **fields,
    }
    adapter = provider_at(tco)

    answer = adapter._api.answer("POST", f"/orders/{order.ref}/refund/", wish, idempotent=False)

    assert (answer.status, json.loads(answer.body)["error_code"]) == (400, code)
    assert order.refunded == Decimal(0)


def test_delivery_without_its_receipt_is_tried_again() -> None:
    with emulator(hook_url="http://127.0.0.1:9/", retry_pauses=(0.01, 0.01)) as tco:
        bought(tco)
        tco.pause(0.5)
        [delivery] = tco.deliveries
        assert (delivery.state, len(delivery.attempts)) == ("gave_up", 3)


def test_it_starts_as_a_program() -> None:
    keys = {"TWOCHECKOUT_SECRET_KEY": "s", "TWOCHECKOUT_BUY_LINK_SECRET": "b"}
    command = [sys.executable, "-m", "tests.emulators.twocheckout", "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **keys}, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("2checkout emulator on http://127.0.0.1:")
        assert call(line.split()[-1], "GET", "/control/state")[0] == 200
    finally:
        process.terminate()
        assert process.wait(10) == 0
