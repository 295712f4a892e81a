from datetime import timedelta

from django.apps import AppConfig


class SubscriptionsConfig(AppConfig):
    name = "subscriptions"

    def ready(self) -> None:
        from payflow.core.registry import Sweep, register_sweep
        from payments import settlement as payments_settlement
        from subscriptions import checks as checks
        from subscriptions.selectors import next_due
        from subscriptions.services import settlement
        from subscriptions.services.change_pages import change_pages_due, change_pages_sweep
        from subscriptions.services.commands import commands_sweep
        from subscriptions.services.due import due_sweep
        from subscriptions.services.move_offers import provider_moves_due, provider_moves_sweep
        from subscriptions.services.reconciliation import feeds_sweep, subscriptions_reconcile_sweep

        payments_settlement.register(
            lock=settlement.lock,
            on_paid=settlement.on_paid,
            on_failed=settlement.on_failed,
            on_refunded=settlement.on_refunded,
            on_refund_amiss=settlement.on_refund_amiss,
            on_refund_reversed=settlement.on_refund_reversed,
            on_disputed=settlement.on_disputed,
            unwanted=settlement.unwanted,
        )
        register_sweep(Sweep("subscriptions_due", due_sweep, every=timedelta(minutes=1), next_due=next_due))
        register_sweep(Sweep("provider_commands", commands_sweep, every=timedelta(minutes=1)))
        register_sweep(Sweep("provider_reconciliation", subscriptions_reconcile_sweep, every=timedelta(minutes=10)))
        register_sweep(Sweep("provider_feeds", feeds_sweep, every=timedelta(hours=1)))
        register_sweep(
            Sweep("provider_moves", provider_moves_sweep, every=timedelta(minutes=5), next_due=provider_moves_due)
        )
        register_sweep(
            Sweep(
                "subscriptions_change_pages",
                change_pages_sweep,
                every=timedelta(minutes=1),
                next_due=change_pages_due,
            )
        )
