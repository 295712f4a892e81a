"""2Checkout's settings: what `settings.PAYFLOW_PROVIDERS` gives, typed, and the faults in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, timedelta, tzinfo
from typing import Any

from payflow.core.http import ANSWER_SECONDS
from providers.base import ConfigFault
from providers.twocheckout.signature import API_ALGORITHMS
from providers.twocheckout.times import zone_of
from providers.wire.urls import base_url_faults

API_URL = "https://api.2checkout.com/rest/6.0"
LINK_URL = "https://secure.2checkout.com"
GRACE_DAYS = 7
#: One of 2Checkout's own reasons for a refund. An account that has reasons of its own must name one of those.
REFUND_REASON = "Other"


@dataclass(frozen=True, slots=True)
class TwoCheckoutConfig:
    """Never fails to load: what is wrong is told by `faults`, so that Django's checks can name all of it at once."""

    base_url: str
    link_url: str
    merchant_code: str
    algorithm: str
    timezone: str
    grace: str
    refund_reason: str
    allow_md5: bool
    activate_on_auth: bool
    one_click: bool
    test_mode: bool
    answer_seconds: float
    secret_key: str = field(repr=False)
    previous_secret_key: str = field(repr=False)
    buy_link_secret: str = field(repr=False)

    @classmethod
    def load(cls, config: Mapping[str, Any]) -> TwoCheckoutConfig:
        def text(key: str, default: str = "") -> str:
            value = config.get(key)
            return (default if value is None else str(value)).strip()

        seconds = config.get("answer_seconds")
        return cls(
            base_url=text("base_url", API_URL),
            link_url=text("link_url", LINK_URL).rstrip("/"),
            merchant_code=text("merchant_code"),
            algorithm=text("algorithm", "sha3-256"),
            timezone=text("timezone"),
            grace=text("grace_days", str(GRACE_DAYS)),
            refund_reason=text("refund_reason", REFUND_REASON),
            allow_md5=config.get("allow_md5") is True,
            activate_on_auth=config.get("activate_on_auth") is True,
            one_click=config.get("one_click") is True,
            test_mode=config.get("test_mode") is True,
            answer_seconds=seconds if isinstance(seconds, int | float) and seconds > 0 else ANSWER_SECONDS,
            secret_key=text("secret_key"),
            previous_secret_key=text("previous_secret_key"),
            buy_link_secret=text("buy_link_secret"),
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets in force for webhooks: the current one and, during a rotation, the one before."""
        return tuple(secret for secret in (self.secret_key, self.previous_secret_key) if secret)

    @property
    def zone(self) -> tzinfo:
        """The account's zone; UTC where the setting is wrong, which `faults` tells."""
        return zone_of(self.timezone) or UTC

    @property
    def grace_period(self) -> timedelta:
        return timedelta(days=int(self.grace) if self._grace_is_days else GRACE_DAYS)

    @property
    def merchant_is_sendable(self) -> bool:
        """False where the code is empty or holds what a header's quoted text cannot."""
        return bool(self.merchant_code) and self.merchant_code.isascii() and self.merchant_code.isalnum()

    @property
    def _grace_is_days(self) -> bool:
        return self.grace.isascii() and self.grace.isdigit() and len(self.grace) <= 3

    def faults(self, *, debug: bool) -> list[ConfigFault]:
        return [*self._key_faults(), *self._url_faults(debug=debug), *self._rule_faults(debug=debug)]

    def _key_faults(self) -> Iterator[ConfigFault]:
        if not self.merchant_code:
            yield ConfigFault(
                "error", "the merchant code is missing", "Set TWOCHECKOUT_MERCHANT_CODE (Control Panel, Integrations)."
            )
        elif not self.merchant_is_sendable:
            yield ConfigFault(
                "error", "the merchant code is not letters and digits", "Copy TWOCHECKOUT_MERCHANT_CODE again."
            )
        if not self.secret_key:
            yield ConfigFault(
                "error",
                "the secret key is missing",
                "Set TWOCHECKOUT_SECRET_KEY: without it calls are refused and every webhook is rejected.",
            )
        if not self.buy_link_secret:
            yield ConfigFault(
                "error",
                "the buy-link secret word is missing",
                "Set TWOCHECKOUT_BUY_LINK_SECRET: without it nothing can be bought.",
            )

    def _url_faults(self, *, debug: bool) -> Iterator[ConfigFault]:
        yield from base_url_faults(self.base_url, variable="TWOCHECKOUT_BASE_URL", debug=debug)
        yield from base_url_faults(self.link_url, variable="TWOCHECKOUT_LINK_URL", debug=debug)

    def _rule_faults(self, *, debug: bool) -> Iterator[ConfigFault]:
        if zone_of(self.timezone) is None:
            yield ConfigFault(
                "error",
                "the account's time zone is missing or not known",
                "Set TWOCHECKOUT_TIMEZONE as in the account's settings, for example Europe/Bucharest or GMT+03:00: "
                "2Checkout's dates have no zone of their own.",
            )
        if self.algorithm not in API_ALGORITHMS:
            yield ConfigFault(
                "error",
                "the algorithm of the API's signature is not known",
                f"Set TWOCHECKOUT_ALGORITHM to one of {', '.join(API_ALGORITHMS)}.",
            )
        if not self._grace_is_days:
            yield ConfigFault(
                "error",
                "the grace period is not a number of days",
                "Set TWOCHECKOUT_GRACE_DAYS as in Setup, Renewal, Global Renewal Settings.",
            )
        if not self.refund_reason:
            yield ConfigFault(
                "error",
                "the reason of refunds is empty",
                "Set TWOCHECKOUT_REFUND_REASON to a reason that the account has.",
            )
        if self.allow_md5:
            yield ConfigFault(
                "warning",
                "webhooks signed with MD5 only are accepted",
                "Unset TWOCHECKOUT_ALLOW_MD5 as soon as you can.",
            )
        if self.test_mode and not debug:
            yield ConfigFault(
                "warning", "buy links make test orders: nobody is charged", "Unset TWOCHECKOUT_TEST_MODE to sell."
            )
