"""The packs of this repository, found by their files, and those that PAYFLOW_CONFORMANCE_PACKS names (`module`, by commas).

Each module has a `PACK`. A third-party package keeps its own pack beside its adapter: the example of
docs/write-a-provider.md is such a one, and is always run.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from tests.providers.conformance.pack import Pack

VARIABLE = "PAYFLOW_CONFORMANCE_PACKS"
#: Where the example lies installed: its package beside its dist-info, as in site-packages.
THIRD_PARTY = Path(__file__).resolve().parents[2] / "thirdparty"
EXAMPLE = "payflow_tollgate.conformance"


def installed_packs() -> list[Pack]:
    """The example's, and what the variable names."""
    if str(THIRD_PARTY) not in sys.path:
        sys.path.append(str(THIRD_PARTY))
    others = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    return [_pack(module) for module in (EXAMPLE, *others)]


def own_packs() -> list[Pack]:
    """Those of this folder, by name."""
    return sorted((_pack(f"{__name__}.{found.name}") for found in iter_modules(__path__)), key=lambda pack: pack.name)


def _pack(module: str) -> Pack:
    found: Pack = import_module(module).PACK
    return found
