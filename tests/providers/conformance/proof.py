"""C06 to C08 and C25: what is authentic, and what is not."""

from __future__ import annotations

import inspect
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from payflow.core import clock
from providers.base import (
    MalformedError,
    Provider,
    ProviderError,
    ProviderEvent,
    RequestRefused,
    SignatureError,
    Unavailable,
    UnknownReference,
)
from tests.providers.conformance.calls import SINCE, purchase_made
from tests.providers.conformance.cases import NEEDS, NOWHERE, Facts, case
from tests.providers.conformance.pack import Delivery, Pack, Peer, Proof, Secret
from tests.providers.conformance.wire import Letterbox

MUTATIONS = 500
#: A hint's time and name are its own; everything else of an event changes what we do.
BELIEVED = [name for name in ProviderEvent.__slots__ if name not in ("event_id", "occurred_at", "raw")]
#: The wire carries bytes: a header may be anything that HTTP lets through.
NO_HEADER_VALUES = (
    "",
    " ",
    ",",
    "\x00",
    "é" * 64,
    "\udce9" * 64,
    "0" * 4096,
    "t=,v1=",
    "Bearer ",
    "Bearer a.b.c",
    "{}",
)


class Authenticity:
    # --- C06

    @case("C06")
    def test_c06_every_genuine_delivery_passes(self, pack: Pack, provider: Provider) -> None:
        now = clock.wall()
        for vector in pack.vectors():
            delivery = pack.signed(vector.content, at=now)
            provider.verify_webhook(delivery.headers, delivery.raw, now)
            # More headers than the adapter knows, in an order of their own.
            more = {"x-forwarded-for": "203.0.113.7", **dict(reversed(delivery.headers.items())), "accept": "*/*"}
            provider.verify_webhook(more, delivery.raw, now)

    @case("C06", "rotates")
    def test_c06_both_secrets_count_during_a_rotation(self, pack: Pack, facts: Facts, provider: Provider) -> None:
        now, content = clock.wall(), pack.vectors()[0].content
        old = pack.signed(content, at=now, secret=Secret.PREVIOUS)
        provider.verify_webhook(old.headers, old.raw, now)
        config = pack.config(NOWHERE)
        previous = {key: "" for key in config if key.startswith("previous_")}
        assert previous, "the secret of before is configured under previous_..."
        rotated = facts.adapter(pack.name, {**config, **previous})
        with pytest.raises(SignatureError):
            rotated.verify_webhook(old.headers, old.raw, now)

    # --- C07

    @case("C07")
    def test_c07_everything_else_is_a_signature_error(self, pack: Pack, provider: Provider) -> None:
        now, content = clock.wall(), pack.vectors()[0].content
        forgeries = {**_forgeries(pack, provider, content, now), **pack.forgeries(content, at=now)}
        for name, forged in forgeries.items():
            try:
                provider.verify_webhook(forged.headers, forged.raw, now)
            except SignatureError as error:
                assert type(error) is SignatureError, name
            except BaseException as error:
                raise AssertionError(f"{name}: {error!r} instead of a SignatureError") from error
            else:
                pytest.fail(f"{name} passes")

    @case("C07", "ages")
    def test_c07_a_recorded_delivery_is_worthless_later(self, pack: Pack, provider: Provider) -> None:
        assert pack.tolerance is not None
        now, content = clock.wall(), pack.vectors()[0].content
        delivery = pack.signed(content, at=now)
        provider.verify_webhook(delivery.headers, delivery.raw, now + pack.tolerance - timedelta(seconds=2))
        with pytest.raises(SignatureError):
            provider.verify_webhook(delivery.headers, delivery.raw, now + pack.tolerance + timedelta(seconds=2))

    @case("C07")
    def test_c07_without_a_secret_nothing_is_authentic(self, pack: Pack, facts: Facts) -> None:
        """An empty setting must not become the empty key, under which anybody can sign."""
        now, content = clock.wall(), pack.vectors()[0].content
        config = pack.config(NOWHERE)
        emptied = {name: "" for name, value in config.items() if value in pack.secrets}
        assert emptied
        for nothing in ("", " "):
            without = facts.adapter(pack.name, {**config, **dict.fromkeys(emptied, nothing)})
            for secret in (Secret.CURRENT, Secret.EMPTY):
                if pack.keyed:
                    delivery = pack.signed(content, at=now, secret=secret)
                    with pytest.raises(SignatureError):
                        without.verify_webhook(delivery.headers, delivery.raw, now)

    @case("C07")
    def test_c07_secrets_are_compared_in_constant_time(self, pack: Pack, facts: Facts) -> None:
        """Of an HMAC; who checks a public key's signature compares nothing secret."""
        if pack.proof == Proof.BYTES:
            folder = Path(inspect.getfile(facts.adapter)).parent
            sources = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
            assert "compare_digest" in sources or "construct_event" in sources or "verify_header" in sources

    # --- C08

    @case("C08")
    def test_c08_proof_comes_before_parsing(self, pack: Pack, provider: Provider) -> None:
        now = clock.wall()
        assert pack.malformed()
        for content in pack.malformed():
            forged = pack.signed(content, at=now, secret=Secret.FOREIGN)
            with pytest.raises(SignatureError):
                provider.verify_webhook(forged.headers, forged.raw, now)
            genuine = pack.signed(content, at=now)
            provider.verify_webhook(genuine.headers, genuine.raw, now)
            with pytest.raises(MalformedError):
                # Whichever is called first by whoever reads it.
                provider.delivery_key(genuine.headers, genuine.raw)
                provider.parse_webhook(genuine.headers, genuine.raw)
                pytest.fail(f"{content[:80]!r} is understood")

    # --- C25

    @case("C25")
    def test_c25_no_mutation_changes_what_is_believed(
        self, pack: Pack, facts: Facts, peer: Peer, asked: Provider, _letterbox: Letterbox
    ) -> None:
        now = clock.wall()
        asks = NEEDS["asks"].met(facts) and pack.proof != Proof.BYTES
        if asks:
            purchase = purchase_made(pack, facts, peer, asked)
            peer.flush()
            delivery = _letterbox.emptied()[0]
        else:
            delivery = pack.signed(pack.vectors()[0].content, at=now)
        asked.verify_webhook(delivery.headers, delivery.raw, now)
        genuine = asked.parse_webhook(delivery.headers, delivery.raw)
        believed = _facts(asked.confirm_events(genuine))
        if pack.proof == Proof.SENDER:
            # A hint of another kind may ask for more; it is told nothing but what the records say.
            believed |= _facts(asked.fetch_events(purchase.sub_id, since=SINCE))
        chance = random.Random(25)
        for _ in range(MUTATIONS):
            mutated = _mutated(delivery.raw, chance)
            try:
                asked.verify_webhook(delivery.headers, mutated, now)
                events = asked.parse_webhook(delivery.headers, mutated)
                asked.delivery_key(delivery.headers, mutated)
            except (SignatureError, MalformedError):
                continue
            assert pack.proof != Proof.BYTES or mutated == delivery.raw, mutated
            if asks:
                assert _facts(_confirmed(asked, events)) <= believed, mutated
            else:
                assert _facts(events) == _facts(genuine), mutated

    @case("C25")
    def test_c25_what_is_signed_may_be_anything(self, pack: Pack, provider: Provider) -> None:
        """A genuine sender's nonsense is MalformedError, whatever it is made of."""
        now, chance, understood = clock.wall(), random.Random(26), 0
        for _ in range(MUTATIONS if pack.proof == Proof.BYTES else 0):
            delivery = pack.signed(_mutated(pack.vectors()[0].content, chance), at=now)
            provider.verify_webhook(delivery.headers, delivery.raw, now)
            try:
                provider.delivery_key(delivery.headers, delivery.raw)
                events = provider.parse_webhook(delivery.headers, delivery.raw)
            except MalformedError:
                continue
            understood += 1
            for event in events:
                assert event.amount is None or (event.amount.is_finite() and event.amount >= 0)
                assert event.occurred_at.tzinfo is not None
        assert understood < MUTATIONS


