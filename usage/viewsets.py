"""usage/… and entitlements/…: lean views for what every request of a product asks, DRF for the rest."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from accounts.authentication import proof_of
from payflow.api.fields import plain_json, select
from payflow.api.idempotency import HEADER, REPLAYED
from payflow.api.json import CONTENT_TYPE, envelope, json_response
from payflow.api.lean import Known, LeanRequest, created, lean_view
from payflow.api.pagination import CursorPages
from payflow.api.permissions import IsPerson, ServicesInScope
from payflow.api.principals import Claimed, has_scope, is_service
from payflow.api.schema import documented
from payflow.api.strict import check_fields, check_parameters
from payflow.api.views import ApiView
from payflow.core import clock
from payflow.core.errors import Forbidden, NotFound, ValidationFailed
from payflow.core.idempotency import checked_key
from payflow.core.ids import parse_uuid
from payflow.core.money import Money
from payflow.core.redis import Done
from usage import cache, reports, selectors
from usage.batch.service import Batch, usage_batch
from usage.limits import typed
from usage.reports import Range, Statistics
from usage.selectors import Entitlement
from usage.serializers import (
    BatchedUsageSerializer,
    EntitlementSerializer,
    LoggedUsageSerializer,
    StatisticsSerializer,
    UsageBatchSerializer,
    UsageLogSerializer,
)
from usage.services import Usage, usage_log, usage_log_known

SCOPE = "usage"
#: 5,000 events of 1.6 kB.
MAX_BATCH_BYTES = 8 * 1024 * 1024
LOGGED = frozenset(UsageLogSerializer().fields)
RANGE = [
    OpenApiParameter("action", str, description="Sums and days of this action; else of all together"),
    OpenApiParameter("from", date, description="The 30 days up to `to` unless given"),
    OpenApiParameter("to", date, description="Included; up to now unless given"),
]
PAGE = [
    OpenApiParameter(each["name"], each["schema"], description=each["description"])
    for each in CursorPages().get_schema_operation_parameters(None)
]
FIELDS = OpenApiParameter("fields", str, description="Only these fields, by commas")
USER = OpenApiParameter("user_id", uuid.UUID, OpenApiParameter.PATH)


def _log_known(request: LeanRequest, claimed: Claimed, done: Done | None) -> HttpResponse | None:
    """A person's own use, where his account needs no look."""
    data = request.data
    if not claimed.proof or not isinstance(data, dict) or "user_id" in data or "dry_run" in data:
        return None
    use = _use(request, _log_body(request))
    usage = usage_log_known(user_id=claimed.pk, proof=claimed.proof, errand=done, now=clock.now(), **use)
    return _logged(usage) if usage is not None else None


@documented(
    operation_id="usage_log",
    tags=["usage"],
    request=UsageLogSerializer,
    parameters=[OpenApiParameter(HEADER, str, OpenApiParameter.HEADER, description="Acts as `event_id`")],
    responses={
        200: OpenApiResponse(LoggedUsageSerializer, description="The answer to a dry run"),
        201: LoggedUsageSerializer,
        422: OpenApiResponse(description="The event is known with another content"),
    },
)
@lean_view("POST", known=Known(_log_known, errand=lambda claimed: cache.use_errand(claimed.pk)))
def log(request: LeanRequest) -> Any:
    """Takes units of an action if there are so many left."""
    data = _log_body(request)
    dry_run = data.get("dry_run", False)
    if not isinstance(dry_run, bool):
        raise ValidationFailed.field("dry_run", "true or false")
    use = _use(request, data)
    return _logged(usage_log(user_id=_consumer(request, data), dry_run=dry_run, now=clock.now(), **use))


def _log_body(request: LeanRequest) -> dict[str, Any]:
    """Raises ValidationFailed."""
    data = request.data
    if not isinstance(data, dict):
        raise ValidationFailed("The body is a JSON object")
    check_fields(data, LOGGED)
    return data


def _use(request: LeanRequest, data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "action": data.get("action", ""),
        "quantity": plain_json(data.get("quantity", 1)),
        "content_id": data.get("content_id"),
        "metadata": plain_json(data.get("metadata")),
        "event_id": _event_id(request, data),
    }


def _logged(usage: Usage) -> HttpResponse:
    answer = _usage_json(usage)
    if usage.id is None:
        return json_response(envelope(answer))
    response = created(answer, message="Usage logged")
    if usage.replayed:
        response[REPLAYED] = "true"
    return response


