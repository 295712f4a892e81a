"""Every code has its status, every error its code."""

from __future__ import annotations

import pytest

from payflow.core.errors import STATUS, Code, DomainError, ProviderUnavailable, ValidationFailed

#: Section 5 of the design.
DESIGN = {
    400: {"VALIDATION_ERROR", "UNSUPPORTED_CURRENCY"},
    401: {"UNAUTHENTICATED", "INVALID_SIGNATURE"},
    402: {
        "PAYMENT_DECLINED",
        "INSUFFICIENT_CREDIT",
    },  # the latter beyond the design's list: pay as you go without credit
    403: {"FORBIDDEN", "NOT_ENTITLED"},
    404: {"NOT_FOUND"},
    405: {"METHOD_NOT_ALLOWED"},
    409: {
        "PLAN_IN_USE",
        "ALREADY_SUBSCRIBED",
        "PURCHASE_TAKEN",  # beyond the design's list: a store purchase of somebody else
        "INVALID_TRANSITION",
        "PAYMENT_IN_PROGRESS",
        "REFUND_NOT_SUPPORTED",
        "PROVIDER_MANAGED",
        "IDEMPOTENCY_IN_PROGRESS",
    },
    413: {"PAYLOAD_TOO_LARGE"},
    422: {"IDEMPOTENCY_MISMATCH", "REFUND_EXCEEDS_PAYMENT"},
    429: {"RATE_LIMITED", "USAGE_LIMIT_EXCEEDED"},
    500: {"INTERNAL_ERROR"},
    503: {"PROVIDER_UNAVAILABLE"},
}


def _subclasses(kind):
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def test_codes_and_statuses_are_the_designs():
    assert {(str(code), STATUS[code]) for code in Code} == {
        (code, status) for status, codes in DESIGN.items() for code in codes
    }
    assert set(STATUS) == set(Code)
    assert all(code.name == code.value for code in Code)


# Django is set up: every app's errors are imported.
@pytest.mark.parametrize("kind", sorted(_subclasses(DomainError), key=lambda kind: kind.__qualname__))
def test_every_error_says_what_it_is(kind):
    assert kind.code in STATUS
    assert kind.code is not Code.INTERNAL_ERROR
    assert kind.message and kind.message != DomainError.message


def test_a_message_of_the_case_replaces_the_general_one():
    error = ProviderUnavailable("Lava does not answer", details={"checkout_id": "1"}, retry_after=5)
    assert (str(error), error.message) == ("Lava does not answer", "Lava does not answer")
    assert (error.details, error.retry_after, error.http_status) == ({"checkout_id": "1"}, 5, 503)
    assert ProviderUnavailable.message != "Lava does not answer"


def test_a_field_is_named_with_its_fault():
    error = ValidationFailed.field("currency", "Three letters")
    assert (error.message, error.details) == ("Three letters", {"currency": ["Three letters"]})
