from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts import schema  # noqa: F401 - its classes announce themselves to drf-spectacular
        from accounts.roles import roles_sync

        # django.contrib.auth stands after our apps: at its turn the permissions of all of them exist.
        post_migrate.connect(roles_sync, sender=apps.get_app_config("auth"), dispatch_uid="accounts.roles_sync")
