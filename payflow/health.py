"""Is the service alive, is it ready, and what does it count. Shape of the first two: the low-level design document."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable

import redis
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from django_prometheus.exports import ExportToDjangoView
from django_redis import get_redis_connection  # type: ignore[import-untyped]

from payflow.api.errors import no_such_path
from payflow.api.json import json_response
from payflow.api.principals import parse_address
from payflow.core import clock
from payflow.core.registry import registered

OK = "ok"

log = logging.getLogger(__name__)


class _Seen:
    migrated = False


@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """The process answers. Asks nobody."""
    return json_response(_body("healthy"))


@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """503 `unhealthy` where PostgreSQL is away or not migrated; `degraded`, still 200, where anything else is amiss."""
    essential = {"postgresql": _check("postgresql", _postgresql)}
    if essential["postgresql"] == OK:
        essential["migrations"] = _check("migrations", _migrations)
    others = {name: _check(name, check) for name, check in {"redis": _redis, **registered.health_checks}.items()}
    checks = {**essential, **others}
    if any(result != OK for result in essential.values()):
        return json_response({**_body("unhealthy"), "checks": checks}, status=503)
    degraded = any(result != OK for result in others.values())
    return json_response({**_body("degraded" if degraded else "healthy"), "checks": checks})


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus, for a peer with a private address or for the token. To others there is nothing here."""
    if not (_is_direct_and_private(request) or _has_token(request)):
        return no_such_path(request)
    response: HttpResponse = ExportToDjangoView(request)
    return response


def _body(status: str) -> dict[str, str]:
    return {"status": status, "timestamp": clock.wall().isoformat(), "version": settings.VERSION}


def _check(name: str, check: Callable[[], None]) -> str:
    """`ok`, or `failed`: the reason goes to the log, for this address is public."""
    try:
        check()
    except Exception as error:  # noqa: BLE001 - whatever a part raises, the report must be made
        log.warning("health check %s failed: %s: %s", name, type(error).__name__, error)
        return "failed"
    return OK


def _postgresql() -> None:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")


def _migrations() -> None:
    if _Seen.migrated:
        return  # building the graph takes a tenth of a second, and nothing takes a migration back while we run
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    if waiting := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise RuntimeError(f"{len(waiting)} migrations are not applied")
    _Seen.migrated = True


def _redis() -> None:
    try:
        client = get_redis_connection("default")
    except NotImplementedError:
        return  # an installation without Redis
    if not client.ping():
        raise redis.ConnectionError("no PONG")


def _is_direct_and_private(request: HttpRequest) -> bool:
    """By the peer's own address. A forwarded request has the address of our proxy, and may come from anywhere."""
    if "HTTP_X_FORWARDED_FOR" in request.META or "HTTP_FORWARDED" in request.META:
        return False
    address = parse_address(str(request.META.get("REMOTE_ADDR", "")))
    return address is not None and (address.is_loopback or address.is_private)


def _has_token(request: HttpRequest) -> bool:
    token = settings.METRICS_TOKEN
    given = request.headers.get("Authorization", "")
    return bool(token) and hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
