"""What the sandbox's API takes, checked field by field: anything else is Malformed, never a crash."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.db.models import TextChoices
from django.http import HttpRequest

from payflow.core.money import CURRENCIES, MAX_DIGITS, MAX_SCALE, has_currency_scale, round_amount
from providers.sandbox.errors import Malformed
from providers.sandbox.models import MAX_URL, Behaviour, CheckoutKind, DisputeStatus

C = TypeVar("C", bound=TextChoices)

MAX_TRIAL_DAYS = 3660
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True, slots=True)
class CheckoutInput:
    kind: CheckoutKind
    order_ref: str
    amount: Decimal
    currency: str
    user_ref: str
    plan_ref: str
    description: str
    billed: str
    email: str
    trial_days: int
    success_url: str
    cancel_url: str
    fail_url: str
    hook_url: str
    #: What the sandbox sells by itself; its price is asked then, and `amount` is 0.
    product_ref: str = ""

    @property
    def hash(self) -> str:
        """What the key stands for: what is bought. Addresses may differ when an attempt is resumed elsewhere."""
        bought = (self.kind, self.order_ref, self.amount, self.currency, self.user_ref, self.plan_ref, self.trial_days)
        return request_hash(*bought, *([self.product_ref] if self.product_ref else []))


@dataclass(frozen=True, slots=True)
class ChargeInput:
    method_ref: str
    customer_ref: str
    amount: Decimal
    currency: str
    hook_url: str

    @property
    def hash(self) -> str:
        return request_hash(self.method_ref, self.customer_ref, self.amount, self.currency)


@dataclass(frozen=True, slots=True)
class ReversalInput:
    """A refund or a dispute; `amount` None is the whole rest, of a dispute the whole payment."""

    amount: Decimal | None
    reason: str
    hook_url: str

    def hash(self, payment_ref: str) -> str:
        return request_hash(payment_ref, self.amount, self.reason)


@dataclass(frozen=True, slots=True)
class MethodInput:
    customer_ref: str
    behaviour: Behaviour
    hook_url: str


def idempotency_key(request: HttpRequest) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if not _KEY.fullmatch(key):
        raise Malformed("Idempotency-Key is missing or malformed")
    return key


def checkout_input(request: HttpRequest) -> CheckoutInput:
    body = Body.of(request)
    currency = body.currency()
    product_ref = body.text("product_ref", default="")
    return CheckoutInput(
        kind=body.choice("kind", CheckoutKind),
        order_ref=body.text("order_ref"),
        amount=Decimal(0) if product_ref else body.amount(currency, zero=True),
        currency=currency,
        user_ref=body.text("user_ref"),
        plan_ref=body.text("plan_ref", default=""),
        description=body.text("description", default=""),
        billed=body.text("billed", default="", most=60),
        email=body.text("email", default="", most=320),
        trial_days=body.days("trial_days"),
        success_url=body.url("success_url"),
        cancel_url=body.url("cancel_url"),
        fail_url=body.url("fail_url", optional=True),
        hook_url=body.url("hook_url", optional=True),
        product_ref=product_ref,
    )


def charge_input(request: HttpRequest) -> ChargeInput:
    body = Body.of(request)
    currency = body.currency()
    return ChargeInput(
        method_ref=body.text("method_ref"),
        customer_ref=body.text("customer_ref", default=""),
        amount=body.amount(currency),
        currency=currency,
        hook_url=body.url("hook_url", optional=True),
    )


def reversal_input(request: HttpRequest) -> ReversalInput:
    body = Body.of(request)
    return ReversalInput(
        amount=body.number("amount") if body.has("amount") else None,
        reason=body.text("reason", default=""),
        hook_url=body.url("hook_url", optional=True),
    )


def method_input(request: HttpRequest) -> MethodInput:
    body = Body.of(request)
    return MethodInput(
        customer_ref=body.text("customer_ref"),
        behaviour=body.choice("behaviour", Behaviour) if body.has("behaviour") else Behaviour.OK,
        hook_url=body.url("hook_url", optional=True),
    )


def behaviour_input(request: HttpRequest) -> Behaviour:
    return Body.of(request).choice("behaviour", Behaviour)


def outcome_input(request: HttpRequest) -> DisputeStatus:
    """How a dispute ends: lost or won."""
    outcome = Body.of(request).choice("outcome", DisputeStatus)
    if outcome == DisputeStatus.OPEN:
        raise Malformed("outcome is not one of lost, won")
    return outcome


def amount_in(amount: Decimal, currency: str) -> Decimal:
    """`amount` with its currency's digits. Raises Malformed where it has more of them."""
    if not has_currency_scale(amount, currency):
        raise Malformed(f"amount has too many decimals for {currency}")
    return round_amount(amount, currency)


