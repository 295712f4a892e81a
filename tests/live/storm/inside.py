"""`python -m tests.live.storm.inside world|quiet ARGS`: a part of the storm in a process that has Django set up."""

from __future__ import annotations

import sys
from importlib import import_module

import django

if __name__ == "__main__":
    django.setup()
    import_module(f"tests.live.storm.{sys.argv[1]}").main(sys.argv[2:])
