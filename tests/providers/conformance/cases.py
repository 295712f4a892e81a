"""The cases, whom each is for, and what the core cannot do yet: everything that is known without running anything.

A test says by `@case("C17", "refunds")` which case it is part of and which need calls for it. A need is a question to an
adapter's capabilities and its pack; where the answer is no, the test is *not called for*, and the reason is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from providers.base import Caps, Provider
from providers.registry import adapter_class
from tests.providers.conformance.pack import Pack, Step

#: Nobody listens there: for providers that are only looked at.
NOWHERE = "http://127.0.0.1:9/api"

#: What a provider tells about a subscription's state, beside its money.
STATE_STEPS = frozenset(
    {Step.CANCELED, Step.RESUMED, Step.PAUSED, Step.GRACE, Step.ON_HOLD, Step.EXPIRED, Step.REVOKED}
)


@dataclass(frozen=True)
class Facts:
    """An adapter as it looks from outside."""

    pack: Pack
    caps: Caps
    adapter: type[Provider]


@dataclass(frozen=True)
class Need:
    """`met` decides; `otherwise` is the reason that is reported where it isn't."""

    met: Callable[[Facts], bool]
    otherwise: str


@dataclass(frozen=True)
class Case:
    title: str
    needs: tuple[str, ...] = ("always",)


def _cap(name: str) -> Callable[[Facts], bool]:
    return lambda facts: bool(getattr(facts.caps, name))


NEEDS: dict[str, Need] = {
    "always": Need(lambda facts: True, ""),
    "creates": Need(_cap("create"), "it opens no checkouts"),
    "links": Need(_cap("payment_link"), "it has no payment links"),
    "attaches": Need(_cap("attach"), "it has no store purchases"),
    "trials": Need(_cap("trial"), "it has no trials"),
    "refunds": Need(_cap("refund_full"), "it has no refunds by API"),
    "keyed refunds": Need(
        lambda facts: facts.caps.refund_full and not facts.caps.unkeyed_refunds, "it has no refunds under keys"
    ),
    "unkeyed refunds": Need(_cap("unkeyed_refunds"), "it has no refunds without keys"),
    "refunds parts": Need(_cap("refund_partial"), "it refunds no parts"),
    "tells refunds": Need(
        lambda facts: facts.caps.refund_partial and not facts.pack.silent_refunds, "it tells of no refunds in parts"
    ),
    "charges": Need(_cap("merchant_charge"), "it charges no stored methods"),
    "cancels later": Need(_cap("cancel_at_period_end"), "it isn't told of cancellations at the period's end"),
    "cancels now": Need(_cap("cancel_now"), "it isn't told of cancellations at once"),
    "resumes": Need(_cap("resume"), "it resumes nothing"),
    "pauses": Need(_cap("pause"), "it pauses nothing"),
    "changes": Need(_cap("change"), "it changes nothing"),
    "acknowledges": Need(_cap("acknowledge"), "it wants no acknowledgement"),
    "states": Need(_cap("fetch_state"), "it has no state to fetch"),
    "feed": Need(_cap("feed"), "it keeps no list of what it told"),
    "lists deliveries": Need(
        lambda facts: facts.caps.feed and facts.pack.lists_deliveries, "it has no list of its deliveries"
    ),
    "finds": Need(_cap("find_purchase"), "it has no look-up of purchases"),
    "reconciles": Need(lambda facts: facts.caps.fetch_state or facts.caps.feed, "there is nothing to reconcile with"),
    "test mode": Need(_cap("test_mode"), "it marks no deliveries as tests"),
    "grace": Need(_cap("grace"), "it grants no grace"),
    "sets periods": Need(lambda facts: facts.caps.price_set_by == "provider", "PayFlow sets its periods"),
    "sells": Need(lambda facts: facts.caps.hosted_checkout or facts.caps.attach, "nothing is bought through it"),
    "tells state": Need(lambda facts: bool(facts.pack.steps & STATE_STEPS), "it tells of money only"),
    "rotates": Need(lambda facts: facts.pack.rotates, "its proof has no secret of ours to rotate"),
    "ages": Need(lambda facts: facts.pack.tolerance is not None, "its proof has no time in it"),
    "asks": Need(
        lambda facts: facts.adapter.confirm_events is not Provider.confirm_events,
        "its deliveries are the proof: processing asks nobody",
    ),
}

