"""The suite itself: every capability has a proof, every need of a case a test, every outcome its place in the table."""

from __future__ import annotations

import dataclasses
import inspect
from types import SimpleNamespace

import pytest

from providers.base import Caps
from tests.providers.conformance.cases import (
    CASES,
    NEEDS,
    NOT_ABILITIES,
    PROOFS,
    case,
    facts_of,
    standing,
)
from tests.providers.conformance.packs import own_packs
from tests.providers.conformance.report import outcome_of
from tests.providers.conformance.suite import TestConformance as Suite


def parts() -> set[tuple[str, str]]:
    """The case and need of every test of the suite."""
    found = set()
    for name, method in inspect.getmembers(Suite, inspect.isfunction):
        if name.startswith("test_"):
            [mark] = [mark for mark in method.pytestmark if mark.name == "case"]
            assert name.startswith(f"test_{mark.args[0].lower()}_"), name
            found.add(mark.args)
    return found


def test_every_capability_has_a_proof_that_is_a_test() -> None:
    assert set(PROOFS) | NOT_ABILITIES == {field.name for field in dataclasses.fields(Caps)}
    assert set(PROOFS.values()) <= parts()


def test_every_case_and_need_has_a_test_and_every_test_a_case() -> None:
    assert list(CASES) == [f"C{number:02}" for number in range(1, 27)]
    assert {(name, need) for name, one in CASES.items() for need in one.needs} == parts()
    assert {need for one in CASES.values() for need in one.needs} == set(NEEDS)
    with pytest.raises(ValueError, match="no need"):
        case("C01", "refunds")


def test_what_stands_follows_from_the_capabilities() -> None:
    lava, sandbox = (facts_of(pack) for pack in own_packs() if pack.name in ("lava", "sandbox"))
    reasons = ["no refunds by API", "no refunds under keys", "no refunds without keys"]
    assert standing(lava, "C17") == (
        "not called for",
        "; ".join(f"it has {one}" for one in reasons) + "; it refunds no parts",
    )
    assert standing(sandbox, "C17") == ("passed", "")
    attaching = dataclasses.replace(lava, caps=dataclasses.replace(lava.caps, attach=True))
    assert standing(attaching, "C23") == ("passed", "")
    store = dataclasses.replace(
        attaching, caps=dataclasses.replace(attaching.caps, create=False, hosted_checkout=False)
    )
    assert standing(store, "C11") == ("passed", "")
    assert standing(store, "C03") == ("not called for", "it opens no checkouts")


def test_an_outcome_is_what_the_phases_say() -> None:
    def phase(when: str, outcome: str, **more: str) -> SimpleNamespace:
        return SimpleNamespace(when=when, failed=outcome == "failed", skipped=outcome == "skipped", **more)

    assert outcome_of(phase("call", "passed")) == "passed"
    assert outcome_of(phase("setup", "passed")) is None
    assert outcome_of(phase("setup", "skipped")) == "not called for"
    assert outcome_of(phase("teardown", "failed")) == "failed"
    assert outcome_of(phase("call", "failed")) == "failed"
