"""The settings of the flavour `lava_ru`, typed, and the faults in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from payflow.core.http import ANSWER_SECONDS
from providers.base import ConfigFault
from providers.wire.urls import base_url_faults

BASE_URL = "https://api.lava.ru"
#: The wire has no currency: all its sums are roubles.
CURRENCY = "RUB"


@dataclass(frozen=True, slots=True)
class LavaRuConfig:
    """Never fails to load: what is wrong is told by `faults`. The shop's two keys do different work: `secret_key` signs
    our calls, `additional_key` proves the webhooks."""

    base_url: str
    shop_id: str
    answer_seconds: float
    secret_key: str = field(repr=False)
    additional_key: str = field(repr=False)
    previous_additional_key: str = field(repr=False)

    @classmethod
    def load(cls, config: Mapping[str, Any]) -> LavaRuConfig:
        def text(key: str, default: str = "") -> str:
            return str(config.get(key) or default).strip()

        seconds = config.get("answer_seconds")
        return cls(
            base_url=text("base_url", BASE_URL),
            shop_id=text("shop_id"),
            answer_seconds=seconds if isinstance(seconds, int | float) and seconds > 0 else ANSWER_SECONDS,
            secret_key=text("secret_key"),
            additional_key=text("additional_key"),
            previous_additional_key=text("previous_additional_key"),
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The webhook keys in force: the current one and, during a rotation, the one before."""
        return tuple(key for key in (self.additional_key, self.previous_additional_key) if key)

    @property
    def can_call(self) -> bool:
        return bool(self.shop_id and self.secret_key)

    def faults(self, *, debug: bool) -> list[ConfigFault]:
        return [*self._missing(), *base_url_faults(self.base_url, variable="LAVA_BASE_URL", debug=debug)]

    def _missing(self) -> Iterator[ConfigFault]:
        if not self.shop_id:
            yield ConfigFault("error", "the shop's id is missing", "Set LAVA_SHOP_ID: every call names it.")
        if not self.secret_key:
            yield ConfigFault("error", "the shop's secret key is missing", "Set LAVA_SECRET_KEY: it signs our calls.")
        if not self.additional_key:
            hint = "Set LAVA_ADDITIONAL_KEY: without it every webhook is rejected."
            yield ConfigFault("error", "the shop's additional key is missing", hint)
        if self.additional_key and self.additional_key == self.secret_key:
            hint = "Copy LAVA_SECRET_KEY and LAVA_ADDITIONAL_KEY again: a shop has one of each."
            yield ConfigFault("warning", "one key is given for both purposes", hint)
