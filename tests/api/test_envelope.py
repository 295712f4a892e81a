"""Every answer has one shape, whatever happened."""

from __future__ import annotations

import logging

import pytest
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.http import Http404
from rest_framework import exceptions

from payflow.api.errors import describe
from payflow.core.errors import STATUS, Code, DomainError, ValidationFailed
from tests.factories import UserFactory

pytestmark = pytest.mark.urls("tests.api.urls")

JSON = "application/json"


def refusal(error, code, details=None):
    return {"message": None, "data": None, "error": error, "code": code, "details": details}


def test_a_success_keeps_the_digits_of_money(api):
    response = api.get("/api/v1/any")
    assert response.status_code == 200
    assert response.content == (
        b'{"message":"Operation completed successfully",'
        b'"data":{"price":6.90,"big":0.0000,"id":"/api/v1/any"},"error":null,"code":null,"details":null}'
    )
    assert response["Content-Type"] == JSON


def test_both_slash_forms_answer_without_redirect(api, db):
    for path in ("/api/v1/any", "/api/v1/any/", "/api/v1/keys", "/api/v1/keys/"):
        assert api.get(path).status_code == 200


def test_whatever_the_client_accepts_it_gets_json(api):
    response = api.get("/api/v1/any", headers={"Accept": "text/html"})
    assert (response.status_code, response["Content-Type"]) == (200, JSON)


def test_a_delete_answers_200_with_the_envelope(api):
    response = api.delete("/api/v1/any")
    assert response.status_code == 200
    assert response.json() == {
        "message": "Operation completed successfully",
        "data": None,
        "error": None,
        "code": None,
        "details": None,
    }


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1/nothing", "/api/v1/nothing/"])
def test_an_unknown_path_is_an_envelope(api, path):
    response = api.get(path)
    assert response.status_code == 404
    assert response.json() == refusal("Not found", "NOT_FOUND")


def test_a_wrong_method_is_405_with_allow(api):
    response = api.put("/api/v1/any", {})
    assert response.status_code == 405
    assert response.json() == refusal('Method "PUT" not allowed.', "METHOD_NOT_ALLOWED")
    assert "POST" in response["Allow"]


def test_nobody_signed_in_is_401_with_www_authenticate(api):
    response = api.post("/api/v1/echo", {})
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="payflow"'
    assert response.json() == refusal("Authentication credentials were not provided.", "UNAUTHENTICATED")


def test_a_domain_error_keeps_its_words_and_says_when_to_come_back(api, user):
    response = api.as_user(user).post("/api/v1/echo", {"raise": "domain"})
    assert response.status_code == 409
    assert response["Retry-After"] == "7"
    assert response.json() == refusal("Declined", "INVALID_TRANSITION", {"why": "so"})


def test_a_serializer_error_maps_fields_to_faults(api, user):
    response = api.as_user(user).post("/api/v1/echo", {"raise": "invalid"})
    assert response.status_code == 400
    assert response.json() == refusal(
        "The request is not valid", "VALIDATION_ERROR", {"amount": ["A valid number is required."]}
    )


def test_the_unforeseen_is_500_logged_and_told_without_internals(api, user, caplog):
    client = api.as_user(user)
    client.raise_request_exception = False
    with caplog.at_level(logging.ERROR, "django.request"):
        response = client.post("/api/v1/echo", {"raise": "integrity"})
    assert response.status_code == 500
    assert response.json() == refusal("Internal error", "INTERNAL_ERROR")
    [record] = [record for record in caplog.records if record.name == "django.request"]
    assert record.exc_info[1].args == ("uniq_something",)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": ',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        b'{"a": "\x00"}',
        b"[" * 100_000,
        b"",
    ],
)
def test_malformed_json_is_refused(api, body):
    response = api.post("/api/v1/any", b" " + body, content_type=JSON)
    assert response.status_code == 400
    assert response.json() == refusal("Malformed JSON", "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"a": "x\\u0000"}', "Text may not contain the NUL character"),
        (b'{"x\\u0000": 1}', "Text may not contain the NUL character"),
        (b'{"a": ["\\ud800"]}', "Text may not contain lone surrogates"),
        (b"[" * 65 + b"]" * 65, "The JSON is nested too deep"),
        (b'"text"', "The body is a JSON object or array"),
        (b"null", "The body is a JSON object or array"),
        (b'{"a": 1e999999999}', "A number is too large, or has too many digits"),
        (b'{"a": 1e999999999999999999999}', "A number is too large, or has too many digits"),
        (b'{"a": 9223372036854775808}', "A number is too large, or has too many digits"),
        (b'{"a": ' + b"9" * 5000 + b"}", "A number is too large, or has too many digits"),
    ],
)
def test_json_that_cannot_be_kept_is_refused(api, body, fault):
    response = api.post("/api/v1/any", body, content_type=JSON)
    assert response.status_code == 400
    assert response.json() == refusal(fault, "VALIDATION_ERROR")


