"""`/webhooks/{provider}`: no DRF, no session, nothing but the raw bytes."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import MethodNotAllowed

from payflow.api import errors
from payflow.api.json import envelope, json_response
from payflow.core import clock
from payflow.core.errors import NotFound, PayloadTooLarge
from providers import registry
from webhooks.services import Delivery, inbound_accept

#: No provider sends more; each adapter has its own, lower limit.
MAX_BYTES = 512 * 1024


@csrf_exempt
def inbound(request: HttpRequest, provider: str) -> HttpResponse:
    """Stores a provider's delivery and answers as the provider expects; GET answers 200, as panels check the address."""
    try:
        if request.method in ("GET", "HEAD"):
            if provider not in registry.names():
                raise NotFound("There is no such payment provider")
            return json_response(envelope(None, message="Ready for webhooks"))
        if request.method != "POST":
            raise MethodNotAllowed(request.method or "")
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BYTES:
            raise PayloadTooLarge
        delivery = Delivery(provider, {name.lower(): value for name, value in request.headers.items()}, request.body)
        answer = inbound_accept(delivery=delivery, wall=clock.wall())
    except Exception as error:  # noqa: BLE001 - the edge: everything becomes an answer
        return errors.render(error, request)
    return HttpResponse(answer.body, status=answer.status, content_type=answer.content_type)
