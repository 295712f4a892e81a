"""2Checkout's deliveries: their proof, the receipt, the shared vectors, noise. No network."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import random
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from providers.base import MalformedError, SignatureError
from tests.providers.twocheckout_support import (
    EMAIL,
    IPN,
    LCN,
    NOW,
    OLD_SECRET_KEY,
    SECRET_KEY,
    VECTORS,
    fields_of,
    form,
    ipn,
    lcn,
    provider,
    with_changes,
)

RAW = ipn()
FIELDS = with_changes(IPN, {})


def accept(raw: bytes, **changes: Any) -> None:
    provider(**changes).verify_webhook({}, raw, NOW)


# --- the proof -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [RAW, lcn()], ids=["ipn", "lcn"])
@pytest.mark.parametrize("algorithms", [["sha3_256"], ["sha256"], ["sha256", "sha3_256"], ["md5", "sha3_256"]])
def test_either_modern_signature_proves_a_delivery(raw: bytes, algorithms: list[str]) -> None:
    fields = [pair for pair in fields_of(raw) if not pair[0].startswith("SIGNATURE")]

    accept(form(fields, algorithms=algorithms))


def test_md5_alone_proves_nothing_unless_it_is_allowed() -> None:
    raw = form(FIELDS, algorithms=["md5"])

    with pytest.raises(SignatureError):
        accept(raw)
    accept(raw, allow_md5=True)


def test_a_wrong_strong_signature_is_not_made_good_by_a_weaker_one() -> None:
    raw = form(FIELDS, algorithms=["md5", "sha256"]) + b"&SIGNATURE_SHA3_256=" + b"0" * 64

    with pytest.raises(SignatureError):
        accept(raw, allow_md5=True)


def test_signature_counts_in_any_case() -> None:
    *fields, (_, signed) = fields_of(form(FIELDS, algorithms=["sha3_256"]))

    accept(form(fields, algorithms=[]) + f"&SIGNATURE_SHA3_256=+{signed.upper()}+".encode())


def test_blank_items_and_bytes_of_utf8_count() -> None:
    fields = [("REFNO", "1"), ("ORDERSTATUS", "PENDING"), ("IPN_PCODE[]", ""), ("IPN_PCODE[]", "é"), ("EMPTY", "")]
    source = "11" + "7PENDING" + "0" + "2é" + "0"
    signed = hmac.new(SECRET_KEY.encode(), source.encode(), hashlib.sha3_256).hexdigest()

    accept(form(fields, algorithms=[]) + f"&SIGNATURE_SHA3_256={signed}".encode())


def test_items_are_signed_where_their_list_began() -> None:
    fields = [("A[]", "1"), ("B", "22"), ("A[]", "333")]
    signed = hmac.new(SECRET_KEY.encode(), b"11" + b"3333" + b"222", hashlib.sha3_256).hexdigest()

    accept(form(fields, algorithms=[]) + f"&SIGNATURE_SHA3_256={signed}".encode())


def test_values_whose_backslashes_the_signer_dropped_are_accepted() -> None:
    fields = [("REFNO", "1"), ("FIRSTNAME", "O\\'Brien")]
    signed = hmac.new(SECRET_KEY.encode(), b"11" + b"7O'Brien", hashlib.sha3_256).hexdigest()

    accept(form(fields, algorithms=[]) + f"&SIGNATURE_SHA3_256={signed}".encode())


# --- the receipt -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "label"), [("sha3_256", "sha3-256"), ("sha256", "sha256")], ids=["sha3", "sha2"])
@pytest.mark.parametrize(
    ("fields", "signed"),
    [(IPN, ("40898000", "Premium", "20260131100015")), (LCN, ("XRILXB9ZI3", "2026-02-28 10:00:05"))],
)
def test_receipt_is_signed_like_its_delivery(
    fields: dict[str, str], signed: tuple[str, ...], algorithm: str, label: str
) -> None:
    raw = form(with_changes(fields, {}), algorithms=[algorithm])
    source = "".join(f"{len(value)}{value}" for value in [*signed, "20260102030405"])
    expected = hmac.new(SECRET_KEY.encode(), source.encode(), getattr(hashlib, algorithm)).hexdigest()

    answer = provider().webhook_response({}, raw, NOW)

    assert (answer.status, answer.body) == (200, f'<sig algo="{label}" date="20260102030405">{expected}</sig>'.encode())


def test_receipt_of_a_duplicate_is_a_fresh_one() -> None:
    later = datetime(2026, 1, 2, 4, 0, 0, tzinfo=UTC)

    assert provider().webhook_response({}, RAW, NOW).body != provider().webhook_response({}, RAW, later).body


def test_receipt_during_a_rotation_is_signed_with_the_secret_that_signed_the_delivery() -> None:
    raw = form(FIELDS, OLD_SECRET_KEY)
    alone = provider(secret_key=OLD_SECRET_KEY)

    assert provider(previous_secret_key=OLD_SECRET_KEY).webhook_response({}, raw, NOW) == alone.webhook_response(
        {}, raw, NOW
    )


def test_what_is_authentic_but_not_understood_gets_its_receipt_too() -> None:
    assert b"<sig " in provider().webhook_response({}, form([("HELLO", "world")]), NOW).body


# --- the shared vectors ----------------------------------------------------------------------------------------------

with_vectors = pytest.mark.skipif(not VECTORS.exists(), reason="the shared vectors are not here")


def vector(name: str) -> Any:
    return json.loads((VECTORS / name).read_text())


@with_vectors
def test_real_notification_with_all_its_fields_is_proven() -> None:
    raw, secret = (
        (VECTORS / "ipn_complete_resigned.form").read_bytes().strip(),
        vector("ipn_complete_resigned.json")["secret_key"],
    )

    accept(raw, secret_key=secret)
    with pytest.raises(SignatureError):
        accept(raw.replace(b"IPN_PCODE%5B%5D=&", b""), secret_key=secret)


@with_vectors
@pytest.mark.parametrize("index", [0, 1], ids=["ipn", "lcn"])
def test_receipts_are_those_of_the_documents(index: int) -> None:
    example = vector("docs_worked_examples.json")[index]
    *fields, (_, date) = [tuple(pair) for pair in example["fields"]]
    now = datetime.strptime(date, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    secret = example["secret_key"]

    for algorithm, name in (("sha3_256", "sha3_256"), ("sha256", "sha256"), ("md5", "md5")):
        raw = form(fields, secret, [algorithm])
        body = provider(secret_key=secret, allow_md5=True).webhook_response({}, raw, now).body.decode()
        assert example[name] in body
        if f"response_{'sha3' if name == 'sha3_256' else name}" in example:
            assert body == example[f"response_{'sha3' if name == 'sha3_256' else name}"]


@with_vectors
def test_constructed_subscription_notices_are_proven_and_read() -> None:
    messages = vector("lcn_constructed.json")
    for message in messages["messages"]:
        raw = "&".join(f"{k}={v.replace(' ', '+').replace('@', '%40')}" for k, v in message.items()).encode()
        adapter = provider(secret_key=messages["secret_key"])
        adapter.verify_webhook({}, raw, NOW)
        assert adapter.parse_webhook({}, raw)[-1].provider_sub_id == "XRILXB9ZI3"


# --- noise -----------------------------------------------------------------------------------------------------------


def values_of(raw: bytes) -> set[bytes]:
    """A body's values, whatever their names; the signature in whatever case."""
    values = {unquote_to_bytes(pair.partition(b"=")[2].replace(b"+", b" ")) for pair in raw.split(b"&")}
    # A backslash may have been added: 2Checkout signs without them.
    return {value.strip().lower() if len(value.strip()) == 64 else value.replace(b"\\", b"") for value in values} | {
        b""
    }


