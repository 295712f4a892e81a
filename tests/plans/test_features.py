"""What features mean: kinds, merging, limits, lowering. Pure."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plans.features import Kind, action_limits, checked_features, kind, lowered, merge_features

VALUES = st.one_of(
    st.booleans(),
    st.just(-1),
    st.integers(min_value=0, max_value=10**6),
    st.floats(min_value=0, max_value=1000, allow_nan=False),
    st.text(max_size=5),
)
FEATURES = st.dictionaries(st.sampled_from(["books", "offline", "support", "translations_per_day"]), VALUES)


def same(one, other):
    """Equal, and of one kind: to Python True is 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def allowance(value):
    return math.inf if value == -1 else value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, Kind.SWITCH),
        (False, Kind.SWITCH),
        (0, Kind.LIMIT),
        (-1, Kind.LIMIT),
        (2.5, Kind.LIMIT),
        (Decimal("2.5"), Kind.LIMIT),
        ("100GB", Kind.TEXT),
        ("", Kind.TEXT),
    ],
)
def test_kinds(value, expected):
    assert kind(value) is expected


@pytest.mark.parametrize("value", [None, [], {}, [1], {"a": 1}, -2, -0.5, math.nan, math.inf, Decimal("NaN")])
def test_what_is_no_feature(value):
    with pytest.raises(ValueError, match="A feature is"):
        kind(value)


def test_the_documents_families_merge_to_the_better():
    free = {"translations_per_day": 30, "books": 2, "offline": False, "support": "mail"}
    premium = {"translations_per_day": 300, "books": -1, "offline": True, "support": "phone"}
    best = {"translations_per_day": 300, "books": -1, "offline": True, "support": "mail"}
    assert same(merge_features([free, premium]), best)
    assert same(merge_features([premium, free]), {**best, "support": "phone"})
    assert merge_features([]) == {}


@pytest.mark.parametrize(
    ("one", "other", "best"),
    [(True, 5, True), (True, -1, True), (5, "five", 5), ("five", False, "five"), (0, False, 0), (1, True, True)],
)
def test_one_key_of_two_kinds(one, other, best):
    for families in ([one, other], [other, one]):
        assert same(merge_features([{"x": value} for value in families]), {"x": best})


@settings(deadline=None)
@given(st.lists(FEATURES, max_size=4))
def test_merging_takes_the_best_of_each_key_and_nothing_else(families):
    merged = merge_features(families)
    assert set(merged) == {key for features in families for key in features}
    for key, value in merged.items():
        offered = [features[key] for features in families if key in features]
        assert any(same(value, offer) for offer in offered)
        if all(isinstance(offer, bool) for offer in offered):
            assert value is any(offered)
        elif all(kind(offer) is Kind.LIMIT for offer in offered):
            assert allowance(value) == max(map(allowance, offered))
        elif all(isinstance(offer, str) for offer in offered):
            assert value == offered[0]


@settings(deadline=None)
@given(FEATURES, FEATURES, FEATURES)
def test_merging_in_steps_is_merging_at_once(one, two, three):
    at_once = merge_features([one, two, three])
    assert same(merge_features([merge_features([one, two]), three]), at_once)
    assert same(merge_features([one, merge_features([two, three])]), at_once)
    assert same(merge_features([one, one]), one)


@settings(deadline=None)
@given(FEATURES, FEATURES)
def test_merged_features_are_lower_than_neither_except_by_limits_where_there_was_none(one, two):
    merged = merge_features([one, two])
    for features in (one, two):
        assert [key for key in lowered(features, merged) if key in features] == []


def test_limits_of_an_action():
    features = {"books": 2, "books_per_day": 1, "books_per_month": 2.9, "pages": -1, "offline": True, "max": "9"}
    assert action_limits(features, "books") == {"day": 1, "month": 2, "all": 2}
    assert action_limits({"translations_per_day": 30}, "translations") == {"day": 30}
    assert action_limits({"books": 0}, "books") == {"all": 0}
    for unlimited in ("pages", "offline", "max", "unknown"):
        assert action_limits(features, unlimited) == {}


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ({"books": 2}, {"books": 1}, ["books"]),
        ({"books": 2}, {"books": 3}, []),
        ({"books": -1}, {"books": 1000}, ["books"]),
        ({"books": 2}, {"books": -1}, []),
        ({"books": 2}, {}, ["books"]),
        ({}, {"books": 2}, []),
        ({"offline": True}, {"offline": False}, ["offline"]),
        ({"offline": False}, {}, []),
        ({"storage": "100GB"}, {"storage": "10GB"}, []),
        ({"storage": "100GB"}, {}, ["storage"]),
        ({"books_per_day": 2}, {}, []),
        ({}, {"books_per_day": 2}, ["books_per_day"]),
        ({}, {"books_per_month": -1}, []),
        ({"a": 2, "b": True}, {"a": 1, "b": False}, ["a", "b"]),
    ],
)
def test_lowering(old, new, keys):
    assert lowered(old, new) == keys


def test_checked_features_are_json_numbers_and_keep_their_kind():
    given_ = {"a": Decimal("10.0"), "b": Decimal("0.1"), "c": Decimal("-1.00"), "d": True, "e": 1, "f": "1", "g": 2.5}
    assert json.dumps(checked_features(given_)) == (
        '{"a": 10, "b": 0.1, "c": -1, "d": true, "e": 1, "f": "1", "g": 2.5}'
    )


@pytest.mark.parametrize(
    ("features", "fault"),
    [
        ([], "object"),
        ("books", "object"),
        ({"Books": 1}, "no feature name"),
        ({"": 1}, "no feature name"),
        ({"a" * 65: 1}, "no feature name"),
        ({"bücher": 1}, "no feature name"),
        ({1: 1}, "no feature name"),
        ({"a\n": 1}, "no feature name"),
        ({"books": None}, "books: A feature is"),
        ({"books": {"max": 1}}, "books: A feature is"),
        ({"books": [1]}, "books: A feature is"),
        ({"books": -2}, "books: A feature is"),
        ({"books": Decimal("1e30")}, "at most 1000000000000000;"),
        ({"books": Decimal("0.1234567890123456")}, "15 digits"),
        ({"books": "x" * 501}, "500 characters"),
        ({f"k{n}": 1 for n in range(201)}, "At most 200 features"),
    ],
)
def test_features_refused(features, fault):
    with pytest.raises(ValueError, match=fault):
        checked_features(features)
