"""Small runs of the simulator, and that its invariants can fail."""

from __future__ import annotations

import pytest

from portal.simulator.run import simulation_run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_quarter_with_faults_keeps_every_invariant(seed):
    outcome = simulation_run(subscribers=12, months=3, seed=seed, faults=True)
    print(outcome.report.table(), outcome.report.seconds)
    assert outcome.violations == []
