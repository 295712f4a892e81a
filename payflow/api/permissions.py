"""Who may come in, by the attributes that users and services share. Roles (Django groups) are in accounts.permissions."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from payflow.api.principals import has_scope, is_service


class IsPerson(BasePermission):
    """A signed-in person, not an API key."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.is_authenticated) and not is_service(request.user)


class IsStaff(BasePermission):
    """An operator."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.is_authenticated and request.user.is_staff)


class ServicesInScope(BasePermission):
    """Every signed-in principal, but an API key only with the view's `required_scope` (`read` for safe methods)."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not (request.user and request.user.is_authenticated):
            return False
        if not is_service(request.user):
            return True
        scope = getattr(view, "required_scope", None)
        if scope is not None and has_scope(request.user, scope):
            return True
        return request.method in SAFE_METHODS and has_scope(request.user, "read")
