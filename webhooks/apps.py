from datetime import timedelta

from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "webhooks"

    def ready(self) -> None:
        from payflow.core.registry import Sweep, register_sweep
        from webhooks.services import inbound_sweep

        register_sweep(Sweep("webhooks_inbound", inbound_sweep, every=timedelta(seconds=15)))
