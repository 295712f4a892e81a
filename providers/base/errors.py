"""What an adapter raises. The texts are ours: never the provider's answer, a secret or personal data."""

from __future__ import annotations


class ProviderError(Exception):
    """Base of what an adapter raises. The text is ours: never the provider's answer, a secret or personal data."""

    #: Can what was asked for have been done all the same?
    may_be_done: bool = True


class NotSupported(ProviderError):
    """The capability is False."""

    may_be_done = False


class Unavailable(ProviderError):
    """No answer (timeout, 5xx, connection): the outcome is unknown and is resolved by asking.

    `may_be_done` is False only where the request certainly never left.
    """

    def __init__(self, message: str = "", *, may_be_done: bool = True) -> None:
        super().__init__(message)
        self.may_be_done = may_be_done


class RateLimited(Unavailable):
    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message, may_be_done=False)
        self.retry_after = retry_after


class AuthError(ProviderError):
    """The provider does not accept our credentials."""

    may_be_done = False


class RequestRefused(ProviderError):
    """The provider finds the request wrong (400, 409, 422): asking again the same way is pointless."""

    may_be_done = False


class UnknownReference(ProviderError):
    """The provider does not know the id (404)."""

    may_be_done = False


class CurrencyRefused(ProviderError):
    """The provider does not sell in this currency."""

    may_be_done = False


class SignatureError(ProviderError):
    """The delivery is not authentic. Permanent."""


class RetryableVerifyError(ProviderError):
    """The delivery could not be checked just now (a certificate server is down): answer 503."""


class MalformedError(ProviderError):
    """Authentic, but not what the provider documents."""
