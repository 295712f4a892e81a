import uuid

from celery import shared_task

from payflow.core import clock
from webhooks.services import inbound_process


@shared_task
def process_inbound(event_id: str) -> None:
    inbound_process(event_id=uuid.UUID(event_id), now=clock.now(), wall=clock.wall())
