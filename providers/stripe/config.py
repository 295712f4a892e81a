"""Stripe's settings: what `settings.PAYFLOW_PROVIDERS` gives, typed, and the faults in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from payflow.core.http import ANSWER_SECONDS
from providers.base import ConfigFault
from providers.wire.urls import base_url_faults, is_web_url

PAYMENTS = "payments"
BILLING = "billing"
MODES = (PAYMENTS, BILLING)
BASE_URL = "https://api.stripe.com"


@dataclass(frozen=True, slots=True)
class StripeConfig:
    """Never fails to load: what is wrong is told by `faults`, so that Django's checks can name all of it at once.

    `legacy_plans` speaks as accounts without Prices and Checkout do: Plans, and a method collected by the app's own form.
    """

    mode: str
    base_url: str
    portal_url: str
    answer_seconds: float
    legacy_plans: bool
    secret_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    previous_webhook_secret: str = field(repr=False)

    @classmethod
    def load(cls, config: Mapping[str, Any]) -> StripeConfig:
        def text(key: str, default: str = "") -> str:
            return str(config.get(key) or default).strip()

        seconds = config.get("answer_seconds")
        return cls(
            mode=text("mode", PAYMENTS),
            base_url=text("base_url", BASE_URL),
            portal_url=text("portal_url"),
            answer_seconds=seconds if isinstance(seconds, int | float) and seconds > 0 else ANSWER_SECONDS,
            legacy_plans=config.get("legacy_plans") is True,
            secret_key=text("secret_key"),
            webhook_secret=text("webhook_secret"),
            previous_webhook_secret=text("previous_webhook_secret"),
        )

    @property
    def bills_itself(self) -> bool:
        """True where Stripe Billing sets the price and renews."""
        return self.mode == BILLING

    @property
    def is_live(self) -> bool:
        """False where the key is a test key: then test events are the real ones."""
        return "_test_" not in self.secret_key

    @property
    def secrets(self) -> tuple[str, ...]:
        """The webhook secrets in force: the current one and, during a rotation, the one before."""
        return tuple(secret for secret in (self.webhook_secret, self.previous_webhook_secret) if secret)

    @property
    def key_is_sendable(self) -> bool:
        """False where the key is empty or holds what an HTTP header cannot."""
        return bool(self.secret_key) and self.secret_key.isascii() and self.secret_key.isprintable()

    def faults(self, *, debug: bool) -> list[ConfigFault]:
        return [*self._key_faults(debug=debug), *self._webhook_faults(), *self._other_faults(debug=debug)]

    def _key_faults(self, *, debug: bool) -> Iterator[ConfigFault]:
        if not self.secret_key:
            yield ConfigFault("error", "the secret key is missing", "Set STRIPE_SECRET_KEY (sk_… or rk_…).")
        elif not self.key_is_sendable:
            yield ConfigFault("error", "the secret key is not printable ASCII", "Copy STRIPE_SECRET_KEY again.")
        elif self.secret_key.startswith("pk_"):
            yield ConfigFault(
                "error", "the secret key is a publishable one", "STRIPE_SECRET_KEY must begin with sk_ or rk_."
            )
        elif not self.is_live and not debug:
            yield ConfigFault(
                "warning", "the secret key is a test key: no money moves", "STRIPE_SECRET_KEY of live mode has _live_."
            )

    def _webhook_faults(self) -> Iterator[ConfigFault]:
        if not self.webhook_secret:
            yield ConfigFault(
                "error",
                "the webhook secret is missing",
                "Set STRIPE_WEBHOOK_SECRET: without it every webhook is rejected.",
            )
        named = {
            "STRIPE_WEBHOOK_SECRET": self.webhook_secret,
            "STRIPE_PREVIOUS_WEBHOOK_SECRET": self.previous_webhook_secret,
        }
        for variable, secret in named.items():
            if secret and not secret.startswith("whsec_"):
                yield ConfigFault(
                    "warning", "a webhook secret does not look like one", f"{variable} begins with whsec_ at Stripe."
                )

    def _other_faults(self, *, debug: bool) -> Iterator[ConfigFault]:
        if self.mode not in MODES:
            yield ConfigFault("error", "the mode is not known", "Set STRIPE_MODE to payments or billing.")
        yield from base_url_faults(self.base_url, variable="STRIPE_BASE_URL", debug=debug)
        if self.portal_url and not is_web_url(self.portal_url):
            yield ConfigFault(
                "error",
                "the customer portal's address is not a URL",
                "Set STRIPE_PORTAL_URL to the portal's login link (https://billing.stripe.com/p/login/…), or leave it out.",
            )
