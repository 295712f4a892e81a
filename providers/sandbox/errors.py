"""What the sandbox refuses, as its API answers it: `{"error", "code"}` and a status."""

from __future__ import annotations


class Refused(Exception):
    status = 400
    code = "malformed"


class Malformed(Refused):
    """The request is not what the API takes."""


class WrongKey(Refused):
    status = 401
    code = "wrong_key"


class Unknown(Refused):
    """No such row of this account; another account's row is as unknown as none."""

    status = 404
    code = "unknown"


class NotPaid(Refused):
    """Only money that was taken can go back."""

    status = 409
    code = "not_paid"


class Disputed(Refused):
    """The payment is disputed, or the dispute has ended: nobody opens, refunds or decides it another way."""

    status = 409
    code = "disputed"


class Exceeds(Refused):
    """More than what is left of the payment."""

    status = 409
    code = "exceeds"


class KeyReused(Refused):
    """The idempotency key stands for another request."""

    status = 422
    code = "key_reused"


class NotPossible(Refused):
    """Not with a subscription that stands as this one does."""

    status = 409
    code = "not_possible"


class Declined(Refused):
    """The card was declined; nothing has changed."""

    status = 402
    code = "declined"
