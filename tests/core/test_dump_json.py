"""JSON whose amounts are exact in both directions."""

from __future__ import annotations

import json
from decimal import Decimal
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payflow.core.http import Answer, MalformedAnswer, dump_json

numbers = st.one_of(st.integers(-(10**18), 10**18), st.decimals(-(10**12), 10**12, places=4))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=20,
)


def answer(body: bytes) -> Answer:
    return Answer(200, {}, body)


@given(documents)
def test_what_is_written_is_read_back(document):
    assert answer(dump_json(document)).json() == document


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("6.90", b"6.90"),
        ("6.9000", b"6.9000"),
        ("0.00", b"0.00"),
        ("1E+3", b"1000"),
        ("1E-7", b"0.0000001"),
        ("-12.50", b"-12.50"),
        ("123456789012345.6789", b"123456789012345.6789"),
    ],
)
def test_an_amount_keeps_its_digits(amount, text):
    assert dump_json(Decimal(amount)) == text
    assert dump_json({"amount": [Decimal(amount)]}) == b'{"amount":[' + text + b"]}"


def test_it_is_compact_utf8():
    class Word(StrEnum):
        ONE = "one"

    value = {"ä": "ö\n", 1: (True, False, None, Word.ONE), "empty": [{}, []]}
    assert dump_json(value) == '{"\\u00e4":"ö\\n","1":[true,false,null,"one"],"empty":[{},[]]}'.encode()
    assert json.loads(dump_json(value))["ä"] == "ö\n"


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("Infinity"), float("nan"), float("inf")])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(ValueError):
        dump_json({"amount": value})


def test_numbers_of_an_answer_are_exact():
    read = answer(b'{"a": 0.1, "b": 6.90, "c": 123456789012345678.123456789, "d": 7, "e": 1e2}').json()
    assert {name: str(value) for name, value in read.items()} == {
        "a": "0.1",
        "b": "6.90",
        "c": "123456789012345678.123456789",
        "d": "7",
        "e": "1E+2",
    }
    assert {type(value) for value in read.values()} == {Decimal, int}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b'{"a": 1',
        b"\xff\xfe\xfd",
        b'{"a": 1e9999999999999999999}',
        b"9" * 5000,
        b"[" * 100_000,
        b'{"amount": NaN}',
        b'{"amount": Infinity}',
        b'{"amount": -Infinity}',
    ],
    ids=range(10),
)
def test_what_is_no_json_is_malformed_and_not_repeated(body):
    with pytest.raises(MalformedAnswer) as refusal:
        answer(body).json()
    assert str(refusal.value) == "the answer is not JSON"


@pytest.mark.parametrize(
    ("status", "ok"), [(199, False), (200, True), (299, True), (302, False), (404, False), (500, False)]
)
def test_ok_means_2xx(status, ok):
    assert Answer(status, {}, b"").ok is ok
