"""Who is calling, without knowing the accounts: by the attributes that users and services share."""

from __future__ import annotations

import ipaddress
import uuid
from dataclasses import dataclass
from typing import Any, ClassVar

from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.settings import api_settings


@dataclass(frozen=True, slots=True)
class Claimed:
    """Whom a token of ours names, by its signature alone: nobody has looked whether the account is still open.

    `proof` is what the account is compared with when somebody looks.
    """

    pk: uuid.UUID
    proof: str
    is_authenticated: ClassVar[bool] = True


def principal_key(user: Any) -> str | None:
    """`user:<id>` or `key:<id>`, or None for the anonymous. Idempotency and rate limits count by it."""
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    return f"key:{user.pk}" if is_service(user) else f"user:{user.pk}"


def is_service(user: Any) -> bool:
    """True for an API key, false for every person."""
    return bool(getattr(user, "is_service", False))


def has_scope(user: Any, scope: str) -> bool:
    """True where `user` is a service whose key carries `scope`."""
    return is_service(user) and bool(user.has_scope(scope))


def client_address(request: HttpRequest | Request) -> str:
    """The caller's address; of IPv6 the /64, which is what one subscriber gets.

    X-Forwarded-For is believed only as far as REST_FRAMEWORK["NUM_PROXIES"] proxies of our own wrote it: a client can
    put anything before that.
    """
    address = str(request.META.get("REMOTE_ADDR", ""))
    proxies = api_settings.NUM_PROXIES or 0
    forwarded = str(request.META.get("HTTP_X_FORWARDED_FOR", ""))
    if proxies and forwarded:
        hops = [hop.strip() for hop in forwarded.split(",")]
        address = hops[-min(proxies, len(hops))]
    parsed = parse_address(address)
    if parsed is None:
        return "unknown"
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, or None. IPv4 in IPv6 clothes (a dual-stack socket's `::ffff:8.8.8.8`) is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
