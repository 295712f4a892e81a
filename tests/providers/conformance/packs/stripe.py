"""Stripe in payments mode: Checkout keeps a method, and PayFlow charges it. What both modes share is here too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from providers.base import Provider, ProviderEvent
from tests.emulators.stripe import StripeEmulator
from tests.providers.conformance.pack import (
    Card,
    Delivery,
    Golden,
    Order,
    Pack,
    Peer,
    Priced,
    Purchase,
    Secret,
    Step,
    Vector,
)
from tests.providers.conformance.stage import Stage
from tests.providers.stripe_cases import CASES, MALFORMED, SILENT
from tests.providers.stripe_support import NOW, delivery, intent, link_request, refund, sign, sub_request

SECRET_KEY = "sk_live_51conformance"
SECRETS = {
    Secret.CURRENT: "whsec_of_the_suite",
    Secret.PREVIOUS: "whsec_of_before",
    Secret.FOREIGN: "whsec_of_another_shop",
    Secret.EMPTY: "",
}
#: What docs/stripe.md tells to add the endpoint for.
BOTH_MODES = frozenset(
    "checkout.session.completed checkout.session.async_payment_failed refund.created refund.updated refund.failed "
    "charge.refunded charge.dispute.created charge.dispute.closed charge.dispute.funds_withdrawn "
    "charge.dispute.funds_reinstated".split()
)
CARDS = {Card.OK: "ok", Card.DECLINES: "insufficient_funds", Card.NEEDS_ACTION: "authentication_required"}
#: How many digits Stripe's minor units have.
DIGITS = {"JPY": 0, "KWD": 3}
BROKEN = (b"", b'{"id": ', b"[]", b"null", b"\xff\xfe{}", b"[" * 5000, b'{"id": "evt_1"}')
#: Envelopes that are none.
ENVELOPES: tuple[dict[str, Any], ...] = (
    {"id": None},
    {"id": "x" * 300},
    {"type": []},
    {"created": "now"},
    {"created": 10**30},
    {"data": []},
    {"data": {"object": 1}},
)
GOLDEN_HEADERS = {"content-type": "application/x-www-form-urlencoded", "stripe-version": "2026-10-28.endive"}
GOLDEN_PAGE = (
    "client_reference_id=user_123&customer_email=anna%40example.com"
    "&success_url=https%3A%2F%2Faudiolearn.com%2Fsuccess&cancel_url=https%3A%2F%2Faudiolearn.com%2Fcancel"
)


def golden(
    name: str, call: Callable[[Provider], object], body: str, key: str, path: str = "/v1/checkout/sessions"
) -> Golden:
    return Golden(name, call, "POST", path, body.encode(), {**GOLDEN_HEADERS, "idempotency-key": key})


def golden_refs(section: str, order: str = "order_1") -> str:
    refs = {"order": order, "user": "user_123", "plan": "premium"}
    return "".join(f"&{section}[payflow_{name}]={value}" for name, value in refs.items())


def minor(amount: Decimal, currency: str) -> int:
    return int(amount.scaleb(DIGITS.get(currency, 2)))


def live(type_: str, value: dict[str, Any], previous: dict[str, Any] | None = None, **changes: Any) -> bytes:
    return delivery(type_, value, previous, **{"livemode": True, **changes})


class StripePeer(Peer):
    """The emulator, whose clock stands at the story's moments."""

    def __init__(self, stripe: StripeEmulator) -> None:
        self.stripe = stripe
        self.store = stripe.store
        self.api = stripe.origin

    def at(self, moment: datetime) -> None:
        self.stripe.do(self.store.stand_at, int(moment.timestamp()))

    def buy(self, order: Order, step: Step = Step.PAID) -> Purchase:
        session_id = (order.checkout_url or "").rpartition("/")[2]
        self.stripe.do(self.stripe.checkout.answer, session_id, "decline" if step is Step.DECLINED else "pay")
        session = self.store.objects[session_id]
        kept = self.store.objects.get(session["payment_intent"] or session["setup_intent"] or session["subscription"])
        method = (kept or {}).get("payment_method") or (kept or {}).get("default_payment_method")
        return Purchase(
            order,
            payment_id=session["payment_intent"] or session["invoice"] or "",
            sub_id=session["subscription"] or "",
            method_ref=method or "",
            customer_ref=session["customer"] or "",
        )

    def play(self, step: Step, purchase: Purchase, stage: Stage) -> None:
        match step:
            case Step.RENEWED | Step.RECOVERED | Step.RENEWAL_FAILED:
                self.set_card(purchase, Card.DECLINES if step is Step.RENEWAL_FAILED else Card.OK)
                stage.bill()
            case Step.REFUNDED | Step.REFUNDED_IN_PART:
                part = {"amount": "400"} if step is Step.REFUNDED_IN_PART else {}
                self.stripe.do(self.stripe.payments.refund, {"payment_intent": self.intent_of(purchase), **part})
            case _:
                super().play(step, purchase, stage)

    def intent_of(self, purchase: Purchase) -> str:
        return purchase.payment_id

    def flush(self) -> None:
        self.stripe.deliveries.drain()

    def make_true(self, content: bytes) -> None:
        """What a delivery leaves out is asked for, where it can be: of what a pack makes up there is no more."""

    def made(self, order: Order) -> int:
        sessions = self.store.of("checkout.session")
        return sum(session["metadata"].get("payflow_order") == order.order_ref for session in sessions)

    def refunded(self, purchase: Purchase) -> Decimal:
        paid = self.store.objects[self.intent_of(purchase)]
        return Decimal(self.store.objects[paid["latest_charge"]]["amount_refunded"]).scaleb(-2)

    def set_card(self, purchase: Purchase, card: Card) -> None:
        self.stripe.do(self.stripe.payments.set_behaviour, purchase.method_ref, CARDS[card])

    def charged(self, purchase: Purchase) -> int:
        return sum(
            one["status"] == "succeeded" and one["payment_method"] == purchase.method_ref
            for one in self.store.of("payment_intent")
        )


