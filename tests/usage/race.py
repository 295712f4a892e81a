"""Callers in other processes, each with a connection of its own, who start at one moment.

Imported by the spawned processes before Django is set up: nothing here may import a model at its top.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from contextlib import contextmanager

PROCESSES = 2
CALLERS_EACH = 32
#: Longer than any machine needs; a caller that died must not hang the test.
PATIENCE = 60

_start = None


@contextmanager
def callers():
    """Yields `race(calls)`: each call (the arguments of usage_log, or with `events` of usage_batch) is made by a caller of
    its own, all at once.

    It returns how often each outcome came: the answer's log id, a batch's number of accepted events, or the name of the
    refusal.
    """
    from django.db import connection

    context = multiprocessing.get_context("spawn")
    start = context.Barrier(PROCESSES * CALLERS_EACH)
    with context.Pool(PROCESSES, _prepare, (connection.settings_dict["NAME"], start)) as pool:

        def race(calls):
            assert len(calls) == PROCESSES * CALLERS_EACH
            shares = [calls[n::PROCESSES] for n in range(PROCESSES)]
            # Every process waits at the barrier with its first share, so that none takes two.
            return Counter(outcome for share in pool.map(_run, shares, chunksize=1) for outcome in share)

        yield race


def _prepare(database, start):
    global _start
    import django

    django.setup()
    from django.db import connections

    connections.databases["default"]["NAME"] = database
    _start = start


def _run(share):
    outcomes = []
    threads = [threading.Thread(target=_call, args=(arguments, outcomes)) for arguments in share]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def _call(arguments, outcomes):
    from django.db import connection

    from usage.batch.service import usage_batch
    from usage.services import usage_log

    try:
        connection.ensure_connection()
        _start.wait(PATIENCE)
        if "events" in arguments:
            outcomes.append(usage_batch(**arguments).accepted)
        else:
            outcomes.append(str(usage_log(**arguments).id))
    except Exception as error:  # noqa: BLE001 - every outcome is counted, unforeseen ones too
        outcomes.append(type(error).__name__)
    finally:
        connection.close()
