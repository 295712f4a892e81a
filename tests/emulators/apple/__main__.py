"""The emulator as a program: the app and its key from the environment, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import os
import signal
import threading

from tests.emulators.apple.server import AppleEmulator

NAMES = ("APPLE_BUNDLE_ID", "APPLE_APP_ID", "APPLE_ISSUER_ID", "APPLE_KEY_ID", "APPLE_PRIVATE_KEY")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.apple", description="Emulates the App Store.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--hook", help="where notifications go, on loopback; none are sent without it")
    parser.add_argument("--environment", choices=("Sandbox", "Production"), default="Sandbox")
    arguments = parser.parse_args()
    given = {name: os.environ.get(name, "") for name in NAMES}
    if missing := [name for name, value in given.items() if not value]:
        parser.error(f"{missing[0]} is not set")
    apple = AppleEmulator(
        private_key=given["APPLE_PRIVATE_KEY"].replace("\\n", "\n"),
        bundle_id=given["APPLE_BUNDLE_ID"],
        app_id=int(given["APPLE_APP_ID"]),
        issuer_id=given["APPLE_ISSUER_ID"],
        key_id=given["APPLE_KEY_ID"],
        environment=arguments.environment,
        hook_url=arguments.hook,
        port=arguments.port,
    )
    enough = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: enough.set())
    with apple:
        print(f"apple emulator on {apple.origin}", flush=True)
        print(f"APPLE_ROOT_CERTIFICATES={apple.chain.root_base64}", flush=True)
        enough.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
