"""Who may ask: an account is an API key of a configured provider whose adapter is the sandbox.

Rows carry a fingerprint of the key, never the key. Two sandboxes with two keys run side by side and see their own rows
only; two names with one key are one account.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from django.conf import settings

from providers.sandbox.errors import WrongKey
from providers.sandbox.signature import page_signature


@dataclass(frozen=True, slots=True)
class Account:
    id: str
    webhook_secret: str = field(repr=False)
    #: Where news go of what no call gave an address for, as it would be entered in a store's console.
    hook_url: str = ""


def account_of_request(authorization: str) -> Account:
    """The account of an `Authorization: Bearer <api_key>` header. Raises WrongKey."""
    scheme, _, given = authorization.partition(" ")
    found = None
    for api_key, account in _known():
        if hmac.compare_digest(api_key.encode(), given.strip().encode()):
            found = account
    if found is None or scheme.lower() != "bearer":
        raise WrongKey("unknown API key")
    return found


def account_of_row(account_id: str) -> Account | None:
    """The account whose fingerprint a row carries; None when its key is no longer configured."""
    return next((account for _, account in _known() if account.id == account_id), None)


def is_page_of(account_id: str, subject: str, given: str) -> bool:
    """Did the holder of the account's key sign the address of this page?"""
    keys = [api_key for api_key, account in _known() if account.id == account_id]
    return any(hmac.compare_digest(page_signature(key, subject), given) for key in keys)


def fingerprint(api_key: str) -> str:
    return f"acct_{hashlib.sha256(api_key.encode()).hexdigest()[:24]}"


def _known() -> list[tuple[str, Account]]:
    configs = [config for config in settings.PAYFLOW_PROVIDERS.values() if config.get("adapter") == "sandbox"]
    return [(key, _account(key, config)) for config in configs if (key := str(config.get("api_key") or ""))]


def _account(api_key: str, config: dict[str, object]) -> Account:
    secret, hook_url = str(config.get("webhook_secret") or ""), str(config.get("hook_url") or "")
    return Account(fingerprint(api_key), secret, hook_url)