class StripePack(Pack):
    name = "stripe"
    mode: ClassVar[str] = "payments"
    #: The types that only this mode is told of.
    types: ClassVar[frozenset[str]] = frozenset({"payment_intent.succeeded", "payment_intent.payment_failed"})
    proof_headers = ("stripe-signature",)
    asked_about = Step.REFUNDED
    tolerance = timedelta(minutes=5)
    secrets = (SECRET_KEY, *filter(None, SECRETS.values()))
    unknown_refs = ("sub_unknown", "pi_unknown", "pm_unknown")
    steps = frozenset(
        {
            Step.PAID,
            Step.DECLINED,
            Step.TRIAL_STARTED,
            Step.RENEWED,
            Step.RENEWAL_FAILED,
            Step.RECOVERED,
            Step.REFUNDED,
            Step.REFUNDED_IN_PART,
        }
    )

    def config(self, api: str, **changes: Any) -> dict[str, Any]:
        config = {
            "adapter": "stripe",
            "mode": self.mode,
            "base_url": api,
            "secret_key": SECRET_KEY,
            "webhook_secret": SECRETS[Secret.CURRENT],
            "previous_webhook_secret": SECRETS[Secret.PREVIOUS],
            "answer_seconds": 5,
        }
        return {**config, **changes}

    @contextmanager
    def peer(self, *, shop_url: str, hook_url: str) -> Iterator[StripePeer]:
        with StripeEmulator(
            secret_key=SECRET_KEY,
            webhook_secret=SECRETS[Secret.CURRENT],
            hook_url=hook_url,
            livemode=True,
            enabled_events=BOTH_MODES | self.types,
        ) as stripe:
            yield self.playing(stripe)

    def playing(self, stripe: StripeEmulator) -> StripePeer:
        return StripePeer(stripe)

    # --- the webhook

    def signed(self, content: bytes, *, at: datetime, secret: Secret = Secret.CURRENT) -> Delivery:
        seconds = int(at.timestamp())
        header = f"t={seconds},v1={sign(content, SECRETS[secret], seconds)}"
        return Delivery({"stripe-signature": header, "content-type": "application/json"}, content)

    def vectors(self) -> Sequence[Vector]:
        told = [
            Vector(f"{type_} {number}", live(type_, value, previous), self._events(*expected))
            for number, (mode, type_, value, previous, expected) in enumerate(CASES)
            if mode == self.mode
        ]
        return [*told, *self.unusual()]

    def unusual(self) -> Sequence[Vector]:
        """With fields of tomorrow, and with what must be there."""
        [paid] = next(expected for mode, *_, expected in CASES if mode == self.mode)
        more = live("payment_intent.succeeded", intent(of_tomorrow={"deep": [1.5, None]}), new_field=1)
        sparse = {"id": "pi_1", "amount": 699, "currency": "usd", "metadata": {"payflow_order": "order_1"}}
        bare = {name: paid[name] for name in ("type", "provider_payment_id", "order_ref", "amount", "currency")}
        return [
            Vector("more fields", more, self._events(paid), "extra"),
            Vector("the fewest fields", live("payment_intent.succeeded", sparse), self._events(bare), "sparse"),
        ]

    def _events(self, *expected: Mapping[str, Any]) -> tuple[ProviderEvent, ...]:
        return tuple(
            ProviderEvent(
                provider=self.name,
                event_id=f"stripe:evt_1#{n}",
                occurred_at=NOW,
                recoverable=not values.get("hard", False),
                **{name: value for name, value in values.items() if name != "hard"},
            )
            for n, values in enumerate(expected)
        )

    def payment(self, amount: Decimal, currency: str, *, number: int = 1, at: datetime | None = None) -> Priced:
        units = minor(amount, currency)
        paid = intent(id=f"pi_{number}", amount=units, amount_received=units, currency=currency.lower())
        return Priced(self.numbered("payment_intent.succeeded", paid, number, at))

    def numbered(self, type_: str, value: dict[str, Any], number: int, at: datetime | None) -> bytes:
        return live(type_, value, id=f"evt_{number}", created=int((at or NOW).timestamp()))

    def malformed(self) -> Sequence[bytes]:
        values = [one for one in MALFORMED if one[0] in BOTH_MODES | self.types]
        return [
            *BROKEN,
            *(live("refund.created", refund(), **envelope) for envelope in ENVELOPES),
            *(live(type_, value) for type_, value in values),
        ]

    def unknown(self) -> Sequence[bytes]:
        return [live(type_, {"id": "x_1", "object": "thing"}) for type_ in SILENT]

    def tests(self) -> Sequence[bytes]:
        failed = live("payment_intent.payment_failed", intent(id="pi_2"), id="evt_2", livemode=False)
        return [live("payment_intent.succeeded", intent(), livemode=False), failed]

    def forgeries(self, content: bytes, *, at: datetime) -> Mapping[str, Delivery]:
        seconds = int(at.timestamp())
        right = sign(content, SECRETS[Secret.CURRENT], seconds)
        headers = {
            "v0 alone": f"t={seconds},v0={right}",
            "two times": f"t={seconds},t={seconds + 1},v1={right}",
            "a time that was not signed": f"t={seconds + 1},v1={right}",
            "a time with a zero before it": f"t=0{seconds},v1={right}",
            "no time": f"v1={right}",
            "upper case": f"t={seconds},v1={right.upper()}",
        }
        return {name: Delivery({"stripe-signature": header}, content) for name, header in headers.items()}

    def stranger(self, *, user_ref: str, email: str) -> bytes:
        refs = {"payflow_order": "of-nobody", **({"payflow_user": user_ref} if user_ref else {})}
        number = 900 + len(user_ref)
        paid = intent(id=f"pi_{number}", metadata=refs, receipt_email=email)
        return self.numbered("payment_intent.succeeded", paid, number, None)

    # --- the calls

    def goldens(self) -> Sequence[Golden]:
        def body(order: str) -> str:
            return (
                f"mode=payment&{GOLDEN_PAGE}{golden_refs('metadata', order)}&customer_creation=always"
                "&line_items[0][price_data][currency]=usd&line_items[0][price_data][product_data][name]={name}"
                "&line_items[0][price_data][unit_amount]=699&line_items[0][quantity]=1"
                f"{golden_refs('payment_intent_data[metadata]', order)}&payment_intent_data[setup_future_usage]=off_session"
            )

        setup = (
            f"mode=setup&{GOLDEN_PAGE}{golden_refs('metadata')}&metadata[payflow_trial]=true&currency=usd"
            f"&customer_creation=always{golden_refs('setup_intent_data[metadata]')}"
            "&setup_intent_data[metadata][payflow_trial]=true"
        )
        return [
            golden(
                "subscription",
                lambda provider: provider.create_subscription(sub_request()),
                body("order_1").format(name="Premium"),
                "checkout_1",
            ),
            golden(
                "trial",
                lambda provider: provider.create_subscription(sub_request(trial_days=7, idempotency_key="checkout_3")),
                setup,
                "checkout_3",
            ),
            golden(
                "link",
                lambda provider: provider.create_payment_link(link_request()),
                body("order_2").format(name="premium"),
                "checkout_2",
            ),
        ]


PACK = StripePack()
