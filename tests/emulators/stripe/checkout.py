"""Checkout Sessions: made by the shop, answered by the payer."""

from __future__ import annotations

from tests.emulators.stripe.billing import Billing
from tests.emulators.stripe.payments import Payments, checked_amount, required
from tests.emulators.stripe.store import Store
from tests.emulators.stripe.wire import Json, Refusal, refuse_unknown, whole

LASTS = 24 * 3600


class Checkout:
    def __init__(self, store: Store, payments: Payments, billing: Billing, origin: str) -> None:
        self.store = store
        self.payments = payments
        self.billing = billing
        self.origin = origin

    def create(self, params: Json) -> Json:
        refuse_unknown(
            params,
            "mode",
            "client_reference_id",
            "customer_email",
            "success_url",
            "cancel_url",
            "metadata",
            "customer_creation",
            "line_items",
            "payment_intent_data",
            "setup_intent_data",
            "subscription_data",
            "currency",
        )
        mode = required(params, "mode")
        check = {"payment": self._check_payment, "setup": self._check_setup, "subscription": self._check_subscription}
        if mode not in check:
            raise Refusal(400, f"Invalid mode: {mode}", param="mode")
        wanted = check[mode](params)
        session = self.store.new(
            "checkout.session",
            "cs_test",
            mode=mode,
            status="open",
            payment_status="no_payment_required" if mode == "setup" else "unpaid",
            client_reference_id=params.get("client_reference_id"),
            customer=None,
            customer_email=params.get("customer_email"),
            customer_details={"email": params.get("customer_email")},
            success_url=required(params, "success_url"),
            cancel_url=params.get("cancel_url"),
            metadata=params.get("metadata") or {},
            expires_at=self.store.now() + LASTS,
            payment_intent=None,
            setup_intent=None,
            subscription=None,
            invoice=None,
            **wanted,
        )
        session["url"] = f"{self.origin}/pay/{session['id']}"
        return session

    def answer(self, session_id: str, outcome: str, card: str = "ok") -> str:
        """Where the payer goes next. A second click on what is paid goes where the first one went."""
        session = self.store.get("checkout.session", session_id)
        if session["status"] != "open":
            return str(session["success_url"])
        if outcome == "abandon":
            return str(session["cancel_url"])
        if outcome == "decline":
            self._decline(session)
            return str(session["cancel_url"])
        if outcome != "pay":
            raise Refusal(400, "outcome is pay, decline or abandon")
        customer = self.payments.customer(email=session["customer_email"])
        method = self.payments.method_for(customer, card)
        session["customer"] = customer["id"]
        {"payment": self._pay, "setup": self._set_up, "subscription": self._subscribe}[session["mode"]](session, method)
        session["status"] = "complete"
        self.store.emit("checkout.session.completed", session)
        return str(session["success_url"])

    # what the shop may ask for

    def _check_payment(self, params: Json) -> Json:
        [item] = required(params, "line_items")
        price = required(item, "price_data")
        amount, currency = checked_amount(price.get("unit_amount"), price.get("currency"))
        required(required(price, "product_data"), "name")
        data = params.get("payment_intent_data") or {}
        refuse_unknown(data, "metadata", "setup_future_usage")
        return {"amount_total": amount, "currency": currency, "_intent": data}

    def _check_setup(self, params: Json) -> Json:
        currency = required(params, "currency")
        data = params.get("setup_intent_data") or {}
        refuse_unknown(data, "metadata")
        return {"amount_total": None, "currency": currency, "_intent": data}

    def _check_subscription(self, params: Json) -> Json:
        if "customer_creation" in params:
            raise Refusal(400, "customer_creation is not for subscription mode", param="customer_creation")
        [item] = required(params, "line_items")
        price = self.store.get("price", required(item, "price"), status=400, param="line_items[0][price]")
        data = params.get("subscription_data") or {}
        refuse_unknown(data, "metadata", "trial_period_days")
        if "trial_period_days" in data:
            whole(data["trial_period_days"], "trial_period_days")
        return {
            "amount_total": price["unit_amount"],
            "currency": price["currency"],
            "_price": price["id"],
            "_intent": data,
        }

    # what becomes of it

    def _intent_of(self, session: Json, method: str | None) -> Json:
        """Checkout makes the PaymentIntent when the payer first tries, and keeps it for his next try."""
        if session["payment_intent"] is None:
            data = session["_intent"]
            made = self.payments.intent(
                session["amount_total"],
                session["currency"],
                customer=session["customer"],
                method=method,
                metadata=dict(data.get("metadata") or {}),
                setup_future_usage=data.get("setup_future_usage"),
            )
            session["payment_intent"] = made["id"]
        intent = self.store.objects[session["payment_intent"]]
        intent |= {"customer": session["customer"], "payment_method": method}
        return intent

    def _decline(self, session: Json) -> None:
        if session["mode"] == "payment":
            self.payments.fail(self._intent_of(session, None), "insufficient_funds")

    def _pay(self, session: Json, method: Json) -> None:
        intent = self._intent_of(session, method["id"])
        if self.payments.behaviours[method["id"]] == "processing":
            self.payments.confirm(intent, "processing")
            return
        self.payments.succeed(intent)
        session["payment_status"] = "paid"

    def _set_up(self, session: Json, method: Json) -> None:
        setup = self.store.new(
            "setup_intent",
            "seti",
            customer=session["customer"],
            payment_method=method["id"],
            metadata=dict(session["_intent"].get("metadata") or {}),
            status="succeeded",
        )
        session["setup_intent"] = setup["id"]
        self.store.emit("setup_intent.succeeded", setup)

    def _subscribe(self, session: Json, method: Json) -> None:
        data = session["_intent"]
        subscription = self.billing.start(
            customer=session["customer"],
            method=method["id"],
            price=session["_price"],
            metadata=dict(data.get("metadata") or {}),
            trial_days=int(data.get("trial_period_days", "0")),
        )
        session |= {
            "subscription": subscription["id"],
            "invoice": subscription["latest_invoice"],
            "payment_status": "no_payment_required" if subscription["status"] == "trialing" else "paid",
        }
