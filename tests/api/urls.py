"""Views that exist for these tests only, over the tables of the accounts."""

from __future__ import annotations

from decimal import Decimal

from django.db import IntegrityError
from django.urls import include, path, re_path
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.response import Response

from accounts.models import ApiKey
from payflow.api.errors import no_such_path
from payflow.api.fields import MoneyAmountField, SelectedFields
from payflow.api.idempotency import idempotency_id
from payflow.api.json import answer
from payflow.api.lean import created, lean_view
from payflow.api.router import Router
from payflow.api.schema import documented
from payflow.api.views import ApiView, ReadViewSet
from payflow.core.errors import DomainError, InvalidTransition, ProviderUnavailable

handler404 = "payflow.api.errors.page_not_found"


class Calls:
    """What the echo view did, and what it does on the way."""

    ids: list = []
    during = staticmethod(lambda: None)


class Declined(InvalidTransition):
    message = "Declined"


class EchoView(ApiView):
    redacted_fields = ("secret",)

    def post(self, request):
        Calls.ids.append(idempotency_id(request))
        Calls.during()
        match request.data.get("raise"):
            case "domain":
                raise Declined(details={"why": "so"}, retry_after=7)
            case "unavailable":
                raise ProviderUnavailable
            case "integrity":
                raise IntegrityError("uniq_something")
            case "invalid":
                raise serializers.ValidationError({"amount": ["A valid number is required."]})
        return answer({"got": request.data, "price": Decimal("6.90"), "secret": "s3cret"}, message="Made", status=201)


class AnyView(ApiView):
    authentication_classes = []
    permission_classes = [AllowAny]

    def get(self, request):
        return Response({"price": Decimal("6.90"), "big": Decimal("0.0000"), "id": request.path})

    def post(self, request):
        return Response({"got": request.data})

    def delete(self, request):
        return Response(status=204)


class KeySerializer(SelectedFields, serializers.ModelSerializer):
    class Meta:
        model = ApiKey
        fields = ["id", "name", "prefix"]


class KeyViewSet(ReadViewSet):
    queryset = ApiKey.objects.all()
    serializer_class = KeySerializer
    permission_classes = [AllowAny]


class PriceSerializer(serializers.Serializer):
    currency = serializers.CharField()
    amount = MoneyAmountField()


@documented(summary="Echo", request=PriceSerializer, responses=PriceSerializer)
@lean_view("GET", "POST")
def lean_echo(request):
    """Says who asks."""
    if request.method == "POST":
        if request.data.get("raise"):
            raise DomainError("kept from the caller") if request.data["raise"] == "domain" else KeyError("internals")
        return created({"got": request.data})
    return {"principal": request.principal.pk, "price": Decimal("6.90")}


@documented(summary="Open", responses=None)
@lean_view("GET", anonymous=True)
def lean_open(request):
    return {"principal": request.principal and request.principal.pk}


router = Router()
router.register("keys", KeyViewSet, basename="test-key")
urlpatterns = [
    re_path(r"^api/v1/any/?$", AnyView.as_view()),
    re_path(r"^api/v1/echo/?$", EchoView.as_view()),
    re_path(r"^api/v1/echo/twin/?$", EchoView.as_view()),
    re_path(r"^api/v1/lean/?$", lean_echo),
    re_path(r"^api/v1/lean-open/?$", lean_open),
    path("api/v1/", include(router.urls)),
    re_path(r"^api(?:/.*)?$", no_such_path),
]
