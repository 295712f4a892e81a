from datetime import datetime, timedelta

from django.apps import AppConfig


class UsageConfig(AppConfig):
    name = "usage"

    def ready(self) -> None:
        from payflow.core import clock
        from payflow.core.registry import Sweep, register_preparation, register_sweep
        from payments.invoices import register_line_source
        from usage.billing import usage_billed, usage_lines, usage_taken_back
        from usage.final_invoices import usage_charges_due, usage_charges_sweep, usage_invoices_sweep
        from usage.partitions import partitions_ensure

        def partitions_sweep(*, now: datetime, wall: datetime) -> int:
            return partitions_ensure(now=now)

        def partitions_prepare(until: datetime) -> None:
            partitions_ensure(now=clock.now(), until=until)

        register_line_source(usage_lines, on_billed=usage_billed, on_void=usage_taken_back)
        register_sweep(Sweep("usage_partitions", partitions_sweep, every=timedelta(hours=6)))
        register_sweep(Sweep("usage_invoices", usage_invoices_sweep, every=timedelta(minutes=1)))
        register_sweep(
            Sweep("usage_charges", usage_charges_sweep, every=timedelta(minutes=1), next_due=usage_charges_due)
        )
        register_preparation("usage_partitions", partitions_prepare)
