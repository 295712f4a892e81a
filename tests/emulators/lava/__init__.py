"""A Lava to talk to: the architecture document's "Lava Integration Details" played over real HTTP, on loopback only.

    LAVA_API_KEY=… LAVA_SECRET_KEY=… python -m tests.emulators.lava --port 8801

or in a test: `with LavaEmulator(api_key=…, secret_key=…) as lava: lava.base_url`. It shares no code with the adapter,
so that a mistake of one is not the other's truth. Nothing is kept when it stops.

    POST /v1/invoice/create                 the document's request; every call makes a new invoice
    GET, POST /pay/<invoice_id>             the payer's page: outcome=pay|decline|abandon [amount, pay_time]
    POST /control/orders/<order_id>/renew   Lava charges again: {"outcome": "success"|"failed"} [amount, pay_time]
    POST /control/orders/<order_id>/repeat  the order's last webhook again, byte for byte
    POST /control/faults                    {"create": "timeout"|"timeout_after"|"500"|null, "times": n, "seconds": s}
    POST /control/deliveries                {"order": "hold"|"release"|"reverse"}: keep webhooks; send them (backwards)
    POST /control/clock                     {"ahead_seconds": s}: pay_time runs ahead of real time
    GET  /control/invoices                  everything that is known, secrets excepted

`messages` has the document's JSON, `state` the invoices, `server` its HTTP; `deliveries` and `wire` are all flavours'. Lava's
two published services are `ru` and `top`: `--flavour lava_ru|lava_top`, what they have in common is in `flavour`.
"""

from tests.emulators.lava.deliveries import Delivery
from tests.emulators.lava.messages import CREATE_FIELDS, Number, Refusal, signature, webhook_body
from tests.emulators.lava.ru import LavaRuEmulator
from tests.emulators.lava.server import LavaEmulator
from tests.emulators.lava.state import Invoice, Received
from tests.emulators.lava.top import LavaTopEmulator

__all__ = [
    "CREATE_FIELDS",
    "Delivery",
    "Invoice",
    "LavaEmulator",
    "LavaRuEmulator",
    "LavaTopEmulator",
    "Number",
    "Received",
    "Refusal",
    "signature",
    "webhook_body",
]
