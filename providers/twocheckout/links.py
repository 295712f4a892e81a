"""Buy links: a page of 2Checkout's where one thing is bought, its parameters signed by 2Checkout's own service.

Nothing is made at 2Checkout before somebody pays; the same link twice is no second order. Source: providers.md 2.1 (the
official SDK's examples); a duration of 1:FOREVER is that of 2Checkout's own plug-ins for subscriptions without an end.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from urllib.parse import urlencode

from payflow.core.http import HttpClient, dump_json
from payflow.core.money import Money
from providers.base import AuthError, LinkRequest, ProviderError, RequestRefused, SubRequest
from providers.twocheckout.config import TwoCheckoutConfig
from providers.twocheckout.naming import MAX_REFERENCE
from providers.wire.answers import call, raise_for, read_answer
from providers.wire.fields import usable_text
from providers.wire.urls import is_web_url

SIGNATURE_PATH = "/checkout/api/encrypt/generate/signature"
BUY_PATH = "/checkout/buy/"
#: How long a link can be used, and to the end of that hour: what is asked for again within it is the same link.
LIFETIME = timedelta(hours=24)
#: How long the token may be used with which the signature is asked for.
TOKEN_SECONDS = 3600
UNITS = {"daily": "DAY", "weekly": "WEEK", "monthly": "MONTH", "yearly": "YEAR"}


@dataclass(frozen=True, slots=True)
class Link:
    url: str
    expires_at: datetime


class Links:
    """Thread-safe."""

    def __init__(self, name: str, settings: TwoCheckoutConfig) -> None:
        self._name = name
        self._settings = settings

    def make(self, request: SubRequest | LinkRequest, *, now: datetime) -> Link:
        """Raises RequestRefused for what cannot be asked of 2Checkout, before any call; AuthError, Unavailable."""
        settings = self._settings
        if not settings.buy_link_secret or not settings.merchant_is_sendable:
            raise AuthError(f"{self._name} has no usable merchant code or buy-link secret word (TWOCHECKOUT_*)")
        expires_at = (now + LIFETIME).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        parameters = self._parameters(request, expires_at)
        headers = {
            "merchant-token": token(settings.merchant_code, settings.buy_link_secret, now),
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        answer = call(
            self._http, "POST", SIGNATURE_PATH, headers=headers, content=dump_json(parameters), idempotent=True
        )
        raise_for(answer, who=self._name)
        signature = usable_text(read_answer(answer, who=self._name).get("signature"), 512)
        if signature is None:
            raise ProviderError(f"{self._name} gave the link no signature")
        query = urlencode({**parameters, "signature": signature})
        return Link(f"{settings.link_url}{BUY_PATH}?{query}", expires_at)

    def _parameters(self, request: SubRequest | LinkRequest, expires_at: datetime) -> dict[str, str]:
        if request.amount <= 0:
            raise RequestRefused(f"{self._name} sells nothing for nothing")
        if len(request.order_ref) > MAX_REFERENCE:
            raise RequestRefused(f"{self._name} takes references of {MAX_REFERENCE} characters")
        if not is_web_url(request.success_url):
            raise RequestRefused(f"{self._name} needs an address to send the buyer back to")
        parameters = {
            "merchant": self._settings.merchant_code,
            "dynamic": "1",
            "prod": product_name(request),
            "price": price(request.amount, request.currency),
            "qty": "1",
            "type": "PRODUCT",
            "tangible": "0",
            "currency": request.currency.lower(),
            "order-ext-ref": request.order_ref,
            "customer-ext-ref": request.user_ref,
            "item-ext-ref": request.plan_ref,
            "return-url": request.success_url,
            "return-type": "redirect",
            "expiration": str(int(expires_at.timestamp())),
        }
        if isinstance(request, SubRequest):
            parameters |= self._recurrence(request)
        if request.email:
            parameters["email"] = request.email
        if self._settings.test_mode:
            parameters["test"] = "1"
        return parameters

    def _recurrence(self, request: SubRequest) -> dict[str, str]:
        every, cycle = request.interval
        if request.trial_days:
            raise RequestRefused(f"{self._name} has trials of its own catalogue's products only")
        if cycle not in UNITS or every < 1:
            raise RequestRefused(f"{self._name} does not know this interval")
        renewal = request.amount if request.renewal_amount is None else request.renewal_amount
        if renewal <= 0:
            raise RequestRefused(f"{self._name} does not renew for nothing")
        return {
            "recurrence": f"{every}:{UNITS[cycle]}",
            "duration": "1:FOREVER",
            "renewal-price": price(renewal, request.currency),
        }

    @cached_property
    def _http(self) -> HttpClient:
        """The shop's host, which is not the API's."""
        return HttpClient(self._name, self._settings.link_url, answer_seconds=self._settings.answer_seconds)


def token(merchant_code: str, secret: str, now: datetime) -> str:
    """The JWT (HS512) that the signature is asked for with. `now` is real time."""
    issued = int(now.timestamp())
    head = _part({"alg": "HS512", "typ": "JWT"})
    body = _part({"sub": merchant_code, "iat": issued, "exp": issued + TOKEN_SECONDS})
    return sealed(head, body, secret)


def sealed(head: str, body: str, secret: str) -> str:
    signature = hmac.new(secret.encode(), f"{head}.{body}".encode(), hashlib.sha512).digest()
    return f"{head}.{body}.{_base64url(signature)}"


def price(amount: Decimal, currency: str) -> str:
    """In the currency's digits. Raises ValueError for more of them."""
    return f"{Money(amount, currency).amount:f}"


def product_name(request: SubRequest | LinkRequest) -> str:
    """What the buyer reads. A semicolon would begin another product."""
    name = request.metadata.get("plan_name", "") if isinstance(request, SubRequest) else ""
    return (name or request.plan_ref).replace(";", ",")


def _part(claims: Mapping[str, object]) -> str:
    return _base64url(json.dumps(claims, separators=(",", ":")).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
