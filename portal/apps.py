from django.apps import AppConfig


class PortalConfig(AppConfig):
    name = "portal"

    def ready(self) -> None:
        from payflow.core.registry import OutboxHandler, register_outbox_handler
        from portal import emails

        register_outbox_handler(OutboxHandler("emails", emails.TYPES, emails.mail_send))
