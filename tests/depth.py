"""How far the long proofs go: `./test` makes a sample of each, and CI's second pass, with PAYFLOW_TEST_DEPTH=full, all of it.

A sample shows that what the proof is about works; the whole is for what happens in one of many cases.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

VARIABLE = "PAYFLOW_TEST_DEPTH"
IS_FULL = os.environ.get(VARIABLE) == "full"


def depth(*, sample: T, full: T) -> T:
    """What this run takes of it."""
    return full if IS_FULL else sample
