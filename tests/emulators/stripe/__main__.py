"""The emulator as a program: the keys from the environment, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import os
import signal
import threading

from tests.emulators.stripe.server import StripeEmulator


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.emulators.stripe", description="Emulates Stripe on loopback."
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--hook", default="", help="where its webhooks go")
    arguments = parser.parse_args()
    keys = {name: os.environ.get(name, "") for name in ("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET")}
    if missing := [name for name, value in keys.items() if not value]:
        parser.error(f"{missing[0]} is not set")
    stripe = StripeEmulator(
        secret_key=keys["STRIPE_SECRET_KEY"],
        webhook_secret=keys["STRIPE_WEBHOOK_SECRET"],
        hook_url=arguments.hook,
        port=arguments.port,
        retry_pauses=(0.5, 1.0, 2.0, 4.0),
    )
    enough = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: enough.set())
    with stripe:
        print(f"stripe emulator on {stripe.origin}", flush=True)
        enough.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
