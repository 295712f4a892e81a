"""The adapter of Lava, document flavour.

Lava makes an invoice, shows its page, charges again by itself and tells of each payment by a signed webhook. It has no
subscription object (`provider_sub_id` is None: what stays the same through all renewals is the order id), no API to
cancel, to refund or to ask, and no idempotency key: a call whose answer was lost is made again with the same order id,
and then there may be two invoices for one order, of which the receiver credits what is paid.
Source: the architecture document, "Lava Integration Details"; providers.md 1.2 and 1.3.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from payflow.core.http import Answer, HttpClient, MalformedAnswer, dump_json
from payflow.core.money import Money
from providers.base import (
    AuthError,
    Caps,
    ConfigFault,
    CurrencyRefused,
    LinkRequest,
    Provider,
    ProviderError,
    ProviderEvent,
    RequestRefused,
    SubRequest,
    SubResult,
)
from providers.lava import webhooks
from providers.lava.config import LavaConfig
from providers.wire.answers import call, raise_for
from providers.wire.fields import usable_text
from providers.wire.urls import is_web_url

CREATE_PATH = "/invoice/create"
#: `expire` of the document, which names no unit (lava.ru's own is minutes): `expires_at` is therefore not known.
EXPIRE = 300
#: The document shows no answer. These are the places where Lava's published services put the two that matter.
ANSWER_ID = ("invoice_id", "id", "data.id", "data.invoice_id")
ANSWER_URL = ("url", "payment_url", "paymentUrl", "data.url")
#: What a browser opens; longer ones are cut by some.
MAX_URL = 2000

log = logging.getLogger(__name__)


class LavaProvider(Provider):
    """See the module; its settings are those of `LavaConfig`."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name, config)
        self._settings = LavaConfig.load(config)

    @property
    def capabilities(self) -> Caps:
        return Caps(
            create=True,
            hosted_checkout=True,
            payment_link=True,
            renewal_driver="provider",
            price_set_by="payflow",
            webhooks_signed=True,
        )

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        return self._settings.faults(debug=debug)

    def supports_currency(self, currency: str) -> bool:
        """The wire has no currency: the account's own is the only one."""
        return currency == self._settings.currency

    # buying

    def create_subscription(self, request: SubRequest) -> SubResult:
        return self._create_invoice(request)

    def create_payment_link(self, request: LinkRequest) -> SubResult:
        return self._create_invoice(request)

    # webhooks

    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        webhooks.verify(
            headers.get(webhooks.SIGNATURE_HEADER),
            raw_body,
            secrets=self._settings.secrets,
            max_bytes=self.max_webhook_bytes,
        )

    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        return webhooks.read(raw_body).delivery_key

    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        notice = webhooks.read(raw_body)
        return webhooks.events(notice, provider=self.name, currency=self._settings.currency)

    # the one call

    @cached_property
    def _http(self) -> HttpClient:
        """Made at the first call: a TLS context costs a tenth of a second, which no other command should pay."""
        return HttpClient(self.name, self._settings.base_url, answer_seconds=self._settings.answer_seconds)

    def _create_invoice(self, request: SubRequest | LinkRequest) -> SubResult:
        """Raises CurrencyRefused and RequestRefused before any call, and what `raise_for` raises."""
        order_id = f"{webhooks.ORDER_PREFIX}{request.order_ref}"
        body = {
            "sum": self._sum(request.amount, request.currency),
            "order_id": order_id,
            "hook_url": request.hook_url,
            "success_url": request.success_url,
            "fail_url": request.fail_url,
            "expire": EXPIRE,
            "custom_fields": {"user_id": request.user_ref, "plan_id": request.plan_ref},
        }
        answer = self._post(CREATE_PATH, dump_json(body))
        raise_for(answer, who=self.name)
        invoice_id, url = _read_invoice(answer)
        log.info("lava: invoice %s for order %s", invoice_id, order_id)
        return SubResult(provider_sub_id=None, checkout_url=url, status="pending")

    def _sum(self, amount: Decimal, currency: str) -> Decimal:
        if not self.supports_currency(currency):
            raise CurrencyRefused(f"{self.name} sells in {self._settings.currency} only")
        if amount <= 0:
            raise RequestRefused(f"{self.name} makes no invoice of nothing")
        return Money(amount, currency).amount

    def _post(self, path: str, content: bytes) -> Answer:
        if not self._settings.api_key_is_sendable:
            raise AuthError(f"{self.name} has no usable API key (LAVA_API_KEY)")
        headers = {"Authorization": f"Bearer {self._settings.api_key}", "Content-Type": "application/json"}
        return call(self._http, "POST", path, headers=headers, content=content, idempotent=False)


def _read_invoice(answer: Answer) -> tuple[str, str]:
    """Id and page of the new invoice. Raises ProviderError where one is missing or no browser may be sent there."""
    try:
        body = answer.json()
    except (MalformedAnswer, ArithmeticError, RecursionError) as error:  # the latter two: absurd numbers, depth
        raise ProviderError("Lava's answer is not JSON") from error
    invoice_id, url = _first(body, ANSWER_ID), _first(body, ANSWER_URL)
    if invoice_id is None:
        raise ProviderError("Lava's answer names no invoice")
    if url is None or not is_web_url(url):
        raise ProviderError("Lava's answer has no page to pay at")
    return invoice_id, url


def _first(body: object, paths: Iterable[str]) -> str | None:
    """The first of the dotted `paths` that holds a text or a whole number."""
    for path in paths:
        value = body
        for key in path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        if (text := usable_text(value, MAX_URL)) is not None:
            return text
    return None
