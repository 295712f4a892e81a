from django.apps import AppConfig


class PlansConfig(AppConfig):
    name = "plans"

    def ready(self) -> None:
        from payflow.core.registry import OutboxHandler, register_outbox_handler
        from plans.cache import on_plan_changed

        register_outbox_handler(
            OutboxHandler(
                name="plans.cache",
                types=frozenset({"plan.created", "plan.updated", "plan.deleted"}),
                handle=on_plan_changed,
            )
        )
