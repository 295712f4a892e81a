"""The operators' roles: Django groups with permissions on the models there are.

Roles are few and fixed; an installation may add groups of its own. They are made by `post_migrate`, so that a new model
is in them after its migration.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission

BILLING_ADMIN = "billing-admin"
SUPPORT = "support"
FINANCE = "finance"
VIEWER = "viewer"
ROLES = (BILLING_ADMIN, SUPPORT, FINANCE, VIEWER)

#: Apps whose rows an operator may see.
_APPS = ("accounts", "plans", "payments", "subscriptions", "usage", "webhooks", "analytics", "portal", "core")
#: What a role may do besides seeing: app -> actions. Money rows are read-only in the admin whatever stands here.
_ACTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    BILLING_ADMIN: dict.fromkeys(
        ("accounts", "plans", "payments", "subscriptions", "usage", "webhooks"), ("add", "change", "delete")
    )
    | {"core": ("change",)},
    SUPPORT: {"subscriptions": ("change",), "payments": ("change",), "webhooks": ("change",)},
    FINANCE: {"payments": ("add", "change"), "plans": ("change",)},
    VIEWER: {},
}


def role_names(user: Any) -> frozenset[str]:
    """The groups of `user`, read once for each user object; empty for services and the anonymous."""
    if not getattr(user, "is_authenticated", False) or not hasattr(user, "groups"):
        return frozenset()
    names: frozenset[str] | None = getattr(user, "_role_names", None)
    if names is None:
        names = frozenset(user.groups.values_list("name", flat=True))
        user._role_names = names
    return names


def has_role(user: Any, *roles: str) -> bool:
    """True for a superuser and for whoever has one of `roles`."""
    return _is_superuser(user) or not role_names(user).isdisjoint(roles)


def is_admin(user: Any) -> bool:
    """May change plans, coupons, API keys and webhook endpoints."""
    return has_role(user, BILLING_ADMIN)


def _is_superuser(user: Any) -> bool:
    return bool(getattr(user, "is_authenticated", False) and getattr(user, "is_superuser", False))


def roles_sync(**_signal: Any) -> None:
    """Makes the groups and gives them the permissions of the table above; takes none away."""
    permissions: dict[tuple[str, str], list[Permission]] = {}
    for permission in Permission.objects.filter(content_type__app_label__in=_APPS).select_related("content_type"):
        action = permission.codename.partition("_")[0]
        permissions.setdefault((permission.content_type.app_label, action), []).append(permission)
    for role in ROLES:
        group, _ = Group.objects.get_or_create(name=role)
        wanted = [(app, "view") for app in _APPS]
        wanted += [(app, action) for app, actions in _ACTIONS[role].items() for action in actions]
        group.permissions.add(*(permission for key in wanted for permission in permissions.get(key, [])))
