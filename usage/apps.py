from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "usage"

    def ready(self) -> None:
        from django.db.models.signals import post_delete, post_save

        from accounts.models import User
        from payflow.core import clock
        from payflow.core.registry import Sweep, register_preparation, register_sweep
        from payments.invoices import register_line_source
        from plans.models import Plan
        from subscriptions.signals import access_changed
        from usage import checks as checks
        from usage.billing import usage_billed, usage_lines, usage_taken_back
        from usage.cache import answers_drop, answers_drop_all
        from usage.final_invoices import usage_charges_due, usage_charges_sweep, usage_invoices_sweep
        from usage.partitions import partitions_ensure
        from usage.retention import log_expire

        def access_heard(*, user_ids: Collection[UUID], **_: Any) -> None:
            answers_drop(user_ids)

        def user_heard(*, instance: User, **_: Any) -> None:
            answers_drop([instance.pk])

        def plan_heard(**_: Any) -> None:
            answers_drop_all()

        access_changed.connect(access_heard, weak=False)
        for written in (post_save, post_delete):
            written.connect(user_heard, sender=User, weak=False)
            written.connect(plan_heard, sender=Plan, weak=False)

        def partitions_sweep(*, now: datetime, wall: datetime) -> int:
            return partitions_ensure(now=now)

        def retention_sweep(*, now: datetime, wall: datetime) -> int:
            return log_expire(now=now)

        def partitions_prepare(until: datetime) -> None:
            partitions_ensure(now=clock.now(), until=until)

        register_line_source(usage_lines, on_billed=usage_billed, on_void=usage_taken_back)
        register_sweep(Sweep("usage_partitions", partitions_sweep, every=timedelta(hours=6)))
        register_sweep(Sweep("usage_log_retention", retention_sweep, every=timedelta(hours=1)))
        register_sweep(Sweep("usage_invoices", usage_invoices_sweep, every=timedelta(minutes=1)))
        register_sweep(
            Sweep("usage_charges", usage_charges_sweep, every=timedelta(minutes=1), next_due=usage_charges_due)
        )
        register_preparation("usage_partitions", partitions_prepare)
