"""The emulator as a program: the keys from the environment, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Callable

from tests.emulators.lava.ru import LavaRuEmulator
from tests.emulators.lava.server import LavaEmulator
from tests.emulators.lava.top import LavaTopEmulator
from tests.emulators.lava.wire import Listening

NEEDED = {
    "document": ("LAVA_API_KEY", "LAVA_SECRET_KEY"),
    "lava_ru": ("LAVA_SHOP_ID", "LAVA_SECRET_KEY", "LAVA_ADDITIONAL_KEY"),
    "lava_top": ("LAVA_API_KEY", "LAVA_SECRET_KEY"),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.emulators.lava", description="Emulates Lava on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--flavour", choices=list(NEEDED), default="document")
    parser.add_argument(
        "--hook-url", default="", help="where lava_ru's subscriptions and all of lava_top are reported to"
    )
    parser.add_argument("--offer", action="append", default=[], help="lava_ru, lava_top: id=price, in roubles")
    arguments = parser.parse_args()
    keys = {name: os.environ.get(name, "") for name in NEEDED[arguments.flavour]}
    if missing := [name for name, value in keys.items() if not value]:
        parser.error(f"{missing[0]} is not set")
    started: dict[str, Callable[[], Listening]] = {
        "document": lambda: _document(keys, arguments),
        "lava_ru": lambda: _ru(keys, arguments),
        "lava_top": lambda: _top(keys, arguments),
    }
    lava = started[arguments.flavour]()
    enough = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: enough.set())
    with lava:
        print(f"lava emulator on {lava.base_url}", flush=True)
        enough.wait()
    return 0


def _document(keys: dict[str, str], arguments: argparse.Namespace) -> LavaEmulator:
    return LavaEmulator(api_key=keys["LAVA_API_KEY"], secret_key=keys["LAVA_SECRET_KEY"], port=arguments.port)


def _ru(keys: dict[str, str], arguments: argparse.Namespace) -> LavaRuEmulator:
    lava = LavaRuEmulator(
        shop_id=keys["LAVA_SHOP_ID"],
        secret_key=keys["LAVA_SECRET_KEY"],
        additional_key=keys["LAVA_ADDITIONAL_KEY"],
        hook_url=arguments.hook_url,
        port=arguments.port,
    )
    for offer in arguments.offer:
        id_, _, price = offer.partition("=")
        lava.offer(id_, price)
    return lava


def _top(keys: dict[str, str], arguments: argparse.Namespace) -> LavaTopEmulator:
    lava = LavaTopEmulator(
        api_key=keys["LAVA_API_KEY"],
        webhook_key=keys["LAVA_SECRET_KEY"],
        webhook_user=os.environ.get("LAVA_WEBHOOK_USER", ""),
        hook_url=arguments.hook_url,
        port=arguments.port,
    )
    for offer in arguments.offer:
        id_, _, price = offer.partition("=")
        lava.offer(id_, RUB=price)
    return lava


if __name__ == "__main__":
    raise SystemExit(main())
