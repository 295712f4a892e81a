"""Everything that changes users, tokens and API keys."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import authenticate
from django.contrib.auth.models import update_last_login
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken
from rest_framework_simplejwt.tokens import RefreshToken, UntypedToken

from accounts.errors import InvalidCredentials, InvalidToken
from accounts.keys import PREFIX_LENGTH, digest_of, new_key
from accounts.models import ApiKey, User
from accounts.selectors import user_by_email
from payflow.core.countries import country_code
from payflow.core.errors import InvalidTransition, NotFound, ValidationFailed
from payflow.core.locks import lock_rows
from payflow.core.models import AuditEntry

#: How long the old key works beside the new one.
ROTATION_OVERLAP = timedelta(hours=24)
MAX_ROTATION_OVERLAP = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class TokenPair:
    access: str
    refresh: str


def user_country_keep(user: User, country: str) -> None:
    """Keeps the buyer's country, for tax; what was issued stays as it is. Raises ValidationFailed where there is no such."""
    try:
        user.country = country_code(country)
    except ValueError as error:
        raise ValidationFailed.field("country", str(error)) from error
    user.save(update_fields=["country"])


def user_register(*, email: str, password: str, name: str = "", country: str = "") -> User:
    """A new customer. Raises ValidationFailed for a weak password or a taken address (also when two race for it).

    `country`, where it is given, is a code of ISO 3166-1 in any case; another is refused too.
    """
    try:
        code = country_code(country) if country else ""
    except ValueError as error:
        raise ValidationFailed.field("country", str(error)) from error
    try:
        validate_password(password, user=User(email=email, name=name))
    except ValidationError as error:
        raise ValidationFailed(details={"password": error.messages}) from error
    if user_by_email(email):
        raise _taken()
    try:
        with transaction.atomic():
            return User.objects.create_user(email, password, name=name, country=code)
    except IntegrityError as error:
        raise _taken() from error


def supabase_user(*, external_id: str, email: Any = None) -> User:
    """The user of a Supabase subject, made on first sight; never joined to an account by e-mail.

    An address that is missing, malformed or somebody else's is replaced by one that nobody can receive.
    """
    if user := User.objects.filter(external_id=external_id).first():
        return user
    placeholder = f"{hashlib.sha256(external_id.encode()).hexdigest()[:32]}@supabase.invalid"
    if len(external_id) <= 64 and _is_email(f"{external_id}@supabase.invalid"):
        placeholder = f"{external_id}@supabase.invalid"
    for address in (email if _is_email(email) else placeholder, placeholder):
        try:
            with transaction.atomic():
                return User.objects.create_user(address, None, external_id=external_id)
        except IntegrityError:
            # Either a parallel request made the same user, or the address is taken.
            if user := User.objects.filter(external_id=external_id).first():
                return user
    raise InvalidToken("This account cannot be created")


def tokens_issue(*, email: str, password: str) -> TokenPair:
    """A pair for the right password. Raises InvalidCredentials, after the same work whatever was wrong."""
    user = authenticate(username=email, password=password)
    if not isinstance(user, User):
        raise InvalidCredentials
    refresh = RefreshToken.for_user(user)
    update_last_login(None, user)  # type: ignore[arg-type]
    return TokenPair(access=str(refresh.access_token), refresh=str(refresh))


def tokens_refresh(*, refresh: str) -> TokenPair:
    """A new pair; the old refresh token is spent, once, also when two requests bring it. Raises InvalidToken."""
    old = _refresh_token(refresh)
    user = User.objects.filter(pk=old.get("user_id"), is_active=True).first()
    if user is None:
        raise InvalidToken
    with transaction.atomic():
        _spend(old)
        new = RefreshToken.for_user(user)
    return TokenPair(access=str(new.access_token), refresh=str(new))


def token_verify(*, token: str) -> None:
    """Raises InvalidToken unless `token` is one of ours, in force and not spent."""
    try:
        parsed = UntypedToken(token)  # type: ignore[arg-type]
    except TokenError as error:
        raise InvalidToken from error
    if BlacklistedToken.objects.filter(token__jti=parsed.get("jti")).exists():
        raise InvalidToken


def token_revoke(*, refresh: str) -> None:
    """Spends a refresh token (logging out). Raises InvalidToken."""
    with transaction.atomic():
        _spend(_refresh_token(refresh))


def api_key_create(
    *, name: str, scopes: Sequence[str], expires_at: datetime | None = None, actor: str, wall: datetime
) -> tuple[ApiKey, str]:
    """The row and the key itself, which is shown this once. Raises ValidationFailed for an expiry in the past."""
    if expires_at is not None and expires_at <= wall:
        raise ValidationFailed.field("expires_at", "This moment is past")
    with transaction.atomic():
        row, key = _new_key(name, scopes, expires_at)
        _audit(actor, "api_key.created", row, {"scopes": list(scopes)})
    return row, key


def api_key_rotate(
    *, api_key_id: Any, overlap: timedelta = ROTATION_OVERLAP, actor: str, wall: datetime
) -> tuple[ApiKey, str]:
    """A successor with the same name and scopes; the old key stays valid for `overlap`, or its own shorter life.

    Raises NotFound; InvalidTransition for a key that is revoked, expired or already replaced.
    """
    with transaction.atomic():
        old = _locked(api_key_id)
        if old.revoked_at or old.replaced_by_id or (old.expires_at and old.expires_at <= wall):
            raise InvalidTransition("This API key is revoked, expired or already replaced")
        row, key = _new_key(old.name, old.scopes, old.expires_at)
        end = wall + overlap
        old.expires_at = min(old.expires_at, end) if old.expires_at else end
        old.replaced_by = row
        old.save(update_fields=["expires_at", "replaced_by"])
        _audit(actor, "api_key.rotated", old, {"replaced_by": str(row.pk)})
    return row, key


def api_key_revoke(*, api_key_id: Any, actor: str, wall: datetime) -> ApiKey:
    """Ends a key at once; a second time changes nothing. Raises NotFound."""
    with transaction.atomic():
        row = _locked(api_key_id)
        if row.revoked_at is None:
            row.revoked_at = wall
            row.save(update_fields=["revoked_at"])
            _audit(actor, "api_key.revoked", row, {})
    return row


def _new_key(name: str, scopes: Sequence[str], expires_at: datetime | None) -> tuple[ApiKey, str]:
    key = new_key()
    row = ApiKey.objects.create(
        name=name, prefix=key[:PREFIX_LENGTH], digest=digest_of(key), scopes=list(scopes), expires_at=expires_at
    )
    return row, key


def _locked(api_key_id: Any) -> ApiKey:
    rows = lock_rows(ApiKey.objects.filter(pk=api_key_id))
    if not rows:
        raise NotFound
    return rows[0]


def _audit(actor: str, action: str, row: ApiKey, data: dict[str, Any]) -> None:
    AuditEntry.objects.create(actor=actor, action=action, subject_type="api_key", subject_id=row.pk, data=data)


def _refresh_token(text: str) -> RefreshToken:
    try:
        return RefreshToken(text)  # type: ignore[arg-type]
    except TokenError as error:
        raise InvalidToken from error


def _spend(token: RefreshToken) -> None:
    # Annotated as the row alone, it is what get_or_create returned.
    spent: Any = token.blacklist()
    if not spent[1]:
        raise InvalidToken


def _is_email(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    try:
        validate_email(text)
    except ValidationError:
        return False
    return len(text) <= 254


def _taken() -> ValidationFailed:
    return ValidationFailed.field("email", "An account with this e-mail address exists")
