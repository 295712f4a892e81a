"""C11, C12, C15, C20 to C23 and C26: what deliveries do, through the real view, inbox, worker and database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from payflow.core import clock
from payflow.core.registry import registered
from payments.models import PaymentTransaction
from payments.services.unapplied import UNMATCHED_PAYER
from providers.base import EventType, ProviderEvent
from subscriptions.models import Subscription
from tests.conftest import Api
from tests.factories import UserFactory
from tests.flows import nothing_changes
from tests.providers.conformance.calls import SINCE, USER, purchase_made
from tests.providers.conformance.cases import case
from tests.providers.conformance.orders import as_it_happened, other_orders, told_in
from tests.providers.conformance.pack import Delivery, Pack, Step
from tests.providers.conformance.reading import believed
from tests.providers.conformance.stage import DAY, Bought, Stage, at_once
from tests.providers.conformance.wire import Trouble, Wire
from webhooks.models import InboundEvent

MONTH = timedelta(days=31)
#: What can happen, as (days since the order, what). A story is told of every provider that plays all of it.
STORIES: dict[str, tuple[tuple[int, Step], ...]] = {
    "declined, then paid": ((0, Step.DECLINED), (0, Step.PAID)),
    "paid and refunded": ((0, Step.PAID), (3, Step.REFUNDED)),
    "paid and refunded in parts": ((0, Step.PAID), (3, Step.REFUNDED_IN_PART), (4, Step.REFUNDED)),
    "renewed twice": ((0, Step.PAID), (31, Step.RENEWED), (61, Step.RENEWED)),
    "failed, then recovered": ((0, Step.PAID), (31, Step.RENEWAL_FAILED), (33, Step.RECOVERED)),
    "canceled and expired": ((0, Step.PAID), (3, Step.CANCELED), (31, Step.EXPIRED)),
    "canceled and resumed": ((0, Step.PAID), (3, Step.CANCELED), (4, Step.RESUMED), (31, Step.RENEWED)),
    "on hold, then recovered": ((0, Step.PAID), (31, Step.ON_HOLD), (40, Step.RECOVERED)),
    "paused and resumed": ((0, Step.PAID), (3, Step.PAUSED), (10, Step.RESUMED)),
    "paused at the renewal, then resumed": ((0, Step.PAID), (31, Step.PAUSED), (40, Step.RESUMED)),
    "revoked": ((0, Step.PAID), (3, Step.REVOKED)),
}
#: The longest that a provider waits for an answer which is a row and nothing else.
ANSWER_WITHIN = timedelta(seconds=3)


class Effects:
    # --- C11

    @case("C11", "sells")
    def test_c11_twice_and_twice_at_once_is_once(self, stage: Stage) -> None:
        start = stage.next_spring()
        once = stage.sell()
        expected, received = stage.state(once, start), InboundEvent.objects.count()
        bought = stage.buy()
        letters = stage.told()
        for letter in letters:
            answers = at_once(lambda letter=letter: stage.post(letter), lambda letter=letter: stage.post(letter))
            answers.append(stage.post(letter))
            for answer in answers:
                assert stage.pack.answer_is_right(letter, _bare(answer), now=clock.wall()), answer
        at_once(stage.process_once, stage.process_once)
        stage.deliver(letters)
        assert stage.state(bought, start) == expected
        assert InboundEvent.objects.count() == 2 * received

    # --- C12

    @case("C12", "sells")
    @pytest.mark.deep
    @pytest.mark.parametrize("story", STORIES)
    def test_c12_every_order_has_the_same_end(self, stage: Stage, story: str) -> None:
        """All of it comes late; and the first of it in time (a store's purchase: from the app too), the rest late, and
        the first once more after everything.
        """
        steps = STORIES[story]
        if not _is_told_of(stage.pack, steps):
            pytest.skip(f"not called for: {stage.pack.name} has no story {story!r}")
        heard = (False, True)
        if stage.facts.caps.renewal_driver == "merchant" and Step.PAID not in (steps[-1][1], steps[-2][1]):
            heard = (True,)  # what is done next is done to a payment that PayFlow knows
        expected: dict[str, Any] | None = None
        for in_time in heard:
            ended, length = as_it_happened(stage, steps, in_time=in_time)
            if expected is None or stage.facts.caps.price_set_by == "payflow":
                expected = ended  # periods of ours begin when their money is heard of
            assert ended == expected, f"heard in time ({in_time}): {ended} instead of {expected}"
            for order, ended in told_in(stage, steps, other_orders(length), in_time=in_time):
                assert ended == expected, f"{order}, heard in time ({in_time}): {ended} instead of {expected}"

    # --- C15

    @case("C15", "sells")
    def test_c15_cancelled_by_the_user_it_lasts_to_the_end(self, stage: Stage) -> None:
        stage.next_spring()
        bought = stage.sell()
        end = bought.fresh.end_date
        url = f"/api/v1/subscriptions/{bought.fresh.pk}"
        answer = Api().as_user(bought.user).delete(url)
        if answer.status_code == 409:
            # Only the subscriber can, over there; then nothing has changed.
            assert answer.json()["code"] == "PROVIDER_MANAGED"
            assert bought.fresh.cancelled_at is None
            return
        assert answer.status_code == 200
        assert stage.may_use(bought, end - timedelta(seconds=1))
        assert not stage.may_use(bought, end)

    @case("C15", "sells")
    def test_c15_an_unpaid_renewal_has_grace_and_a_paid_one_goes_on(self, stage: Stage) -> None:
        if not {Step.RENEWAL_FAILED, Step.RECOVERED} <= stage.pack.steps:
            pytest.fail("the pack plays no failed renewal")
        stage.next_spring()
        bought = stage.sell()
        end = bought.fresh.end_date
        stage.at(end + timedelta(hours=1))
        stage.play(Step.RENEWAL_FAILED, bought)
        stage.deliver(stage.told())
        assert bought.fresh.status == "past_due"
        assert stage.may_use(bought)
        assert not stage.may_use(bought, bought.fresh.grace_until)
        stage.at(stage.now + 2 * DAY)
        stage.play(Step.RECOVERED, bought)
        stage.deliver(stage.told())
        assert bought.fresh.status == "active"
        assert bought.fresh.end_date > end

    @case("C15", "tells state")
    def test_c15_access_follows_what_the_provider_tells(self, stage: Stage) -> None:
        steps = stage.pack.steps
        for step, keeps in (
            (Step.CANCELED, True),
            (Step.GRACE, True),
            (Step.ON_HOLD, False),
            (Step.PAUSED, False),
            (Step.EXPIRED, False),
            (Step.REVOKED, False),
        ):
            if step not in steps:
                continue
            stage.next_spring()
            bought = stage.sell()
            end = bought.fresh.end_date
            # What concerns the renewal happens when it is due.
            stage.at(end if step in stage.pack.at_renewal else stage.now + 3 * DAY)
            stage.play(step, bought)
            stage.deliver(stage.told())
            assert stage.may_use(bought) is keeps, step
            if step is Step.CANCELED:
                assert stage.may_use(bought, end - timedelta(seconds=1))
                assert not stage.may_use(bought, end)
            back = Step.RESUMED if step in (Step.CANCELED, Step.PAUSED) else Step.RECOVERED
            if back in steps and step not in (Step.EXPIRED, Step.REVOKED):
                stage.at(stage.now + DAY)
                stage.play(back, bought)
                stage.deliver(stage.told())
                assert stage.may_use(bought), f"{step}, {back}"
                assert bought.fresh.status == "active"
                assert bought.fresh.cancelled_at is None

    # --- C20

    @case("C20")
    def test_c20_the_provider_gets_its_answer(self, stage: Stage) -> None:
        for vector in stage.pack.vectors():
            delivery = stage.pack.signed(vector.content, at=clock.wall())
            for path in (f"/webhooks/{stage.pack.name}", f"/webhooks/{stage.pack.name}/"):
                asked_at = clock.wall()
                answer = stage.post(delivery, path=path)
                assert clock.wall() - asked_at < ANSWER_WITHIN
                assert stage.pack.answer_is_right(delivery, _bare(answer), now=clock.wall()), (vector.name, answer)
        for path in (f"/webhooks/{stage.pack.name}", f"/webhooks/{stage.pack.name}/"):
            assert stage.look(path).status == 200

    @case("C20")
    def test_c20_what_is_forged_is_refused_and_named(self, stage: Stage) -> None:
        content = stage.pack.vectors()[0].content
        forged = stage.pack.forgeries(content, at=clock.wall()) or {
            "no proof": Delivery({"content-type": "application/json"}, content)
        }
        for name, delivery in forged.items():
            with nothing_changes():
                assert stage.post(delivery).status == 401, name
            assert InboundEvent.objects.latest("pk").status == "rejected"

    # --- C21

    @case("C21", "asks")
    def test_c21_a_provider_that_is_down_changes_nothing(self, stage: Stage, wire: Wire) -> None:
        start = stage.next_spring()
        expected = stage.state(self._asked_about(stage)[0], start)
        bought, letters = self._asked_about(stage, deliver=False)
        for letter in letters:
            assert stage.post(letter).status == 200
        wire.always(Trouble.LOST)
        with nothing_changes():
            stage.process_once()
        waiting = InboundEvent.objects.filter(provider=stage.pack.name)
        assert "failed" in waiting.values_list("status", flat=True)
        assert not waiting.filter(status="review").exists()
        wire.calm()
        stage.process()
        assert stage.state(bought, start) == expected
        assert not waiting.exclude(status__in=["processed", "ignored"]).exists()

    def _asked_about(self, stage: Stage, *, deliver: bool = True) -> tuple[Bought, list[Delivery]]:
        """Something that nobody believes without asking."""
        if stage.pack.asked_about is not None:
            bought = stage.sell()
            stage.play(stage.pack.asked_about, bought)
        else:
            bought = stage.buy()
        letters = stage.told()
        if deliver:
            stage.deliver(letters)
        return bought, letters

    # --- C22

    @case("C22", "test mode")
    def test_c22_a_test_is_marked_and_changes_nothing(self, pack: Pack, stage: Stage) -> None:
        assert pack.tests()
        for content in pack.tests():
            events = believed(stage.provider, pack, stage.peer, content)
            assert all(event.is_test or event.type is EventType.TEST_PING for event in events)
            with nothing_changes():
                stage.deliver_content(content)
            assert InboundEvent.objects.latest("pk").status == "ignored"
        genuine = pack.vectors()[0].events
        assert not any(event.is_test for event in genuine)

    # --- C23

    @case("C23")
    def test_c23_nobody_is_found_by_his_e_mail(self, stage: Stage) -> None:
        """Money whose payer names nobody of ours is kept, and is nobody's."""
        user = UserFactory()
        for user_ref in ("", USER):
            stage.deliver_content(stage.pack.stranger(user_ref=user_ref, email=user.email))
        assert not PaymentTransaction.objects.filter(user=user).exists()
        assert not Subscription.objects.filter(user=user).exists()
        assert {one.user.email for one in PaymentTransaction.objects.all()} <= {UNMATCHED_PAYER}
        if PaymentTransaction.objects.exists():
            assert InboundEvent.objects.latest("pk").status == "review"

    @case("C23", "sells")
    def test_c23_another_users_reference_takes_nothing_over(self, stage: Stage) -> None:
        """Money of no order that names a user is his to get back, and gives him nothing."""
        stage.next_spring()
        bought, other = stage.sell(), UserFactory()
        before = stage.state(bought, stage.now)
        stage.deliver_content(stage.pack.stranger(user_ref=str(other.pk), email=bought.user.email))
        assert stage.state(bought, stage.now) == before
        assert not Subscription.objects.filter(user=other).exists()

    @case("C23", "attaches")
    def test_c23_a_purchase_of_one_user_is_not_attached_to_another(self, stage: Stage) -> None:
        stage.next_spring()
        owner, thief = UserFactory(), UserFactory()
        purchase = stage.buy_in_app(owner)
        answer = stage.attach(owner, purchase.token)
        assert answer.status_code == 201, answer.content
        with nothing_changes():
            refused = stage.attach(thief, purchase.token)
        assert refused.status_code == 409

    # --- C26

    @case("C26", "states")
    def test_c26_the_providers_records_say_what_was_delivered(self, stage: Stage) -> None:
        """The same money, under the same names; and the state as it is now, as the last."""
        bought, delivered = self._untold(stage)
        found = stage.provider.fetch_events(bought.sub_id, since=SINCE)
        if stage.pack.shows_newest:
            delivered = [max((event for event in delivered if _money([event])), key=lambda event: event.occurred_at)]
        assert _money(found) == _money(delivered)
        assert found == sorted(found, key=lambda event: event.occurred_at)
        assert not found[-1].type.startswith("payment."), "the state now is the last"

    @case("C26", "finds")
    def test_c26_a_purchase_is_found_by_our_reference(self, stage: Stage) -> None:
        stage.next_spring()
        bought = purchase_made(stage.pack, stage.facts, stage.peer, stage.provider)
        delivered = stage.events_told()
        found = stage.provider.find_purchase(bought.order.order_ref, since=SINCE)
        assert _money(found) == _money(delivered)
        assert {event.provider_sub_id for event in found} == {bought.sub_id}
        assert stage.provider.find_purchase("of-nobody", since=SINCE) == []

    @case("C26", "feed")
    def test_c26_the_providers_list_has_the_money_that_went_back(self, stage: Stage) -> None:
        if Step.REFUNDED not in stage.pack.steps:
            pytest.skip(f"not called for: {stage.pack.name} gives nothing back")
        bought, delivered = self._untold(stage)
        stage.at(stage.now + DAY)
        stage.peer.play(Step.REFUNDED, bought, stage)
        told = [event for event in [*delivered, *stage.events_told()] if event.type is EventType.PAYMENT_REFUNDED]
        back = _money(told)
        assert len(back) == 1
        # Some lists go by when it happened, others by when it was told, which is real time.
        since, until = min(clock.wall(), *(event.occurred_at for event in told)) - DAY, told[-1].occurred_at + DAY
        listed = _money(list(stage.provider.missed_events(since=since, until=until)))
        assert {one for one in listed if one[0] is EventType.PAYMENT_REFUNDED} == back

    @case("C26", "lists deliveries")
    def test_c26_the_providers_list_has_the_deliveries_under_their_keys(self, stage: Stage) -> None:
        _, delivered = self._untold(stage)
        until = max(event.occurred_at for event in delivered) + DAY
        listed = list(stage.provider.missed_events(since=SINCE, until=until))
        assert {event.event_id for event in delivered} <= {event.event_id for event in listed}
        assert _money(listed) == _money(delivered)

    @case("C26", "reconciles")
    def test_c26_one_run_finds_what_was_never_delivered(self, stage: Stage) -> None:
        start = stage.next_spring()
        told = stage.buy()
        stage.deliver(stage.told())
        expected = stage.state(told, start)
        untold = stage.buy()
        stage.told()
        for sweep in ("provider_reconciliation", "provider_feeds"):
            # What the provider keeps is dated by its own calendar.
            registered.sweeps[sweep].run(now=stage.now, wall=stage.now + DAY)
        stage.process()
        assert stage.state(untold, start) == expected

    def _untold(self, stage: Stage) -> tuple[Any, list[ProviderEvent]]:
        """A purchase that was renewed, and what its deliveries say."""
        start = stage.next_spring()
        purchase = purchase_made(stage.pack, stage.facts, stage.peer, stage.provider)
        stage.at(start + MONTH)
        stage.peer.play(Step.RENEWED, purchase, stage)
        return purchase, stage.events_told()


def _is_told_of(pack: Pack, steps: Sequence[tuple[int, Step]]) -> bool:
    """Is everything in it played, and a pause when that provider pauses?"""
    pauses = {days >= MONTH.days for days, step in steps if step is Step.PAUSED}
    return {step for _, step in steps} <= pack.steps and pauses <= {Step.PAUSED in pack.at_renewal}


def _money(events: list[ProviderEvent]) -> set[Any]:
    """What moved; of the same under the same name each is told of as often as one likes."""
    return {
        (event.type, event.provider_payment_id, event.amount, event.currency)
        for event in events
        if event.type.startswith("payment.")
    }


def _bare(answer: Any) -> Any:
    """Without the charset that Django adds to a text."""
    return type(answer)(answer.status, answer.content_type.partition(";")[0], answer.body)
