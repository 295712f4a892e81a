"""`python -m tests.recovery.launcher`: forks a process of PayFlow for each order, and may let it die on the way.

One Python with everything imported stands by; each order is done by a fork of it with connections of its own, as a worker or a
web server would do it. An order is a line of JSON on standard input: `steps`, and `kill_at`, the boundary at which the
process dies (0: it doesn't). The answer is a line of JSON: the exit status (-9 where it was killed), the boundaries that were
reached, and what the steps gave.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

import django

django.setup()

from celery import current_app  # noqa: E402 - Django's models want its settings first
from django.test import Client  # noqa: E402
from django.urls import reverse  # noqa: E402

from payflow.core import clock  # noqa: E402
from payflow.core.registry import registered  # noqa: E402
from providers import registry  # noqa: E402
from providers.sandbox.adapter import SandboxProvider  # noqa: E402
from tests.recovery.boundaries import Boundaries  # noqa: E402

#: Later than every lease that is kept in real time: of webhooks, outbox, deliveries, charges without an answer.
LEASES_ARE_OVER = timedelta(minutes=10)
ROUNDS = 20


def main() -> None:
    _warm_up()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed on the way is no answer
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_forked(json.loads(line))), file=answers, flush=True)


def _warm_up() -> None:
    """What each process would otherwise do again; none of it opens a connection."""
    assert reverse("portal:account")
    for module in ("celery.result", "celery.events.dispatcher", "kombu.transport.redis"):
        import_module(module)
    assert current_app.amqp.queues is not None
    assert current_app.backend is not None
    for name in registry.names():
        if isinstance(provider := registry.get(name), SandboxProvider):
            assert provider._api._http  # the first one sets up TLS
    gc.collect()
    gc.freeze()  # a fork that collects would copy every page of it


def _forked(order: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os._exit(_live(order, writing))
    os.close(writing)
    with os.fdopen(reading) as told:
        lines = told.read().splitlines()  # until the process is no more
    _, status = os.waitpid(child, 0)
    return {
        "status": os.waitstatus_to_exitcode(status),
        "boundaries": [line for line in lines if not line.startswith("= ")],
        "results": [json.loads(line[2:]) for line in lines if line.startswith("= ")],
    }


def _live(order: dict[str, Any], told: int) -> int:
    """The life of one process; its exit status."""
    try:
        with Boundaries(told, kill_at=order["kill_at"]).watched():
            for step in order["steps"]:
                result = _STEPS[step.pop("do")](**step)
                os.write(told, f"= {json.dumps(result)}\n".encode())
    except BaseException:  # noqa: BLE001 - the edge of the process: told, and an exit status
        traceback.print_exc()
        return 1
    return 0


def _sweep(name: str, now: str) -> int:
    """One batch, as a worker takes it when beat calls."""
    return registered.sweeps[name].run(now=datetime.fromisoformat(now), wall=clock.wall())


def _request(method: str, path: str, body: str, headers: dict[str, str]) -> dict[str, Any]:
    answer = Client().generic(method, path, body, content_type="application/json", headers=headers)
    return {"status": answer.status_code, "body": answer.content.decode()}


def _recover(now: str, without: list[str]) -> int:
    """All that beat's sweeps find at this moment, once the leases of the dead have run out, until they find nothing."""
    moment = clock.move_to(datetime.fromisoformat(now))
    sweeps = [sweep for name, sweep in registered.sweeps.items() if name not in without]
    for round_ in range(ROUNDS):
        if not sum(sweep.run(now=moment, wall=_late(sweep.name)) for sweep in sweeps):
            return round_
    raise AssertionError(f"the sweeps still find work after {ROUNDS} rounds")


def _late(name: str) -> datetime:
    """Real time as the sweep is told it. The sandbox is another system: what it signs in the future is not believed."""
    return clock.wall() if name == "sandbox_deliveries" else clock.wall() + LEASES_ARE_OVER


_STEPS = {"sweep": _sweep, "request": _request, "recover": _recover}

if __name__ == "__main__":
    main()
