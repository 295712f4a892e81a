"""One address of the API: the key is checked, then the method's handler runs; a refusal becomes its answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from providers.sandbox.accounts import account_of_request
from providers.sandbox.errors import Refused
from providers.sandbox.faults import fault_take
from providers.sandbox.models import FaultKind

Handler = Callable[..., HttpResponse]

#: Longer than a client waits, so that its charge is unknown to it.
HOLD_SECONDS = 15.0


def endpoint(*, always_answers: bool = False, **methods: Handler) -> Handler:
    """`always_answers` False: what it changes is done, but not answered, where that fault is switched on."""

    @csrf_exempt
    def view(request: HttpRequest, **kwargs: str) -> HttpResponse:
        try:
            account = account_of_request(request.headers.get("Authorization", ""))
            handler = methods.get(request.method or "")
            if handler is None:
                return JsonResponse({"error": "method not allowed", "code": "method"}, status=405)
            answer = handler(request, account, **kwargs)
        except Refused as refused:
            return JsonResponse({"error": str(refused), "code": refused.code}, status=refused.status)
        silent = not always_answers and request.method != "GET"
        if silent and fault_take(account=account.id, kind=FaultKind.TIMEOUT):
            time.sleep(hold_of_settings().total_seconds())
            return JsonResponse({"error": "no answer in time", "code": "timeout"}, status=504)
        return answer

    return view


def hold_of_settings() -> timedelta:
    """How late a late answer is."""
    return timedelta(seconds=float(getattr(settings, "SANDBOX_HOLD_SECONDS", HOLD_SECONDS)))
