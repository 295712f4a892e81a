"""Reads."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.db.models.functions import Lower

from accounts.keys import matches, prefix_of
from accounts.models import ApiKey, User

#: How old `last_used_at` may be before a request writes it again.
LAST_USED_GRAIN = timedelta(minutes=1)
_NO_DIGEST = "0" * 64


def user_by_email(email: str) -> User | None:
    """Without regard to case, by the index of `uniq_users_email`."""
    return User.objects.alias(lower_email=Lower("email")).filter(lower_email=email.strip().lower()).first()


def api_keys() -> QuerySet[ApiKey]:
    return ApiKey.objects.all()


def api_key_authenticate(*, key: str, wall: datetime) -> ApiKey | None:
    """The row of a key that is right, not revoked and not expired; notes its use at most once a minute."""
    prefix = prefix_of(key)
    row = ApiKey.objects.filter(prefix=prefix).first() if prefix else None
    # An unknown prefix costs the same as a wrong secret.
    right = matches(key, row.digest if row else _NO_DIGEST)
    if row is None or not right or row.revoked_at is not None:
        return None
    if row.expires_at is not None and row.expires_at <= wall:
        return None
    if row.last_used_at is None or row.last_used_at <= wall - LAST_USED_GRAIN:
        ApiKey.objects.filter(
            Q(last_used_at__isnull=True) | Q(last_used_at__lte=wall - LAST_USED_GRAIN), pk=row.pk
        ).update(last_used_at=wall)
    return row
