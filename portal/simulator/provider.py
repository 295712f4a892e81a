"""The adapter of the simulated provider: in process, merchant-driven, and as forgetful as the network.

Its state is the `Bank` in its settings: every instance of one name speaks to the same one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from portal.simulator.bank import Bank
from portal.simulator.faults import WorkerKilled
from providers.base import (
    Caps,
    ChargeRequest,
    ConfigFault,
    EventType,
    LinkRequest,
    MalformedError,
    PaymentResult,
    Provider,
    ProviderEvent,
    RefundResult,
    StoredMethod,
    SubRequest,
    SubResult,
)
from providers.sandbox import signature

ADAPTER = f"{__name__}:SimulatorProvider"
SECRET = "known to the simulator alone"  # noqa: S105 - lives as long as a run, and no real money knows it
HEADER = signature.HEADER.lower()


class SimulatorProvider(Provider):
    """Config: `bank`, the provider's state."""

    @property
    def bank(self) -> Bank:
        bank: Bank = self.config["bank"]
        return bank

    @property
    def capabilities(self) -> Caps:
        return Caps(
            create=True,
            hosted_checkout=True,
            trial=True,
            refund_full=True,
            refund_partial=True,
            merchant_charge=True,
            payment_link=True,
            renewal_driver="merchant",
            price_set_by="payflow",
        )

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        return [] if debug else [ConfigFault("error", "the simulator takes no real money", "Remove it")]

    def create_subscription(self, request: SubRequest) -> SubResult:
        return SubResult(None, self.bank.page_open(request).url, "pending")

    def create_payment_link(self, request: LinkRequest) -> SubResult:
        return SubResult(None, self.bank.page_open(request).url, "pending")

    def charge(self, request: ChargeRequest) -> PaymentResult:
        return self.bank.charge(
            method_ref=request.method_ref,
            amount=request.amount,
            currency=request.currency,
            key=request.idempotency_key,
        )

    def find_payment(self, idempotency_key: str, created_at: datetime) -> PaymentResult | None:
        return self.bank.find(idempotency_key)

    def refund(
        self, *, provider_txn_id: str, amount: Decimal | None, currency: str, reason: str, idempotency_key: str
    ) -> RefundResult:
        return self.bank.refund(ref=provider_txn_id, amount=amount, key=idempotency_key)

    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        signature.verify(headers.get(HEADER, ""), raw_body, secrets=[SECRET], now=now)

    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        return str(_event(raw_body)["id"])

    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        event = _event(raw_body)
        data = event["data"]
        # Read where the delivery is processed, by a worker: one that may die at it.
        luck = self.bank.lucks.get(str(data.get("user_ref", "")))
        if luck is not None and luck.strikes(0.05):
            raise WorkerKilled
        method = data.get("method")
        return [
            ProviderEvent(
                provider=self.name,
                event_id=f"{event['id']}#0",
                type=EventType(event["type"]),
                occurred_at=datetime.fromisoformat(event["at"]),
                provider_payment_id=data.get("payment"),
                parent_payment_id=data.get("parent"),
                order_ref=data.get("order_ref"),
                idempotency_key=data.get("idempotency_key"),
                user_ref=data.get("user_ref"),
                amount=Decimal(data["amount"]) if "amount" in data else None,
                currency=data.get("currency"),
                reason=data.get("code"),
                recoverable=data.get("recoverable", True),
                method=StoredMethod(method["ref"], method["customer"], last4="4242") if method else None,
                raw=data,
            )
        ]


def delivery_headers(body: bytes, *, at: datetime, genuine: bool = True) -> dict[str, str]:
    return {HEADER: signature.sign(SECRET if genuine else "a guess", body, at)}


def _event(raw_body: bytes) -> dict[str, Any]:
    try:
        event: dict[str, Any] = json.loads(raw_body)
    except ValueError as error:
        raise MalformedError("no JSON") from error
    return event
