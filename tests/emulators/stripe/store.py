"""What Stripe keeps: objects by id, the clock, the events of what happened."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from tests.emulators.stripe.deliveries import Deliveries, Delivery
from tests.emulators.stripe.shapes import old_previous, old_shape
from tests.emulators.stripe.wire import Json, Refusal, dump, missing

CURRENT = "2026-10-28.endive"
OLD = "2017-08-15"
NAMES = {
    "pi": "payment_intent",
    "cs": "checkout.session",
    "cus": "customer",
    "pm": "payment_method",
    "re": "refund",
    "dp": "dispute",
    "sub": "subscription",
    "in": "invoice",
    "price": "price",
    "seti": "setup_intent",
}


class Store:
    """Every method is called with `lock` held but `now`."""

    def __init__(self, *, livemode: bool, api_version: str, deliveries: Deliveries) -> None:
        self.lock = threading.RLock()
        self.livemode = livemode
        self.api_version = api_version
        self.deliveries = deliveries
        self.objects: dict[str, Json] = {}
        self.events: list[Json] = []
        self._ahead = 0
        self._at: int | None = None

    # time

    def now(self) -> int:
        return self._at if self._at is not None else int(time.time()) + self._ahead

    def stand_at(self, moment: int | None) -> None:
        """While the clock is advanced, each thing happens at its own moment."""
        self._at = moment

    def set_ahead(self, seconds: int) -> None:
        self._ahead = seconds

    @property
    def ahead(self) -> int:
        return self._ahead

    # objects

    def new(self, kind: str, prefix: str, **fields: Any) -> Json:
        value = {
            "id": f"{prefix}_{secrets.token_hex(12)}",
            "object": kind,
            "created": self.now(),
            "livemode": self.livemode,
            "metadata": {},
            **fields,
        }
        self.objects[value["id"]] = value
        return value

    def get(self, kind: str, id_: Any, *, status: int = 404, param: str = "id") -> Json:
        value = self.objects.get(id_) if isinstance(id_, str) else None
        if value is None or value["object"] != kind:
            raise missing(kind, id_, status, param)
        return value

    def of(self, kind: str) -> Iterator[Json]:
        """Oldest first."""
        return (value for value in list(self.objects.values()) if value["object"] == kind)

    # events

    def emit(self, type_: str, value: Json, previous: Json | None = None) -> Json:
        is_old = self.api_version == OLD
        data: Json = {"object": old_shape(self, value) if is_old else deepcopy(value)}
        if previous is not None:
            data["previous_attributes"] = old_previous(previous) if is_old else deepcopy(previous)
        event = {
            "id": f"evt_{secrets.token_hex(12)}",
            "object": "event",
            "api_version": self.api_version,
            "created": self.now(),
            "data": data,
            "livemode": self.livemode,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": type_,
        }
        self.events.append(event)
        self.deliveries.add(Delivery(event["id"], type_, dump(event)))
        return event

    # lists

    def page(self, values: list[Json], params: Json, url: str) -> Json:
        """Newest first; `limit`, `starting_after`, `created[…]`. Raises Refusal(400)."""
        limit = int(params.get("limit", "10"))
        if not 1 <= limit <= 100:
            raise Refusal(400, "limit is between 1 and 100", param="limit")
        bounds = params.get("created") or {}
        found = [value for value in reversed(values) if _within(value["created"], bounds)]
        if (after := params.get("starting_after")) is not None:
            ids = [value["id"] for value in found]
            if after not in ids:
                raise missing("object", after, 400, "starting_after")
            found = found[ids.index(after) + 1 :]
        return {"object": "list", "url": url, "data": found[:limit], "has_more": len(found) > limit}


def _within(created: int, bounds: Json) -> bool:
    checks = {
        "gte": lambda bound: created >= bound,
        "gt": lambda bound: created > bound,
        "lte": lambda bound: created <= bound,
        "lt": lambda bound: created < bound,
    }
    return all(checks[name](int(bound)) for name, bound in bounds.items())
