"""Which counters an action raises and which limits it meets. Pure."""

from __future__ import annotations

from datetime import date

import pytest

from tests.usage.factories import NOON
from usage.limits import Grant, allows, counted, limited, limits_all, limits_of, state
from usage.windows import FOR_EVER


def grant(features=None, *, day=None, month=None, family="main", timezone="UTC") -> Grant:
    return Grant(family, timezone, features or {}, day, month)


def test_features_and_totals_limit_an_action():
    grants = [
        grant({"translations_per_day": 30, "translations_per_month": 500, "translations": 9000}, day=100, month=3000)
    ]

    assert limits_of(grants, "translations") == [
        ("translations_per_day", "translations", "day", 30),
        ("translations_per_month", "translations", "month", 500),
        ("translations", "translations", "all", 9000),
        ("max_usage_per_day", "*", "day", 100),
        ("max_usage_per_month", "*", "month", 3000),
    ]


def test_an_action_that_no_feature_names_meets_the_totals_only():
    assert limits_of([grant({"books": 2}, day=100)], "views") == [
        ("max_usage_per_day", "*", "day", 100),
        ("max_usage_per_month", "*", "month", None),
    ]


@pytest.mark.parametrize("value", [True, "as many as you like"])
def test_switches_and_texts_set_no_limit(value):
    grants = [grant({"exports": value, "exports_per_day": value})]

    assert [limit.name for limit in limits_of(grants, "exports")] == ["max_usage_per_day", "max_usage_per_month"]
    assert allows(grants, "exports")


def test_minus_one_is_a_limit_that_has_no_maximum():
    grants = [grant({"exports": -1, "exports_per_day": -1, "books": 2.5})]

    assert limits_of(grants, "exports")[:2] == [
        ("exports_per_day", "exports", "day", None),
        ("exports", "exports", "all", None),
    ]
    assert [(limit.name, limit.max) for limit in limits_all(grants)] == [
        ("exports", None),
        ("exports_per_day", None),
        ("books", 2),
        ("max_usage_per_day", None),
        ("max_usage_per_month", None),
    ]


def test_false_forbids_and_nothing_forbids_without_a_grant():
    assert not allows([grant({"exports": False})], "exports")
    assert allows([grant({"exports": False})], "imports")
    assert allows([grant({"exports": 0})], "exports"), "a limit of nothing is a limit, not a switch"
    assert not allows([], "exports")
    assert limits_all([]) == []


def test_of_several_families_switches_or_and_limits_max():
    grants = [
        grant({"exports": False, "books": 2, "words_per_day": -1}, day=100, month=None),
        grant({"exports": True, "books": 7, "words_per_day": 5}, day=50, month=10, family="extra"),
    ]

    assert allows(grants, "exports")
    assert [(limit.name, limit.max) for limit in limits_all(grants)] == [
        ("books", 7),
        ("words_per_day", None),
        ("max_usage_per_day", 100),
        ("max_usage_per_month", None),
    ]


def test_an_action_counts_in_the_first_family_that_names_it_and_the_totals_in_the_first():
    grants = [
        grant({"books": 2}, day=100),
        grant({"images_per_day": 5, "books": 7}, family="extra", timezone="Asia/Tokyo"),
    ]
    late = NOON.replace(hour=20)  # tomorrow in Tokyo

    def keys(action):
        return [(slot.family, slot.action, slot.window, slot.local_date) for slot in counted(grants, action, late)]

    assert keys("images") == [
        ("extra", "images", "day", date(2026, 3, 16)),
        ("extra", "images", "month", date(2026, 3, 1)),
        ("extra", "images", "all", FOR_EVER),
        ("main", "*", "day", date(2026, 3, 15)),
        ("main", "*", "month", date(2026, 3, 1)),
    ]
    assert {family for family, *_ in keys("books")} == {"main"}
    assert {family for family, *_ in keys("unnamed")} == {"main"}


def test_what_an_entitlement_shows_is_what_the_log_checks():
    grants = [
        grant({"books": 2, "images": True}, day=100, timezone="Asia/Tokyo"),
        grant({"images_per_day": 5, "books": 7}, family="extra"),
    ]

    shown = limited(grants, NOON)

    for action in ("books", "images"):
        checked = [slot for slot in counted(grants, action, NOON) if slot.name]
        assert checked == [slot for slot in shown if slot.action in (action, "*")]


def test_a_limit_lowered_below_what_is_used_leaves_nothing():
    slot = limited([grant({"books": 2})], NOON)[0]

    assert (state(slot, 5).used, state(slot, 5).remaining) == (5, 0)
