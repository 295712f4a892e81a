from datetime import timedelta

from django.apps import AppConfig


class PaymentsConfig(AppConfig):
    name = "payments"

    def ready(self) -> None:
        from payflow.core.registry import Sweep, register_sweep
        from payments import checks as checks
        from payments.services.credits import credits_expire, next_expiry
        from payments.services.ledger_check import ledger_check_sweep
        from payments.services.unapplied import unapplied_sweep
        from payments.services.unresolved import charges_sweep, refunds_sweep

        register_sweep(Sweep("payments_charges", charges_sweep, every=timedelta(minutes=1)))
        register_sweep(Sweep("payments_unapplied", unapplied_sweep, every=timedelta(minutes=1)))
        register_sweep(Sweep("payments_refunds", refunds_sweep, every=timedelta(minutes=1)))
        # Beat counts anew when it is restarted: asked every hour, the sweep itself checks once in 24.
        register_sweep(Sweep("ledger_check", ledger_check_sweep, every=timedelta(hours=1)))
        register_sweep(Sweep("credits_expire", credits_expire, every=timedelta(minutes=1), next_due=next_expiry))
