from __future__ import annotations

import uuid
from itertools import pairwise

import pytest

from payflow.core import clock
from payflow.core.ids import parse_uuid, uuid7, uuid7_text


def test_keys_are_made_in_the_order_of_time():
    made = [uuid7() for _ in range(5_000)]
    assert all(earlier < later for earlier, later in pairwise(made))
    assert {type(key) for key in made} == {uuid.UUID}
    assert {(key.version, key.variant) for key in made} == {(7, uuid.RFC_4122)}


def test_a_key_carries_the_moment_of_its_making():
    before = clock.wall().timestamp() * 1000
    milliseconds = uuid7().int >> 80
    assert before - 1 <= milliseconds <= clock.wall().timestamp() * 1000


@pytest.mark.parametrize("text", ["", "plans", "1", "0192" * 9, "g" * 32, "null", None, 7, "\0" * 32])
def test_what_is_no_uuid_is_none(text):
    assert parse_uuid(text) is None


def test_a_uuid_is_read():
    key = uuid7()
    assert parse_uuid(str(key)) == key
    assert parse_uuid(key.hex.upper()) == key


def test_keys_as_text_are_of_the_same_kind_and_order():
    made = [uuid.UUID(uuid7_text()) if n % 2 else uuid7() for n in range(2_000)]
    assert all(earlier < later for earlier, later in pairwise(made))
    assert {(key.version, key.variant) for key in made} == {(7, uuid.RFC_4122)}