def mutated(raw: bytes, dice: random.Random) -> bytes:
    body = bytearray(raw)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(body) or 1)
        match dice.randrange(5):
            case 0:
                body[at : at + 1] = bytes([dice.randrange(256)])
            case 1:
                body[at:at] = dice.randbytes(dice.randint(1, 3))
            case 2:
                del body[at : at + dice.randint(1, 8)]
            case 3:
                body[at : at + 1] = dice.choice([b"&", b"=", b"%", b"%FF", b"%00", b"[]", b"+", b"\\", b"-"])
            case _:
                body = body[:at]
        body = body or bytearray(b"x")
    return bytes(body)


@pytest.mark.parametrize("fields", [IPN, LCN], ids=["ipn", "lcn"])
def test_noise_breaks_nothing_and_changes_no_value_that_is_used(fields: dict[str, str]) -> None:
    dice, adapter, accepted = random.Random(25), provider(), 0
    original = form(with_changes(fields, {}), algorithms=["sha3_256"])
    values = values_of(original)

    for _ in range(1000):
        raw = mutated(original, dice)
        try:
            adapter.verify_webhook({}, raw, NOW)
            accepted += 1
            assert values_of(raw) <= values
        except SignatureError:
            pass
        try:
            adapter.delivery_key({}, raw)
            for event in adapter.parse_webhook({}, raw):
                assert event.occurred_at.tzinfo is UTC
                assert event.amount is None or event.amount.is_finite()
        except MalformedError:
            pass
    assert accepted < 500  # names alone are not signed: those pass, and the API decides


def test_errors_and_logs_hold_no_secret_and_no_person(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    for raw in (RAW + b"0", ipn(REFNO="Anna"), ipn(CURRENCY="Anna"), ipn(ORDERSTATUS="ODD"), lcn(DATE_UPDATED="Anna")):
        with pytest.raises((SignatureError, MalformedError, AssertionError)) as raised:
            accept(raw)
            provider().delivery_key({}, raw)
            assert provider().parse_webhook({}, raw)
        texts += [str(raised.value), repr(raised.value)]
    [event, *_] = provider().parse_webhook({}, RAW)

    for text in [*texts, caplog.text, repr(event), repr(provider()), repr(provider()._settings), str(event.raw)]:
        for secret in (SECRET_KEY, OLD_SECRET_KEY, "Nz#", EMAIL, "Anna", "Ünal"):
            assert secret not in text
