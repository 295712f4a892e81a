"""C13 (refunds) and C16 to C18: commands to the provider, each of which may be given twice."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from providers.base import (
    EventType,
    NotSupported,
    Outcome,
    Provider,
    RequestRefused,
    SubStatus,
    Unavailable,
    UnknownReference,
)
from tests.providers.conformance.calls import SINCE, change_request, charge_request, purchase_made, refund
from tests.providers.conformance.cases import Facts, case
from tests.providers.conformance.pack import Card, Pack, Peer, Step
from tests.providers.conformance.stage import DAY, Stage
from tests.providers.conformance.wire import Answer, Trouble, Wire

#: States in which the provider renews no more.
OVER = {SubStatus.CANCELED, SubStatus.EXPIRED, SubStatus.REVOKED}


class Commands:
    # --- C16

    @case("C16", "cancels later")
    def test_c16_cancelling_later_keeps_the_paid_time(
        self, pack: Pack, facts: Facts, peer: Peer, asked: Provider, wire: Wire
    ) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        first = asked.cancel_subscription(purchase.sub_id, email="", idempotency_key="cancel-1")
        again = asked.cancel_subscription(purchase.sub_id, email="", idempotency_key="cancel-2")
        assert first.status == again.status == SubStatus.CANCELED
        assert first.period_end == again.period_end
        gone = asked.cancel_subscription(pack.unknown_refs[0], email="", idempotency_key="cancel-3")
        assert gone.status == SubStatus.CANCELED

    @case("C16", "cancels now")
    def test_c16_cancelling_now_ends_it(self, pack: Pack, facts: Facts, peer: Peer, asked: Provider) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        for number in (1, 2):
            state = asked.cancel_subscription(
                purchase.sub_id, at_period_end=False, email="", idempotency_key=f"cancel-now-{number}"
            )
            assert state.status in OVER
        if facts.caps.fetch_state:
            assert asked.get_subscription(purchase.sub_id).status in OVER

    @case("C16", "resumes")
    def test_c16_resuming_takes_it_back(self, pack: Pack, facts: Facts, peer: Peer, asked: Provider) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        if facts.caps.pause:
            asked.pause_subscription(purchase.sub_id, idempotency_key="pause-1")
        else:
            asked.cancel_subscription(purchase.sub_id, email="", idempotency_key="cancel-1")
        for number in (1, 2):
            state = asked.resume_subscription(purchase.sub_id, idempotency_key=f"resume-{number}")
            assert state.status == SubStatus.ACTIVE

    @case("C16", "pauses")
    def test_c16_pausing_stops_it(self, pack: Pack, facts: Facts, peer: Peer, asked: Provider) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        for number in (1, 2):
            state = asked.pause_subscription(purchase.sub_id, idempotency_key=f"pause-{number}")
            assert state.status == SubStatus.PAUSED

    @case("C16", "changes")
    def test_c16_changing_twice_is_one_change(self, pack: Pack, facts: Facts, peer: Peer, asked: Provider) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        request = change_request(pack, purchase.sub_id)
        first, again = asked.change_subscription(request), asked.change_subscription(request)
        # But for when it was asked, which is not part of what was changed.
        assert replace(first, as_of=None) == replace(again, as_of=None)
        assert pack.product is None or first.provider_plan_ref == pack.other_product != pack.product
        assert first.status == SubStatus.ACTIVE

    @case("C16", "acknowledges")
    def test_c16_acknowledging_twice_is_once(self, pack: Pack, facts: Facts, peer: Peer, asked: Provider) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        assert asked.get_subscription(purchase.sub_id).unacknowledged
        asked.acknowledge_purchase(purchase.sub_id, idempotency_key="acknowledge-1")
        asked.acknowledge_purchase(purchase.sub_id, idempotency_key="acknowledge-2")
        assert not asked.get_subscription(purchase.sub_id).unacknowledged

    # --- C17

    @case("C17", "refunds")
    def test_c17_a_whole_refund_once(self, pack: Pack, facts: Facts, peer: Peer, asked: Provider) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        price, currency = purchase.order.amount, purchase.order.currency
        if not facts.caps.refund_partial:
            with pytest.raises((NotSupported, RequestRefused)):
                refund(asked, purchase.payment_id, currency, amount=price / 2)
            assert peer.refunded(purchase) == 0
        result = refund(asked, purchase.payment_id, currency, key="refund-whole")
        assert (result.status in ("succeeded", "pending"), result.amount) == (True, price)
        assert result.provider_refund_id
        assert refund(asked, purchase.payment_id, currency, key="refund-whole") == result
        if pack.refunds_once:
            # Nothing tells one key from another: but it is the refund that there is, and no more goes back.
            assert refund(asked, purchase.payment_id, currency, key="refund-again") == result
        else:
            with pytest.raises(RequestRefused):
                refund(asked, purchase.payment_id, currency, key="refund-again")
        assert peer.refunded(purchase) == price
        with pytest.raises(UnknownReference):
            refund(asked, pack.unknown_refs[1], currency)

    @case("C17", "keyed refunds")
    def test_c17_a_refund_whose_answer_was_lost_is_known_by_its_key(
        self, pack: Pack, facts: Facts, peer: Peer, asked: Provider, wire: Wire
    ) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        price, currency = purchase.order.amount, purchase.order.currency
        wire.always(Trouble.LOST, reads_too=False)
        with pytest.raises(Unavailable):
            refund(asked, purchase.payment_id, currency, key="refund-lost")
        wire.calm()
        assert refund(asked, purchase.payment_id, currency, key="refund-lost").amount == price
        assert peer.refunded(purchase) == price

    @case("C17", "unkeyed refunds")
    def test_c17_a_refund_whose_answer_was_lost_is_sent_by_nobody_again(
        self, stage: Stage, peer: Peer, wire: Wire
    ) -> None:
        """Not by another process either, which remembers nothing: an operator looks."""
        stage.next_spring()
        bought = stage.sell()
        wire.always(Trouble.LOST, reads_too=False)
        assert stage.refund(bought, Decimal("4.00")).status_code == 503
        wire.calm()
        stage.restart()
        for _ in range(2):
            stage.ask_about_refunds()
        assert peer.refunded(bought.purchase) == Decimal("4.00")
        assert stage.refund_of(bought).status == "pending"
        assert bought.fresh.review_reason

    @case("C17", "unkeyed refunds")
    def test_c17_a_refund_that_never_left_is_sent_later(self, stage: Stage, peer: Peer, wire: Wire) -> None:
        """What the provider has answered without doing it leaves nothing to look for."""
        stage.next_spring()
        bought = stage.sell()
        wire.always(Answer(429), reads_too=False)
        assert stage.refund(bought, Decimal("4.00")).status_code == 503
        wire.calm()
        stage.ask_about_refunds()
        assert (stage.refund_of(bought).status, peer.refunded(bought.purchase)) == ("completed", Decimal("4.00"))
        assert not bought.fresh.review_reason

    @case("C17", "unkeyed refunds")
    def test_c17_a_refund_under_way_is_asked_about_by_its_id(self, stage: Stage, peer: Peer) -> None:
        stage.next_spring()
        bought = stage.sell()
        peer.let_refunds_wait(True)
        assert stage.refund(bought, Decimal("4.00")).status_code == 503
        stage.restart()
        stage.ask_about_refunds()
        assert stage.refund_of(bought).status == "pending"
        peer.let_refunds_wait(False)
        stage.ask_about_refunds()
        assert (stage.refund_of(bought).status, peer.refunded(bought.purchase)) == ("completed", Decimal("4.00"))
        assert not bought.fresh.review_reason

    @case("C17", "refunds parts")
    def test_c17_parts_sum_up_and_never_too_much(self, pack: Pack, facts: Facts, peer: Peer, asked: Provider) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        price, currency, part = purchase.order.amount, purchase.order.currency, Decimal("4.00")
        with pytest.raises(RequestRefused):
            refund(asked, purchase.payment_id, currency, amount=price + 1)
        for _ in range(2):
            assert refund(asked, purchase.payment_id, currency, amount=part, key="refund-part").amount == part
        with pytest.raises(RequestRefused):
            refund(asked, purchase.payment_id, currency, amount=price)
        assert peer.refunded(purchase) == part
        rest = refund(asked, purchase.payment_id, currency)
        assert rest.amount == price - part
        assert peer.refunded(purchase) == price

    @case("C13", "tells refunds")
    def test_c13_what_is_told_of_refunds_sums_up(self, stage: Stage) -> None:
        """Providers that tell the sum so far are read as what each refund added."""
        stage.next_spring()
        bought = stage.sell()
        for amount in (Decimal("4.00"), None):
            refund(stage.provider, bought.purchase.payment_id, stage.pack.currency, amount=amount)
        events = [event for event in stage.events_told() if event.type is EventType.PAYMENT_REFUNDED]
        assert {event.parent_payment_id for event in events} == {bought.purchase.payment_id}
        by_refund = {event.provider_payment_id: event.amount for event in events}
        assert sum(by_refund.values()) == bought.purchase.order.amount
        assert len(by_refund) == 2

    # --- C18

    @case("C18", "charges")
    def test_c18_a_charge_once_per_key(self, pack: Pack, facts: Facts, peer: Peer, asked: Provider, wire: Wire) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        before, request = peer.charged(purchase), charge_request(pack, purchase)
        assert asked.find_payment(request.idempotency_key, SINCE) is None
        wire.always(Trouble.LOST, reads_too=False)
        with pytest.raises(Unavailable):
            asked.charge(request)
        wire.calm()
        found = asked.find_payment(request.idempotency_key, SINCE)
        assert found is not None
        assert found.outcome is Outcome.SUCCEEDED
        assert asked.charge(request) == found
        assert peer.charged(purchase) == before + 1

    @case("C18", "charges")
    def test_c18_a_decline_and_a_wanted_action_are_results(
        self, pack: Pack, facts: Facts, peer: Peer, asked: Provider
    ) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        peer.set_card(purchase, Card.DECLINES)
        declined = asked.charge(charge_request(pack, purchase))
        assert declined.outcome is Outcome.DECLINED
        assert declined.decline is not None
        assert declined.decline.code
        peer.set_card(purchase, Card.NEEDS_ACTION)
        waiting = asked.charge(charge_request(pack, purchase))
        assert waiting.outcome is Outcome.REQUIRES_ACTION

    @case("C18", "charges")
    def test_c18_a_declined_renewal_is_told_as_a_failed_payment(self, stage: Stage) -> None:
        stage.next_spring()
        bought = stage.sell()
        stage.at(bought.fresh.end_date + DAY)
        stage.play(Step.RENEWAL_FAILED, bought)
        letters = stage.told()
        events = [
            event
            for letter in letters
            for event in stage.provider.parse_webhook(letter.headers, letter.raw)
            if event.type.startswith("payment.")
        ]
        assert [event.type for event in events] == [EventType.PAYMENT_FAILED]
        assert events[0].reason
        stage.deliver(letters)
        assert bought.fresh.status == "past_due"
