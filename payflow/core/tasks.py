from celery import shared_task

from payflow.core import clock
from payflow.core.registry import registered


@shared_task(name="payflow.core.tasks.run_sweep", expires=60)
def run_sweep(name: str) -> None:
    """Runs one registered sweep until it finds nothing, at most twenty batches."""
    sweep = registered.sweeps[name]
    for _ in range(20):
        if not sweep.run(now=clock.now(), wall=clock.wall()):
            return
