"""A Stripe to talk to: Checkout, PaymentIntents, Refunds, Billing and Events over real HTTP, on loopback only.

    STRIPE_SECRET_KEY=sk_test_… STRIPE_WEBHOOK_SECRET=whsec_… python -m tests.emulators.stripe --port 8803 --hook URL

or in a test: `with StripeEmulator(secret_key=…, webhook_secret=…) as stripe: stripe.origin`. It shares no code with the
adapter, so that a mistake of one is not the other's truth. Nothing is kept when it stops. `api_version="2017-08-15"`
makes its events have the shape of old. Idempotency keys are kept and compared as Stripe does.

    /v1/…                                     Stripe's own addresses, as far as a subscription business needs them
    GET, POST /pay/<session>                  the payer's page: outcome=pay|decline|abandon [card=<behaviour>]
    POST /control/prices                      {"unit_amount", "currency", "interval", "interval_count"}: a Price
    POST /control/clock                       {"advance_seconds": s}: renewals, retries and ends of that time happen
    POST /control/payment_methods/<id>        {"behaviour": one of BEHAVIOURS}
    POST /control/payments/<pi>/refund        the operator gives back: {} or {"amount": minor units}
    POST /control/payments/<pi>/dispute       the payer's bank takes it back
    POST /control/payments/<pi>/settle        a payment under way comes through: {"outcome": "succeeded"|"failed"}
    POST /control/refunds/<re>/fail           the refund comes back
    POST /control/disputes/<dp>/close         {"status": "won"|"lost"|"warning_closed"}
    POST /control/subscriptions/<id>/cancel   the subscriber cancels in the portal: {"now": false}
    POST /control/faults                      {"fault": one of FAULTS or null, "path": "/v1/…", "times", "seconds"}
    POST /control/deliveries                  {"order": "hold"|"release"|"reverse"}: keep webhooks; send them (backwards)
    POST /control/repeat                      {"event": id}: that webhook again, byte for byte
    POST /control/webhook                     {"url", "secrets": [...]}: where events go, and what signs them
    GET  /control/state                       everything that is known, secrets excepted
"""

from tests.emulators.stripe.deliveries import Delivery
from tests.emulators.stripe.server import FAULTS, Received, StripeEmulator
from tests.emulators.stripe.wire import Refusal, header_of, read_form

__all__ = ["FAULTS", "Delivery", "Received", "Refusal", "StripeEmulator", "header_of", "read_form"]
