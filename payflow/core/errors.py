"""Every error a caller can meet: one enum of codes, one class of error per fact.

A service raises the class named for the fact; `payflow.api.errors` renders it in the envelope. The list of codes and
their HTTP status is section 5 of the design; `docs/errors.md` is generated from this module.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Code(StrEnum):
    VALIDATION_ERROR = "VALIDATION_ERROR"
    UNSUPPORTED_CURRENCY = "UNSUPPORTED_CURRENCY"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    INVALID_SIGNATURE = "INVALID_SIGNATURE"
    PAYMENT_DECLINED = "PAYMENT_DECLINED"
    INSUFFICIENT_CREDIT = "INSUFFICIENT_CREDIT"
    FORBIDDEN = "FORBIDDEN"
    NOT_ENTITLED = "NOT_ENTITLED"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    PLAN_IN_USE = "PLAN_IN_USE"
    ALREADY_SUBSCRIBED = "ALREADY_SUBSCRIBED"
    PURCHASE_TAKEN = "PURCHASE_TAKEN"
    INVALID_TRANSITION = "INVALID_TRANSITION"
    PAYMENT_IN_PROGRESS = "PAYMENT_IN_PROGRESS"
    REFUND_NOT_SUPPORTED = "REFUND_NOT_SUPPORTED"
    PROVIDER_MANAGED = "PROVIDER_MANAGED"
    IDEMPOTENCY_IN_PROGRESS = "IDEMPOTENCY_IN_PROGRESS"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    IDEMPOTENCY_MISMATCH = "IDEMPOTENCY_MISMATCH"
    REFUND_EXCEEDS_PAYMENT = "REFUND_EXCEEDS_PAYMENT"
    RATE_LIMITED = "RATE_LIMITED"
    USAGE_LIMIT_EXCEEDED = "USAGE_LIMIT_EXCEEDED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    PROVIDER_UNAVAILABLE = "PROVIDER_UNAVAILABLE"


STATUS: dict[Code, int] = {
    Code.VALIDATION_ERROR: 400,
    Code.UNSUPPORTED_CURRENCY: 400,
    Code.UNAUTHENTICATED: 401,
    Code.INVALID_SIGNATURE: 401,
    Code.PAYMENT_DECLINED: 402,
    Code.INSUFFICIENT_CREDIT: 402,
    Code.FORBIDDEN: 403,
    Code.NOT_ENTITLED: 403,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.PLAN_IN_USE: 409,
    Code.ALREADY_SUBSCRIBED: 409,
    Code.PURCHASE_TAKEN: 409,
    Code.INVALID_TRANSITION: 409,
    Code.PAYMENT_IN_PROGRESS: 409,
    Code.REFUND_NOT_SUPPORTED: 409,
    Code.PROVIDER_MANAGED: 409,
    Code.IDEMPOTENCY_IN_PROGRESS: 409,
    Code.PAYLOAD_TOO_LARGE: 413,
    Code.IDEMPOTENCY_MISMATCH: 422,
    Code.REFUND_EXCEEDS_PAYMENT: 422,
    Code.RATE_LIMITED: 429,
    Code.USAGE_LIMIT_EXCEEDED: 429,
    Code.INTERNAL_ERROR: 500,
    Code.PROVIDER_UNAVAILABLE: 503,
}


class DomainError(Exception):
    """A refusal with a reason. `details` is JSON for the caller; `retry_after` is in seconds (header `Retry-After`)."""

    code: Code = Code.INTERNAL_ERROR
    message: str = "Internal error"

    def __init__(self, message: str | None = None, *, details: Any = None, retry_after: int | None = None) -> None:
        super().__init__(message or self.message)
        self.message = message or self.message
        self.details = details
        self.retry_after = retry_after

    @property
    def http_status(self) -> int:
        return STATUS[self.code]


class ValidationFailed(DomainError):
    """The input is malformed or names something unknown; `details` maps field to the list of its faults."""

    code = Code.VALIDATION_ERROR
    message = "The request is not valid"

    @classmethod
    def field(cls, name: str, fault: str) -> ValidationFailed:
        return cls(fault, details={name: [fault]})


class UnsupportedCurrency(DomainError):
    code = Code.UNSUPPORTED_CURRENCY
    message = "This currency is not supported here"


class NotFound(DomainError):
    code = Code.NOT_FOUND
    message = "Not found"


class Forbidden(DomainError):
    code = Code.FORBIDDEN
    message = "You may not do this"


class InvalidTransition(DomainError):
    code = Code.INVALID_TRANSITION
    message = "This is not possible in the present state"


class PayloadTooLarge(DomainError):
    code = Code.PAYLOAD_TOO_LARGE
    message = "The request body is too large"


class InvalidSignature(DomainError):
    code = Code.INVALID_SIGNATURE
    message = "The signature is not valid"


class ProviderUnavailable(DomainError):
    """The provider gave no answer: whatever it was asked is *unknown*, the committed intent stays and is resumed."""

    code = Code.PROVIDER_UNAVAILABLE
    message = "The payment provider did not answer; please try again"
