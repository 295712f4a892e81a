from datetime import timedelta

from django.apps import AppConfig

from payflow.core.registry import Sweep, register_sweep


class SandboxConfig(AppConfig):
    name = "providers.sandbox"
    label = "sandbox"
    verbose_name = "Sandbox provider"

    def ready(self) -> None:
        from providers.sandbox.lifecycle import next_due
        from providers.sandbox.tasks import sweep_deliveries, sweep_subscriptions

        minute = timedelta(minutes=1)
        register_sweep(Sweep(name="sandbox_subscriptions", run=sweep_subscriptions, every=minute, next_due=next_due))
        register_sweep(Sweep(name="sandbox_deliveries", run=sweep_deliveries, every=timedelta(seconds=15)))
