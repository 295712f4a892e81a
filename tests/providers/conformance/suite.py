"""The suite: C01 to C26 for one pack. `./test tests/providers/conformance -k lava` runs it for that."""

from __future__ import annotations

from tests.providers.conformance.commands import Commands
from tests.providers.conformance.contract import Contract
from tests.providers.conformance.effects import Effects
from tests.providers.conformance.proof import Authenticity
from tests.providers.conformance.reading import Reading
from tests.providers.conformance.traffic import Traffic


class TestConformance(Contract, Traffic, Authenticity, Reading, Commands, Effects):
    """Of one pack one process runs it all: the last test asks what became of the others."""
