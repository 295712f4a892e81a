"""An event counts once, and gets its first answer again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from subscriptions.models import Status
from tests.usage.factories import NOON, subscribed
from tests.usage.support import written
from usage.errors import EventMismatch, UsageLimitExceeded
from usage.models import UsageEvent
from usage.services import usage_log


def log(user, action="translations", *, now=NOON, **fields):
    return usage_log(user_id=user.pk, action=action, now=now, **fields)


def test_an_event_counts_once_and_gets_its_first_answer_again(user):
    subscribed(user, features={"translations_per_day": 30})
    first = log(user, event_id="e-1", quantity=2, metadata={"a": 1, "b": 2})
    log(user)

    again = log(user, event_id="e-1", quantity=2, metadata={"b": 2, "a": 1})

    assert again.replayed
    assert not first.replayed
    assert (again.id, again.limits, again.remaining) == (first.id, first.limits, 28)
    assert written() == (2, 1, 15)


def test_an_event_is_replayed_over_midnight(user):
    subscribed(user, features={"translations_per_day": 30})
    first = log(user, event_id="e-1", now=NOON.replace(hour=23, minute=59))

    again = log(user, event_id="e-1", now=NOON + timedelta(days=1))

    assert (again.id, again.occurred_at) == (first.id, NOON.replace(hour=23, minute=59))
    assert written() == (1, 1, 5)


def test_an_event_is_replayed_where_a_new_one_would_be_refused(user):
    row = subscribed(user, features={"translations_per_day": 1})
    first = log(user, event_id="e-1")

    at_the_limit = log(user, event_id="e-1")
    row.status, row.next_action_at = Status.EXPIRED, None
    row.save()
    without_access = log(user, event_id="e-1")
    dry = log(user, event_id="e-1", dry_run=True)

    assert {at_the_limit.id, without_access.id, dry.id} == {first.id}
    assert written() == (1, 1, 5)


@pytest.mark.parametrize(
    "other", [{"quantity": 2}, {"content_id": "x"}, {"metadata": {"a": 2}}, {"metadata": {}}, {"action": "books"}]
)
def test_an_event_with_another_content_is_a_mismatch(user, other):
    subscribed(user)
    log(user, event_id="e-1", metadata={"a": 1})

    for dry_run in (False, True):
        with pytest.raises(EventMismatch) as refused:
            log(user, **{"event_id": "e-1", "metadata": {"a": 1}, **other}, dry_run=dry_run)
        assert refused.value.http_status == 422
    assert written() == (1, 1, 5)


def test_the_same_event_id_of_two_users_is_two_events(user, other_user):
    subscribed(user)
    subscribed(other_user)

    assert not log(user, event_id="e-1").replayed
    assert not log(other_user, event_id="e-1").replayed

    assert UsageEvent.objects.count() == 2


def test_a_refused_event_may_come_again_later(user):
    subscribed(user, features={"books_per_day": 1})
    log(user, "books")

    with pytest.raises(UsageLimitExceeded):
        log(user, "books", event_id="e-1")
    tomorrow = log(user, "books", event_id="e-1", now=NOON + timedelta(days=1))

    assert not tomorrow.replayed
