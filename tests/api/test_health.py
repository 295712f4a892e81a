"""Health and metrics."""

from __future__ import annotations

import pytest
from django.db.migrations.recorder import MigrationRecorder

from payflow import __version__, health
from payflow.core import clock, registry
from tests.api.test_throttles import NOWHERE


def test_live_has_the_documents_shape(client):
    for path in ("/health/live", "/health/live/"):
        response = client.get(path)
        body = response.json()
        assert (response.status_code, body["status"], body["version"]) == (200, "healthy", __version__)
        assert set(body) == {"status", "timestamp", "version"}
        assert body["timestamp"][:10] == clock.wall().date().isoformat()


def test_ready_checks_everything(client, db):
    response = client.get("/health/ready")
    assert response.status_code == 200
    assert response.json()["status"] == "healthy"
    assert response.json()["checks"].items() >= {"postgresql": "ok", "migrations": "ok", "redis": "ok"}.items()


def test_without_postgresql_it_is_unhealthy(client):
    # No `db` fixture: every query is refused.
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["status"] == "unhealthy"
    assert response.json()["checks"]["postgresql"] == "failed"


def test_unmigrated_it_is_unhealthy(client, db, monkeypatch):
    monkeypatch.setattr(health._Seen, "migrated", False)
    MigrationRecorder.Migration.objects.filter(app="accounts").delete()
    response = client.get("/health/ready")
    assert (response.status_code, response.json()["checks"]["migrations"]) == (503, "failed")


def test_without_redis_it_is_degraded(client, db, settings):
    settings.CACHES = NOWHERE
    response = client.get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["checks"]["redis"] == "failed"


def test_a_registered_check_degrades(client, db, monkeypatch):
    def late():
        raise RuntimeError("the secret reason")

    monkeypatch.setitem(registry.registered.health_checks, "beat", late)
    response = client.get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    assert response.json()["checks"]["beat"] == "failed"
    assert b"secret" not in response.content


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("10.1.2.3", {}, 200),
        ("::ffff:192.168.1.1", {}, 200),
        ("8.8.8.8", {}, 404),
        ("::ffff:8.8.8.8", {}, 404),
        ("", {}, 404),
        ("8.8.8.8", {"X-Forwarded-For": "127.0.0.1"}, 404),
        ("10.1.2.3", {"X-Forwarded-For": "8.8.8.8"}, 404),
        ("8.8.8.8", {"Authorization": "Bearer token-of-metrics"}, 200),
        ("8.8.8.8", {"Authorization": "Bearer wrong"}, 404),
        ("8.8.8.8", {"Authorization": "Bearer "}, 404),
    ],
)
def test_metrics_are_for_private_peers_or_the_token(client, settings, address, headers, status):
    settings.METRICS_TOKEN = "token-of-metrics"
    response = client.get("/metrics", REMOTE_ADDR=address, headers=headers)
    assert response.status_code == status
    assert (b"django_http_requests" in response.content) is (status == 200)


def test_no_token_configured_opens_nothing(client, settings):
    settings.METRICS_TOKEN = ""
    response = client.get("/metrics", REMOTE_ADDR="8.8.8.8", headers={"Authorization": "Bearer "})
    assert response.status_code == 404
