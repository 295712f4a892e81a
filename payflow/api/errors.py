"""One way from an exception to an answer, for DRF, lean views and Django's own handlers.

What is foreseen becomes its code and status (section 5 of the design); what is not becomes 500 INTERNAL_ERROR, logged
with its traceback and told without internals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from django.core import exceptions as django_exceptions
from django.core.signals import got_request_exception
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.utils.log import log_response
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from payflow.api.json import code_for_status, error_envelope, json_response
from payflow.core.errors import STATUS, Code, DomainError, NotFound, PayloadTooLarge, ValidationFailed

REALM = 'Bearer realm="payflow"'
#: Where errors are JSON whatever raised them.
JSON_PATHS = ("/api/", "/webhooks/")


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal, ready to be written."""

    code: Code
    error: str
    details: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return STATUS[self.code]

    @property
    def body(self) -> dict[str, Any]:
        return error_envelope(self.error, self.code, self.details)


def handle(exc: Exception, context: dict[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER."""
    problem = describe(exc)
    response = Response(problem.body, status=problem.status, headers=problem.headers)
    if problem.code is Code.INTERNAL_ERROR:
        request = context["request"]
        report(exc, getattr(request, "_request", request), response)
    return response


def render(exc: Exception, request: HttpRequest) -> HttpResponse:
    """The same for views without DRF."""
    problem = describe(exc)
    response = json_response(problem.body, status=problem.status)
    for name, value in problem.headers.items():
        response[name] = value
    if problem.code is Code.INTERNAL_ERROR:
        report(exc, request, response)
    return response


def report(exc: Exception, request: HttpRequest, response: HttpResponse) -> None:
    """Logs the unforeseen with its traceback, and tells who listens (error trackers, the test client)."""
    got_request_exception.send(sender=None, request=request)
    log_response("Unexpected error: %s", request.path, response=response, request=request, exception=exc)


def describe(exc: Exception) -> Problem:
    """What the caller is told of `exc`."""
    match exc:
        case DomainError():
            return _domain(exc)
        case exceptions.APIException():
            return _drf(exc)
        case Http404():
            return _domain(NotFound())
        case django_exceptions.PermissionDenied():
            return _drf(exceptions.PermissionDenied())
        case django_exceptions.ValidationError():
            faults = getattr(exc, "message_dict", None) if hasattr(exc, "error_dict") else exc.messages
            return _invalid(faults)
        case django_exceptions.RequestDataTooBig():
            return _domain(PayloadTooLarge())
        case django_exceptions.SuspiciousOperation():
            return _domain(ValidationFailed())
    return Problem(Code.INTERNAL_ERROR, DomainError.message)


def no_such_path(request: HttpRequest, *_args: Any, **_kwargs: Any) -> HttpResponse:
    """The view behind every path under /api and /webhooks that nothing else answers, in DEBUG too."""
    return render(NotFound(), request)


no_such_path.csrf_exempt = True  # type: ignore[attr-defined]


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _wants_json(request):
        return render(exception, request)
    return defaults.bad_request(request, exception)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _wants_json(request):
        return render(django_exceptions.PermissionDenied(), request)
    return defaults.permission_denied(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _wants_json(request):
        return render(NotFound(), request)
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    if _wants_json(request):
        return json_response(error_envelope(DomainError.message, Code.INTERNAL_ERROR), status=500)
    return defaults.server_error(request)


def _wants_json(request: HttpRequest) -> bool:
    return f"{request.path}/".startswith(JSON_PATHS)


def _domain(exc: DomainError) -> Problem:
    headers = {}
    if exc.retry_after is not None:
        headers["Retry-After"] = str(exc.retry_after)
    if exc.code is Code.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = REALM
    return Problem(exc.code, str(exc.message), exc.details, headers)


def _drf(exc: exceptions.APIException) -> Problem:
    match exc:
        case exceptions.ValidationError():
            return _invalid(exc.detail)
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return Problem(Code.UNAUTHENTICATED, _text(exc), headers={"WWW-Authenticate": REALM})
        case exceptions.Throttled():
            wait = math.ceil(getattr(exc, "wait", None) or 1)
            return Problem(Code.RATE_LIMITED, "Too many requests", headers={"Retry-After": str(wait)})
        case exceptions.PermissionDenied():
            return Problem(Code.FORBIDDEN, _text(exc))
        case exceptions.NotFound():
            return _domain(NotFound())
        case exceptions.UnsupportedMediaType():
            return Problem(Code.VALIDATION_ERROR, "Send the body as application/json")
    return Problem(code_for_status(exc.status_code), _text(exc))


def _invalid(faults: Any) -> Problem:
    """`details` is always a map of field to faults; what belongs to no field is under `non_field_errors`."""
    if isinstance(faults, list | tuple):
        faults = {"non_field_errors": list(faults)}
    return Problem(Code.VALIDATION_ERROR, ValidationFailed.message, faults)


def _text(exc: exceptions.APIException) -> str:
    """The one sentence of a DRF error (simplejwt's details are a map with the sentence under `detail`)."""
    detail: Any = exc.detail
    if isinstance(detail, dict):
        detail = detail.get("detail", exc.default_detail)
    if isinstance(detail, list):
        detail = detail[0] if detail else exc.default_detail
    return str(detail)
