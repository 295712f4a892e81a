"""`Idempotency-Key` on the POSTs of DRF views: claim before the handler, keep the answer after it."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from payflow.api.json import CONTENT_TYPE, dumps, enveloped, redacted
from payflow.api.principals import principal_key
from payflow.core import clock
from payflow.core.errors import PayloadTooLarge
from payflow.core.idempotency import (
    Claim,
    StoredAnswer,
    checked_key,
    key_claim,
    key_finish,
    key_forget,
    key_give_back,
    request_hash,
)

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
#: Refused before anything was done: a corrected request may use the key again.
_NOTHING_DONE = frozenset({400, 401, 413, 429})


def idempotency_id(request: Request | HttpRequest) -> uuid.UUID | None:
    """The id from which a view derives the keys of its domain rows, the same at every try; None without a key."""
    value: uuid.UUID | None = getattr(request, "idempotency_id", None)
    return value


class _Replay(Exception):
    def __init__(self, stored: StoredAnswer) -> None:
        super().__init__()
        self.stored = stored


class IdempotentPosts(APIView):
    """A view that answers with secrets names them in `redacted_fields`: they are kept blanked."""

    idempotent: ClassVar[bool] = True
    redacted_fields: ClassVar[tuple[str, ...]] = ()

    _claim: Claim | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        header = request.headers.get(HEADER)
        principal = principal_key(request.user)
        if request.method != "POST" or header is None or principal is None or not self.idempotent:
            return
        claim = key_claim(
            principal=principal, key=checked_key(header), request_hash=_hash(request._request), wall=clock.wall()
        )
        if isinstance(claim, StoredAnswer):
            raise _Replay(claim)
        self._claim = claim
        request._request.idempotency_id = claim.id  # type: ignore[attr-defined]

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, _Replay):
            return HttpResponse(
                exc.stored.body, status=exc.stored.status, content_type=CONTENT_TYPE, headers={REPLAYED: "true"}
            )
        return super().handle_exception(exc)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if self._claim is not None:
            self._settle(self._claim, response)
        return response

    def _settle(self, claim: Claim, response: Any) -> None:
        if response.status_code in _NOTHING_DONE:
            key_forget(claim=claim)
        elif response.status_code >= 500:
            key_give_back(claim=claim)
        else:
            key_finish(claim=claim, status=response.status_code, body=self._kept(response))

    def _kept(self, response: Any) -> str:
        if self.redacted_fields and isinstance(response, Response):
            body = enveloped(response.data, status=response.status_code)
            return dumps(redacted(body, self.redacted_fields)).decode()
        if isinstance(response, Response):
            response.render()
        text: str = response.content.decode()
        return text


def _hash(request: HttpRequest) -> str:
    try:
        body = request.body
    except RequestDataTooBig as error:
        raise PayloadTooLarge from error
    path = request.path.rstrip("/")
    if query := request.META.get("QUERY_STRING"):
        path = f"{path}?{query}"
    return request_hash(method=request.method or "", path=path, body=body)
