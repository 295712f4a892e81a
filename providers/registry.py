"""The configured providers, by name.

`settings.PAYFLOW_PROVIDERS` maps a name (as in the API, the database and `/webhooks/{name}`) to its settings, whose
`adapter` names one of ours, an entry point of the group `payflow.providers`, or a class (`package.module:Class`). Two names
may share an adapter.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from providers.base import Provider

ENTRY_POINT_GROUP = "payflow.providers"

#: Our own adapters; imported only where configured, so that an unused one costs nothing.
ADAPTERS = {
    "sandbox": "providers.sandbox.adapter:SandboxProvider",
    "lava": "providers.lava.adapter:LavaProvider",
    "lava_ru": "providers.lava.ru.adapter:LavaRuProvider",
    "lava_top": "providers.lava.top.adapter:LavaTopProvider",
    "twocheckout": "providers.twocheckout.adapter:TwoCheckoutProvider",
    "stripe": "providers.stripe.adapter:StripeProvider",
    "apple": "providers.apple.adapter:AppleProvider",
    "google": "providers.google.adapter:GoogleProvider",
}


class UnknownProvider(LookupError):
    """No provider of this name is configured."""


def names() -> list[str]:
    return list(settings.PAYFLOW_PROVIDERS)


def get(name: str) -> Provider:
    """The provider configured under `name`. Raises UnknownProvider."""
    if name not in settings.PAYFLOW_PROVIDERS:
        raise UnknownProvider(name)
    return _made(name)


@cache
def _made(name: str) -> Provider:
    config = settings.PAYFLOW_PROVIDERS[name]
    return adapter_class(str(config["adapter"]))(name, config)


def adapter_class(adapter: str) -> type[Provider]:
    """The class of an adapter's name. Raises UnknownProvider."""
    module, _, attribute = ADAPTERS.get(adapter, adapter).partition(":")
    if attribute:
        loaded: Any = getattr(import_module(module), attribute, None)
    else:
        found = entry_points(group=ENTRY_POINT_GROUP, name=adapter)
        if not found:
            raise UnknownProvider(adapter)
        loaded = next(iter(found)).load()
    if not (isinstance(loaded, type) and issubclass(loaded, Provider)):
        raise TypeError(f"{adapter} is not a Provider")
    return loaded


@receiver(setting_changed)
def _forget(*, setting: str, **_: Any) -> None:
    if setting == "PAYFLOW_PROVIDERS":
        _made.cache_clear()
