"""Rate limits are exact under concurrency and never in the way when Redis is."""

from __future__ import annotations

import logging
import threading

import pytest
from django.test import RequestFactory
from django_redis import get_redis_connection

from accounts.models import User
from payflow.api import throttles
from payflow.api.principals import client_address
from payflow.core import redis
from payflow.core.ids import uuid7
from payflow.core.redis import Errand

NOWHERE = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://127.0.0.1:1/0",
        "OPTIONS": {"CONNECTION_POOL_KWARGS": {"socket_connect_timeout": 0.5}},
    }
}


def request_of(user):
    request = RequestFactory().get("/api/v1/plans")
    request.user = user
    return request


def test_exactly_the_limit_passes_a_burst_of_threads(settings):
    settings.RATE_LIMIT_API = 50
    request, passed, barrier = request_of(User(id=uuid7())), [], threading.Barrier(8)

    def burst():
        barrier.wait()
        for _ in range(25):
            passed.append(throttles.PrincipalThrottle().allow_request(request))

    threads = [threading.Thread(target=burst) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (passed.count(True), passed.count(False)) == (50, 150)


def test_each_principal_has_a_window_of_its_own_and_is_told_when_it_ends(settings):
    settings.RATE_LIMIT_API = 1
    throttle = throttles.PrincipalThrottle()
    first, second = request_of(User(id=uuid7())), request_of(User(id=uuid7()))
    assert throttle.allow_request(first)
    assert throttle.allow_request(second)
    assert not throttle.allow_request(first)
    assert 59 < throttle.wait() <= 60


@pytest.mark.parametrize("limit", [0, 1])
def test_an_errand_is_done_on_the_way_of_who_is_let_in(settings, limit):
    settings.RATE_LIMIT_API = limit
    store, throttle, request = (
        get_redis_connection("default"),
        throttles.PrincipalThrottle(),
        request_of(User(id=uuid7())),
    )
    store.mset({"test:errand:1": "one", "test:errand:2": "two", "test:errand:old": "old"})
    errand = Errand(
        reads=("test:errand:1", "test:errand:none", "test:errand:2"),
        drops=("test:errand:old",),
        holds=("test:errand:held",),
        hold_ms=60_000,
    )

    assert throttle.allow_request(request, errand=errand)

    assert throttle.done.values == [b"one", None, b"two"]
    assert (store.exists("test:errand:old"), store.exists("test:errand:held")) == (0, 1)
    assert 59_000 < store.pttl("test:errand:held") <= 60_000
    if limit:
        store.set("test:errand:old", "again")
        assert not throttle.allow_request(request, errand=errand)
        assert throttle.done is None
        assert store.exists("test:errand:old") == 1
    store.delete("test:errand:1", "test:errand:2", "test:errand:old", "test:errand:held")


@pytest.mark.urls("tests.api.urls")
def test_the_refusal_is_429_with_retry_after(api, settings, user):
    settings.RATE_LIMIT_API = 1
    client = api.as_user(user)
    assert client.get("/api/v1/lean").status_code == 200
    response = client.get("/api/v1/lean")
    assert response.status_code == 429
    assert response.json()["code"] == "RATE_LIMITED"
    assert response["Retry-After"] == "60"
    response = client.post("/api/v1/echo", {})
    assert (response.status_code, response["Retry-After"]) == (429, "60")


def test_a_redis_that_was_restarted_is_told_the_script_again(settings):
    settings.RATE_LIMIT_API = 2
    request = request_of(User(id=uuid7()))
    assert throttles.PrincipalThrottle().allow_request(request)
    get_redis_connection("default").script_flush()
    assert [throttles.PrincipalThrottle().allow_request(request) for _ in range(2)] == [True, False]


def test_without_redis_everybody_passes_and_one_line_is_logged(settings, caplog, monkeypatch):
    monkeypatch.setattr(redis._Outage, "until", 0.0)
    settings.RATE_LIMIT_API = 1
    settings.CACHES = NOWHERE
    request = request_of(User(id=uuid7()))
    with caplog.at_level(logging.WARNING):
        assert [throttles.PrincipalThrottle().allow_request(request) for _ in range(3)] == [True, True, True]
    assert [record.message for record in caplog.records] == ["Redis is away, rate limits are off: ConnectionError"]


def test_another_cache_has_no_limits(settings):
    settings.RATE_LIMIT_API = 1
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    request = request_of(User(id=uuid7()))
    assert [throttles.PrincipalThrottle().allow_request(request) for _ in range(2)] == [True, True]


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "9.9.9.9", "198.51.100.7"),
        (1, "6.6.6.6, 9.9.9.9", "9.9.9.9"),
        (2, "6.6.6.6, 9.9.9.9", "6.6.6.6"),
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (1, "::ffff:9.9.9.9", "9.9.9.9"),
        (1, "nonsense", "unknown"),
    ],
)
def test_forwarded_addresses_are_believed_as_far_as_our_proxies_wrote_them(settings, proxies, forwarded, address):
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": proxies}
    request = RequestFactory().get("/", REMOTE_ADDR="198.51.100.7", headers={"X-Forwarded-For": forwarded})
    assert client_address(request) == address
