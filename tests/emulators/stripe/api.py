"""Stripe's addresses: what each answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy

from tests.emulators.stripe.billing import Billing
from tests.emulators.stripe.checkout import Checkout
from tests.emulators.stripe.payments import Payments
from tests.emulators.stripe.store import NAMES, Store
from tests.emulators.stripe.wire import Json, Refusal, refuse_unknown

#: What a list of each kind may be narrowed by, besides `created`.
FILTERS = {
    "payment_intents": ("payment_intent", ("customer",)),
    "refunds": ("refund", ("payment_intent", "charge")),
    "disputes": ("dispute", ("payment_intent", "charge")),
    "invoices": ("invoice", ("customer", "status")),
    "subscriptions": ("subscription", ("customer", "status")),
}
RETRIEVED = {
    "payment_intents": "pi",
    "customers": "cus",
    "payment_methods": "pm",
    "refunds": "re",
    "disputes": "dp",
    "subscriptions": "sub",
    "invoices": "in",
    "prices": "price",
    "setup_intents": "seti",
}
_QUERY = re.compile(r"metadata\['(\w+)'\]:'((?:[^'\\]|\\.)*)'\Z")


class Api:
    def __init__(self, store: Store, payments: Payments, billing: Billing, checkout: Checkout) -> None:
        self.store = store
        self.payments = payments
        self.billing = billing
        self.checkout = checkout
        #: The search knows nothing yet of what was made: Stripe's is up to a minute late.
        self.search_is_late = False

    def answer(self, method: str, path: list[str], params: Json) -> Json:
        """Raises Refusal."""
        match method, path:
            case "POST", ["checkout", "sessions"]:
                return self.checkout.create(params)
            case "GET", ["checkout", "sessions", id_]:
                return self.store.get("checkout.session", id_)
            case "POST", ["payment_intents"]:
                return self.payments.create_intent(params)
            case "GET", ["payment_intents", "search"]:
                return self._search(params)
            case "POST", ["refunds"]:
                return self.payments.refund(params)
            case "POST", ["subscriptions", id_]:
                return self.billing.update(id_, params)
            case "DELETE", ["subscriptions", id_]:
                return self.billing.cancel(id_)
            case "GET", ["events"]:
                return self._events(params)
            case "GET", ["invoice_payments"]:
                return self._invoice_payments(params)
            case "GET", [kind] if kind in FILTERS:
                return self._list(kind, params)
            case "GET", [kind, id_] if kind in RETRIEVED:
                return self._expanded(self.store.get(NAMES[RETRIEVED[kind]], id_), params.get("expand") or [])
        raise Refusal(404, f"Unrecognized request URL ({method}: /v1/{'/'.join(path)}).")

    def _search(self, params: Json) -> Json:
        match = _QUERY.match(params.get("query", ""))
        if match is None:
            raise Refusal(400, "the query cannot be read", param="query")
        name, value = match[1], re.sub(r"\\(.)", r"\1", match[2])
        known = [] if self.search_is_late else list(self.store.of("payment_intent"))
        found = [intent for intent in known if intent["metadata"].get(name) == value]
        return {"object": "search_result", "data": found[: int(params.get("limit", "10"))], "has_more": False}

    def _events(self, params: Json) -> Json:
        refuse_unknown(params, "created", "types", "limit", "starting_after")
        types = params.get("types") or []
        if len(types) > 20:
            raise Refusal(400, "types has at most 20 elements", param="types")
        found = [event for event in self.store.events if not types or event["type"] in types]
        return self.store.page(found, params, "/v1/events")

    def _invoice_payments(self, params: Json) -> Json:
        wanted = params.get("payment") or {}
        if wanted.get("type") != "payment_intent":
            raise Refusal(400, "payment[type] is payment_intent here", param="payment")
        intent = wanted.get("payment_intent")
        found = [p for p in self.store.of("invoice_payment") if p["payment"]["payment_intent"] == intent]
        return self.store.page(found, params, "/v1/invoice_payments")

    def _list(self, kind: str, params: Json) -> Json:
        object_, names = FILTERS[kind]
        refuse_unknown(params, "created", "limit", "starting_after", "subscription", *names)
        values = [value for value in self.store.of(object_) if all(value[n] == params[n] for n in names if n in params)]
        if "subscription" in params:
            values = [
                v for v in values if v["parent"]["subscription_details"]["subscription"] == params["subscription"]
            ]
        expand = [path.removeprefix("data.") for path in params.get("expand") or []]
        page = self.store.page(values, params, f"/v1/{kind}")
        return {**page, "data": [self._expanded(value, expand) for value in page["data"]]}

    def _expanded(self, value: Json, expand: list[str]) -> Json:
        wholes: dict[str, Callable[[Json], object]] = {
            "payments": lambda invoice: {
                "object": "list",
                "data": [p for p in self.store.of("invoice_payment") if p["invoice"] == invoice["id"]],
                "has_more": False,
            },
            "payment_method": lambda intent: self.store.objects[intent["payment_method"]],
        }
        found = deepcopy(value)
        for name in expand:
            if name not in wholes:
                raise Refusal(400, f"This property cannot be expanded ({name}).")
            found[name] = deepcopy(wholes[name](value))
        return found
