"""The emulator as a program: the secrets from the environment, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from zoneinfo import ZoneInfo

from tests.emulators.twocheckout.server import TwoCheckoutEmulator


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.emulators.twocheckout", description="Emulates 2Checkout on loopback."
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--hook-url", default="", help="where IPN and LCN go; without it they are made and kept")
    parser.add_argument("--timezone", default="Europe/Bucharest", help="the account's zone")
    arguments = parser.parse_args()
    keys = {name: os.environ.get(name, "") for name in ("TWOCHECKOUT_SECRET_KEY", "TWOCHECKOUT_BUY_LINK_SECRET")}
    if missing := [name for name, value in keys.items() if not value]:
        parser.error(f"{missing[0]} is not set")
    tco = TwoCheckoutEmulator(
        secret_key=keys["TWOCHECKOUT_SECRET_KEY"],
        buy_link_secret=keys["TWOCHECKOUT_BUY_LINK_SECRET"],
        hook_url=arguments.hook_url,
        zone=ZoneInfo(arguments.timezone),
        port=arguments.port,
    )
    enough = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: enough.set())
    with tco:
        print(f"2checkout emulator on {tco.origin}", flush=True)
        enough.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
