"""plans/*: anyone reads, admins write. Thin edges over selectors and services."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from payflow.api.fields import select
from payflow.api.json import answer
from payflow.api.pagination import CursorPages
from payflow.api.principals import principal_key
from payflow.api.strict import NoFields, body, check_parameters
from payflow.api.views import ReadViewSet
from payflow.core import clock
from plans import selectors, services
from plans.models import Plan
from plans.permissions import AdminsWrite
from plans.serializers import (
    RESET_BY_PUT,
    ActivePlansSerializer,
    ComparisonSerializer,
    PlanSerializer,
    PlanWriteSerializer,
)

CONFIRM = OpenApiParameter("confirm", bool, description="Agrees to lower what subscribers have")


class PlanPages(CursorPages):
    """In the order of the shop window."""

    ordering = ("sort_order", "price", "code")


class PlanViewSet(ReadViewSet):
    """A plan is named by its id or its code."""

    queryset = Plan.objects.none()
    serializer_class = PlanSerializer
    permission_classes = [AdminsWrite]
    pagination_class = PlanPages
    filterset_fields = ("is_active", "billing_cycle", "currency", "family")
    lookup_url_kwarg = "id"

    def get_queryset(self) -> QuerySet[Plan]:
        return selectors.plans_visible(self.request.user)

    def get_object(self) -> Plan:
        return selectors.plan_get(self.kwargs["id"], among=self.get_queryset())

    @extend_schema(request=PlanWriteSerializer, responses={201: PlanSerializer})
    def create(self, request: Request) -> Response:
        values = _values(request)
        values.pop("confirm", None)
        plan = services.plan_create(**values, actor=_actor(request), at=clock.now())
        return self._answer(plan, "Plan created", status=201)

    @extend_schema(request=PlanWriteSerializer, responses={200: PlanSerializer}, parameters=[CONFIRM])
    def update(self, request: Request, id: str) -> Response:
        return self._update(request, {**RESET_BY_PUT, **_values(request)})

    @extend_schema(request=PlanWriteSerializer(partial=True), responses={200: PlanSerializer}, parameters=[CONFIRM])
    def partial_update(self, request: Request, id: str) -> Response:
        return self._update(request, _values(request, partial=True))

    @extend_schema(responses={200: None})
    def destroy(self, request: Request, id: str) -> Response:
        plan = self.get_object()
        body(NoFields, request)
        services.plan_delete(plan_id=plan.pk, actor=_actor(request), at=clock.now())
        return answer(message="Plan deleted")

    @extend_schema(
        responses={200: ActivePlansSerializer},
        parameters=[OpenApiParameter("fields", str, description="Names of the fields to answer with, by comma")],
        filters=False,
    )
    @action(detail=False, pagination_class=None)
    def active(self, request: Request) -> Response:
        """What can be bought now, the whole list."""
        check_parameters(request.query_params, ())
        rows = [select(row, request.query_params) for row in selectors.plans_active()]
        return Response({"results": rows, "next": None, "previous": None, "count": len(rows)})

    @extend_schema(
        responses={200: ComparisonSerializer},
        parameters=[OpenApiParameter("ids", str, required=True, description="2 to 10 ids or codes, with commas")],
        filters=False,
    )
    @action(detail=False, pagination_class=None)
    def compare(self, request: Request) -> Response:
        """Plans side by side, feature by feature."""
        check_parameters(request.query_params, ("ids",))
        ids = [name.strip() for name in request.query_params.get("ids", "").split(",") if name.strip()]
        comparison = selectors.plan_compare(ids, among=self.get_queryset())
        plans = self.get_serializer(comparison.plans, many=True).data
        return Response({"plans": plans, "features": comparison.features})

    def _update(self, request: Request, changes: dict[str, Any]) -> Response:
        confirm = bool(changes.pop("confirm", False)) or request.query_params.get("confirm") == "true"
        plan = services.plan_update(
            plan_id=self.get_object().pk, actor=_actor(request), at=clock.now(), confirm=confirm, **changes
        )
        return self._answer(plan, "Plan updated")

    def _answer(self, plan: Plan, message: str, *, status: int = 200) -> Response:
        written = selectors.plan_get(plan.pk, among=selectors.plans_all())
        return answer(self.get_serializer(written).data, message=message, status=status)


def _values(request: Request, *, partial: bool = False) -> dict[str, Any]:
    return body(PlanWriteSerializer, request, partial=partial)


def _actor(request: Request) -> str:
    return principal_key(request.user) or "system"
