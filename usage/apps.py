from datetime import datetime, timedelta

from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "usage"

    def ready(self) -> None:
        from payflow.core import clock
        from payflow.core.registry import Sweep, register_preparation, register_sweep
        from usage.partitions import partitions_ensure

        def partitions_sweep(*, now: datetime, wall: datetime) -> int:
            return partitions_ensure(now=now)

        def partitions_prepare(until: datetime) -> None:
            partitions_ensure(now=clock.now(), until=until)

        register_sweep(Sweep("usage_partitions", partitions_sweep, every=timedelta(hours=6)))
        register_preparation("usage_partitions", partitions_prepare)
