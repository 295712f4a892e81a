"""Lava over HTTP: the routes of the document, of the payer's page and of /control, and the server that is started."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import timedelta
from html import escape
from urllib.parse import parse_qs

from tests.emulators.lava.messages import Refusal, read_object
from tests.emulators.lava.state import Invoice, LavaState, Received
from tests.emulators.lava.wire import Handler, Listening


class LavaEmulator(Listening, LavaState):
    """Lava and its server. Every method but `start` and `stop` is safe from any thread."""

    def __init__(
        self,
        *,
        api_key: str,
        secret_key: str,
        port: int = 0,
        retry_pauses: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0),
    ) -> None:
        super().__init__(api_key=api_key, secret_key=secret_key, retry_pauses=retry_pauses)
        self.listen(_Handler, port)

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"


class _Handler(Handler[LavaEmulator]):
    def do_GET(self) -> None:
        self.answer(self._get)

    def do_POST(self) -> None:
        self.answer(self._post)

    # --- routes

    def _get(self) -> None:
        match self.parts():
            case ["pay", invoice_id]:
                self.html(_page(self.lava.invoice(invoice_id)))
            case ["control", "invoices"]:
                self.json(200, self.lava.state())
            case _:
                raise Refusal(404, "no such address")

    def _post(self) -> None:
        lava, body = self.lava, self.body()
        match self.parts():
            case ["v1", "invoice", "create"]:
                lava.requests.append(
                    Received(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                )
                self._create(body)
            case ["pay", invoice_id]:
                self._pay(invoice_id, {key: values[-1] for key, values in parse_qs(body.decode()).items()})
            case ["control", "orders", order_id, "renew"]:
                wish = read_object(body or b"{}")
                delivery = lava.renew(
                    order_id,
                    outcome=str(wish.get("outcome", "success")),
                    amount=wish.get("amount"),
                    pay_time=wish.get("pay_time"),
                )
                self.json(200, delivery.shown())
            case ["control", "orders", order_id, "repeat"]:
                self.json(200, lava.repeat(order_id).shown())
            case ["control", "faults"]:
                wish = read_object(body)
                times, seconds = int(wish.get("times", "1")), float(wish.get("seconds", "30"))
                lava.fail_creates(wish.get("create"), times=times, seconds=seconds)
                self.json(200, {"create": wish.get("create")})
            case ["control", "deliveries"]:
                self._order(str(read_object(body).get("order")))
            case ["control", "clock"]:
                lava.set_clock(timedelta(seconds=float(read_object(body).get("ahead_seconds", "0"))))
                self.json(200, {})
            case _:
                raise Refusal(404, "no such address")

    def _create(self, body: bytes) -> None:
        lava = self.lava
        given = self.headers.get("Authorization", "").encode("utf-8", "backslashreplace")
        if not hmac.compare_digest(given, f"Bearer {lava.api_key}".encode()):
            raise Refusal(401, "the API key is wrong")
        request = read_object(body)
        fault, seconds = lava.take_fault() or ("", 0.0)
        if fault == "500":
            raise Refusal(500, "internal error")
        if fault == "timeout":
            return self.silence(seconds)
        answer = lava.create(request)
        if fault == "timeout_after":
            return self.silence(seconds)
        return self.json(200, answer)

    def _pay(self, invoice_id: str, form: Mapping[str, str]) -> None:
        lava, invoice = self.lava, self.lava.invoice(invoice_id)
        outcome = form.get("outcome")
        if outcome not in ("pay", "decline", "abandon"):
            raise Refusal(400, "outcome is pay, decline or abandon")
        if invoice.status != "success":  # a second click on a paid invoice goes where the first one went
            if outcome == "pay":
                lava.pay(invoice_id, amount=form.get("amount"), pay_time=form.get("pay_time"))
            elif outcome == "decline":
                lava.decline(invoice_id, pay_time=form.get("pay_time"))
        self.redirect(invoice.success_url if invoice.status == "success" else invoice.fail_url)

    def _order(self, order: str) -> None:
        lava = self.lava
        if order == "hold":
            lava.hold()
            return self.json(200, {"deliveries": []})
        if order in ("release", "reverse"):
            sent = lava.release(reverse=order == "reverse")
            return self.json(200, {"deliveries": [delivery.shown() for delivery in sent]})
        raise Refusal(400, "order is hold, release or reverse")


def _page(invoice: Invoice) -> str:
    buttons = (
        ""
        if invoice.status == "success"
        else "".join(
            f'<button name="outcome" value="{value}">{label}</button> '
            for value, label in (("pay", "Pay"), ("decline", "Decline"), ("abandon", "Go back"))
        )
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Lava (emulator)</title>'
        f"<h1>Lava (emulator)</h1><p>Order {escape(invoice.order_id)}: <b>{escape(invoice.sum)}</b></p>"
        f'<p>Status: {escape(invoice.status)}</p><form method="post">{buttons}</form></html>'
    )