def test_numbers_come_back_to_the_digit_and_the_last_of_two_wins(api):
    body = b'{"a": 1, "a": 6.90, "n": 9223372036854775807, "t": "\\\\u0000 \\ud83d\\ude00"}'
    response = api.post("/api/v1/any", body, content_type=JSON)
    assert response.status_code == 200
    assert b'"got":{"a":6.90,"n":9223372036854775807,"t":"\\\\u0000 \xf0\x9f\x98\x80"}' in response.content


def test_a_form_is_refused(api):
    response = api.post("/api/v1/any", "a=1", content_type="application/x-www-form-urlencoded")
    assert response.status_code == 400
    assert response.json() == refusal("Send the body as application/json", "VALIDATION_ERROR")


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_a_body_too_large_is_413(api, settings, user, headers):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    client = api.as_user(user)
    for path in ("/api/v1/echo", "/api/v1/lean"):
        response = client.post(path, {"a": "x" * 100}, headers=headers)
        assert response.status_code == 413
        assert response.json() == refusal("The request body is too large", "PAYLOAD_TOO_LARGE")


def test_nul_in_the_address_is_refused(api):
    assert api.get("/api/v1/any?a=%00").status_code == 400
    assert api.get("/api/v1/any%00").status_code == 404


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValidationFailed(), "VALIDATION_ERROR"),
        (Http404("No Plan matches"), "NOT_FOUND"),
        (exceptions.Throttled(wait=1.2), "RATE_LIMITED"),
        (exceptions.ParseError(), "VALIDATION_ERROR"),
        (exceptions.NotAcceptable(), "VALIDATION_ERROR"),
        (exceptions.AuthenticationFailed(), "UNAUTHENTICATED"),
        (exceptions.PermissionDenied(), "FORBIDDEN"),
        (exceptions.APIException(), "INTERNAL_ERROR"),
        (ValidationError({"a": "bad"}), "VALIDATION_ERROR"),
        (ValidationError("bad"), "VALIDATION_ERROR"),
        (SuspiciousOperation("x"), "VALIDATION_ERROR"),
        (RuntimeError("x"), "INTERNAL_ERROR"),
    ],
)
def test_every_kind_of_exception_has_a_code(error, code):
    assert describe(error).code == code


def test_throttled_says_when_in_whole_seconds():
    assert describe(exceptions.Throttled(wait=1.2)).headers == {"Retry-After": "2"}


def test_faults_of_no_field_are_a_map_too():
    assert describe(ValidationError("bad")).details == {"non_field_errors": ["bad"]}
    assert describe(exceptions.ValidationError(["bad"])).details == {"non_field_errors": ["bad"]}
    assert describe(ValidationError({"a": "bad"})).details == {"a": ["bad"]}


@pytest.mark.parametrize("code", list(Code))
def test_every_code_renders_with_its_status(code):
    problem = describe(type("Fact", (DomainError,), {"code": code})())
    assert (problem.status, problem.body["code"]) == (STATUS[code], code.value)


def test_lean_views_answer_alike(api, user):
    client = api.as_user(user)
    assert client.get("/api/v1/lean/").content == (
        b'{"message":"Operation completed successfully",'
        b'"data":{"principal":"%s","price":6.90},"error":null,"code":null,"details":null}' % str(user.pk).encode()
    )
    response = client.post("/api/v1/lean", b'{"a": 6.90}', content_type=JSON)
    assert (response.status_code, response.json()["message"]) == (201, "Created")
    assert b'"got":{"a":6.90}' in response.content
    assert client.post("/api/v1/lean", b"{", content_type=JSON).json() == refusal("Malformed JSON", "VALIDATION_ERROR")
    assert client.post("/api/v1/lean", "a=1", content_type="text/plain").json() == refusal(
        "Send the body as application/json", "VALIDATION_ERROR"
    )
    response = client.put("/api/v1/lean", {})
    assert (response.status_code, response["Allow"]) == (405, "GET, HEAD, POST")


def test_a_lean_view_is_500_without_internals(api, user):
    client = api.as_user(user)
    client.raise_request_exception = False
    response = client.post("/api/v1/lean", {"raise": "other"})
    assert response.status_code == 500
    assert response.json() == refusal("Internal error", "INTERNAL_ERROR")


def test_lean_views_check_credentials(api, db):
    response = api.get("/api/v1/lean")
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == 'Bearer realm="payflow"'
    assert api.get("/api/v1/lean-open").json()["data"] == {"principal": None}
    wrong = {"Authorization": "Bearer wrong"}
    assert api.get("/api/v1/lean-open", headers=wrong).status_code == 401
    closed = UserFactory(is_active=False)
    assert api.as_user(closed).get("/api/v1/lean").status_code == 401
