"""Lava's settings: what `settings.PAYFLOW_PROVIDERS` gives, typed, and the faults in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from payflow.core.http import ANSWER_SECONDS
from payflow.core.money import CURRENCIES
from providers.base import ConfigFault
from providers.wire.urls import base_url_faults, split_web_url

#: The host of the document. Lava publishes gate.lava.top and api.lava.ru; this one is in none of its texts.
DOCUMENT_HOST = "api.lava.top"


@dataclass(frozen=True, slots=True)
class LavaConfig:
    """Never fails to load: what is wrong is told by `faults`, so that Django's checks can name all of it at once."""

    base_url: str
    currency: str
    answer_seconds: float
    api_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    previous_secret_key: str = field(repr=False)

    @classmethod
    def load(cls, config: Mapping[str, Any]) -> LavaConfig:
        def text(key: str, default: str = "") -> str:
            return str(config.get(key) or default).strip()

        seconds = config.get("answer_seconds")
        return cls(
            base_url=text("base_url"),
            currency=text("currency", "USD"),
            answer_seconds=seconds if isinstance(seconds, int | float) and seconds > 0 else ANSWER_SECONDS,
            api_key=text("api_key"),
            secret_key=text("secret_key"),
            previous_secret_key=text("previous_secret_key"),
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The webhook secrets in force: the current one and, during a rotation, the one before."""
        return tuple(secret for secret in (self.secret_key, self.previous_secret_key) if secret)

    @property
    def api_key_is_sendable(self) -> bool:
        """False where the key is empty or holds what an HTTP header cannot."""
        return bool(self.api_key) and self.api_key.isascii() and self.api_key.isprintable()

    def faults(self, *, debug: bool) -> list[ConfigFault]:
        return [*self._key_faults(), *self._url_faults(debug=debug), *self._currency_faults()]

    def _key_faults(self) -> Iterator[ConfigFault]:
        if not self.api_key:
            yield ConfigFault("error", "the API key is missing", "Set LAVA_API_KEY: Lava refuses calls without it.")
        elif not self.api_key_is_sendable:
            yield ConfigFault("error", "the API key is not printable ASCII", "Copy LAVA_API_KEY again.")
        if not self.secret_key:
            yield ConfigFault(
                "error", "the webhook secret is missing", "Set LAVA_SECRET_KEY: without it every webhook is rejected."
            )

    def _url_faults(self, *, debug: bool) -> Iterator[ConfigFault]:
        yield from base_url_faults(self.base_url, variable="LAVA_BASE_URL", debug=debug)
        url = split_web_url(self.base_url)
        if url is not None and url.scheme == "https" and url.hostname == DOCUMENT_HOST:
            yield ConfigFault(
                "warning",
                f"{DOCUMENT_HOST} is not an endpoint that Lava publishes",
                "Pay and receive one rouble through LAVA_BASE_URL before taking customers' money.",
            )

    def _currency_faults(self) -> Iterator[ConfigFault]:
        if self.currency not in CURRENCIES:
            yield ConfigFault("error", "the currency is not an ISO 4217 code", "Set LAVA_CURRENCY, for example RUB.")
