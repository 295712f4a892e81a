"""Customers, methods, PaymentIntents, charges, refunds, disputes."""

from __future__ import annotations

from typing import Any

from tests.emulators.stripe.store import Store
from tests.emulators.stripe.wire import Json, Refusal, flag, refuse_unknown, whole

#: What a stored method does when it is charged.
BEHAVIOURS = ("ok", "insufficient_funds", "stolen_card", "authentication_required", "processing")
THREE_DIGITS = ("bhd", "jod", "kwd", "omr", "tnd")


class Payments:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.behaviours: dict[str, str] = {}
        #: A refund made now waits for the bank.
        self.refunds_wait = False

    # customers and methods

    def customer(self, *, email: str | None, metadata: Json | None = None) -> Json:
        made = self.store.new("customer", "cus", email=email, metadata=metadata or {}, invoice_settings={})
        self.store.emit("customer.created", made)
        return made

    def method_for(self, customer: Json, behaviour: str) -> Json:
        if behaviour not in BEHAVIOURS:
            raise Refusal(400, "no such behaviour")
        card = {"brand": "visa", "last4": "4242", "exp_month": 8, "exp_year": 2030}
        method = self.store.new("payment_method", "pm", type="card", customer=customer["id"], card=card)
        self.behaviours[method["id"]] = behaviour
        customer["invoice_settings"] = {"default_payment_method": method["id"]}
        self.store.emit("payment_method.attached", method)
        return method

    def set_behaviour(self, method: str, behaviour: str) -> None:
        self.store.get("payment_method", method)
        if behaviour not in BEHAVIOURS:
            raise Refusal(400, "no such behaviour")
        self.behaviours[method] = behaviour

    # PaymentIntents

    def create_intent(self, params: Json) -> Json:
        """POST /v1/payment_intents with confirm and off_session: a charge of a stored method."""
        refuse_unknown(
            params,
            "amount",
            "currency",
            "customer",
            "payment_method",
            "off_session",
            "confirm",
            "metadata",
            "automatic_payment_methods",
        )
        amount, currency = checked_amount(params.get("amount"), params.get("currency"))
        if not (flag(params.get("confirm", "false")) and flag(params.get("off_session", "false"))):
            raise Refusal(400, "only off-session charges are confirmed here")
        customer = self.store.get("customer", params.get("customer"), status=400, param="customer")
        method = self.store.get("payment_method", params.get("payment_method"), status=400, param="payment_method")
        if method["customer"] != customer["id"]:
            raise Refusal(400, "The PaymentMethod does not belong to the Customer")
        intent = self.intent(
            amount, currency, customer=customer["id"], method=method["id"], metadata=params.get("metadata") or {}
        )
        self.confirm(intent, self.behaviours[method["id"]])
        if intent["status"] == "requires_payment_method":
            error = intent["last_payment_error"]
            raise Refusal(402, **error, payment_intent=intent)
        return intent

    def intent(
        self, amount: int, currency: str, *, customer: str | None, method: str | None, metadata: Json, **fields: Any
    ) -> Json:
        made = self.store.new(
            "payment_intent",
            "pi",
            **{
                "amount": amount,
                "amount_received": 0,
                "currency": currency,
                "customer": customer,
                "payment_method": method,
                "metadata": metadata,
                "status": "requires_confirmation",
                "last_payment_error": None,
                "latest_charge": None,
                "next_action": None,
                "setup_future_usage": None,
                **fields,
            },
        )
        self.store.emit("payment_intent.created", made)
        return made

    def confirm(self, intent: Json, behaviour: str) -> None:
        if behaviour == "processing":
            intent["status"] = "processing"
            self.store.emit("payment_intent.processing", intent)
        elif behaviour == "ok":
            self.succeed(intent)
        else:
            self.fail(intent, behaviour)

    def succeed(self, intent: Json) -> None:
        method = self.store.objects[intent["payment_method"]]
        charge = self.store.new(
            "charge",
            "ch",
            amount=intent["amount"],
            amount_refunded=0,
            currency=intent["currency"],
            customer=intent["customer"],
            metadata=dict(intent["metadata"]),
            paid=True,
            payment_intent=intent["id"],
            payment_method=intent["payment_method"],
            payment_method_details={"type": "card", "card": method["card"]},
            refunded=False,
            disputed=False,
            status="succeeded",
        )
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "latest_charge": charge["id"],
            "last_payment_error": None,
        }
        self.store.emit("charge.succeeded", charge)
        self.store.emit("payment_intent.succeeded", intent)

    def fail(self, intent: Json, behaviour: str) -> None:
        code = behaviour if behaviour == "authentication_required" else "card_declined"
        intent |= {
            "status": "requires_payment_method",
            "last_payment_error": {
                "type": "card_error",
                "code": code,
                "decline_code": behaviour,
                "message": "Your card was declined, dear anna@example.com.",
            },
        }
        self.store.emit("payment_intent.payment_failed", intent)

    def settle(self, intent_id: str, outcome: str) -> Json:
        """A payment under way comes through, or not."""
        intent = self.store.get("payment_intent", intent_id)
        if intent["status"] != "processing":
            raise Refusal(409, "the payment is not under way")
        self.succeed(intent) if outcome == "succeeded" else self.fail(intent, "insufficient_funds")
        return intent

    # refunds

    def refund(self, params: Json) -> Json:
        refuse_unknown(params, "payment_intent", "charge", "amount", "reason", "metadata")
        reason = params.get("reason")
        if reason not in (None, "duplicate", "fraudulent", "requested_by_customer"):
            raise Refusal(400, "Invalid reason", param="reason")
        charge = self._charge(params)
        rest = charge["amount"] - charge["amount_refunded"]
        if rest == 0:
            raise Refusal(400, f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
        amount = whole(params["amount"], "amount") if "amount" in params else rest
        if amount > rest:
            raise Refusal(400, "Refund amount is greater than unrefunded amount on charge", param="amount")
        made = self.store.new(
            "refund",
            "re",
            amount=amount,
            charge=charge["id"],
            currency=charge["currency"],
            metadata=params.get("metadata") or {},
            payment_intent=charge["payment_intent"],
            reason=reason,
            failure_reason=None,
            status="pending" if self.refunds_wait else "succeeded",
        )
        before = charge["amount_refunded"]
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        self.store.emit("refund.created", made)
        self.store.emit("charge.refunded", charge, {"amount_refunded": before})
        return made

    def finish_refund(self, refund_id: str, *, failed: bool) -> Json:
        refund = self.store.get("refund", refund_id)
        before = refund["status"]
        if failed:
            charge = self.store.objects[refund["charge"]]
            charge["amount_refunded"] -= refund["amount"]
            charge["refunded"] = False
            refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
            self.store.emit("refund.failed", refund, {"status": before})
        else:
            refund["status"] = "succeeded"
        self.store.emit("refund.updated", refund, {"status": before})
        return refund

    # disputes

    def dispute(self, intent_id: str) -> Json:
        charge = self._charge({"payment_intent": intent_id})
        charge["disputed"] = True
        made = self.store.new(
            "dispute",
            "dp",
            amount=charge["amount"],
            charge=charge["id"],
            currency=charge["currency"],
            payment_intent=charge["payment_intent"],
            reason="fraudulent",
            status="needs_response",
        )
        self.store.emit("charge.dispute.created", made)
        self.store.emit("charge.dispute.funds_withdrawn", made)
        return made

    def close_dispute(self, dispute_id: str, status: str) -> Json:
        if status not in ("won", "lost", "warning_closed"):
            raise Refusal(400, "status is won, lost or warning_closed")
        found = self.store.get("dispute", dispute_id)
        before = found["status"]
        found["status"] = status
        self.store.emit("charge.dispute.closed", found, {"status": before})
        if status == "won":
            self.store.emit("charge.dispute.funds_reinstated", found)
        return found

    def _charge(self, params: Json) -> Json:
        if "payment_intent" not in params:
            return self.store.get("charge", params.get("charge"), param="charge")
        intent = self.store.get("payment_intent", params["payment_intent"], param="payment_intent")
        if intent["latest_charge"] is None:
            raise Refusal(400, "This PaymentIntent does not have a successful charge to refund.")
        return self.store.get("charge", intent["latest_charge"])


def checked_amount(amount: Any, currency: Any) -> tuple[int, str]:
    if not isinstance(currency, str) or len(currency) != 3 or not currency.islower():
        raise Refusal(400, f"Invalid currency: {currency}", param="currency")
    value = whole(amount, "amount")
    if currency in THREE_DIGITS and value % 10:
        raise Refusal(400, "Invalid amount: must be divisible by 10", param="amount")
    return value, currency


def required(params: Json, name: str) -> Any:
    if name not in params:
        raise Refusal(400, f"Missing required param: {name}.", param=name)
    return params[name]
