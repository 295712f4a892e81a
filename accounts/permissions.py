"""Role-based permissions. Those by attribute (person, staff, service) are in payflow.api.permissions."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.roles import BILLING_ADMIN, FINANCE, SUPPORT, has_role, is_admin
from payflow.api.principals import has_scope, is_service


class IsAdmin(BasePermission):
    """A superuser or a member of `billing-admin`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return is_admin(request.user)


def may_act_for(user: Any, user_id: Any) -> bool:
    """May `user` change what belongs to `user_id`? His own always; others' with a role, or as a service in scope."""
    return is_service(user) or user.pk == user_id or has_role(user, BILLING_ADMIN, SUPPORT, FINANCE)


def may_refund(user: Any) -> bool:
    """Operators whose role handles money, and services with the scope `refunds`."""
    if is_service(user):
        return has_scope(user, "refunds")
    return bool(user.is_staff) and has_role(user, BILLING_ADMIN, SUPPORT, FINANCE)


class OwnOrInRole(BasePermission):
    """Operators without a role look, and change nothing that is not their own. For rows with a `user_id`."""

    def has_object_permission(self, request: Request, view: Any, obj: Any) -> bool:
        return request.method in SAFE_METHODS or may_act_for(request.user, obj.user_id)