class Body:
    """A JSON object whose fields are asked for by name and kind."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    @classmethod
    def of(cls, request: HttpRequest) -> Body:
        try:
            parsed = json.loads(request.body, parse_float=Decimal, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Malformed("the body is not JSON") from error
        if not isinstance(parsed, dict):
            raise Malformed("the body is not a JSON object")
        return cls(parsed)

    def has(self, name: str) -> bool:
        return self._fields.get(name) is not None

    def text(self, name: str, *, default: str | None = None, most: int = 255) -> str:
        value = self._fields.get(name)
        if value in (None, "") and default is not None:
            return default
        # NUL and lone surrogates are JSON, but not PostgreSQL's text.
        if not isinstance(value, str) or not 0 < len(value) <= most or re.search(r"[\x00\ud800-\udfff]", value):
            raise Malformed(f"{name} is not a text of 1 to {most} characters")
        return value

    def url(self, name: str, *, optional: bool = False) -> str:
        value = self.text(name, default="" if optional else None, most=MAX_URL)
        if not value:
            return value
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            usable = False
        if not usable or re.search(r"[\s\x00-\x1f\x7f]", value):
            raise Malformed(f"{name} is not an http(s) address")
        return value

    def choice(self, name: str, choices: type[C]) -> C:
        value = self.text(name)
        if value not in choices.values:
            raise Malformed(f"{name} is not one of {', '.join(choices.values)}")
        return choices(value)

    def flag(self, name: str, *, default: bool) -> bool:
        value = self._fields.get(name, default)
        if not isinstance(value, bool):
            raise Malformed(f"{name} is not true or false")
        return value

    def count(self, name: str, *, least: int = 0, most: int) -> int:
        value = self._fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Malformed(f"{name} is not a number from {least} to {most}")
        return value

    def currency(self) -> str:
        value = self.text("currency")
        if value not in CURRENCIES:
            raise Malformed("currency is not an ISO 4217 code")
        return value

    def days(self, name: str) -> int:
        value = self._fields.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_TRIAL_DAYS:
            raise Malformed(f"{name} is not a number of days from 0 to {MAX_TRIAL_DAYS}")
        return value

    def amount(self, currency: str, *, name: str = "amount", zero: bool = False) -> Decimal:
        return amount_in(self.number(name, zero=zero), currency)

    def number(self, name: str, *, zero: bool = False) -> Decimal:
        value = self._fields.get(name)
        try:
            if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
                raise Malformed(f"{name} is not a number")
            number = Decimal(value)
        except (InvalidOperation, ValueError) as error:
            raise Malformed(f"{name} is not a number") from error
        exponent = number.as_tuple().exponent
        # Checked before any arithmetic: 1E+999999 is a Decimal that fills the memory when it is written out.
        fits = (
            isinstance(exponent, int)
            and exponent >= -MAX_SCALE
            and (number == 0 or number.adjusted() < MAX_DIGITS - MAX_SCALE)
        )
        if not fits or not (number > 0 or (zero and number == 0)):
            raise Malformed(f"{name} is not an amount")
        return number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def request_hash(*parts: object) -> str:
    """5, 5.0 and "5.00" are one amount, and so one request."""
    texts = [format(part.normalize(), "f") if isinstance(part, Decimal) else str(part) for part in parts]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
