"""Role-based permissions. Those by attribute (person, staff, service) are in payflow.api.permissions."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.roles import has_role, is_admin


class IsAdmin(BasePermission):
    """A superuser or a member of `billing-admin`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return is_admin(request.user)


class IsAdminOrReadOnly(BasePermission):
    """Anyone reads, admins write."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return request.method in SAFE_METHODS or is_admin(request.user)


class HasRole(BasePermission):
    """One of the view's `required_roles`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return has_role(request.user, *getattr(view, "required_roles", ()))
