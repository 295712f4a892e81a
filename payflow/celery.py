"""The Celery application. A task message is a nudge: every task finds its work in PostgreSQL."""

import gc
import logging.config
import os
from typing import Any

from celery import Celery
from celery.signals import beat_init, setup_logging, worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "payflow.settings.production")

app = Celery("payflow")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def log_as_the_web_does(**_: Any) -> None:
    """Workers and beat write the same redacted JSON; without this Celery would set up a logging of its own."""
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)


@worker_process_init.connect
def keep_what_is_loaded(**_: Any) -> None:
    """Modules and models live as long as the process: the garbage collector no longer walks them for each batch of rows."""
    gc.collect()
    gc.freeze()


@beat_init.connect
def schedule_sweeps(sender: Any, **_: Any) -> None:
    """Beat's schedule is the registry of sweeps: whoever registers one is called."""
    import django

    from payflow.core.registry import registered

    django.setup()
    for sweep in registered.sweeps.values():
        sender.scheduler.add(
            name=sweep.name, task="payflow.core.tasks.run_sweep", args=(sweep.name,), schedule=sweep.every
        )
