"""Users (the document's `users` table) and the API keys of services."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower

from payflow.core.models import Timestamped


class UserManager(BaseUserManager["User"]):
    """Creates users; e-mail addresses are compared without regard to case."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Raises ValueError without an e-mail address; IntegrityError where the address is taken."""
        if not email:
            raise ValueError("a user has an e-mail address")
        user = self.model(email=self.normalize_email(email).strip(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        return self.alias(lower_email=Lower("email")).get(lower_email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin, Timestamped):
    """A customer or an operator. `external_id` is the subject of a Supabase project's tokens."""

    email = models.EmailField(max_length=254)
    name = models.CharField(max_length=150, blank=True, default="")
    external_id = models.CharField(max_length=255, null=True, blank=True, unique=True)
    timezone = models.CharField(max_length=64, default="UTC")
    country = models.CharField(
        max_length=2,
        blank=True,
        default="",
        db_default="",
        validators=[RegexValidator(r"^[A-Z]{2}$")],
        help_text="for tax",
    )
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        db_table = "users"
        constraints = [
            models.UniqueConstraint(Lower("email"), name="uniq_users_email"),
            models.CheckConstraint(condition=models.Q(country__regex=r"^([A-Z]{2})?$"), name="users_country_code"),
        ]

    def __str__(self) -> str:
        return self.email


class ApiKey(Timestamped):
    """A service's key. Only its HMAC is kept; `prefix` finds the row. Scopes name what the service may do."""

    class Scope(models.TextChoices):
        READ = "read"
        SUBSCRIPTIONS = "subscriptions"
        USAGE = "usage"
        REFUNDS = "refunds"

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=24, unique=True)
    digest = models.CharField(max_length=64)
    scopes = models.JSONField(default=list)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    replaced_by = models.ForeignKey("self", null=True, blank=True, on_delete=models.SET_NULL, related_name="replaces")

    class Meta:
        db_table = "api_keys"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
