"""Proof that the App Store signed something, for our app, in an environment that counts here.

Apple's library checks chain, certificate purposes (OIDs), algorithm, signature, bundle, app and environment. Whatever it
raises ends here. It is asked twice where revocation is checked: offline first, so that a forgery never makes us call the
certificate server, and so that what only fails online is known to be a doubt, not a forgery.
Source: providers.md 3.2 and 9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from appstoreserverlibrary.models.Environment import Environment
from appstoreserverlibrary.signed_data_verifier import SignedDataVerifier, VerificationException, VerificationStatus
from cattrs.errors import BaseValidationError, StructureHandlerNotFoundError

from providers.apple.config import PRODUCTION, SANDBOX, AppleConfig
from providers.apple.messages import (
    Renewal,
    Transaction,
    decoded,
    environment_of,
    nested,
    read_renewal,
    read_transaction,
)
from providers.base import MalformedError, RetryableVerifyError, SignatureError

#: Never Environment.XCODE or LOCAL_TESTING: the library skips the signature there.
_ENVIRONMENTS = {PRODUCTION: Environment.PRODUCTION, SANDBOX: Environment.SANDBOX}
#: What reading a payload into the library's classes raises; they hold the values, so none is passed on.
UNREADABLE = (
    BaseValidationError,
    StructureHandlerNotFoundError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


class Verifier:
    """Raises SignatureError (for ever), RetryableVerifyError (the certificate server is down), MalformedError."""

    def __init__(self, settings: AppleConfig) -> None:
        self._settings = settings

    def notification(self, jws: str) -> None:
        """The notification and the transaction and renewal info inside of it."""
        try:
            body = decoded(jws)
            environment = environment_of(body)
            transaction, renewal = nested(body, "signedTransactionInfo"), nested(body, "signedRenewalInfo")
        except MalformedError as error:
            raise SignatureError("it is not signed") from error
        self._prove(environment, lambda verifier: verifier.verify_and_decode_notification(jws))
        if transaction is not None:
            self._prove(environment, lambda verifier: verifier.verify_and_decode_signed_transaction(transaction))
        if renewal is not None:
            self._prove(environment, lambda verifier: verifier.verify_and_decode_renewal_info(renewal))

    def transaction(self, jws: str) -> Transaction:
        environment = _environment(jws)
        self._prove(environment, lambda verifier: verifier.verify_and_decode_signed_transaction(jws))
        return read_transaction(jws)

    def renewal(self, jws: str) -> Renewal:
        environment = _environment(jws)
        self._prove(environment, lambda verifier: verifier.verify_and_decode_renewal_info(jws))
        return read_renewal(jws)

    @cached_property
    def _offline(self) -> Mapping[str, SignedDataVerifier]:
        return self._verifiers(online=False)

    @cached_property
    def _online(self) -> Mapping[str, SignedDataVerifier]:
        return self._verifiers(online=True) if self._settings.online_checks else {}

    def _verifiers(self, *, online: bool) -> dict[str, SignedDataVerifier]:
        settings = self._settings
        roots = settings.roots
        return {
            name: SignedDataVerifier(roots, online, _ENVIRONMENTS[name], settings.bundle_id, settings.app_id)
            for name in settings.environments
        }

    def _prove(self, environment: object, check: Callable[[SignedDataVerifier], Any]) -> None:
        name = environment if isinstance(environment, str) else ""
        if name not in self._offline:
            raise SignatureError("it is not of an environment that counts here")
        try:
            check(self._offline[name])
        except VerificationException as error:
            raise SignatureError(f"it is not proven ({error.status.name})") from None
        except UNREADABLE:
            raise SignatureError("it is not what the App Store signs") from None
        if name not in self._online:
            return
        try:
            check(self._online[name])
        except VerificationException as error:
            # Genuine as far as we can see alone. A certificate server that is busy looks the same as one that says no.
            status = VerificationStatus(error.status).name
            raise RetryableVerifyError(f"its certificates could not be checked ({status})") from None


def _environment(jws: str) -> object:
    """The environment that a transaction or renewal info claims; what can't even be read is proof of nothing."""
    try:
        return decoded(jws).get("environment")
    except MalformedError as error:
        raise SignatureError("it is not signed") from error
