"""The one HTTP client, against a foreign system that behaves badly."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
from decimal import Decimal

import pytest
from django.db import transaction

from payflow.core import http
from payflow.core.http import MAX_ANSWER_BYTES, HttpClient, MalformedAnswer, NoAnswer
from tests.core.server import reply

SECRET = "sk_live_very_secret"


def client_of(server, **options):
    return HttpClient("acme", server.url, **({"answer_seconds": 5.0} | options))


def get(client, path="/orders", *, idempotent=True, **options):
    return client.request("GET", path, idempotent=idempotent, **options)


def post(client, path="/charges", *, idempotent=False, **options):
    return client.request("POST", path, idempotent=idempotent, **options)


@pytest.fixture
def quick_retries(monkeypatch):
    """The pauses between tries are stamina's; here they are short."""
    retry_context = http.stamina.retry_context
    monkeypatch.setattr(
        http.stamina,
        "retry_context",
        lambda **options: retry_context(**{**options, "wait_initial": 0.01, "wait_max": 0.02}),
    )


# --- an answer is an answer ------------------------------------------------------------------------------------------


def test_the_request_goes_out_as_it_was_given(server):
    server.script = [reply(201, b'{"amount": 6.90}', X_Request="1")]
    answer = post(client_of(server), "/charges?order=1", headers={"Authorization": SECRET}, content=b'{"a":1}')
    assert (answer.status, answer.ok, answer.json()) == (201, True, {"amount": Decimal("6.90")})
    assert str(answer.json()["amount"]) == "6.90"
    assert answer.headers["x-request"] == "1"
    [(method, path, headers, body)] = server.seen
    assert (method, path, headers["Authorization"], body) == ("POST", "/charges?order=1", SECRET, b'{"a":1}')


def test_a_base_url_may_end_with_a_slash(server):
    get(HttpClient("acme", f"{server.url}/v1/"), "/orders")
    assert server.seen[0][1] == "/v1/orders"


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 429, 500])
def test_an_answer_of_any_status_is_returned_at_once(server, status):
    server.script = [reply(status, b"no")]
    answer = get(client_of(server))
    assert (answer.status, answer.ok, answer.body) == (status, False, b"no")
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(server, status):
    server.script = [reply(status, b"", Location=f"{server.url}/elsewhere"), reply()]
    answer = post(client_of(server), headers={"Authorization": SECRET})
    assert (answer.status, answer.headers["location"]) == (status, f"{server.url}/elsewhere")
    assert len(server.seen) == 1


# --- no answer -------------------------------------------------------------------------------------------------------


def test_a_timeout_may_have_been_sent(server):
    server.script = [server.hang]
    with pytest.raises(NoAnswer) as silence:
        post(client_of(server, answer_seconds=0.1))
    assert silence.value.sent is True
    assert len(server.seen) == 1


def test_a_refused_connection_was_never_sent(server):
    client = client_of(server)
    server.close()
    with pytest.raises(NoAnswer) as silence:
        post(client)
    assert silence.value.sent is False


def test_a_connection_that_breaks_may_have_been_sent(server):
    def hang_up(handler):
        handler.connection.shutdown(socket.SHUT_RDWR)

    server.script = [hang_up]
    with pytest.raises(NoAnswer) as silence:
        post(client_of(server))
    assert silence.value.sent is True


