"""Google's settings: what `settings.PAYFLOW_PROVIDERS` gives, typed, and the faults in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.auth.exceptions import GoogleAuthError
from google.oauth2.service_account import Credentials

from payflow.core.http import ANSWER_SECONDS
from providers.base import ConfigFault
from providers.wire.urls import base_url_faults, split_web_url

SCOPE = "https://www.googleapis.com/auth/androidpublisher"
API_URL = "https://androidpublisher.googleapis.com"
CERTS_URL = "https://www.googleapis.com/oauth2/v1/certs"
#: An application id: two parts or more, each begun by a letter.
_PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+", re.ASCII)
_SUBSCRIPTION = re.compile(r"projects/[^/\s]+/subscriptions/[^/\s]+")


@dataclass(frozen=True, slots=True)
class GoogleConfig:
    """Never fails to load: what is wrong is told by `faults`, so that Django's checks can name all of it at once.

    `audience`, `push_account` and `push_subscription` are what a push must prove: whom its token is for, who signed it,
    and which Pub/Sub subscription it comes from.
    """

    package_name: str
    audience: str
    push_account: str
    push_subscription: str
    base_url: str
    certs_url: str
    answer_seconds: float
    test_mode: bool
    service_account: str = field(repr=False)

    @classmethod
    def load(cls, config: Mapping[str, Any]) -> GoogleConfig:
        def text(key: str, default: str = "") -> str:
            return str(config.get(key) or default).strip()

        seconds = config.get("answer_seconds")
        return cls(
            package_name=text("package_name"),
            audience=text("audience"),
            push_account=text("push_account"),
            push_subscription=text("push_subscription"),
            base_url=text("base_url", API_URL),
            certs_url=text("certs_url", CERTS_URL),
            answer_seconds=seconds if isinstance(seconds, int | float) and seconds > 0 else ANSWER_SECONDS,
            test_mode=bool(config.get("test_mode")),
            service_account=text("service_account"),
        )

    @property
    def can_verify(self) -> bool:
        """False where a part of the proof is not set: then nothing is authentic."""
        return bool(self.audience and self.push_account and self.push_subscription)

    def credentials(self) -> Credentials:
        """Signs for access tokens. Raises ValueError where the service account's key cannot be used."""
        info = json.loads(self.service_account)
        if not isinstance(info, dict):
            raise ValueError("the service account is not an object")
        try:
            # The library is not typed.
            made = Credentials.from_service_account_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]
        except (GoogleAuthError, TypeError, KeyError, AttributeError) as error:
            raise ValueError("the service account cannot be used") from error
        assert isinstance(made, Credentials)
        return made

    def faults(self, *, debug: bool) -> list[ConfigFault]:
        return [*self._app_faults(), *self._push_faults(), *self._url_faults(debug=debug), *self._test_faults(debug)]

    def _app_faults(self) -> Iterator[ConfigFault]:
        if not self.package_name:
            yield ConfigFault("error", "the package name is missing", "Set GOOGLE_PLAY_PACKAGE_NAME.")
        elif not _PACKAGE.fullmatch(self.package_name):
            yield ConfigFault(
                "error", "the package name is no application id", "Check GOOGLE_PLAY_PACKAGE_NAME (com.example.app)."
            )
        if not self.service_account:
            yield ConfigFault(
                "error", "the service account is missing", "Set GOOGLE_PLAY_SERVICE_ACCOUNT to its JSON key."
            )
            return
        try:
            self.credentials()
        except ValueError:
            yield ConfigFault(
                "error", "the service account is not a JSON key", "Copy GOOGLE_PLAY_SERVICE_ACCOUNT again, whole."
            )

    def _push_faults(self) -> Iterator[ConfigFault]:
        if not self.audience:
            hint = "Set GOOGLE_PLAY_PUSH_AUDIENCE to the audience of the push subscription."
            yield ConfigFault("error", "the audience of the pushes is missing: every webhook is rejected", hint)
        if not self.push_account:
            hint = "Set GOOGLE_PLAY_PUSH_ACCOUNT to the e-mail of the push subscription's service account."
            yield ConfigFault("error", "the account of the pushes is missing: every webhook is rejected", hint)
        elif "@" not in self.push_account:
            yield ConfigFault(
                "error", "the account of the pushes is no e-mail address", "Check GOOGLE_PLAY_PUSH_ACCOUNT."
            )
        if not self.push_subscription:
            hint = "Set GOOGLE_PLAY_PUSH_SUBSCRIPTION (projects/…/subscriptions/…)."
            yield ConfigFault("error", "the push subscription is missing: every webhook is rejected", hint)
        elif not _SUBSCRIPTION.fullmatch(self.push_subscription):
            yield ConfigFault(
                "error",
                "the push subscription is no full name",
                "GOOGLE_PLAY_PUSH_SUBSCRIPTION is projects/PROJECT/subscriptions/NAME.",
            )

    def _url_faults(self, *, debug: bool) -> Iterator[ConfigFault]:
        yield from base_url_faults(self.base_url, variable="GOOGLE_PLAY_BASE_URL", debug=debug)
        yield from base_url_faults(self.certs_url, variable="GOOGLE_PLAY_CERTS_URL", debug=debug)
        url = split_web_url(self.certs_url)
        if url is not None and url.scheme == "https" and url.hostname != "www.googleapis.com":
            yield ConfigFault(
                "error", "the certificates are not Google's", "Leave GOOGLE_PLAY_CERTS_URL out, but for an emulator."
            )

    def _test_faults(self, debug: bool) -> Iterator[ConfigFault]:
        if self.test_mode and not debug:
            yield ConfigFault(
                "warning",
                "purchases of licence testers grant access",
                "Leave GOOGLE_PLAY_TEST_MODE out where real money is taken.",
            )
