import time
import uuid

from celery import shared_task

from payflow.core import clock
from webhooks.services import DRAIN_BATCH, inbound_nudge, inbound_process, inbound_sweep

#: Seconds after which other work has its turn.
SLICE = 5.0


@shared_task
def process_inbound(event_id: str) -> None:
    inbound_process(event_id=uuid.UUID(event_id), now=clock.now(), wall=clock.wall())


@shared_task
def drain_inbound(helpers: str = "0") -> None:
    """Processes what is due until nothing is: it calls a helper at a full batch, and ends its turn by a message of its own."""
    ends = time.monotonic() + SLICE
    while taken := inbound_sweep(now=clock.now(), wall=clock.wall(), limit=DRAIN_BATCH):
        if taken == DRAIN_BATCH and int(helpers):
            inbound_nudge(helpers=int(helpers) - 1)
            helpers = "0"
        if time.monotonic() >= ends:
            inbound_nudge()
            return
