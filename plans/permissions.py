"""Who may change plans. The role is known by the group's name: accounts are on the same floor and not imported."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

BILLING_ADMIN = "billing-admin"


class AdminsWrite(BasePermission):
    """Anyone reads; a superuser or a member of `billing-admin` writes."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.method in SAFE_METHODS or is_admin(request.user)


class AdminsOnly(BasePermission):
    """A superuser or a member of `billing-admin`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return is_admin(request.user)


def is_admin(principal: Any) -> bool:
    """A superuser or a member of `billing-admin`; never a service, never the anonymous. Read once for each user object."""
    if not getattr(principal, "is_authenticated", False) or not hasattr(principal, "groups"):
        return False
    if principal.is_superuser:
        return True
    known: bool | None = getattr(principal, "_is_plan_admin", None)
    if known is None:
        known = principal._is_plan_admin = bool(principal.groups.filter(name=BILLING_ADMIN).exists())
    return known


def sees_all(principal: Any) -> bool:
    """Operators see plans that are not active, and the providers' references."""
    return bool(getattr(principal, "is_staff", False)) or is_admin(principal)
