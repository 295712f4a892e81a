"""auth/*: registering, tokens, API keys. Thin edges over the services."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services
from accounts.models import ApiKey
from accounts.permissions import IsAdmin
from accounts.selectors import api_keys
from accounts.serializers import (
    ApiKeySerializer,
    CredentialsSerializer,
    IssuedApiKeySerializer,
    NewApiKeySerializer,
    RefreshSerializer,
    RegisterSerializer,
    RotateSerializer,
    TokenPairSerializer,
    TokenSerializer,
    UserSerializer,
)
from payflow.api.json import answer
from payflow.api.strict import NoFields, body
from payflow.api.throttles import AuthThrottle
from payflow.api.views import ApiView, ReadViewSet
from payflow.core import clock


class AnyoneView(ApiView):
    """Without credentials, counted by address, and never stored under an idempotency key."""

    authentication_classes = []
    permission_classes = [AllowAny]
    throttle_classes = [AuthThrottle]
    idempotent = False


class RegisterView(AnyoneView):
    @extend_schema(request=RegisterSerializer, responses={201: UserSerializer})
    def post(self, request: Request) -> Response:
        user = services.user_register(**body(RegisterSerializer, request))
        return answer(UserSerializer(user).data, message="Account created", status=201)


class TokenView(AnyoneView):
    @extend_schema(request=CredentialsSerializer, responses={200: TokenPairSerializer, 401: None})
    def post(self, request: Request) -> Response:
        pair = services.tokens_issue(**body(CredentialsSerializer, request))
        return answer(TokenPairSerializer(pair).data)


class TokenRefreshView(AnyoneView):
    @extend_schema(request=RefreshSerializer, responses={200: TokenPairSerializer, 401: None})
    def post(self, request: Request) -> Response:
        pair = services.tokens_refresh(**body(RefreshSerializer, request))
        return answer(TokenPairSerializer(pair).data)


class TokenVerifyView(AnyoneView):
    @extend_schema(request=TokenSerializer, responses={200: None, 401: None})
    def post(self, request: Request) -> Response:
        services.token_verify(**body(TokenSerializer, request))
        return answer(message="The token is valid")


class LogoutView(AnyoneView):
    @extend_schema(request=RefreshSerializer, responses={200: None, 401: None})
    def post(self, request: Request) -> Response:
        services.token_revoke(**body(RefreshSerializer, request))
        return answer(message="Logged out")


class ApiKeyViewSet(ReadViewSet):
    """The keys of services. The key itself is in the answer that makes it, and nowhere else."""

    queryset = ApiKey.objects.none()
    serializer_class = ApiKeySerializer
    permission_classes = [IsAdmin]
    redacted_fields = ("key",)

    def get_queryset(self) -> Any:
        return api_keys()

    @extend_schema(request=NewApiKeySerializer, responses={201: IssuedApiKeySerializer})
    def create(self, request: Request) -> Response:
        row, key = services.api_key_create(
            **body(NewApiKeySerializer, request), actor=_actor(request), wall=clock.wall()
        )
        return answer(IssuedApiKeySerializer(row, context={"key": key}).data, message="API key created", status=201)

    @extend_schema(request=RotateSerializer, responses={201: IssuedApiKeySerializer})
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, pk: str) -> Response:
        overlap = timedelta(hours=body(RotateSerializer, request)["overlap_hours"])
        row, key = services.api_key_rotate(
            api_key_id=self.get_object().pk,
            overlap=overlap,
            actor=_actor(request),
            wall=clock.wall(),
        )
        return answer(IssuedApiKeySerializer(row, context={"key": key}).data, message="API key rotated", status=201)

    @extend_schema(responses={200: ApiKeySerializer})
    def destroy(self, request: Request, pk: str) -> Response:
        found = self.get_object()
        body(NoFields, request)
        row = services.api_key_revoke(api_key_id=found.pk, actor=_actor(request), wall=clock.wall())
        return answer(ApiKeySerializer(row).data, message="API key revoked")


def _actor(request: Request) -> str:
    return f"user:{request.user.pk}"
