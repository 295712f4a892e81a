"""The emulator as a program: the keys from the environment, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import os
import signal
import threading

from tests.emulators.lava.server import LavaEmulator


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.lava", description="Emulates Lava on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    arguments = parser.parse_args()
    keys = {name: os.environ.get(name, "") for name in ("LAVA_API_KEY", "LAVA_SECRET_KEY")}
    if missing := [name for name, value in keys.items() if not value]:
        parser.error(f"{missing[0]} is not set")
    lava = LavaEmulator(api_key=keys["LAVA_API_KEY"], secret_key=keys["LAVA_SECRET_KEY"], port=arguments.port)
    enough = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: enough.set())
    with lava:
        print(f"lava emulator on {lava.base_url}", flush=True)
        enough.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
