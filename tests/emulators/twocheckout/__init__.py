"""A 2Checkout to talk to: orders, subscriptions, refunds, IPN and LCN over real HTTP, on loopback only.

    TWOCHECKOUT_SECRET_KEY=… TWOCHECKOUT_BUY_LINK_SECRET=… python -m tests.emulators.twocheckout --port 8802 --hook-url …

or in a test: `with TwoCheckoutEmulator(secret_key=…, buy_link_secret=…) as tco: tco.base_url, tco.origin`. It shares no
code with the adapter, so that a mistake of one is not the other's truth. Nothing is kept when it stops.

    /rest/6.0/…                                 the API: orders, refund, subscriptions, history, renewal, renewal price
    POST /checkout/api/encrypt/generate/signature     signs a buy link
    GET, POST /checkout/buy/?…                  the buyer's page: outcome=pay|authorize|decline
    POST /control/orders/<ref>/refund           an operator gives back: {"amount": "5.00"}, without it all that is left
    POST /control/orders/<ref>/chargeback       {"resolution": "OPEN"|"WON"|"LOST"|"ACCEPTED"}
    POST /control/orders/<ref>/settle           an open order ends: {"outcome": "pay"|"reverse"|"cancel"}
    POST /control/subscriptions/<ref>/renew     {"outcome": "success"|"failed"}
    POST /control/subscriptions/<ref>/expire    its end has come
    POST /control/subscriptions/<ref>/change    the buyer's switches: {"recurring", "enabled", "card_declines": true|false}
    POST /control/subscriptions/<ref>/hide      the API does not know it yet
    POST /control/repeat/<ref>                  the last delivery about it again, byte for byte
    POST /control/faults     {"fault": "timeout"|"timeout_after"|"500"|"429"|null, "times", "seconds", "method": "POST"}
    POST /control/deliveries                    {"order": "hold"|"release"|"reverse"}: keep them; send them (backwards)
    POST /control/advance                       {"days": n}: time goes by, what is due renews, fails or ends
    POST /control/clock                         {"ahead_seconds": s}: its clock, without anything falling due
    GET  /control/state                         everything that is known, secrets excepted

A delivery counts when the receipt is right, not when the status is. Every answer's Date is the emulator's own clock.
"""

from tests.emulators.twocheckout.deliveries import Delivery
from tests.emulators.twocheckout.records import Order, Subscription
from tests.emulators.twocheckout.server import TwoCheckoutEmulator
from tests.emulators.twocheckout.state import Received

__all__ = ["Delivery", "Order", "Received", "Subscription", "TwoCheckoutEmulator"]
