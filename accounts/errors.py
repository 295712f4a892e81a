"""Refusals of the accounts."""

from __future__ import annotations

from payflow.core.errors import Code, DomainError


class InvalidCredentials(DomainError):
    """Deliberately one text for an unknown address, a wrong password and a closed account."""

    code = Code.UNAUTHENTICATED
    message = "No active account found with the given credentials"


class InvalidToken(DomainError):
    code = Code.UNAUTHENTICATED
    message = "The token is not valid"
