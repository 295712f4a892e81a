"""The settings of the flavour `lava_top`, typed, and the faults in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from payflow.core.http import ANSWER_SECONDS
from providers.base import ConfigFault
from providers.wire.urls import base_url_faults

BASE_URL = "https://gate.lava.top"
#: The longest key that lava.top's cabinet takes for webhooks.
MAX_KEY = 80


@dataclass(frozen=True, slots=True)
class LavaTopConfig:
    """Never fails to load: what is wrong is told by `faults`. `api_key` is for our calls, `secret_key` for its webhooks:
    as X-Api-Key, or with a `webhook_user` as the password of HTTP Basic."""

    base_url: str
    webhook_user: str
    answer_seconds: float
    api_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    previous_secret_key: str = field(repr=False)

    @classmethod
    def load(cls, config: Mapping[str, Any]) -> LavaTopConfig:
        def text(key: str, default: str = "") -> str:
            return str(config.get(key) or default).strip()

        seconds = config.get("answer_seconds")
        return cls(
            base_url=text("base_url", BASE_URL),
            webhook_user=text("webhook_user"),
            answer_seconds=seconds if isinstance(seconds, int | float) and seconds > 0 else ANSWER_SECONDS,
            api_key=text("api_key"),
            secret_key=text("secret_key"),
            previous_secret_key=text("previous_secret_key"),
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The webhook keys in force: the current one and, during a rotation, the one before."""
        return tuple(secret for secret in (self.secret_key, self.previous_secret_key) if secret)

    @property
    def api_key_is_sendable(self) -> bool:
        """False where the key is empty or holds what an HTTP header cannot."""
        return bool(self.api_key) and self.api_key.isascii() and self.api_key.isprintable()

    def faults(self, *, debug: bool) -> list[ConfigFault]:
        return [*self._key_faults(), *base_url_faults(self.base_url, variable="LAVA_BASE_URL", debug=debug)]

    def _key_faults(self) -> Iterator[ConfigFault]:
        if not self.api_key:
            yield ConfigFault("error", "the API key is missing", "Set LAVA_API_KEY: lava.top refuses calls without it.")
        elif not self.api_key_is_sendable:
            yield ConfigFault("error", "the API key is not printable ASCII", "Copy LAVA_API_KEY again.")
        if not self.secret_key:
            hint = "Set LAVA_SECRET_KEY to the key of the webhooks: without it every webhook is rejected."
            yield ConfigFault("error", "the webhook key is missing", hint)
        elif len(self.secret_key) > MAX_KEY and not self.webhook_user:
            hint = f"lava.top's cabinet takes {MAX_KEY} characters for LAVA_SECRET_KEY."
            yield ConfigFault("error", "the webhook key is too long", hint)
        elif self.secret_key == self.api_key:
            hint = "Make another LAVA_SECRET_KEY: who sees a webhook could otherwise call lava.top in your name."
            yield ConfigFault("warning", "webhooks carry the API key", hint)
        if ":" in self.webhook_user:
            yield ConfigFault("error", "the webhook user has a colon", "HTTP Basic has none in LAVA_WEBHOOK_USER.")
