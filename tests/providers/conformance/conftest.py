"""The worlds of the suite: a pack, its peer behind a wire, its deliveries in a letterbox.

Each file of `packs/` is a test module whose one class is the suite, so that workers which take whole files share the packs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina

from payflow.core import clock
from payments.services.ledger_check import ledger_check_run
from providers import registry
from providers.base import Provider
from tests.providers.conformance.cases import NEEDS, NOWHERE, Facts, facts_of
from tests.providers.conformance.pack import Pack, Peer
from tests.providers.conformance.packs import installed_packs
from tests.providers.conformance.report import NOT_CALLED_FOR, OUTCOMES, PROPERTY, outcome_of, row_of
from tests.providers.conformance.stage import Stage
from tests.providers.conformance.suite import TestConformance
from tests.providers.conformance.wire import Letterbox, Wire

#: It looks at the outcomes of the others.
LAST = "test_c01_what_is_promised_is_proven"


class PackFile(pytest.Module):
    """A pack ends with `PACK` and has no tests of its own: it gets the suite's."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        self.obj.TestConformance = TestConformance
        return [pytest.Class.from_parent(self, name=TestConformance.__name__)]


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Which files of `packs/` are asked about pyproject.toml says (python_files)."""
    if module_path.parent.name != "packs":
        return None
    found: pytest.Module = PackFile.from_parent(parent, path=module_path)
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "pack" in metafunc.fixturenames:
        own = getattr(metafunc.module, "PACK", None)
        packs = installed_packs() if own is None else [own]
        metafunc.parametrize("pack", packs, ids=[pack.name for pack in packs], indirect=True, scope="module")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.name.startswith(LAST))  # stable: nothing else moves


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    row = row_of(report)
    if row is not None and (outcome := outcome_of(report)) is not None:
        item.session.stash.setdefault(OUTCOMES, defaultdict(set))[row].add(outcome)
    return report


@pytest.fixture(scope="module")
def pack(request: pytest.FixtureRequest) -> Pack:
    found: Pack = request.param
    return found


@pytest.fixture(scope="module")
def facts(pack: Pack) -> Facts:
    return facts_of(pack)


@pytest.fixture(autouse=True)
def _called_for(request: pytest.FixtureRequest, pack: Pack, facts: Facts) -> None:
    case_id, need = request.node.get_closest_marker("case").args
    request.node.user_properties.append((PROPERTY, (pack.name, case_id, need)))
    if not NEEDS[need].met(facts):
        pytest.skip(f"{NOT_CALLED_FOR}: {NEEDS[need].otherwise}")


@pytest.fixture(scope="module", autouse=True)
def _no_pauses() -> Iterator[None]:
    """As many tries as ever, by the library's own test mode without the pauses between them: they take minutes."""
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@pytest.fixture
def provider(pack: Pack, facts: Facts) -> Provider:
    """As it is configured, with nobody to call."""
    return facts.adapter(pack.name, pack.config(NOWHERE))


@pytest.fixture(scope="module")
def _wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.stop()


@pytest.fixture(scope="module")
def _letterbox() -> Iterator[Letterbox]:
    letterbox = Letterbox.open()
    yield letterbox
    letterbox.stop()


@pytest.fixture
def peer(pack: Pack, live_server: Any, settings: Any, _wire: Wire, _letterbox: Letterbox) -> Iterator[Peer]:
    """The peer runs, PayFlow is configured to call it through the wire, and what it tells is kept."""
    _letterbox.emptied()
    settings.PAYFLOW_BASE_URL = _letterbox.url
    with pack.peer(shop_url=live_server.url, hook_url=f"{_letterbox.url}/webhooks/{pack.name}") as peer:
        settings.PAYFLOW_PROVIDERS = {pack.name: pack.config(_wire.to(peer.api, is_read=pack.is_read))}
        yield peer
        _wire.calm()


@pytest.fixture
def wire(peer: Peer, _wire: Wire) -> Wire:
    return _wire


@pytest.fixture
def asked(pack: Pack, peer: Peer) -> Provider:
    """The provider that PayFlow itself uses, its calls going through the wire to the peer."""
    return registry.get(pack.name)


@pytest.fixture
def stage(
    pack: Pack, facts: Facts, peer: Peer, asked: Provider, wire: Wire, _letterbox: Letterbox, live_server: Any
) -> Iterator[Stage]:
    yield Stage(pack, facts, peer, asked, _letterbox, live_server.url)
    # Whatever a story did to money, the books must agree with it.
    assert ledger_check_run(actor="system", wall=clock.wall()).faults == []
