"""System checks: each missing or empty setting of each configured provider is named before money is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks

from providers import registry

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@checks.register("payflow")
def check_providers(app_configs: Sequence[Any] | None, **_: Any) -> list[checks.CheckMessage]:
    messages: list[checks.CheckMessage] = []
    for name in registry.names():
        try:
            provider = registry.get(name)
        except (registry.UnknownProvider, ImportError, KeyError) as error:
            messages.append(checks.Error(f"Provider {name!r} has no usable adapter: {error}", id="payflow.E001"))
            continue
        for fault in provider.config_faults(debug=settings.DEBUG):
            make, id_ = (checks.Error, "E002") if fault.level == "error" else (checks.Warning, "W001")
            messages.append(make(f"Provider {name!r}: {fault.message}", hint=fault.hint, id=f"payflow.{id_}"))
    if not registry.names():
        hint = "Set LAVA_API_KEY and LAVA_SECRET_KEY, for one. Until then only free plans can be subscribed to."
        messages.append(checks.Warning("No payment provider is configured", hint=hint, id="payflow.W002"))
    if not settings.DEBUG and urlsplit(settings.PAYFLOW_BASE_URL).hostname in LOOPBACK:
        hint = "Set PAYFLOW_BASE_URL to the address at which providers reach this service."
        messages.append(
            checks.Warning("Providers are told to report to this machine only", hint=hint, id="payflow.W003")
        )
    default = settings.PAYFLOW_DEFAULT_PROVIDER
    if default and default not in registry.names():
        messages.append(
            checks.Error(f"PAYFLOW_DEFAULT_PROVIDER names {default!r}, which is not configured", id="payflow.E003")
        )
    return messages
