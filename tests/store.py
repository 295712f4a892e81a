"""A store of the tests' own: a provider in process that sets prices and periods, keeps its books, and can be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from providers.base import (
    Caps,
    ChangeRequest,
    ConfigFault,
    Provider,
    ProviderEvent,
    SubRequest,
    SubResult,
    SubState,
    SubStatus,
    Unavailable,
    UnknownReference,
)

ADAPTER = "tests.store:Store"


class Books:
    """What the store knows, shared by every instance of its adapter in this process."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.events: dict[str, list[ProviderEvent]] = {}
        self.states: dict[str, SubState] = {}
        self.calls: list[tuple[str, str]] = []
        self.down = False
        self.broken: set[str] = set()


BOOKS = Books()


class Store(Provider):
    @property
    def capabilities(self) -> Caps:
        return Caps(
            attach=True,
            cancel_now=True,
            cancel_at_period_end=True,
            resume=True,
            pause=True,
            change=True,
            acknowledge=True,
            feed=True,
            fetch_state=True,
            grace=True,
            renewal_driver="provider",
            price_set_by="provider",
            merchant_of_record=True,
        )

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        return []

    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        raise NotImplementedError("this store sends nothing")

    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        raise NotImplementedError("this store sends nothing")

    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        raise NotImplementedError("this store sends nothing")

    def attach_purchase(self, *, user_ref: str, token: str) -> SubState:
        return self.get_subscription(token)

    def get_subscription(self, provider_sub_id: str) -> SubState:
        self._answer("get", provider_sub_id)
        if provider_sub_id not in BOOKS.states:
            raise UnknownReference("the store does not know it")
        return BOOKS.states[provider_sub_id]

    def fetch_events(self, provider_sub_id: str, *, since: datetime) -> list[ProviderEvent]:
        self._answer("events", provider_sub_id)
        return [event for event in BOOKS.events.get(provider_sub_id, []) if event.occurred_at >= since]

    def missed_events(self, *, since: datetime, until: datetime) -> list[ProviderEvent]:
        self._answer("feed", "")
        return [event for told in BOOKS.events.values() for event in told]

    def cancel_subscription(
        self, provider_sub_id: str, *, at_period_end: bool = True, email: str = "", idempotency_key: str = ""
    ) -> SubState:
        return self._told("cancel" if at_period_end else "cancel_now", provider_sub_id, SubStatus.CANCELED, False)

    def resume_subscription(self, provider_sub_id: str, *, idempotency_key: str = "") -> SubState:
        return self._told("resume", provider_sub_id, SubStatus.ACTIVE, True)

    def pause_subscription(self, provider_sub_id: str, *, idempotency_key: str = "") -> SubState:
        return self._told("pause", provider_sub_id, SubStatus.PAUSED, None)

    def change_subscription(self, request: ChangeRequest) -> SubState:
        self._answer("change", f"{request.provider_plan_ref} {request.amount}")
        return BOOKS.states[request.provider_sub_id]

    def acknowledge_purchase(self, provider_sub_id: str, *, idempotency_key: str = "") -> None:
        self._answer("acknowledge", provider_sub_id)

    def manage_url(self, provider_sub_id: str, *, provider_plan_ref: str | None = None) -> str | None:
        return "https://store.example/account"

    def _answer(self, call: str, ref: str) -> None:
        BOOKS.calls.append((call, ref))
        if ref in BOOKS.broken:
            raise ValueError("the adapter has a bug")
        if BOOKS.down:
            raise Unavailable("the store is down")

    def _told(self, call: str, ref: str, status: SubStatus, auto_renew: bool | None) -> SubState:
        self._answer(call, ref)
        if ref not in BOOKS.states:
            raise UnknownReference("the store does not know it")
        changes: dict[str, Any] = {"status": status}
        if auto_renew is not None:
            changes["auto_renew"] = auto_renew
        BOOKS.states[ref] = replace(BOOKS.states[ref], **changes)
        return BOOKS.states[ref]


class DeafStore(Store):
    """The same store where only its own page can change anything."""

    @property
    def capabilities(self) -> Caps:
        return replace(
            super().capabilities,
            cancel_now=False,
            cancel_at_period_end=False,
            resume=False,
            pause=False,
            change=False,
        )


class Agent(Store):
    """A provider that renews by itself at our price."""

    @property
    def capabilities(self) -> Caps:
        return replace(super().capabilities, create=True, hosted_checkout=True, attach=False, price_set_by="payflow")

    def create_subscription(self, request: SubRequest) -> SubResult:
        self._answer("create", request.order_ref)
        return SubResult(None, f"https://agent.example/{request.order_ref}", "pending")
