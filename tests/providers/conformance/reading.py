"""C09, C10, C13, C14, C19 and C24: what a delivery or an answer says, exactly, and nothing to the log."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from payflow.core import clock
from providers.base import EventType, Provider, ProviderError, ProviderEvent, StoredMethod, SubStatus
from tests.providers.conformance.calls import EMAIL, every_call, purchase_made
from tests.providers.conformance.cases import Facts, case
from tests.providers.conformance.pack import Pack, Peer, Proof, Secret, Step
from tests.providers.conformance.stage import Stage
from tests.providers.conformance.wire import Answer, Wire

#: Ends of months and years, a leap day, both sides of Berlin's change to summer time.
MOMENTS = [
    datetime(2027, 1, 31, 23, 59, 59, tzinfo=UTC),
    datetime(2027, 2, 28, 12, 0, tzinfo=UTC),
    datetime(2028, 2, 29, 0, 0, tzinfo=UTC),
    datetime(2027, 3, 28, 0, 59, 59, tzinfo=UTC),
    datetime(2027, 3, 28, 1, 0, tzinfo=UTC),
    datetime(2027, 12, 31, 23, 59, 59, tzinfo=UTC),
]
PERIODS = [
    (datetime(2027, 1, 31, 10, tzinfo=UTC), datetime(2027, 2, 28, 10, tzinfo=UTC)),
    (datetime(2028, 1, 31, 10, tzinfo=UTC), datetime(2028, 2, 29, 10, tzinfo=UTC)),
    (datetime(2027, 3, 27, 1, 30, tzinfo=UTC), datetime(2027, 4, 27, 1, 30, tzinfo=UTC)),
]
#: Two digits after the point, as they are and in their largest and smallest form; then no and three.
AMOUNTS = ["10.99", "0.01", "999999.99"]
OTHER_AMOUNTS = [
    ("JPY", "1200"),
    ("JPY", "1"),
    ("KWD", "1.234"),
    ("KWD", "0.001"),
]


def read(provider: Provider, pack: Pack, content: bytes) -> list[ProviderEvent]:
    delivery = pack.signed(content, at=clock.wall())
    return provider.parse_webhook(delivery.headers, delivery.raw)


def believed(provider: Provider, pack: Pack, peer: Peer, content: bytes) -> list[ProviderEvent]:
    """The same; of what only hints, what the provider says when it is asked."""
    if pack.proof != Proof.SENDER:
        return read(provider, pack, content)
    peer.make_true(content)
    return provider.confirm_events(read(provider, pack, content))


def key(provider: Provider, pack: Pack, content: bytes, *, at: datetime | None = None) -> str:
    delivery = pack.signed(content, at=at or clock.wall())
    return provider.delivery_key(delivery.headers, delivery.raw)


class Reading:
    # --- C09

    @case("C09")
    def test_c09_each_documented_type_is_read_exactly(self, pack: Pack, provider: Provider) -> None:
        assert {vector.kind for vector in pack.vectors()} == {"documented", "extra", "sparse"}
        for vector in pack.vectors():
            events = read(provider, pack, vector.content)
            assert [replace(event, raw={}) for event in events] == list(vector.events), vector.name
            name = key(provider, pack, vector.content)
            assert [event.event_id for event in events] == [f"{name}#{n}" for n in range(len(events))], vector.name
            assert len(name) < 200, "it has to fit its column, with a number behind"

    @case("C09")
    def test_c09_whatever_moves_money_is_documented(self, pack: Pack, facts: Facts) -> None:
        told = {event.type for vector in pack.vectors() for event in vector.events}
        wanted = {EventType.PAYMENT_SUCCEEDED, EventType.PAYMENT_FAILED}
        wanted |= {EventType.PAYMENT_REFUNDED} if facts.caps.refund_full and not pack.silent_refunds else set()
        wanted |= {EventType.SUBSCRIPTION_PAUSED} if facts.caps.pause else set()
        if pack.proof != Proof.SENDER:  # a hint becomes an event when it is confirmed
            assert wanted <= told, sorted(wanted - told)

    @case("C09", "grace")
    def test_c09_grace_says_how_long(self, pack: Pack, stage: Stage) -> None:
        if pack.proof == Proof.SENDER:  # what only hints says nothing before it is confirmed
            start = stage.next_spring()
            purchase = purchase_made(pack, stage.facts, stage.peer, stage.provider)
            stage.at(start + timedelta(days=31))
            stage.peer.play(Step.GRACE, purchase, stage)
            events = stage.events_told()
        else:
            events = [event for vector in pack.vectors() for event in vector.events]
        grace = [event for event in events if event.type is EventType.SUBSCRIPTION_GRACE]
        assert grace
        assert all(event.period_end is not None for event in grace)

    @case("C09")
    def test_c09_an_unknown_type_is_no_event_and_a_line_in_the_log(
        self, pack: Pack, provider: Provider, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert pack.unknown()
        for content in pack.unknown():
            caplog.clear()
            with caplog.at_level(logging.INFO):
                assert read(provider, pack, content) == []
            assert caplog.records, content
            assert key(provider, pack, content)

    # --- C10

    @case("C10")
    def test_c10_a_redelivery_has_the_same_key(self, pack: Pack, provider: Provider) -> None:
        """Signed anew a day later, as whoever tries again does."""
        now = clock.wall()
        for vector in pack.vectors():
            assert key(provider, pack, vector.content, at=now) == key(
                provider, pack, vector.content, at=now + timedelta(days=1)
            ), vector.name

    @case("C10")
    def test_c10_every_charge_has_its_own(self, pack: Pack, provider: Provider) -> None:
        charges = [pack.payment(Decimal("9.90"), pack.currency, number=n).content for n in (1, 2, 3)]
        assert len({key(provider, pack, content) for content in charges}) == 3
        if pack.proof != Proof.SENDER:
            ids = {
                event.provider_payment_id
                for content in charges
                for event in read(provider, pack, content)
                if event.type is EventType.PAYMENT_SUCCEEDED
            }
            assert len(ids) == 3
            assert None not in ids

    # --- C13

    @case("C13")
    def test_c13_amounts_are_exact_in_every_currency(self, pack: Pack, facts: Facts, peer: Peer) -> None:
        for currency, amount in [*((pack.currency, amount) for amount in AMOUNTS), *OTHER_AMOUNTS]:
            priced = pack.payment(Decimal(amount), currency)
            provider = facts.adapter(pack.name, {**pack.config(peer.api), **priced.settings})
            sells = pack.currencies is None or currency in pack.currencies
            assert provider.supports_currency(currency) == sells
            if not sells:
                continue
            events = believed(provider, pack, peer, priced.content)
            [paid] = [event for event in events if event.provider_payment_id]
            assert (paid.amount, paid.currency) == (Decimal(amount), currency)
            assert type(paid.amount) is Decimal

    @case("C13")
    def test_c13_there_is_no_float_anywhere(self, pack: Pack, provider: Provider) -> None:
        for vector in pack.vectors():
            for event in read(provider, pack, vector.content):
                _no_float(event.raw)
                for field in fields(event):
                    assert not isinstance(getattr(event, field.name), float), f"{vector.name}: {field.name}"
                assert (event.amount is None) == (event.currency is None), vector.name

    # --- C14

    @case("C14")
    def test_c14_times_are_aware_utc(self, pack: Pack, provider: Provider) -> None:
        for vector in pack.vectors():
            for event in read(provider, pack, vector.content):
                for moment in (event.occurred_at, event.period_start, event.period_end):
                    assert moment is None or moment.tzinfo is UTC, vector.name
                if event.period_start is not None and event.period_end is not None:
                    assert event.period_start < event.period_end, vector.name

    @case("C14")
    def test_c14_no_moment_moves(self, pack: Pack, provider: Provider) -> None:
        for moment in MOMENTS:
            events = read(provider, pack, pack.payment(Decimal("9.90"), pack.currency, at=moment).content)
            assert {event.occurred_at for event in events} <= {moment}
            assert events or pack.proof == Proof.SENDER

    @case("C14", "sets periods")
    def test_c14_periods_are_the_providers(self, pack: Pack, peer: Peer, asked: Provider) -> None:
        for start, end in PERIODS:
            events = believed(asked, pack, peer, pack.period(start, end))
            paid = [event for event in events if event.type is EventType.PAYMENT_SUCCEEDED]
            assert [(event.period_start, event.period_end) for event in paid] == [(start, end)]

    # --- C19

    @case("C19", "states")
    def test_c19_every_state_has_one_word_of_ours(
        self, pack: Pack, facts: Facts, peer: Peer, asked: Provider, caplog: pytest.LogCaptureFixture
    ) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        assert asked.get_subscription(purchase.sub_id).status is SubStatus.ACTIVE
        # Where PayFlow sets the periods, what renews no more may be all that the provider knows of an end.
        over = {SubStatus.EXPIRED} | ({SubStatus.CANCELED} if facts.caps.price_set_by == "payflow" else set())
        assert SubStatus.ACTIVE in pack.states.values()
        assert over & set(pack.states.values())
        for word, status in pack.states.items():
            peer.call_it(purchase, word)
            state = asked.get_subscription(purchase.sub_id)
            assert (state.provider_sub_id, state.status) == (purchase.sub_id, status), word
            for moment in (state.period_start, state.period_end, state.as_of):
                assert moment is None or moment.tzinfo is UTC
        caplog.clear()
        peer.call_it(purchase, "a_word_of_tomorrow")
        assert asked.get_subscription(purchase.sub_id).status is SubStatus.UNKNOWN
        assert any(record.levelno >= logging.WARNING for record in caplog.records)

    # --- C24

    @case("C24")
    def test_c24_calls_and_deliveries_show_no_secret_and_no_person(
        self, pack: Pack, facts: Facts, asked: Provider, wire: Wire, caplog: pytest.LogCaptureFixture
    ) -> None:
        shown, now = [repr(asked), str(asked)], clock.wall()
        with caplog.at_level(logging.DEBUG):
            for body in (None, Answer(500, EMAIL.encode()), Answer(400, EMAIL.encode()), Answer(200, EMAIL.encode())):
                wire.calm()
                if body is not None:
                    wire.always(body)
                for _, call in every_call(pack).values():
                    shown += _tried(lambda call=call: call(asked))
            contents = [*pack.malformed(), *pack.unknown(), pack.stranger(user_ref="", email=EMAIL)]
            for secret in (Secret.CURRENT, Secret.FOREIGN):
                for content in contents:
                    delivery = pack.signed(content, at=now, secret=secret)
                    for take in (
                        lambda d: asked.verify_webhook(d.headers, d.raw, now),
                        lambda d: asked.delivery_key(d.headers, d.raw),
                        lambda d: asked.parse_webhook(d.headers, d.raw),
                    ):
                        shown += _tried(lambda take=take, delivery=delivery: take(delivery))
        # The libraries' own chatter about the wire is switched off in production; ours is not.
        shown += [
            f"{record.getMessage()} {record.exc_text or ''}"
            for record in caplog.records
            if not record.name.startswith(("httpcore", "hpack", "urllib3", "django"))
        ]
        for text in shown:
            for private in (*pack.secrets, EMAIL):
                assert private not in text, text[:500]


def _tried(call: Any) -> list[str]:
    """What the call shows of itself to whoever prints it: its result, or its error with everything behind it."""
    try:
        result = call()
    except ProviderError as error:
        texts, behind = [], error
        while behind is not None:
            texts.append(f"{behind} {behind!r}")
            behind = behind.__cause__ or behind.__context__
        return texts
    return [repr(result)]


def _no_float(value: Any) -> None:
    assert not isinstance(value, float)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple) and not isinstance(value, StoredMethod):
        for item in value:
            _no_float(item)
