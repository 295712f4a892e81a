"""What lava.top's records say: the answer to a hint, and to the question what was missed.

The API's values count, a delivery's never. A record that is behind its own delivery is Unavailable, so that the delivery is
tried again and nothing is believed meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from providers.base import (
    EventType,
    MalformedError,
    ProviderEvent,
    RequestRefused,
    SubState,
    Unavailable,
    UnknownReference,
)
from providers.lava.top.api import TopApi
from providers.lava.top.records import (
    FAILED,
    PAID,
    Contract,
    Renewal,
    mapping,
    read_contract,
    read_renewals,
    read_standing,
    state_event,
)
from providers.wire.fields import usable_text

T = TypeVar("T")

log = logging.getLogger(__name__)


class Records:
    """The account's records. Raises UnknownReference and whatever else a call raises."""

    def __init__(self, name: str, api: TopApi) -> None:
        self._name = name
        self._api = api

    def seen(self, subscription: str) -> tuple[SubState, str | None]:
        """How it stands, and the buyer's address, by which alone lava.top cancels."""
        fields, at = self._api.subscription(subscription)
        standing = self._read(lambda: read_standing(fields, fields))
        return standing.state(subscription, at), usable_text(mapping(fields.get("buyer")).get("email"))

    # --- a hint, proven ----------------------------------------------------------------------------------------------

    def confirm(self, hints: Sequence[ProviderEvent]) -> list[ProviderEvent]:
        """The truth about what one delivery speaks of. A reversal stays as it is: nothing here could prove it."""
        contract_id = str(hints[0].raw.get("contractId") or "") if hints else ""
        if not contract_id:
            return list(hints)
        try:
            contract, at = self._contract(contract_id)
        except UnknownReference as error:
            raise Unavailable(f"{self._name} does not show yet what it told of") from error
        found = [self._money(contract, hint) for hint in hints if hint.provider_payment_id]
        state = self._state_of(contract, hints, at)
        key = hints[0].event_id.rpartition("#")[0]
        return [replace(event, event_id=f"{key}#{n}") for n, event in enumerate([*found, *state])]

    def _money(self, contract: Contract, hint: ProviderEvent) -> ProviderEvent:
        hinted = hint.type is EventType.PAYMENT_SUCCEEDED
        if hinted and not contract.is_paid:
            raise Unavailable(f"{self._name} does not show this payment yet")
        return replace(
            hint,
            # A payment that failed and went through since is one that went through.
            type=EventType.PAYMENT_SUCCEEDED if contract.is_paid else EventType.PAYMENT_FAILED,
            provider_sub_id=contract.subscription,
            order_ref=contract.order_ref or hint.order_ref,
            amount=contract.amount,
            currency=contract.currency,
            reason=None if contract.is_paid else hint.reason,
        )

    def _state_of(self, contract: Contract, hints: Sequence[ProviderEvent], at: datetime) -> list[ProviderEvent]:
        if contract.subscription is None:
            return []
        standing, told = contract.standing, max(at, *(hint.occurred_at for hint in hints))
        event = state_event(
            standing,
            provider=self._name,
            event_id="",
            subscription=contract.subscription,
            renewed=contract.is_renewal,
            at=told,
        )
        hinted = hints[-1].type is EventType.SUBSCRIPTION_CANCELED
        if (
            hinted
            and event is not None
            and event.type in (EventType.SUBSCRIPTION_ACTIVATED, EventType.SUBSCRIPTION_RENEWED)
        ):
            raise Unavailable(f"{self._name} does not show this cancellation yet")
        return [event] if event else []

    # --- what was missed ---------------------------------------------------------------------------------------------

    def since(self, subscription: str, since: datetime) -> list[ProviderEvent]:
        """The money of a subscription after `since`, oldest first, then its state now."""
        fields, at = self._api.subscription(subscription)
        first, _ = self._contract(subscription)
        renewals = self._read(lambda: read_renewals(fields, subscription))
        standing = self._read(lambda: read_standing(fields, fields))
        money = [*self._first(first, at), *(event for each in renewals for event in self._renewal(each, first))]
        found = [event for event in money if event.occurred_at >= since]
        state = state_event(
            standing,
            provider=self._name,
            event_id="",
            subscription=subscription,
            renewed=any(each.status in PAID for each in renewals),
            at=max([at, *(event.occurred_at for event in found)]),
        )
        key = f"lavatop:records:{subscription}:{at:%Y%m%dT%H%M%SZ}"
        events = [*found, state] if state else found
        return [replace(event, event_id=f"{key}#{n}") for n, event in enumerate(events)]

    def _first(self, first: Contract, at: datetime) -> list[ProviderEvent]:
        if not first.is_paid:
            return []
        return [self._payment(first, EventType.PAYMENT_SUCCEEDED, first, first.made_at or at)]

    def _renewal(self, each: Renewal, first: Contract) -> list[ProviderEvent]:
        if each.status in PAID:
            return [self._payment(each, EventType.PAYMENT_SUCCEEDED, first, each.made_at)]
        if each.status in FAILED:
            return [self._payment(each, EventType.PAYMENT_FAILED, first, each.made_at)]
        return []

    def _payment(self, paid: Contract | Renewal, kind: EventType, first: Contract, at: datetime) -> ProviderEvent:
        return ProviderEvent(
            provider=self._name,
            event_id="",
            type=kind,
            occurred_at=at,
            provider_sub_id=first.id,
            provider_payment_id=paid.id,
            order_ref=first.order_ref,
            amount=paid.amount,
            currency=paid.currency,
            raw={"status": paid.status},
        )

    # --- our own order -------------------------------------------------------------------------------------------------

    def paid_contract_of(self, order_ref: str) -> Contract | None:
        """The contract of an order of ours that is paid, among the newest; None too where lava.top refuses to list them."""
        try:
            newest = self._api.newest_invoices()
        except (RequestRefused, UnknownReference) as error:
            log.warning("%s does not list its invoices: %s", self._name, type(error).__name__)
            return None
        for item in newest:
            contract = self._readable(item)
            if contract is not None and contract.order_ref == order_ref and contract.is_paid:
                return contract
        return None

    def _readable(self, item: Mapping[str, Any]) -> Contract | None:
        try:
            return read_contract(item)
        except MalformedError:  # somebody else's sale, in whatever shape: it is not the order that is looked for
            return None

    # --- steps ---------------------------------------------------------------------------------------------------------

    def _contract(self, contract: str) -> tuple[Contract, datetime]:
        fields, at = self._api.invoice(contract)
        return self._read(lambda: read_contract(fields)), at

    def _read(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except MalformedError as error:
            log.warning("%s: a record cannot be read: %s", self._name, error)
            raise Unavailable(f"{self._name} shows a record that cannot be read") from error
