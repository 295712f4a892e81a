"""System checks: each missing or empty setting of each configured provider is named before money is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks

from providers import registry


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
    default = settings.PAYFLOW_DEFAULT_PROVIDER
    if default and default not in registry.names():
        messages.append(
            checks.Error(f"PAYFLOW_DEFAULT_PROVIDER names {default!r}, which is not configured", id="payflow.E003")
        )
    return messages
