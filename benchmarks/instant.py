"""A provider that answers at once, in process, and always the same: what is measured is what we do around the call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from providers.base import Caps, ChargeRequest, ConfigFault, Outcome, PaymentResult, Provider, ProviderEvent

NAME = "instant"


class InstantProvider(Provider):
    """Every charge succeeds, and the answer is made of its key alone: the same key is the same movement of money."""

    calls_at_once = 1

    @property
    def capabilities(self) -> Caps:
        return Caps(merchant_charge=True, renewal_driver="merchant")

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        return []

    def charge(self, request: ChargeRequest) -> PaymentResult:
        return PaymentResult(Outcome.SUCCEEDED, payment_id(request.idempotency_key))

    def find_payment(self, idempotency_key: str, created_at: datetime) -> PaymentResult | None:
        """It keeps nothing, so it has never seen anything: asked again, the same key is sent and answered alike."""
        return None

    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        raise NotImplementedError("it sends nothing")

    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        raise NotImplementedError("it sends nothing")

    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        raise NotImplementedError("it sends nothing")


def payment_id(idempotency_key: str) -> str:
    return f"paid:{idempotency_key}"
