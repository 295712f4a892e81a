"""Locks are in the SQL, in key order, and no network happens under them."""

from __future__ import annotations

import threading
import uuid

import pytest
from django.db import connection, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from payflow.core.locks import advisory_lock, assert_no_transaction, claim_rows, lock_rows
from plans.models import PlanPrice
from tests.factories import PlanFactory, UserFactory


def test_locked_rows_are_locked_in_the_sql_and_in_key_order(db):
    users = UserFactory.create_batch(3)
    with CaptureQueriesContext(connection) as queries:
        rows = lock_rows(User.objects.filter(pk__in=[user.pk for user in users]).order_by("-email"))
    assert [row.pk for row in rows] == sorted(user.pk for user in users)
    [query] = queries.captured_queries
    assert query["sql"].endswith('ORDER BY "users"."id" ASC FOR NO KEY UPDATE OF "users"')


def test_a_joined_row_is_not_locked(db):
    PlanPrice.objects.create(plan=PlanFactory(), currency="EUR", amount=9)
    with CaptureQueriesContext(connection) as queries:
        lock_rows(PlanPrice.objects.select_related("plan"))
    assert queries.captured_queries[0]["sql"].endswith('FOR NO KEY UPDATE OF "plan_prices"')


@pytest.mark.django_db(transaction=True)
def test_a_lock_outside_a_transaction_is_a_mistake():
    with pytest.raises(TransactionManagementError):
        lock_rows(User.objects.all())
    with pytest.raises(TransactionManagementError):
        claim_rows(User.objects.all(), limit=1)


def test_claimed_rows_keep_their_order_and_limit(db):
    users = UserFactory.create_batch(3)
    with CaptureQueriesContext(connection) as queries:
        rows = claim_rows(User.objects.order_by("-email"), limit=2)
    assert [row.pk for row in rows] == [users[2].pk, users[1].pk]
    assert queries.captured_queries[0]["sql"].endswith('LIMIT 2 FOR NO KEY UPDATE OF "users" SKIP LOCKED')


def in_another_connection(call):
    """What `call` returned in a transaction of a thread of its own."""
    answers = []

    def run():
        try:
            with transaction.atomic():
                answers.append(call())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    return answers[0]


@pytest.mark.django_db(transaction=True)
def test_what_somebody_holds_is_skipped_by_claims_and_waited_for_by_locks():
    first, second = UserFactory.create_batch(2)

    def claim():
        return [row.pk for row in claim_rows(User.objects.order_by("email"), limit=5)]

    def lock_briefly():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '50ms'")
        try:
            with transaction.atomic():
                return [row.pk for row in lock_rows(User.objects.all())]
        except Exception as error:  # noqa: BLE001
            return type(error).__name__

    with transaction.atomic():
        lock_rows(User.objects.filter(pk=first.pk))
        assert in_another_connection(claim) == [second.pk]
        assert in_another_connection(lock_briefly) == "OperationalError"
    assert in_another_connection(claim) == [first.pk, second.pk]
    assert in_another_connection(lock_briefly) == [first.pk, second.pk]


@pytest.mark.django_db(transaction=True)
def test_one_name_is_held_by_one_caller_at_a_time():
    def try_name(name):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))", [name])
            return cursor.fetchone()[0]

    name = f"test {uuid.uuid4()}"
    with transaction.atomic():
        advisory_lock(name)
        assert in_another_connection(lambda: try_name(name)) is False
        assert in_another_connection(lambda: try_name(f"{name}!")) is True
    assert in_another_connection(lambda: try_name(name)) is True


def test_a_transaction_is_noticed(django_db_blocker):
    assert_no_transaction("a call")
    with django_db_blocker.unblock(), transaction.atomic():
        with pytest.raises(RuntimeError, match="a call inside a database transaction"):
            assert_no_transaction("a call")
    assert_no_transaction("a call")
