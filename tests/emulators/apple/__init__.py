"""An App Store to talk to: purchases, Server Notifications V2 and the App Store Server API over real HTTP, on loopback only.

    APPLE_BUNDLE_ID=… APPLE_APP_ID=… APPLE_ISSUER_ID=… APPLE_KEY_ID=… APPLE_PRIVATE_KEY=… \\
        python -m tests.emulators.apple --port 8803 --hook http://127.0.0.1:8000/webhooks/apple

or in a test: `with AppleEmulator(private_key=…, hook_url=…) as apple: apple.origin`. It signs with a chain of its own
(root, intermediate and leaf, with Apple's OIDs), whose root `apple.chain.root_der` has to be trusted. It shares no code
with the adapter, so that a mistake of one is not the other's truth. Nothing is kept when it stops.

    GET  /inApps/v1/subscriptions/<id>        states; the ES256 token is checked as Apple documents it
    GET  /inApps/v2/history/<id>              transactions, 20 a page, with `revision`
    POST /inApps/v1/notifications/history     what was or should have been delivered, with `paginationToken`
    POST /inApps/v1/notifications/test        a TEST notification
    POST /control/purchases                   the app buys: {"productId", "price" (milliunits), "currency", "days",
                                              "appAccountToken", "free", "familyShared"} -> ids, signedTransaction
    POST /control/subscriptions/<id>/<deed>   renew | fail {"graceDays"} | grace_end | recover | expire {"subtype"} |
                                              cancel | resume | upgrade | redeem | downgrade | withdraw | refund {"percentage",
                                              "transactionId"} | reverse_refund | revoke | extend {"days"} | resubscribe
    POST /control/notify                      {"type", "subtype", "id"}: any notification, of a subscription or of none
    POST /control/faults                      {"call": "statuses|history|notifications", "fault": "timeout|timeout_after|
                                              500|429|401|404|unsigned", "times": n, "seconds": s}
    POST /control/deliveries                  {"order": "hold"|"release"|"reverse"|"drop"}; drop: never sent, as when down
    POST /control/deliveries/<uuid>/repeat    the very same bytes again
    POST /control/clock                       {"ahead_seconds": s}
    GET  /control/state                       everything that is known, keys excepted
"""

from tests.emulators.apple.chain import Chain
from tests.emulators.apple.server import AppleEmulator
from tests.emulators.apple.wire import Refusal

__all__ = ["AppleEmulator", "Chain", "Refusal"]
