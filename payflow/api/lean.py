"""Plain Django views for the hot paths: the API's rules without DRF's cost (it halves the requests per second).

    @lean_view("GET")
    def entitlements(request: LeanRequest) -> Any:
        return {"user": request.principal.pk}

The same authentication, throttle, parser, envelope and errors as every other view; what is returned is the data.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from rest_framework.exceptions import MethodNotAllowed, NotAuthenticated, Throttled, UnsupportedMediaType
from rest_framework.settings import api_settings

from payflow.api import errors
from payflow.api.json import CONTENT_TYPE, envelope, json_response, loads, read_body
from payflow.api.principals import Claimed
from payflow.api.throttles import PrincipalThrottle
from payflow.core.errors import ValidationFailed
from payflow.core.redis import Done, Errand


class LeanRequest(HttpRequest):
    """What a lean view gets. `principal` is the user or the service (None where the view lets the anonymous in)."""

    principal: Any
    #: The token or the API key by which the principal came in.
    auth: Any
    #: The parsed body; {} without one.
    data: Any


class LeanView(Protocol):
    def __call__(self, request: LeanRequest, /, *args: Any, **kwargs: Any) -> Any: ...


DjangoView = Callable[..., HttpResponseBase]


@dataclass(frozen=True, slots=True)
class Known:
    """What may answer before the caller's account is looked up, given its errand to Redis (None where that was not done).

    It vouches that what was found for the same proof still holds. None: somebody has to look.
    """

    answer: Callable[[LeanRequest, Claimed, Done | None], HttpResponse | None]
    errand: Callable[[Claimed], Errand | None]


def lean_view(
    *methods: str,
    anonymous: bool = False,
    known: Known | None = None,
    max_body: int | None = None,
    items: str | None = None,
) -> Callable[[LeanView], DjangoView]:
    """A Django view that answers `methods`. It returns the data, or an HttpResponse as it is.

    Raises nothing: DomainErrors and what nobody foresaw are rendered as everywhere. With `anonymous` nobody has to sign
    in, but wrong credentials are refused all the same. `known` may answer before the caller's account is looked up.
    `max_body`: bytes, where more than usual may come. `items`: the list whose entries are refused one by one (`loads`).
    """
    allowed = frozenset(methods) | ({"HEAD"} if "GET" in methods else set())

    def decorate(view: LeanView) -> DjangoView:
        @functools.wraps(view)
        def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                if request.method not in allowed:
                    raise MethodNotAllowed(request.method or "")
                _check_address(request)
                lean = cast(LeanRequest, request)
                claimed = _claimed(request) if known else None
                if known and claimed:
                    done = _throttle(request, claimed, known.errand(claimed))
                    lean.data = _parse(request, max_body, items)
                    if (answer := known.answer(lean, claimed, done)) is not None:
                        return answer
                _admit(lean, anonymous=anonymous)
                if not claimed:
                    _throttle(request, lean.principal)
                    lean.data = _parse(request, max_body, items)
                result = view(lean, *args, **kwargs)
                return result if isinstance(result, HttpResponseBase) else json_response(envelope(result))
            except MethodNotAllowed as error:
                response = errors.render(error, request)
                response["Allow"] = ", ".join(sorted(allowed))
                return response
            except Exception as error:  # noqa: BLE001 - the edge: everything becomes an answer
                return errors.render(error, request)

        wrapped.csrf_exempt = True  # type: ignore[attr-defined]  # credentials come in headers, never in cookies
        wrapped.lean_methods = methods  # type: ignore[attr-defined]
        wrapped.lean_anonymous = anonymous  # type: ignore[attr-defined]
        return wrapped

    return decorate


def created(data: Any, *, message: str = "Created") -> HttpResponse:
    """A 201 for lean views."""
    return json_response(envelope(data, message=message), status=201)


def _check_address(request: HttpRequest) -> None:
    if "\0" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
        raise ValidationFailed("The address may not contain the NUL character")


def _admit(request: LeanRequest, *, anonymous: bool) -> None:
    request.principal, request.auth = _authenticate(request)
    if request.principal is None and not anonymous:
        raise NotAuthenticated
    if request.principal is not None:
        request.user = request.principal


def _throttle(request: HttpRequest, principal: Any, errand: Errand | None = None) -> Done | None:
    """The errand as it was done; None where Redis is away. Raises Throttled."""
    if principal is not None:
        request.user = principal
    throttle = PrincipalThrottle()
    if not throttle.allow_request(request, errand=errand):
        raise Throttled(throttle.wait())
    return throttle.done


def _claimed(request: HttpRequest) -> Claimed | None:
    for authenticator in _authenticators():
        if (claims := getattr(authenticator, "claimed", None)) and (claimed := claims(request)):
            return cast(Claimed, claimed)
    return None


def _authenticate(request: HttpRequest) -> tuple[Any, Any]:
    for authenticator in _authenticators():
        if found := authenticator.authenticate(request):
            principal, auth = found
            return principal, auth
    return None, None


def _authenticators() -> Sequence[Any]:
    # Named in the settings, so that this floor imports no app. They read `request.META` only.
    return _made(tuple(api_settings.DEFAULT_AUTHENTICATION_CLASSES))


@functools.cache
def _made(classes: tuple[Any, ...]) -> Sequence[Any]:
    return [each() for each in classes]


def _parse(request: HttpRequest, max_body: int | None, items: str | None) -> Any:
    if request.method in ("GET", "HEAD"):
        return {}
    declared = int(request.META.get("CONTENT_LENGTH") or 0)
    if not declared:
        return {}
    if request.content_type != CONTENT_TYPE:
        raise UnsupportedMediaType(request.content_type or "")
    return loads(read_body(request, declared=declared, limit=max_body), items=items)
