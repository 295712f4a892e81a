"""kill -9 between any two steps: what was begun is finished, once. One charge, one invoice, one period, one of each fact.

Each story is lived undisturbed, and then again and again: a real process works on the real database and asks the sandbox by
HTTP, and dies at its first, second, third … boundary, until one gets to its end. After each death another process runs beat's
sweeps, and what is there must be what the undisturbed one has left. The provider's news comes last, and changes nothing.

A sample dies after each step only: before it nothing more has happened than after the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db.models import F

from payflow.core.idempotency import TAKEOVER
from payflow.core.models import IdempotencyKey
from payments.models import PaymentTransaction
from subscriptions.services.collecting import LEASE
from tests.depth import IS_FULL
from tests.flows import Shop
from tests.recovery import move_stories, stories
from tests.recovery.processes import Life, Processes, processes_at, recover
from tests.recovery.stories import Story
from tests.recovery.traces import Trace, differences, trace
from tests.recovery.worlds import world_forget, world_keep, world_restore

pytestmark = pytest.mark.django_db(transaction=True)

NEWS = "sandbox_deliveries"
#: How many boundaries each story has, as they were counted. Fewer, and something is no longer watched.
LEAST = {
    stories.renewals_as_a_set: 22,
    stories.renewals_row_by_row: 26,
    stories.a_charge_without_an_answer: 14,
    stories.a_retry_after_a_decline: 14,
    stories.an_upgrade_by_card: 16,
    stories.a_refund: 18,
    stories.a_first_payment: 12,
}
MOVES = {
    move_stories.a_link_to_another_provider: 12,
    move_stories.a_link_that_is_paid: 14,
}


@pytest.fixture(scope="module")
def processes(django_db_setup: None, live_server: Any) -> Iterator[Processes]:
    with processes_at(live_server.url) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_is_kept(transactional_db: None) -> Iterator[None]:
    yield
    world_forget()


@pytest.mark.deep
@pytest.mark.parametrize("tell", LEAST, ids=lambda tell: tell.__name__)
def test_killed_at_every_step_it_is_done_once(
    shop: Shop, processes: Processes, tell: Callable[[Shop], Story], capsys: pytest.CaptureFixture[str]
) -> None:
    story = tell(shop)
    world_keep()
    undisturbed, expected = _lived(shop, processes, story, kill_at=0)
    assert len(undisturbed.boundaries) >= LEAST[tell], undisturbed.boundaries

    deaths = _deaths(undisturbed, every=IS_FULL)
    for kill_at in deaths:
        life, found = _lived(shop, processes, story, kill_at=kill_at)
        assert life.was_killed
        assert differences(expected, found) == {}, _where(life)

    beyond, _ = _lived(shop, processes, story, kill_at=len(undisturbed.boundaries) + 1)
    assert not beyond.was_killed
    with capsys.disabled():
        print(f"\n{tell.__name__}: killed at {len(deaths)} boundaries, done once", end="")


@pytest.mark.parametrize("tell", MOVES, ids=lambda tell: tell.__name__)
def test_a_move_is_made_once_wherever_it_is_killed(
    shop: Shop, processes: Processes, tell: Callable[[Shop], Story]
) -> None:
    story = tell(shop)
    world_keep()
    undisturbed, expected = _lived(shop, processes, story, kill_at=0)
    assert len(undisturbed.boundaries) >= MOVES[tell], undisturbed.boundaries

    for kill_at in _deaths(undisturbed, every=False):
        life, found = _lived(shop, processes, story, kill_at=kill_at)
        assert life.was_killed
        assert differences(expected, found) == {}, _where(life)


def _deaths(undisturbed: Life, *, every: bool) -> list[int]:
    """The numbers of the boundaries to die at."""
    numbered = enumerate(undisturbed.boundaries, start=1)
    return [number for number, name in numbered if every or name.startswith("after")]


def _lived(shop: Shop, processes: Processes, story: Story, *, kill_at: int) -> tuple[Life, Trace]:
    """One life of the story, the work of those who come after it, and what is there in the end."""
    world_restore()
    shop.at(story.at)
    life = processes.live(*story.steps(), kill_at=kill_at)
    later = story.at + LEASE
    silent = () if story.is_news else (NEWS,)
    try:
        processes.live(recover(now=story.at, without=silent), recover(now=later, without=silent))
        assert not PaymentTransaction.objects.filter(status="pending").exists()
        if story.is_request:
            _answered(processes, story, life)
            processes.live(recover(now=later, without=silent))
        story.proof()
        found = trace()
        # Late, and of what is known by now.
        processes.live(recover(now=later))
        story.proof()
        assert differences(found, trace()) == {}
    except AssertionError as error:
        raise AssertionError(_where(life)) from error
    return life, found


def _answered(processes: Processes, story: Story, life: Life) -> None:
    """Who got no answer asks again with his Idempotency-Key, once the claim of the dead process has run out."""
    answer = life.results[0] if life.results else None
    if answer is None:
        IdempotencyKey.objects.update(claimed_at=F("claimed_at") - TAKEOVER)
        answer = processes.live(story.steps()[0]).results[0]
    assert answer["status"] in (200, 201), answer["body"]


def _where(life: Life) -> str:
    if not life.was_killed:
        return "undisturbed"
    return f"killed at boundary {len(life.boundaries)}, {life.boundaries[-1]}; it had passed {life.boundaries[:-1]}"
