"""A Google Play to talk to, on loopback only: the Play Developer API (androidpublisher v3), Google's token and certificate
endpoints, and Pub/Sub pushes with OIDC tokens signed by a key of its own.

    python -m tests.emulators.google --port 8803 --hook-url http://127.0.0.1:8000/webhooks/google

or in a test: `with GoogleEmulator(hook_url=…) as google: google.settings()`. It shares no code with the adapter, so that a
mistake of one is not the other's truth. Nothing is kept when it stops.

    /androidpublisher/v3/applications/…     subscriptionsv2 get, cancel, revoke; acknowledge; orders get, refund; voidedpurchases
    POST /token, GET /certs                 access tokens for the service account; {key id: certificate}
    POST /control/purchases                 an app's buyer buys: {"products": [{…}], "user": …, "trial_days": n}
    POST /control/purchases/<token>/<deed>  fail | recover | cancel | restart | pause | defer | revoke | refuse | pay | items
    POST /control/orders/<order>/<deed>     refund | partial | chargeback | review: the operator in the Play Console
    POST /control/clock                     {"seconds": s}: moves its time; renewals, failures and ends happen on the way
    POST /control/faults                    {"at": "api"|"token"|"certs", "fault": "timeout"|"timeout_after"|"500"|…, "times": n}
    POST /control/deliveries                {"order": "hold"|"release"|"reverse"|"drop"|"repeat"}
    POST /control/test                      the Play Console's test notification
    GET  /control/state                     everything that is known, keys excepted

`records` has Google's JSON, `store` the purchases and what happens to them in time, `pushes` Pub/Sub, `keys` the signatures,
`server` the HTTP.
"""

from tests.emulators.google.keys import Keys
from tests.emulators.google.pushes import Delivery, envelope
from tests.emulators.google.records import Product
from tests.emulators.google.server import GoogleEmulator, Received
from tests.emulators.google.store import Refusal

__all__ = ["Delivery", "GoogleEmulator", "Keys", "Product", "Received", "Refusal", "envelope"]
