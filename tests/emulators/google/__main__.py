"""The emulator as a program, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import json
import signal
import threading

from tests.emulators.google.server import GoogleEmulator

VARIABLES = {
    "base_url": "GOOGLE_PLAY_BASE_URL",
    "certs_url": "GOOGLE_PLAY_CERTS_URL",
    "package_name": "GOOGLE_PLAY_PACKAGE_NAME",
    "audience": "GOOGLE_PLAY_PUSH_AUDIENCE",
    "push_account": "GOOGLE_PLAY_PUSH_ACCOUNT",
    "push_subscription": "GOOGLE_PLAY_PUSH_SUBSCRIPTION",
    "service_account": "GOOGLE_PLAY_SERVICE_ACCOUNT",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.google", description="Emulates Google Play.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--hook-url", required=True, help="where its notifications are pushed, on loopback")
    arguments = parser.parse_args()
    enough = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: enough.set())
    with GoogleEmulator(hook_url=arguments.hook_url, port=arguments.port, retry_pauses=(1, 2, 5, 10)) as google:
        print(f"google emulator on {google.origin}", flush=True)
        for key, value in google.settings().items():
            print(
                f"{VARIABLES[key]}='{json.dumps(json.loads(value)) if key == 'service_account' else value}'", flush=True
            )
        enough.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