@documented(
    operation_id="usage_batch",
    tags=["usage"],
    request=UsageBatchSerializer,
    responses={
        200: BatchedUsageSerializer,
        413: OpenApiResponse(description="More than 5,000 events, or than 8 MiB: nothing was counted"),
    },
)
@lean_view("POST", max_body=MAX_BATCH_BYTES, items="events")
def batch(request: LeanRequest) -> Any:
    """Counts what has happened, for many users: each event once, a bad one stops no other. By services only."""
    if not has_scope(request.principal, SCOPE):
        raise Forbidden("A batch is for services with the scope usage")
    data = request.data
    if not isinstance(data, dict):
        raise ValidationFailed("The body is a JSON object")
    check_fields(data, ("events",))
    events = data.get("events")
    if not isinstance(events, list):
        raise ValidationFailed.field("events", "A list of events")
    return _batch_json(usage_batch(events=events, now=clock.now()))


def _entitlements_known(request: LeanRequest, claimed: Claimed, done: Done | None) -> HttpResponse | None:
    if request.META.get("QUERY_STRING") or not claimed.proof:
        return None
    body = cache.answer_of(done, proof=claimed.proof)
    return HttpResponse(body, content_type=CONTENT_TYPE) if body is not None else None


@documented(operation_id="entitlements", tags=["usage"], parameters=[FIELDS], responses={200: EntitlementSerializer})
@lean_view("GET", known=Known(_entitlements_known, errand=lambda claimed: cache.answer_errand(claimed.pk)))
def entitlements(request: LeanRequest) -> Any:
    """What the caller may do: plan, features, limits and what is left of them."""
    if is_service(request.principal):
        raise Forbidden("A service asks for a user: entitlements/user/{id}")
    return _entitled(request, request.principal.pk)


@documented(
    operation_id="entitlements_of_user",
    tags=["usage"],
    parameters=[USER, FIELDS],
    responses={200: EntitlementSerializer},
)
@lean_view("GET")
def entitlements_of_user(request: LeanRequest, user_id: str) -> Any:
    """The same for a user: by himself, by operators and by services."""
    return _entitled(request, _visible(request.principal, user_id))


class DayPages(CursorPages):
    """Days, newest first. A link names its range, so that whoever follows it tomorrow reads on in the same days."""

    ordering = ("-local_date",)

    def __init__(self, span: Range) -> None:
        self._span = span

    def _link(self, row: Any, *, backward: bool) -> str:
        link = replace_query_param(super()._link(row, backward=backward), "from", str(self._span.since))
        return replace_query_param(link, "to", str(self._span.until))


class UsageView(ApiView):
    """What the caller used, by action, day and month."""

    permission_classes = [IsPerson]

    @extend_schema(operation_id="usage", parameters=[*RANGE, *PAGE, FIELDS], responses={200: StatisticsSerializer})
    def get(self, request: Request) -> Response:
        own: Any = request.user.pk  # a person, says the permission
        return _statistics(request, own)


class UsageOfUserView(ApiView):
    """The same of a user: for himself, operators and services."""

    permission_classes = [ServicesInScope]
    required_scope = SCOPE

    @extend_schema(
        operation_id="usage_of_user", parameters=[USER, *RANGE, *PAGE, FIELDS], responses={200: StatisticsSerializer}
    )
    def get(self, request: Request, user_id: str) -> Response:
        subject = _visible(request.user, user_id)
        selectors.user_must_exist(subject)
        return _statistics(request, subject)


def _entitled(request: LeanRequest, user_id: uuid.UUID) -> Any:
    if request.META.get("QUERY_STRING"):
        found = selectors.entitlement(user_id, clock.now())
        return json_response(envelope(select(_entitlement_json(found), request.GET)))
    proof = proof_of(request.auth) if request.principal.pk == user_id else ""
    # An answer without the caller's own proof is none that `_entitlements_known` would find next time.
    if not proof and (body := cache.answer_find(user_id, proof=None)) is not None:
        return HttpResponse(body, content_type=CONTENT_TYPE)
    lease, now = cache.answer_lease(user_id), clock.now()
    found = selectors.entitlement(user_id, now)
    response = json_response(envelope(_entitlement_json(found)))
    if lease:
        cache.answer_keep(lease, response.content, proof=proof, now=now, until=found.holds_until)
    return response


