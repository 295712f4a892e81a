"""What `request.user` is when a service calls."""

from __future__ import annotations

import uuid

from accounts.models import ApiKey


class ServicePrincipal:
    """An API key in the place of a user: authenticated, never staff, with scopes."""

    is_authenticated = True
    is_anonymous = False
    is_active = True
    is_staff = False
    is_superuser = False
    is_service = True

    def __init__(self, api_key: ApiKey) -> None:
        self.api_key = api_key
        self.pk: uuid.UUID = api_key.pk
        self.id: uuid.UUID = api_key.pk

    def has_scope(self, scope: str) -> bool:
        return scope in self.api_key.scopes

    def has_perm(self, _perm: str, _obj: object = None) -> bool:
        return False

    def __str__(self) -> str:
        return f"api key {self.api_key.name}"
