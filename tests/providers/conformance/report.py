"""How the suite's outcomes are shown: `not called for` is an outcome of its own, and the end of a run has the table.

A pytest plugin, registered in tests/conftest.py so that it also runs where only workers collect.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

#: The name under which a test's report carries its adapter, case and need.
PROPERTY = "conformance"
NOT_CALLED_FOR = "not called for"
#: Of several tests of a case the last of these that any came to is the case's outcome.
GRAVITY = (NOT_CALLED_FOR, "passed", "failed")

Row = tuple[str, str, str]
#: What the tests of this run came to, for the one that asks whether every promise was kept.
OUTCOMES = pytest.StashKey[dict[Row, set[str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "case(id, need): a test of the conformance suite (tests/providers/conformance)")


def row_of(report: Any) -> Row | None:
    """Adapter, case and need of a test of the suite."""
    found = dict(getattr(report, "user_properties", ())).get(PROPERTY)
    return (found[0], found[1], found[2]) if found else None


def outcome_of(report: Any) -> str | None:
    """What the report of one phase says; None where another phase decides."""
    if report.failed:
        return "failed"
    if report.skipped:
        return NOT_CALLED_FOR
    return "passed" if report.when == "call" else None


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    if row_of(report) and report.skipped and not hasattr(report, "wasxfail"):
        return NOT_CALLED_FOR, "n", NOT_CALLED_FOR.upper()
    return None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    cells: dict[tuple[str, str], str] = {}
    reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
    for report in (one for reports in terminalreporter.stats.values() for one in reports):
        row = row_of(report)
        outcome = outcome_of(report) if row else None
        if row is None or outcome is None:
            continue
        adapter, case_id, _ = row
        cells[adapter, case_id] = max(outcome, cells.get((adapter, case_id), GRAVITY[0]), key=GRAVITY.index)
        if outcome == NOT_CALLED_FOR:
            reasons[case_id, report.longrepr[2].partition(f"{NOT_CALLED_FOR}: ")[2]].append(adapter)
    if not cells:
        return
    adapters = sorted({adapter for adapter, _ in cells})
    width = max(len(word) for word in (*GRAVITY, *adapters)) + 2
    terminalreporter.section("provider conformance")
    terminalreporter.write_line("case  " + "".join(adapter.ljust(width) for adapter in adapters))
    for case_id in sorted({case_id for _, case_id in cells}):
        line = "".join(cells.get((adapter, case_id), "not run").ljust(width) for adapter in adapters)
        terminalreporter.write_line(f"{case_id}   {line}")
    for (case_id, reason), whose in sorted(reasons.items()):
        terminalreporter.write_line(f"{case_id} {NOT_CALLED_FOR} by {', '.join(sorted(set(whose)))}: {reason}")
