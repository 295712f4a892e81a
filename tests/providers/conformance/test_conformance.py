"""The suite for the packs of installed packages. For those of `packs/` their own files run it (see conftest)."""

from __future__ import annotations

from tests.providers.conformance.suite import TestConformance

__all__ = ["TestConformance"]
