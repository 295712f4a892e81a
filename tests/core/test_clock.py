"""Business time and real time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from payflow.core import clock
from payflow.core.errors import InvalidTransition

#: Between two readings in one test; generous for a busy machine.
SOON = timedelta(seconds=10)


def test_both_clocks_are_aware_and_in_utc(db):
    assert clock.wall().tzinfo is UTC
    assert clock.now().tzinfo is UTC


def test_without_an_offset_they_are_the_same(db):
    assert clock.offset() == timedelta(0)
    before = clock.wall()
    assert before <= clock.now() <= clock.wall()


def test_business_time_goes_to_the_moment_and_on_from_there(db):
    moment = clock.wall() + timedelta(days=31, microseconds=123_457)
    assert clock.move_to(moment) == moment
    assert moment <= clock.now() < moment + SOON
    assert clock.now() < clock.now()


def test_real_time_stays_where_it_is(db):
    before = clock.wall()
    clock.move_to(before + timedelta(days=400))
    assert before <= clock.wall() < before + SOON


@pytest.mark.parametrize("back", [timedelta(seconds=1), timedelta(days=29), timedelta(days=4000)])
def test_it_never_goes_back(db, back):
    clock.move_to(clock.wall() + timedelta(days=30))
    ahead, reading = clock.offset(), clock.now()
    clock.move_to(clock.now() - back)
    assert clock.offset() == ahead
    assert clock.now() >= reading


def test_a_first_move_into_the_past_moves_nothing(db):
    clock.move_to(datetime(2020, 1, 1, tzinfo=UTC))
    assert clock.offset() == timedelta(0)


def test_there_is_one_offset(db):
    clock.move_to(clock.wall() + timedelta(days=1))
    clock.move_to(clock.wall() + timedelta(days=2))
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM clock_offset")
        assert cursor.fetchone() == (1,)
        with pytest.raises(IntegrityError, match="clock_offset_single_row"), transaction.atomic():
            cursor.execute("INSERT INTO clock_offset (id, ahead) VALUES (2, '1 day')")


def test_it_is_one_query_while_on_and_none_while_off(db, settings, django_assert_num_queries):
    with django_assert_num_queries(1):
        clock.now()
    settings.PAYFLOW_TIME_TRAVEL = False
    with django_assert_num_queries(0):
        clock.now()


def test_switched_off_it_refuses_and_ignores_an_old_offset(db, settings):
    clock.move_to(clock.wall() + timedelta(days=30))
    settings.PAYFLOW_TIME_TRAVEL = False
    with pytest.raises(InvalidTransition, match="PAYFLOW_TIME_TRAVEL"):
        clock.move_to(clock.wall() + timedelta(days=60))
    assert clock.offset() == timedelta(0)
    assert clock.now() < clock.wall() + SOON
