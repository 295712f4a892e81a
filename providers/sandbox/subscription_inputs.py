"""What the API takes about products, purchases and subscriptions; anything else is Malformed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.http import HttpRequest

from providers.base import MalformedError
from providers.sandbox.errors import Malformed
from providers.sandbox.inputs import MAX_TRIAL_DAYS, Body, request_hash
from providers.sandbox.models import Behaviour, Cycle, FaultKind
from providers.wire.fields import moment_of

#: Of a page of news.
PAGE = 100
MAX_TIMES = 10_000


@dataclass(frozen=True, slots=True)
class ProductInput:
    product_ref: str
    name: str
    price: Decimal
    currency: str
    cycle: Cycle
    every: int
    trial_days: int


@dataclass(frozen=True, slots=True)
class PurchaseInput:
    """`user_ref` and `order_ref` are what the app tells the store about the buyer and his order, if anything; `replaces`
    the token of an upgraded one."""

    product_ref: str
    user_ref: str
    order_ref: str
    behaviour: Behaviour
    replaces: str
    is_test: bool

    @property
    def hash(self) -> str:
        return request_hash(self.product_ref, self.user_ref, self.order_ref, self.replaces, self.is_test)


@dataclass(frozen=True, slots=True)
class ChangeInput:
    product_ref: str
    at_once: bool


@dataclass(frozen=True, slots=True)
class NewsInput:
    """A stretch of real time, or what happened after a business time; `after` is the last event of the page before."""

    since: datetime | None
    until: datetime | None
    after: str


@dataclass(frozen=True, slots=True)
class FaultInput:
    kind: FaultKind
    times: int | None


def product_input(request: HttpRequest) -> ProductInput:
    body = Body.of(request)
    currency = body.currency()
    return ProductInput(
        product_ref=body.text("product_ref"),
        name=body.text("name"),
        price=body.amount(currency, name="price"),
        currency=currency,
        cycle=body.choice("cycle", Cycle),
        every=body.count("every", least=1, most=120) if body.has("every") else 1,
        trial_days=body.count("trial_days", most=MAX_TRIAL_DAYS) if body.has("trial_days") else 0,
    )


def purchase_input(request: HttpRequest) -> PurchaseInput:
    body = Body.of(request)
    return PurchaseInput(
        product_ref=body.text("product_ref"),
        user_ref=body.text("user_ref", default=""),
        order_ref=body.text("order_ref", default=""),
        behaviour=body.choice("behaviour", Behaviour) if body.has("behaviour") else Behaviour.OK,
        replaces=body.text("replaces", default=""),
        is_test=body.flag("test", default=False),
    )


def cancel_input(request: HttpRequest) -> bool:
    """Only at the end of the period?"""
    return Body.of(request).flag("at_period_end", default=True)


def change_input(request: HttpRequest) -> ChangeInput:
    body = Body.of(request)
    return ChangeInput(body.text("product_ref"), at_once=body.flag("now", default=False))


def extension_input(request: HttpRequest) -> int:
    return Body.of(request).count("days", least=1, most=MAX_TRIAL_DAYS)


def card_input(request: HttpRequest) -> Behaviour:
    body = Body.of(request)
    return body.choice("behaviour", Behaviour) if body.has("behaviour") else Behaviour.OK


def fault_input(request: HttpRequest) -> FaultInput:
    """`times` 0 switches it off; absent it lasts until then."""
    body = Body.of(request)
    times = body.count("times", most=MAX_TIMES) if body.has("times") else None
    return FaultInput(body.choice("kind", FaultKind), times)


def order_input(request: HttpRequest) -> str:
    order_ref = request.GET.get("order_ref", "")
    if not order_ref or "\x00" in order_ref:
        raise Malformed("order_ref is missing or malformed")
    return order_ref


def news_input(request: HttpRequest) -> NewsInput:
    after = request.GET.get("after", "")
    if "\x00" in after:
        raise Malformed("after is malformed")
    return NewsInput(_moment(request, "since"), _moment(request, "until"), after)


def _moment(request: HttpRequest, name: str) -> datetime | None:
    text = request.GET.get(name)
    try:
        return moment_of(text, name) if text else None
    except MalformedError as error:
        raise Malformed(f"{name} is not a time with its zone") from error
