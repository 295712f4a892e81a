"""Shapes of users, tokens and API keys."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.models import ApiKey, User
from payflow.api.fields import OneOf, SelectedFields
from payflow.api.strict import KnownFieldsOnly

#: Far beyond any real one; Argon2 is not to be fed megabytes.
MAX_PASSWORD = 256
MAX_TOKEN = 4096


class RegisterSerializer(KnownFieldsOnly):
    email = serializers.EmailField(max_length=254)
    password = serializers.CharField(max_length=MAX_PASSWORD, trim_whitespace=False, write_only=True)
    name = serializers.CharField(max_length=150, required=False, allow_blank=True, default="")
    country = serializers.CharField(
        max_length=2, required=False, allow_blank=True, default="", help_text="ISO 3166-1 alpha-2, for tax"
    )


class UserSerializer(SelectedFields, serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ["id", "email", "name", "country", "timezone", "created_at"]
        read_only_fields = fields


class CredentialsSerializer(KnownFieldsOnly):
    email = serializers.CharField(max_length=254)
    password = serializers.CharField(max_length=MAX_PASSWORD, trim_whitespace=False, write_only=True)


class TokenPairSerializer(serializers.Serializer[Any]):
    access = serializers.CharField()
    refresh = serializers.CharField()


class RefreshSerializer(KnownFieldsOnly):
    refresh = serializers.CharField(max_length=MAX_TOKEN)


class TokenSerializer(KnownFieldsOnly):
    token = serializers.CharField(max_length=MAX_TOKEN)


class ApiKeySerializer(SelectedFields, serializers.ModelSerializer[ApiKey]):
    class Meta:
        model = ApiKey
        fields = [
            "id",
            "name",
            "prefix",
            "scopes",
            "expires_at",
            "revoked_at",
            "last_used_at",
            "replaced_by",
            "created_at",
        ]
        read_only_fields = fields


class NewApiKeySerializer(KnownFieldsOnly):
    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(
        child=OneOf(choices=ApiKey.Scope.choices), allow_empty=False, max_length=len(ApiKey.Scope)
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)

    def validate_scopes(self, scopes: list[str]) -> list[str]:
        return sorted(set(scopes))


class RotateSerializer(KnownFieldsOnly):
    overlap_hours = serializers.IntegerField(min_value=0, max_value=24 * 30, required=False, default=24)


class IssuedApiKeySerializer(ApiKeySerializer):
    """With the key itself, which is shown once."""

    key = serializers.SerializerMethodField(help_text="Shown this once")

    class Meta(ApiKeySerializer.Meta):
        fields = ["key", *ApiKeySerializer.Meta.fields]
        read_only_fields = fields

    def get_key(self, _row: ApiKey) -> str:
        return str(self.context["key"])
