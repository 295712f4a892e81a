from __future__ import annotations

import os
import subprocess
import sys

from django.conf import settings

WORKER = """
import gc
import django
from celery.signals import worker_process_init
from payflow.celery import app

django.setup()
before = gc.get_freeze_count()
worker_process_init.send(sender=None)
print(before, gc.get_freeze_count() > 10_000, len(gc.get_objects()) < 10_000, gc.isenabled())
"""


def test_a_worker_keeps_what_is_loaded_out_of_garbage_collection():
    worker = subprocess.run(
        [sys.executable, "-c", WORKER],
        env=dict(os.environ),
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert worker.returncode == 0, worker.stderr
    assert worker.stdout.split() == ["0", "True", "True", "True"]
