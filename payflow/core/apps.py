from datetime import timedelta

from django.apps import AppConfig


class CoreConfig(AppConfig):
    name = "payflow.core"
    label = "core"

    def ready(self) -> None:
        from payflow.core import lookups as lookups  # registers itself
        from payflow.core import timestamps as timestamps  # likewise
        from payflow.core.idempotency import keys_expire
        from payflow.core.outbox import outbox_drain
        from payflow.core.registry import Sweep, register_sweep

        register_sweep(Sweep("outbox", outbox_drain, every=timedelta(seconds=15)))
        register_sweep(Sweep("idempotency_keys_expire", keys_expire, every=timedelta(hours=1)))
