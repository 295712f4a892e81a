"""The worker's edge. A message is a nudge: what is due is found in the table."""

from __future__ import annotations

from datetime import datetime

from celery import shared_task

from payflow.core import clock
from providers.sandbox.deliveries import deliveries_send
from providers.sandbox.lifecycle import subscriptions_due_run


@shared_task(name="providers.sandbox.tasks.deliver")
def deliver() -> None:
    """Sends the webhooks that are due."""
    deliveries_send(wall=clock.wall())


def sweep_deliveries(*, now: datetime, wall: datetime) -> int:
    """Delivers what nudges left behind. The foreign system knows real time only, so `now` is not its business."""
    return deliveries_send(wall=wall)


def sweep_subscriptions(*, now: datetime, wall: datetime) -> int:
    """What the sandbox sells by itself renews by business time, so that it travels with it."""
    return subscriptions_due_run(now=now, wall=wall)