def test_an_answer_that_breaks_off_is_no_answer(server):
    def half(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    server.script = [half]
    with pytest.raises(NoAnswer) as silence:
        post(client_of(server))
    assert silence.value.sent is True


def test_an_answer_that_drips_ends_too(server):
    """Each byte comes in time, the whole never would."""

    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not server.released.wait(0.02):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    server.script = [drip]
    started = time.monotonic()
    with pytest.raises(NoAnswer) as silence:
        post(client_of(server, answer_seconds=0.2))
    assert silence.value.sent is True
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://127.0.0.1:port", "127.0.0.1"])
def test_a_wrong_address_is_no_answer(url):
    with pytest.raises(NoAnswer):
        post(HttpClient("acme", url))


# --- retries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [502, 503, 504])
def test_an_idempotent_call_is_tried_again(server, quick_retries, status):
    server.script = [reply(status), reply(status), reply(200)]
    assert get(client_of(server)).status == 200
    assert len(server.seen) == 3


def test_after_the_last_try_the_answer_stands(server, quick_retries):
    server.script = [reply(503, b"busy")]
    answer = get(client_of(server))
    assert (answer.status, answer.body) == (503, b"busy")
    assert len(server.seen) == 3


def test_a_timeout_of_an_idempotent_call_is_tried_again(server, quick_retries):
    server.script = [server.hang, reply(200)]
    assert get(client_of(server, answer_seconds=0.2)).status == 200


@pytest.mark.parametrize("status", [502, 503, 504])
def test_another_call_is_never_sent_twice(server, quick_retries, status):
    server.script = [reply(status), reply(200)]
    assert post(client_of(server)).status == status
    assert len(server.seen) == 1


def test_a_refused_last_try_does_not_unsend_the_first(server, quick_retries):
    """The first try reached the system and timed out; then nobody listened any more."""

    def vanish(handler):
        threading.Thread(target=server.close, daemon=True).start()
        server.hang(handler)

    server.script = [vanish]

    with pytest.raises(NoAnswer) as silence:
        post(client_of(server, answer_seconds=0.2), idempotent=True)
    assert silence.value.sent is True


# --- the breaker -----------------------------------------------------------------------------------------------------


def _fails(client):
    with pytest.raises(NoAnswer) as silence:
        post(client)
    return silence.value.sent


def test_a_system_that_never_answers_is_left_alone(server, monkeypatch):
    monkeypatch.setattr(http, "BREAKER_FAILURES", 3)
    server.script = [server.hang]
    client = client_of(server, answer_seconds=0.05)
    # The call that opens the breaker was sent like the others.
    assert [_fails(client) for _ in range(3)] == [True, True, True]
    assert [_fails(client) for _ in range(3)] == [False, False, False]
    assert len(server.seen) == 3


def test_after_its_pause_one_call_tries_and_its_answer_closes_it(server, monkeypatch):
    monkeypatch.setattr(http, "BREAKER_FAILURES", 2)
    monkeypatch.setattr(http, "BREAKER_SECONDS", 0.2)
    server.script = [server.hang, server.hang, server.hang, reply(200)]
    client = client_of(server, answer_seconds=0.05)
    assert [_fails(client), _fails(client), _fails(client)] == [True, True, False]
    _until(lambda: _fails(client))  # the trial, which hangs: left alone again
    assert _fails(client) is False
    _until(lambda: _answers(client))
    assert [post(client).status for _ in range(2)] == [200, 200]
    assert len(server.seen) == 6


def test_any_answer_starts_the_count_again(server, monkeypatch):
    monkeypatch.setattr(http, "BREAKER_FAILURES", 2)
    server.script = [server.hang, reply(500), server.hang, reply(500), server.hang]
    client = client_of(server, answer_seconds=0.1)
    assert _fails(client) is True
    assert post(client).status == 500
    assert _fails(client) is True
    assert post(client).status == 500
    assert _fails(client) is True


def test_one_system_left_alone_leaves_the_others(server, monkeypatch):
    monkeypatch.setattr(http, "BREAKER_FAILURES", 1)
    gone = HttpClient("gone", "http://127.0.0.1:1")
    _fails(gone)
    assert post(client_of(server)).status == 200


def test_a_slow_call_does_not_hold_up_the_others(server):
    """Calls to one system run side by side: the first may take its ten seconds."""
    server.script = [server.hang, reply(200)]
    client = client_of(server)
    slow = threading.Thread(target=_answers, args=(client,), daemon=True)
    slow.start()
    _until(lambda: len(server.seen) == 1)
    started = time.monotonic()
    assert post(client).status == 200
    assert time.monotonic() - started < 3
    server.released.set()
    slow.join(5)


def _answers(client):
    try:
        return post(client).status == 200
    except NoAnswer:
        return False


def _until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


# --- size ------------------------------------------------------------------------------------------------------------


def test_an_answer_of_the_largest_size_is_read(server):
    server.script = [reply(200, b"x" * MAX_ANSWER_BYTES)]
    assert len(post(client_of(server)).body) == MAX_ANSWER_BYTES


def test_a_larger_one_is_refused_once(server, quick_retries):
    server.script = [reply(200, b"x" * (MAX_ANSWER_BYTES + 1))]
    with pytest.raises(MalformedAnswer, match="too large"):
        get(client_of(server))
    assert len(server.seen) == 1


def test_what_unpacks_to_a_larger_one_is_refused(server):
    server.script = [reply(200, gzip.compress(b"0" * (MAX_ANSWER_BYTES + 1)), Content_Encoding="gzip")]
    with pytest.raises(MalformedAnswer, match="too large"):
        post(client_of(server))


def test_what_cannot_be_unpacked_is_no_answer(server):
    server.script = [reply(200, b"not gzip at all", Content_Encoding="gzip")]
    with pytest.raises(NoAnswer) as silence:
        post(client_of(server))
    assert silence.value.sent is True


# --- transactions, logs, environment ---------------------------------------------------------------------------------


def test_no_call_leaves_a_transaction(server, db):
    with transaction.atomic(), pytest.raises(RuntimeError, match="HTTP to acme inside a database transaction"):
        get(client_of(server))
    assert server.seen == []


def test_nothing_secret_is_logged(server, caplog):
    server.script = [reply(200, SECRET.encode(), Set_Cookie=SECRET), server.hang]
    client = client_of(server, answer_seconds=0.5)
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            try:
                post(client, f"/charges?key={SECRET}", headers={"Authorization": SECRET}, content=SECRET.encode())
            except NoAnswer as silence:
                assert SECRET not in str(silence)
    assert SECRET not in caplog.text
    [line] = [record.getMessage() for record in caplog.records if record.name == "payflow.core.http"]
    assert line.startswith("acme POST /charges -> 200 in ")


def test_a_path_with_a_secret_is_logged_as_its_caller_says(server, caplog):
    server.script = [reply(200, b"{}")]
    with caplog.at_level(logging.INFO, logger="payflow.core.http"):
        client_of(server).request("GET", f"/tokens/{SECRET}:get?x=1", idempotent=True, shown="/tokens/…:get")
    [line] = [record.getMessage() for record in caplog.records if record.name == "payflow.core.http"]
    assert line.startswith("acme GET /tokens/…:get -> 200 in ")


def test_the_libraries_own_logs_name_queries_and_are_quiet_by_setting(settings):
    assert {name: settings.LOGGING["loggers"][name]["level"] for name in ("httpx", "httpcore")} == {
        "httpx": "WARNING",
        "httpcore": "WARNING",
    }


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_gets_nothing(server, monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert post(client_of(server)).status == 200
    assert server.seen[0][1] == "/charges"


def test_a_netrc_of_the_environment_is_not_sent(server, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login ann password {SECRET}")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    post(client_of(server))
    assert "Authorization" not in server.seen[0][2]
