"""The paywall's question, `GET /api/v1/entitlements/`, asked by people with tokens; beside it a constant."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework_simplejwt.tokens import AccessToken

from benchmarks.customers import ACTIVE, customers_make
from benchmarks.http import HttpSide, encode
from benchmarks.workload import Bench, Side, Workload
from benchmarks.wsgi_paths import AS_API, BARE
from payflow.core import clock

#: As long as the feature's answer for a premium user, give or take a field.
CONSTANT = b'{"message":"OK","data":{"entitled":true,"plan":{"code":"premium"},"padding":"' + b"x" * 900 + b'"}}'


def constant(request: HttpRequest) -> HttpResponse:
    # The length is the middleware's to write; without middleware the answer would be sent in chunks.
    return HttpResponse(CONSTANT, content_type="application/json", headers={"Content-Length": str(len(CONSTANT))})


urlpatterns = [path("benchmark/constant", constant)]


class Entitlements(Workload):
    name = "entitlements"
    what = "GET /api/v1/entitlements/ with a JWT, beside a bare Django view that answers constant JSON"
    target = 0.5

    def prepare(self, bench: Bench) -> None:
        customers = customers_make(bench.options.users, clock.now())[:ACTIVE]
        self._tokens = [str(AccessToken.for_user(user)) for user in customers]
        random.Random(1).shuffle(self._tokens)

    def sides(self) -> Sequence[Side]:
        return [
            HttpSide("entitlements", self._requests, contains='"entitled":true'),
            HttpSide("constant view", lambda count: [encode("GET", "/benchmark/constant")]),
            HttpSide("the same as API view", lambda count: [encode("GET", f"{AS_API}/benchmark/constant")]),
            HttpSide("without middleware", lambda count: [encode("GET", f"{BARE}/benchmark/constant")]),
        ]

    def _requests(self, count: int) -> Iterator[bytes]:
        for token in self._tokens:
            yield encode("GET", "/api/v1/entitlements/", headers={"Authorization": f"Bearer {token}"})


WORKLOAD = Entitlements()
