"""The workloads, one module each; a new one is found by being here.

A module has `WORKLOAD` (see `benchmarks.workload.Workload`) and, measured over HTTP, `urlpatterns`: the bare views beside it.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def module(name: str) -> Any:
    """Imports models: Django must be set up."""
    return import_module(f"{__name__}.{name}")


def all_modules() -> list[Any]:
    return [module(name) for name in names()]
