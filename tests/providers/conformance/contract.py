"""C01: what an adapter says that it can do is whole, constant and true."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from payflow.core import clock
from providers.base import Caps, NotSupported, Provider
from tests.providers.conformance.calls import every_call
from tests.providers.conformance.cases import NEEDS, PROOFS, Facts, case
from tests.providers.conformance.pack import Pack, Proof, Step
from tests.providers.conformance.report import OUTCOMES
from tests.providers.conformance.wire import Wire


class Contract:
    @case("C01")
    def test_c01_capabilities_are_complete_and_frozen(self, facts: Facts, provider: Provider) -> None:
        caps = provider.capabilities
        assert type(caps) is Caps
        assert caps == provider.capabilities
        with pytest.raises(dataclasses.FrozenInstanceError):
            caps.create = not caps.create  # type: ignore[misc]
        for name in {field.name for field in dataclasses.fields(Caps)} - {"renewal_driver", "price_set_by"}:
            assert type(getattr(caps, name)) is bool, name
        assert caps.renewal_driver in ("provider", "merchant")
        assert caps.price_set_by in ("payflow", "provider")
        # What contradicts itself cannot be true.
        assert caps.create or caps.attach, "it sells nothing"
        assert caps.create or not caps.hosted_checkout
        assert caps.refund_full or not (caps.refund_partial or caps.unkeyed_refunds)
        assert caps.merchant_charge or caps.renewal_driver == "provider", "nobody would renew"
        assert caps.fetch_state or not caps.attach, "a store purchase is proven by asking"

    @case("C01")
    def test_c01_the_pack_plays_what_is_promised(self, pack: Pack, facts: Facts) -> None:
        """A capability decides what is called for; a pack cannot get round it by leaving something out."""
        caps = facts.caps
        wanted = {Step.PAID} | ({Step.DECLINED} if caps.hosted_checkout else set())
        wanted |= {Step.RENEWED, Step.RENEWAL_FAILED, Step.RECOVERED}
        wanted |= {Step.TRIAL_STARTED} if caps.trial and caps.create else set()
        wanted |= {Step.REFUNDED} if caps.refund_full else set()
        wanted |= {Step.REFUNDED_IN_PART} if caps.refund_partial else set()
        wanted |= {Step.GRACE} if caps.grace else set()
        wanted |= {Step.PAUSED, Step.RESUMED} if caps.pause else set()
        wanted |= {Step.CANCELED, Step.EXPIRED} if caps.price_set_by == "provider" else set()
        assert wanted <= pack.steps, sorted(wanted - pack.steps)
        assert bool(pack.states) == caps.fetch_state
        assert bool(pack.tests()) == caps.test_mode
        assert (pack.proof == Proof.SENDER) <= NEEDS["asks"].met(facts), "a hint must be confirmed"
        assert pack.proof_headers or pack.forgeries(pack.vectors()[0].content, at=clock.wall())
        assert all(pack.secrets)

    @case("C01")
    def test_c01_what_is_false_is_not_supported_and_calls_nobody(
        self, pack: Pack, facts: Facts, asked: Provider, wire: Wire
    ) -> None:
        for name, (capabilities, call) in every_call(pack).items():
            if name == "refund in part" and facts.caps.refund_full:
                continue  # whether an amount is a part, the provider's own record may have to tell: see C17
            if not any(getattr(facts.caps, capability) for capability in capabilities):
                with pytest.raises(NotSupported):
                    answer = call(asked)
                    pytest.fail(f"{name} answered {answer!r}")
        if not facts.caps.fetch_state:
            asked.manage_url(pack.unknown_refs[0])
        assert wire.sent == []

    @case("C01")
    def test_c01_what_is_promised_is_proven(self, request: pytest.FixtureRequest, pack: Pack, facts: Facts) -> None:
        """Runs after the others (see conftest): each True capability has a test of this run that passed."""
        outcomes = request.session.stash.get(OUTCOMES, {})
        # A run of some tests only (-k) knows about those.
        selected = {_row(item) for item in request.session.items}
        promised = {name: (pack.name, *PROOFS[name]) for name in PROOFS if getattr(facts.caps, name)}
        unproven = [name for name, proof in promised.items() if proof in selected and outcomes.get(proof) != {"passed"}]
        assert unproven == []


def _row(item: Any) -> tuple[str, str, str] | None:
    marker = item.get_closest_marker("case")
    return (item.callspec.params["pack"].name, *marker.args) if marker else None
