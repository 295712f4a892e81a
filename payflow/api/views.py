"""The base classes of every DRF view."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from payflow.api.idempotency import IdempotentPosts
from payflow.core.errors import NotFound, ValidationFailed


class AlwaysJSON(DefaultContentNegotiation):
    """Whatever the client says it accepts: the API has one form, and a 406 helps nobody."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        return first, str(first.media_type)


class ApiView(IdempotentPosts):
    """What every view does: JSON only, `Idempotency-Key` on POST, deletes that answer 200."""

    content_negotiation_class = AlwaysJSON

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # PostgreSQL cannot store or compare NUL.
        if "\0" in request.path:
            raise NotFound
        if "%00" in request.META.get("QUERY_STRING", ""):
            raise ValidationFailed("The query may not contain the NUL character")
        super().initial(request, *args, **kwargs)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(response, Response) and response.status_code == 204:
            response.status_code = 200
        return super().finalize_response(request, response, *args, **kwargs)


class ApiViewSet(ApiView, GenericViewSet[Any]):
    """Add DRF's mixins for the actions there are. Writes call a service, never `serializer.save()`."""


class ReadViewSet(RetrieveModelMixin, ListModelMixin, ApiViewSet):
    """Lists and single rows."""
