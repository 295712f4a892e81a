"""The adapter of Apple's App Store.

The app sells; we are told, and ask. A purchase begins in the app, which hands us the signed transaction; Apple renews,
retries, refunds and ends by itself and tells each by a signed notification, which is its own proof. There is no call to
cancel or to refund: the subscriber does it at Apple. Sandbox and production may report to one address: each delivery is
proven by the verifier of its environment, and what is not production's is a test.
Source: providers.md 3.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from providers.apple import webhooks
from providers.apple.api import AppleApi
from providers.apple.config import AppleConfig
from providers.apple.messages import Transaction, delivery_key, read_notice, signed_payload
from providers.apple.records import Record, events_of
from providers.apple.verification import Verifier
from providers.base import (
    Caps,
    ConfigFault,
    EventType,
    MalformedError,
    Provider,
    ProviderEvent,
    RequestRefused,
    RetryableVerifyError,
    SignatureError,
    SubState,
    Unavailable,
    UnknownReference,
)

MANAGE_URL = "https://apps.apple.com/account/subscriptions"

log = logging.getLogger(__name__)


class AppleProvider(Provider):
    """See the module; its settings are those of `AppleConfig`."""

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        super().__init__(name, config)
        self._settings = AppleConfig.load(config)
        self._verifier = Verifier(self._settings)
        self._apis: dict[str, AppleApi] = {}

    @property
    def capabilities(self) -> Caps:
        return Caps(
            attach=True,
            fetch_state=True,
            feed=True,
            grace=True,
            merchant_of_record=True,
            renewal_driver="provider",
            price_set_by="provider",
            test_mode=True,
        )

    def config_faults(self, *, debug: bool) -> Sequence[ConfigFault]:
        return self._settings.faults(debug=debug)

    # buying

    def attach_purchase(self, *, user_ref: str, token: str) -> SubState:
        """`token` is the signed transaction (JWS) of StoreKit. Whose it is, the state's `user_ref` says, if the app told.

        Raises RequestRefused for what is not a subscription bought in this app, UnknownReference where Apple does not know
        it, Unavailable where nobody can tell now.
        """
        try:
            transaction = self._verifier.transaction(token)
        except RetryableVerifyError as error:
            raise Unavailable(f"{self.name} could not prove the purchase just now") from error
        except (SignatureError, MalformedError) as error:
            raise RequestRefused("it is not a purchase that the App Store signed for this app") from error
        if transaction.expires_at is None:
            raise RequestRefused("it is not a subscription")
        return self._record(transaction.original_id, transaction.environment).state()

    # the state

    def get_subscription(self, provider_sub_id: str) -> SubState:
        return self._record(provider_sub_id, self._settings.environment).state()

    def fetch_events(self, provider_sub_id: str, *, since: datetime) -> list[ProviderEvent]:
        record = self._record(provider_sub_id, self._settings.environment)
        signed = self._api(self._settings.environment).transactions(provider_sub_id)
        # A customer's history has his other subscriptions too.
        own = [each for each in map(self._proven, signed) if each.original_id == provider_sub_id]
        events = events_of(own, provider=self.name, since=since)
        events += self._extensions(provider_sub_id, since=since, until=record.as_of)
        return [*sorted(events, key=lambda event: event.occurred_at), *record.event(provider=self.name)]

    def _extensions(self, provider_sub_id: str, *, since: datetime, until: datetime) -> list[ProviderEvent]:
        """Time that was given for nothing. A transaction shows its end and not that it was moved; only the news do."""
        if since >= until:
            return []
        api = self._api(self._settings.environment)
        told = self._news(api.notifications(since=since, until=until, transaction_id=provider_sub_id))
        kind = EventType.SUBSCRIPTION_EXTENDED
        return [event for event in told if event.type == kind and event.provider_sub_id == provider_sub_id]

    def missed_events(self, *, since: datetime, until: datetime) -> Iterator[ProviderEvent]:
        """Read page by page while it is consumed. What cannot be proven or read is logged and left out."""
        return self._news(self._api(self._settings.environment).notifications(since=since, until=until))

    def _news(self, payloads: Iterable[str]) -> Iterator[ProviderEvent]:
        for payload in payloads:
            try:
                self._verifier.notification(payload)
                events = webhooks.events(read_notice(payload), provider=self.name)
            except RetryableVerifyError as error:
                raise Unavailable(f"{self.name}: a notification could not be proven just now") from error
            except (SignatureError, MalformedError) as error:
                log.warning("apple: a notification of its own list is of no use: %s", error)
                continue
            yield from events

    def manage_url(self, provider_sub_id: str, *, provider_plan_ref: str | None = None) -> str | None:
        return MANAGE_URL

    # webhooks

    def verify_webhook(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> None:
        if len(raw_body) > self.max_webhook_bytes:
            raise SignatureError("the delivery is too large")
        try:
            payload = signed_payload(raw_body)
        except MalformedError as error:
            raise SignatureError("the delivery is not signed") from error
        self._verifier.notification(payload)

    def delivery_key(self, headers: Mapping[str, str], raw_body: bytes) -> str:
        return delivery_key(signed_payload(raw_body))

    def parse_webhook(self, headers: Mapping[str, str], raw_body: bytes) -> list[ProviderEvent]:
        return webhooks.events(read_notice(signed_payload(raw_body)), provider=self.name)

    # asking

    @cached_property
    def _environments(self) -> frozenset[str]:
        return frozenset(self._settings.environments)

    def _api(self, environment: str) -> AppleApi:
        """Made at the first call: a TLS context costs a tenth of a second, which no other command should pay."""
        if environment not in self._environments:
            raise Unavailable(f"{self.name} is not set up for this environment (APPLE_ENVIRONMENT, APPLE_APP_ID)")
        if environment not in self._apis:
            self._apis[environment] = AppleApi(self.name, self._settings, environment)
        return self._apis[environment]

    def _record(self, original_id: str, environment: str) -> Record:
        """Raises UnknownReference, Unavailable."""
        for item in self._api(environment).statuses(original_id):
            if item.originalTransactionId != original_id:
                continue
            if not item.signedTransactionInfo:
                raise Unavailable(f"{self.name} gave a status without its transaction")
            transaction = self._proven(item.signedTransactionInfo)
            try:
                renewal = self._verifier.renewal(item.signedRenewalInfo) if item.signedRenewalInfo else None
            except (SignatureError, RetryableVerifyError, MalformedError) as error:
                raise Unavailable(f"{self.name} gave a renewal info that is not proven") from error
            if transaction.original_id != original_id or transaction.environment != environment:
                raise Unavailable(f"{self.name} gave another purchase's state")
            return Record(item.rawStatus, transaction, renewal)
        raise UnknownReference(f"{self.name} has no such subscription")

    def _proven(self, jws: str) -> Transaction:
        """An answer that does not prove itself is no answer: nothing changes."""
        try:
            return self._verifier.transaction(jws)
        except (SignatureError, RetryableVerifyError, MalformedError) as error:
            raise Unavailable(f"{self.name} gave a transaction that is not proven") from error
