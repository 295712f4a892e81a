"""C02 to C05: what goes out over the wire, and what becomes of what comes back."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from providers.base import (
    AuthError,
    Provider,
    ProviderError,
    RateLimited,
    RequestRefused,
    SubResult,
    SubStatus,
    Unavailable,
    UnknownReference,
)
from providers.wire.urls import is_web_url
from tests.providers.conformance.calls import (
    EMAIL,
    USER,
    every_call,
    link_request,
    purchase_made,
    sub_request,
)
from tests.providers.conformance.cases import Facts, case
from tests.providers.conformance.pack import Order, Pack, Peer, Step
from tests.providers.conformance.wire import ENDLESS, Answer, Letterbox, Trouble, Wire, untrusted_peer

#: The provider's own words, which must not be repeated: they may hold anything.
WORDS = "Kundenkarte 4242 von Frau Mustermann"
#: What a status means (docs/write-a-provider.md); a redirect leaves open what was done.
MEANINGS: dict[int, type[ProviderError]] = {
    302: Unavailable,
    400: RequestRefused,
    401: AuthError,
    403: AuthError,
    404: UnknownReference,
    409: RequestRefused,
    422: RequestRefused,
    429: RateLimited,
    500: Unavailable,
    503: Unavailable,
}
ANSWER_SECONDS = 0.4


class Traffic:
    # --- C02

    @case("C02", "creates")
    def test_c02_a_create_answers_a_page(self, pack: Pack, facts: Facts, asked: Provider) -> None:
        result = asked.create_subscription(sub_request(pack))
        _is_sound(result)
        assert (result.checkout_url is not None) == facts.caps.hosted_checkout

    @case("C02", "creates")
    def test_c02_the_requests_are_the_documented_ones(
        self, pack: Pack, facts: Facts, peer: Peer, asked: Provider, wire: Wire
    ) -> None:
        goldens = pack.goldens()
        assert goldens
        for golden in goldens:
            wire.sent.clear()
            golden.call(asked)
            sent = wire.sent[-1]
            assert (sent.method, sent.path.removeprefix(_path_of(peer.api))) == (golden.method, golden.path), (
                golden.name
            )
            assert sent.body == golden.body, golden.name
            assert {name: sent.headers.get(name) for name in golden.headers} == dict(golden.headers), golden.name
            for secret in pack.secrets:
                assert secret not in sent.path, f"{golden.name}: a secret in an address is a secret in logs"

    @case("C02", "links")
    def test_c02_a_link_answers_a_page(self, pack: Pack, asked: Provider) -> None:
        result = asked.create_payment_link(link_request(pack))
        _is_sound(result)
        assert result.checkout_url is not None

    @case("C02", "attaches")
    def test_c02_a_store_purchase_is_read_at_the_store(
        self, pack: Pack, facts: Facts, peer: Peer, asked: Provider
    ) -> None:
        purchase = purchase_made(pack, facts, peer, asked)
        state = asked.attach_purchase(user_ref=USER, token=purchase.token)
        assert state.provider_sub_id == purchase.sub_id
        assert state.status is SubStatus.ACTIVE
        assert state.user_ref == USER
        assert state.provider_plan_ref == pack.product
        assert state.period_end is not None
        with pytest.raises(ProviderError):
            asked.attach_purchase(user_ref=USER, token=pack.unknown_token)

    @case("C02", "trials")
    def test_c02_a_trial_is_asked_for(
        self, pack: Pack, facts: Facts, peer: Peer, asked: Provider, _letterbox: Letterbox
    ) -> None:
        """The peer takes no money for it and says that it has begun."""
        request = sub_request(pack, trial_days=14)
        url = asked.create_subscription(request).checkout_url if facts.caps.create else None
        order = Order(request.user_ref, request.order_ref, request.amount, request.currency, url, trial_days=14)
        peer.buy(order, Step.TRIAL_STARTED)
        peer.flush()
        events = [
            event
            for letter in _letterbox.emptied()
            for event in asked.confirm_events(asked.parse_webhook(letter.headers, letter.raw))
        ]
        assert "subscription.activated" in [event.type for event in events]
        assert "payment.succeeded" not in [event.type for event in events]

    # --- C03

    @case("C03", "creates")
    def test_c03_the_same_key_makes_one_object(self, pack: Pack, peer: Peer, asked: Provider, wire: Wire) -> None:
        request = sub_request(pack)
        first = asked.create_subscription(request)
        once = len(wire.sent)
        second = asked.create_subscription(request)
        order = Order(request.user_ref, request.order_ref, request.amount, request.currency)
        if pack.creates_again:
            # Nothing could make it one: but both are the same order, of which what is paid is credited once (C11, C12).
            assert peer.made(order) == 2
            assert wire.sent[-1].body == wire.sent[once - 1].body
        elif pack.opens_another:
            # Nobody has seen the first one's page: one is left that can be paid.
            assert peer.made(order) == 1
            assert first.checkout_url != second.checkout_url
        else:
            assert peer.made(order) == 1
            assert first == second

    @case("C03", "creates")
    def test_c03_a_lost_answer_is_unknown_and_the_resumed_call_is_the_same_purchase(
        self, pack: Pack, peer: Peer, asked: Provider, wire: Wire
    ) -> None:
        request = sub_request(pack)
        wire.always(Trouble.LOST, reads_too=False)
        with pytest.raises(Unavailable):
            asked.create_subscription(request)
        wire.calm()
        _is_sound(asked.create_subscription(request))
        order = Order(request.user_ref, request.order_ref, request.amount, request.currency)
        assert peer.made(order) == (2 if pack.creates_again else 1)

    # --- C04

    @case("C04")
    def test_c04_each_status_has_its_error(self, pack: Pack, facts: Facts, asked: Provider, wire: Wire) -> None:
        for name, (capabilities, call) in every_call(pack).items():
            if not any(getattr(facts.caps, capability) for capability in capabilities):
                continue
            for status, meaning in MEANINGS.items():
                wire.always(_saying(status))
                if status == 404 and name.startswith("cancel"):
                    # What is gone needs no cancelling.
                    assert call(asked).status == SubStatus.CANCELED
                    continue
                with pytest.raises(ProviderError) as caught:
                    _must_raise(call, asked, unless_none=status == 404 and name == "find_payment")
                if not (status == 404 and name == "find_payment"):
                    # Of a look-up only the provider's own words say that it never saw a charge; else nobody knows.
                    assert type(caught.value) is meaning, f"{name} answered with {status}: {caught.value!r}"
                if status == 429:
                    assert caught.value.retry_after == 17, name
                assert WORDS not in str(caught.value)
                for secret in (*pack.secrets, EMAIL):
                    assert secret not in _chain(caught.value), f"{name} with {status}"
            wire.calm()

    @case("C04")
    def test_c04_no_answer_is_unknown(self, pack: Pack, facts: Facts, asked: Provider, wire: Wire) -> None:
        for name, (capabilities, call) in every_call(pack).items():
            if any(getattr(facts.caps, capability) for capability in capabilities):
                wire.always(Trouble.LOST)
                with pytest.raises(Unavailable):
                    pytest.fail(f"{name} answered {call(asked)!r}")
                wire.always(Answer(200, b"<html>we are being repaired</html>", (("Content-Type", "text/html"),)))
                with pytest.raises(ProviderError):
                    pytest.fail(f"{name} answered {call(asked)!r}")
        wire.calm()

    # --- C05

    @case("C05")
    def test_c05_a_redirect_is_not_followed(
        self, pack: Pack, facts: Facts, asked: Provider, wire: Wire, _letterbox: Letterbox
    ) -> None:
        for status in (301, 302, 303, 307, 308):
            headers = (("Location", f"{_letterbox.url}/elsewhere"), ("Content-Type", "text/plain"))
            wire.always(Answer(status, b"", headers))
            with pytest.raises(Unavailable):
                _any_call(pack, facts)(asked)
        assert _letterbox.emptied() == []

    @case("C05")
    def test_c05_an_untrusted_certificate_is_refused_whatever_the_settings(
        self, pack: Pack, facts: Facts, tmp_path: Path
    ) -> None:
        with untrusted_peer(tmp_path) as (url, heard):
            config = pack.config(f"{url}/v1", verify=False, verify_ssl=False, insecure=True, tls_verify=False)
            with pytest.raises(Unavailable):
                _any_call(pack, facts)(facts.adapter(pack.name, config))
        assert heard == []

    @case("C05")
    def test_c05_silence_ends(self, pack: Pack, facts: Facts, peer: Peer, wire: Wire) -> None:
        """`answer_seconds` is a setting of every adapter."""
        impatient = facts.adapter(pack.name, pack.config(wire.to(peer.api), answer_seconds=ANSWER_SECONDS))
        wire.always(Trouble.SILENT)
        started = time.monotonic()
        with pytest.raises(Unavailable):
            _any_call(pack, facts)(impatient)
        # At most three tries, and the pauses between them.
        assert timedelta(seconds=time.monotonic() - started) < timedelta(seconds=3 * ANSWER_SECONDS + 3)

    @case("C05")
    def test_c05_an_endless_answer_is_cut(self, pack: Pack, facts: Facts, asked: Provider, wire: Wire) -> None:
        wire.always(Trouble.ENDLESS)
        with pytest.raises(ProviderError):
            _any_call(pack, facts)(asked)
        assert wire.read_of_endless < ENDLESS


def _is_sound(result: SubResult) -> None:
    assert result.provider_sub_id is None or result.provider_sub_id
    assert result.checkout_url is None or is_web_url(result.checkout_url)
    assert result.status in ("pending", "active")
    assert result.expires_at is None or result.expires_at.utcoffset() is not None


def _any_call(pack: Pack, facts: Facts) -> Any:
    """The first call that the adapter can make: what opens a checkout, or attaches a purchase."""
    return next(
        call
        for capabilities, call in every_call(pack).values()
        if any(getattr(facts.caps, one) for one in capabilities)
    )


def _saying(status: int) -> Answer:
    """The provider's answer of that status, in every shape in which errors are told."""
    body = f'{{"error": {{"message": "{WORDS}", "type": "x", "code": 7}}, "message": "{WORDS}", "errorMessage": "{WORDS}"}}'
    headers = (("Content-Type", "application/json"), ("Retry-After", "17"))
    return Answer(status, body.encode(), headers)


def _must_raise(call: Any, provider: Provider, *, unless_none: bool) -> None:
    answer = call(provider)
    if unless_none and answer is None:
        raise UnknownReference("never seen")
    pytest.fail(f"answered {answer!r}")


def _chain(error: BaseException | None) -> str:
    """The texts of an error and of what it comes from: a traceback shows them all."""
    texts = []
    while error is not None:
        texts.append(f"{error} {error!r}")
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


def _path_of(api: str) -> str:
    return "/" + api.split("://", 1)[1].partition("/")[2] if "/" in api.split("://", 1)[1] else ""
