"""Addresses in settings and answers: what may be called, and what a browser may be sent to."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from providers.base import ConfigFault


def base_url_faults(url: str, *, variable: str, debug: bool) -> Iterator[ConfigFault]:
    """What is wrong with the address at which a provider is called; `variable` is the setting's name.

    Plain http is an emulator's, on this machine only, and refused outside debug: our credentials travel with each call.
    """
    parts = split_web_url(url)
    if not url:
        yield ConfigFault("error", "the base URL is missing", f"Set {variable}.")
    elif parts is None or parts.username is not None or parts.query or parts.fragment:
        yield ConfigFault("error", "the base URL is not a plain http(s) URL", f"Check {variable}.")
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        yield ConfigFault(
            "error", "the base URL sends the API key unencrypted", f"{variable} must begin with https://."
        )
    elif parts.scheme == "http" and not debug:
        yield ConfigFault(
            "error", "the base URL is an emulator's (http://)", f"{variable} must begin with https:// here."
        )


def split_web_url(url: str) -> SplitResult | None:
    """The parts of an http(s) URL that has a host; None for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port  # raises where it is no number
    except ValueError:
        return None
    usable = parts.scheme in ("http", "https") and parts.hostname and port != 0 and url.isprintable()
    return parts if usable else None


def is_web_url(url: str) -> bool:
    """True for what may be put before a browser: http or https with a host, nothing hidden in it.

    Spaces, controls and backslashes are read differently by browsers than by `urlsplit`.
    """
    return split_web_url(url) is not None and not any(c in ' \\"<>' for c in url)


def is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False
