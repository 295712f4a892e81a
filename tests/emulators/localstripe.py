"""Starts localstripe, a Stripe played by others (GPL-3.0-or-later), as a program of its own: on loopback, keeping nothing.

    python -m tests.emulators.localstripe --port N

Its own command listens on every interface and keeps its data in the system's folder for temporary files. Only this module
imports it, and only in that process.
"""

from __future__ import annotations

import argparse


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.localstripe")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port

    from aiohttp import web
    from localstripe import resources, server

    def keeps_nothing(store: object) -> None:
        """Neither written to a file nor read from one."""

    resources.Store.dump_to_disk = resources.Store.try_load_from_disk = keeps_nothing
    web.run_app(server.app, host="127.0.0.1", port=port, print=None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
