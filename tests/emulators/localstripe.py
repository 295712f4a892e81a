"""Starts localstripe, a Stripe played by others (GPL-3.0-or-later), as a program of its own: on loopback, keeping nothing.

    python -m tests.emulators.localstripe --port N

Its own command listens on every interface and keeps its data in the system's folder for temporary files. Only this module
imports it, and only in that process.

It has no time: each subscription stays in its first period. `POST /_config/next_period/{id}`, which is ours, moves one of
them a period on and lets localstripe bill that as it billed the first.
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

    async def next_period(request: web.Request) -> web.Response:
        subscription = resources.Subscription._api_retrieve(request.match_info["id"])
        subscription.start_date = subscription.current_period_end
        subscription._create_invoice()
        return web.Response()

    server.app.router.add_post("/_config/next_period/{id}", next_period)
    resources.Store.dump_to_disk = resources.Store.try_load_from_disk = keeps_nothing
    web.run_app(server.app, host="127.0.0.1", port=port, print=None)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
