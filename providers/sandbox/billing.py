"""Asking about the sandbox's own subscriptions, and telling it what to do with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from providers.base import MalformedError, ProviderEvent, SubState, SubStatus, Unavailable, UnknownReference
from providers.sandbox.client import SandboxApi
from providers.sandbox.subscription_wire import state_event, state_of
from providers.sandbox.wire import parse_delivery

_GONE = (SubStatus.EXPIRED, SubStatus.REVOKED)


class Billing:
    def __init__(self, api: SandboxApi) -> None:
        self._api = api

    def purchase(self, token: str) -> SubState:
        return self._state(self._api.read("GET", f"/api/purchases/{quote(token, safe='')}"))

    def state(self, ref: str) -> SubState:
        return self._state(self._api.read("GET", _path(ref)))

    def told(self, ref: str, *, since: datetime) -> list[ProviderEvent]:
        """What happened after `since`, as its deliveries told it, and the state now as the last."""
        told = list(self._parsed(self._api.pages(f"{_path(ref)}/events", since=since.isoformat())))
        try:
            now = state_event(self._api.name, self._api.read("GET", _path(ref)))
        except MalformedError as error:
            raise Unavailable(f"{self._api.name} answered something else than a subscription") from error
        return [*told, now] if now else told

    def bought(self, order_ref: str, *, since: datetime) -> list[ProviderEvent]:
        """The same of every subscription that was bought under our reference."""
        listed = self._api.read("GET", f"/api/subscriptions?{urlencode({'order_ref': order_ref})}").get("subscriptions")
        if not isinstance(listed, list):
            raise Unavailable(f"{self._api.name} answered something else than a list")
        refs = [self._state(shown).provider_sub_id for shown in listed]
        return [event for ref in refs for event in self.told(ref, since=since)]

    def feed(self, *, since: datetime, until: datetime) -> Iterator[ProviderEvent]:
        return self._parsed(self._api.pages("/api/events", since=since.isoformat(), until=until.isoformat()))

    def cancel(self, ref: str, *, at_period_end: bool, key: str) -> SubState:
        try:
            state = self._told_to(ref, "cancel", key, {"at_period_end": at_period_end})
        except UnknownReference:
            return SubState(ref, SubStatus.CANCELED, auto_renew=False)
        return replace(state, status=SubStatus.CANCELED) if state.status in _GONE else state

    def resume(self, ref: str, *, key: str) -> SubState:
        return self._told_to(ref, "resume", key)

    def pause(self, ref: str, *, key: str) -> SubState:
        return self._told_to(ref, "pause", key)

    def change(self, ref: str, *, product_ref: str, now: bool, key: str) -> SubState:
        return self._told_to(ref, "change", key, {"product_ref": product_ref, "now": now})

    def acknowledge(self, ref: str, *, key: str) -> None:
        self._told_to(ref, "acknowledge", key)

    def _told_to(self, ref: str, wish: str, key: str, body: Mapping[str, Any] | None = None) -> SubState:
        # Tried again without fear: a wish that is fulfilled already changes nothing.
        return self._state(self._api.read("POST", f"{_path(ref)}/{wish}", key=key, body=body))

    def _state(self, shown: Any) -> SubState:
        try:
            return state_of(shown if isinstance(shown, dict) else {})
        except MalformedError as error:
            raise Unavailable(f"{self._api.name} answered something else than a subscription") from error

    def _parsed(self, bodies: Iterator[bytes]) -> Iterator[ProviderEvent]:
        try:
            for body in bodies:
                yield from parse_delivery(self._api.name, body)
        except MalformedError as error:
            raise Unavailable(f"{self._api.name} answered something else than news") from error


def _path(ref: str) -> str:
    return f"/api/subscriptions/{quote(ref, safe='')}"