def _statistics(request: Request, user_id: uuid.UUID) -> Response:
    query = request.query_params
    check_parameters(query, {*(each.name for each in (*RANGE, *PAGE))})
    action = query.get("action") or None
    span = reports.span_of(_date(query, "from"), _date(query, "to"), clock.now())
    pages = DayPages(span)
    days = pages.paginate_queryset(reports.days_of(user_id, span, action=action), request)
    found = reports.statistics(user_id, span, action=action)
    page = pages.get_paginated_response([{"date": day.local_date, "used": day.total} for day in days]).data
    return Response(select(_statistics_json(user_id, found) | page, query))


def _visible(principal: Any, text: str) -> uuid.UUID:
    """The id in the path. Raises NotFound for another user's, Forbidden for a service without the scope."""
    user_id = parse_uuid(text)
    if is_service(principal):
        if not (has_scope(principal, SCOPE) or has_scope(principal, "read")):
            raise Forbidden
    elif not principal.is_staff and user_id != principal.pk:
        raise NotFound
    if user_id is None:
        raise NotFound
    return user_id


def _consumer(request: LeanRequest, data: Mapping[str, Any]) -> uuid.UUID:
    """Whose units are taken. Raises Forbidden, ValidationFailed."""
    service = is_service(request.principal)
    if service and not has_scope(request.principal, SCOPE):
        raise Forbidden
    if data.get("user_id") is None:
        if service:
            raise ValidationFailed.field("user_id", "A service names the user")
        own: uuid.UUID = request.principal.pk
        return own
    user_id = parse_uuid(data["user_id"])
    if user_id is None:
        raise ValidationFailed.field("user_id", "This is not a UUID")
    if not service and user_id != request.principal.pk:
        raise Forbidden("A user logs for himself only")
    return user_id


def _event_id(request: LeanRequest, data: Mapping[str, Any]) -> Any:
    """Of the body, or the header. Raises ValidationFailed where both are there and differ."""
    header, event_id = request.headers.get(HEADER), data.get("event_id")
    if header is None:
        return event_id
    if event_id not in (None, checked_key(header)):
        raise ValidationFailed.field("event_id", f"Differs from the header {HEADER}")
    return header


def _date(query: Mapping[str, Any], name: str) -> date | None:
    text = str(query.get(name) or "")
    try:
        day = date.fromisoformat(text) if text else None
    except ValueError:
        day = None
    if str(day or "") != text:  # other forms of ISO 8601 are no dates here
        raise ValidationFailed.field(name, "A date: YYYY-MM-DD")
    return day


def _usage_json(usage: Usage) -> dict[str, Any]:
    return {
        "id": usage.id,
        "action": usage.action,
        "quantity": usage.quantity,
        "occurred_at": usage.occurred_at,
        "limits": [limit.as_json() for limit in usage.limits],
        "remaining": usage.remaining,
        "replayed": usage.replayed,
        "charge": _charge_json(usage.charge),
    }


def _batch_json(found: Batch) -> dict[str, Any]:
    counts = Counter(verdict.verdict for verdict in found.verdicts)
    return {
        "accepted": found.accepted,
        "duplicates": counts["duplicate"],
        "refused": counts["refused"],
        "over_limit": counts["over_limit"],
        "verdicts": [
            {
                "position": verdict.position,
                "event_id": verdict.event_id,
                "verdict": verdict.verdict,
                "code": verdict.code,
                "details": verdict.details,
            }
            for verdict in found.verdicts
        ],
    }


def _charge_json(charge: Money | None) -> dict[str, Any] | None:
    return None if charge is None else {"amount": charge.amount, "currency": charge.currency}


def _entitlement_json(found: Entitlement) -> dict[str, Any]:
    plan = found.plan
    kinds = {key: typed(value) for key, value in found.features.items()}
    return {
        "entitled": found.entitled,
        "plan": {"id": plan.pk, "code": plan.code, "name": plan.name} if plan else None,
        "status": found.status,
        "access_until": found.access_until,
        "features": {key: {"type": kind, "value": found.features[key]} for key, kind in kinds.items() if kind},
        "limits": [limit.as_json() for limit in found.limits],
        "priced_actions": [each.as_json() for each in found.priced_actions],
        "subscription_id": found.subscription_id,
    }


def _statistics_json(user_id: uuid.UUID, found: Statistics) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "since": found.span.since,
        "until": found.span.until,
        "total": found.total,
        "actions": [{"action": name, "used": used} for name, used in found.actions.items()],
        "months": [{"month": month, "used": used} for month, used in found.months.items()],
    }
