from __future__ import annotations

import pytest

from payflow.core import clock
from plans.models import Plan
from plans.seeds import plans_seed
from tests.flows import START, shop

__all__ = ["plans", "shop"]


@pytest.fixture
def plans(db) -> dict[str, Plan]:
    """The documents' plans by code, at START."""
    clock.move_to(START)
    return {plan.code: plan for plan in plans_seed(at=START)}