CASES: dict[str, Case] = {
    "C01": Case("capabilities are complete, frozen and true"),
    "C02": Case("what is bought goes out as documented", ("creates", "links", "attaches", "trials")),
    "C03": Case("the same key, or a lost answer, makes one object", ("creates",)),
    "C04": Case("foreign statuses become our errors, foreign words don't"),
    "C05": Case("no redirects, no untrusted TLS, timeouts, capped answers"),
    "C06": Case("genuine deliveries pass, under both secrets", ("always", "rotates")),
    "C07": Case("everything else is a SignatureError", ("always", "ages")),
    "C08": Case("proof comes before parsing"),
    "C09": Case("each documented type is read exactly", ("always", "grace")),
    "C10": Case("a redelivery has the same key, another charge another"),
    "C11": Case("twice, and twice at once, is once", ("sells",)),
    "C12": Case("every order of delivery has the same end", ("sells",)),
    "C13": Case("money is exact", ("always", "tells refunds")),
    "C14": Case("times are aware UTC, periods are not empty", ("always", "sets periods")),
    "C15": Case("access follows state and time", ("sells", "tells state")),
    "C16": Case(
        "commands to the provider's subscription are idempotent",
        ("cancels later", "cancels now", "resumes", "pauses", "changes", "acknowledges"),
    ),
    "C17": Case(
        "refunds: whole, in parts, never too much, once",
        ("refunds", "keyed refunds", "unkeyed refunds", "refunds parts"),
    ),
    "C18": Case("charges of a stored method", ("charges",)),
    "C19": Case("every state has one word of ours, unknown ones are unknown", ("states",)),
    "C20": Case("the answer that the provider wants"),
    "C21": Case("a provider that is down changes nothing", ("asks",)),
    "C22": Case("tests are marked and change nothing", ("test mode",)),
    "C23": Case("money finds its user by our reference, never by e-mail", ("always", "sells", "attaches")),
    "C24": Case("no secret and no person in logs, texts, reprs"),
    "C25": Case("500 mutations change nothing and raise nothing else"),
    "C26": Case(
        "what was missed is found, under the same keys", ("states", "feed", "lists deliveries", "finds", "reconciles")
    ),
}

#: Where a capability's proof is: its case and need. `hosted_checkout` is proven by the page that a create answers.
PROOFS: dict[str, tuple[str, str]] = {
    "create": ("C02", "creates"),
    "hosted_checkout": ("C02", "creates"),
    "attach": ("C02", "attaches"),
    "trial": ("C02", "trials"),
    "cancel_now": ("C16", "cancels now"),
    "cancel_at_period_end": ("C16", "cancels later"),
    "resume": ("C16", "resumes"),
    "pause": ("C16", "pauses"),
    "change": ("C16", "changes"),
    "refund_full": ("C17", "refunds"),
    "refund_partial": ("C17", "refunds parts"),
    "unkeyed_refunds": ("C17", "unkeyed refunds"),
    "merchant_charge": ("C18", "charges"),
    "payment_link": ("C02", "links"),
    "grace": ("C09", "grace"),
    "webhooks_signed": ("C07", "always"),
    "fetch_state": ("C19", "states"),
    "test_mode": ("C22", "test mode"),
    "acknowledge": ("C16", "acknowledges"),
    "feed": ("C26", "feed"),
    "find_purchase": ("C26", "finds"),
}
#: What is no ability but a fact about the provider, which no call could prove.
NOT_ABILITIES = frozenset({"renewal_driver", "price_set_by", "merchant_of_record"})

Outcome = Literal["passed", "not called for"]


def facts_of(pack: Pack) -> Facts:
    config = pack.config(NOWHERE)
    adapter = adapter_class(config["adapter"])
    return Facts(pack, adapter(pack.name, config).capabilities, adapter)


def standing(facts: Facts, case_id: str) -> tuple[Outcome, str]:
    """What the case must come to for this adapter, with the reason where it isn't `passed`."""
    if not any(NEEDS[need].met(facts) for need in CASES[case_id].needs):
        return "not called for", "; ".join(NEEDS[need].otherwise for need in CASES[case_id].needs)
    return "passed", ""


def case(case_id: str, need: str = "always") -> Any:
    """Marks a test as part of a case, called for by `need`."""
    if need not in CASES[case_id].needs:
        raise ValueError(f"{case_id} has no need {need!r}")
    return pytest.mark.case(case_id, need)
