"""The packs of this repository, found by their files, and those that PAYFLOW_CONFORMANCE_PACKS names (`module`, by commas).

Each module has a `PACK`. A third-party package keeps its own pack beside its adapter.
"""

from __future__ import annotations

import os
from importlib import import_module
from pkgutil import iter_modules

from tests.providers.conformance.pack import Pack

VARIABLE = "PAYFLOW_CONFORMANCE_PACKS"


def packs() -> list[Pack]:
    """Every pack, by name."""
    here = [f"{__name__}.{found.name}" for found in iter_modules(__path__)]
    others = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    found: list[Pack] = [import_module(module).PACK for module in (*here, *others)]
    return sorted(found, key=lambda pack: pack.name)