def _forgeries(pack: Pack, provider: Provider, content: bytes, now: datetime) -> dict[str, Delivery]:
    genuine = pack.signed(content, at=now)
    other = pack.signed(pack.payment(Decimal("7.77"), pack.currency, number=777).content, at=now)
    foreign = pack.signed(content, at=now, secret=Secret.FOREIGN)
    found = {"a foreign secret": foreign, "no headers": Delivery({}, genuine.raw)}
    if not pack.proof_headers:
        del found["no headers"]
    for name in pack.proof_headers:
        proof = genuine.headers[name]
        for value in (*NO_HEADER_VALUES, proof[:-8], proof[: len(proof) // 2], f"{proof}0", f"sha256={proof}"):
            found[f"{name}: {value[:30]!r} of {len(value)}"] = _with_header(genuine, name, value)
        for at in range(0, len(proof) - 2, max(1, len(proof) // 40)):
            found[f"{name}: byte {at} flipped"] = _with_header(genuine, name, _flipped_text(proof, at))
        if pack.proof != Proof.SENDER:
            found[f"{name} of another delivery"] = _with_header(genuine, name, other.headers[name])
    if pack.proof == Proof.BYTES:
        for at in range(len(genuine.raw)):
            flipped = genuine.raw[:at] + bytes([genuine.raw[at] ^ 1]) + genuine.raw[at + 1 :]
            found[f"body: byte {at} flipped"] = Delivery(genuine.headers, flipped)
        found["one byte less"] = Delivery(genuine.headers, genuine.raw[:-1])
        found["one byte more"] = Delivery(genuine.headers, genuine.raw + b"\n")
    if pack.proof != Proof.SENDER:
        found["nothing"] = Delivery(genuine.headers, b"")
        found["half"] = Delivery(genuine.headers, genuine.raw[: len(genuine.raw) // 2])
        found["not text"] = Delivery(genuine.headers, genuine.raw + b"\xff\xfe")
    found["too large, well signed"] = pack.signed(content + b" " * provider.max_webhook_bytes, at=now)
    return found


def _with_header(delivery: Delivery, name: str, value: str) -> Delivery:
    headers: Mapping[str, str] = {**delivery.headers, name: value}
    return Delivery(headers, delivery.raw)


def _flipped_text(text: str, at: int) -> str:
    return text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]


def _mutated(raw: bytes, chance: random.Random) -> bytes:
    """One to four bytes changed, taken out, doubled or put in; cut; or two stretches swapped."""
    mutated = bytearray(raw)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(mutated)) if mutated else 0
        match chance.randrange(6):
            case 0:
                mutated[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del mutated[at : at + chance.randint(1, 5)]
            case 2:
                mutated[at:at] = mutated[at : at + chance.randint(1, 9)]
            case 3:
                mutated[at:at] = chance.randbytes(chance.randint(1, 3))
            case 4:
                del mutated[at:]
            case 5:
                half = len(mutated) // 2
                mutated = mutated[half:] + mutated[:half]
    return bytes(mutated)


def _confirmed(provider: Provider, events: list[ProviderEvent]) -> list[ProviderEvent]:
    """What the provider confirms of a hint; of what it doesn't know (yet), or calls no reference at all, nothing."""
    try:
        return provider.confirm_events(events)
    except (UnknownReference, RequestRefused, MalformedError, Unavailable):
        return []
    except ProviderError as error:
        raise AssertionError("a running peer answers") from error


def _facts(events: list[ProviderEvent]) -> set[tuple[str, ...]]:
    """What is believed of the events: all but the name of their delivery and what only wraps them."""
    return {tuple(f"{name}={getattr(event, name)!r}" for name in BELIEVED) for event in events}
