"""Work that takes several steps, each told from a world in which it is due to what is true once it is done."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from rest_framework_simplejwt.tokens import AccessToken

from payflow.core import clock
from payments.models import Invoice
from providers.sandbox.models import SandboxDelivery, SandboxPayment
from providers.sandbox.signature import HEADER, sign
from subscriptions.models import Subscription
from subscriptions.services.collecting import LEASE
from tests.factories import ApiKeyFactory, PlanFactory, UserFactory
from tests.flows import DAY, START, Shop, charges, credit, fresh, give_credit, invoices, ledger, paid, periods
from tests.providers.sandbox_support import SECRET, press
from tests.recovery.processes import Step, request, sweep

END = datetime(2040, 2, 29, 10, tzinfo=UTC)
NEXT = datetime(2040, 3, 31, 10, tzinfo=UTC)
TENTH = datetime(2040, 2, 10, 10, tzinfo=UTC)
PAID = ("completed", 1, "")


@dataclass(frozen=True)
class Story:
    """The world stands at `at`, where a process does the `steps`; `proof` asserts what is true once they are done."""

    at: datetime
    steps: Callable[[], list[Step]]
    proof: Callable[[], None]
    #: Somebody waits for an answer. A process that dies gives none, and he asks again under the same key.
    is_request: bool = False
    #: The provider's news is the work. Elsewhere what it tells must be known without it.
    is_news: bool = False


def renewals_as_a_set(shop: Shop) -> Story:
    """Three that are plain: one pays all with its card, one a part with credit, one has credit enough."""
    plan = PlanFactory()
    full, partly, credited = (_member(shop, plan) for _ in range(3))
    give_credit(partly.user, "4.00")
    give_credit(credited.user, "15.00")

    def proof() -> None:
        assert _taken() == [6, 10]
        for row, charged in ((full, [PAID, PAID]), (partly, [PAID, PAID]), (credited, [PAID])):
            _runs_to(row, NEXT)
            assert charges(row) == charged
            assert (invoices(row), periods(row)) == (["paid", "paid"], [(START, END), (END, NEXT)])
        assert (credit(partly.user), credit(credited.user)) == (0, 5)
        assert ledger() == {"provider_clearing": 46, "discounts": 19, "customer_credit": -5, "revenue": -60}

    return Story(END, partial(_swept, END), proof)


def renewals_row_by_row(shop: Shop) -> Story:
    """One whose plan changes with the period, and one whose trial has ended."""
    changing = _member(shop, PlanFactory())
    trying = shop.checkout(UserFactory(), PlanFactory(trial_days=28, price=Decimal("7.00"))).subscription
    assert press(trying.checkouts.get().url, outcome="pay").status == 303
    shop.drain()
    assert fresh(trying).status == "trial"
    assert shop.change(changing, PlanFactory(price=Decimal("4.00"))).status_code == 200

    def proof() -> None:
        assert _taken() == [4, 7]
        _runs_to(changing, NEXT)
        assert fresh(changing).amount == 4
        assert (charges(changing), invoices(changing)) == ([PAID, PAID], ["paid", "paid"])
        assert periods(changing) == [(START, END), (END, NEXT)]
        assert fresh(trying).status == "active"
        assert (charges(trying), invoices(trying), len(periods(trying))) == ([PAID], ["paid"], 2)
        assert ledger() == {"provider_clearing": 21, "revenue": -21}

    return Story(END, partial(_swept, END), proof)


def a_charge_without_an_answer(shop: Shop) -> Story:
    """The provider took the charge and its answer was lost: a later sweep asks what became of it."""
    row = _member(shop, PlanFactory(), card="timeout")
    shop.at(END)
    assert shop.due() == 1
    assert charges(row) == [PAID, ("pending", 1, "")]

    def proof() -> None:
        assert _taken() == [10]
        _runs_to(row, NEXT)
        assert charges(row) == [PAID, PAID]
        assert (invoices(row), periods(row)) == (["paid", "paid"], [(START, END), (END, NEXT)])
        assert ledger() == {"provider_clearing": 20, "revenue": -20}

    return Story(END + LEASE, partial(_swept, END + LEASE), proof)


def a_retry_after_a_decline(shop: Shop) -> Story:
    """The card that declined the renewal works again when dunning tries it."""
    row = _member(shop, PlanFactory(), card="decline")
    shop.run(END)
    assert fresh(row).status == "past_due"
    shop.card(row, "ok")

    def proof() -> None:
        assert _taken() == [10]
        _runs_to(row, NEXT)
        assert charges(row) == [PAID, ("failed", 1, "insufficient_funds"), ("completed", 2, "")]
        assert (invoices(row), periods(row)) == (["paid", "paid"], [(START, END), (END, NEXT)])
        assert ledger() == {"provider_clearing": 20, "revenue": -20}

    return Story(END + 2 * DAY, partial(_swept, END + 2 * DAY), proof)


def an_upgrade_by_card(shop: Shop) -> Story:
    """Basic (29.00) to Pro (58.00) on 10 February, for 19.00 by the stored card."""
    row = _member(shop, PlanFactory(name="Basic", price=Decimal("29.00"), proration_unit="day"))
    pro = PlanFactory(name="Pro", price=Decimal("58.00"), proration_unit="day")
    token = {"Authorization": f"Bearer {AccessToken.for_user(row.user)}"}
    upgrade = _posted(f"/api/v1/subscriptions/{row.pk}/change-plan", {"plan_id": pro.code}, token)

    def proof() -> None:
        assert _taken() == [19]
        _runs_to(row, END)
        assert (fresh(row).plan, charges(row), invoices(row)) == (pro, [PAID, PAID], ["paid", "paid"])
        assert [change.status for change in row.changes.all()] == ["applied"]
        [(first, changed), (again, end)] = periods(row)
        assert (first, changed, end) == (START, again, END)
        assert ledger() == {"provider_clearing": 48, "revenue": -48}

    return Story(TENTH, lambda: [upgrade, sweep("outbox", now=TENTH)], proof, is_request=True)


def a_refund(shop: Shop) -> Story:
    """All that was paid for the running period goes back: by default that ends it."""
    row = shop.buy(UserFactory(), PlanFactory())
    charge = row.transactions.get()
    key = {"X-API-Key": ApiKeyFactory().key}
    refund = _posted(f"/api/v1/payments/{charge.pk}/refund", {"reason": "asked for"}, key)

    def proof() -> None:
        assert [(each.amount, each.refunded) for each in SandboxPayment.objects.all()] == [(10, 10)]
        rows = row.transactions.order_by("pk").values_list("type", "status", "amount")
        assert list(rows) == [("charge", "refunded", 10), ("refund", "completed", 10)]
        assert (fresh(row).status, fresh(row).next_action_at, invoices(row)) == ("cancelled", None, ["paid"])
        assert ledger() == {"refunds": 10, "revenue": -10}

    return Story(TENTH, lambda: [refund, sweep("outbox", now=TENTH)], proof, is_request=True)


def a_first_payment(shop: Shop) -> Story:
    """The news that a checkout was paid: taken in by the web server, applied by a worker."""
    checkout = shop.checkout(UserFactory(), PlanFactory())
    row = checkout.subscription
    assert press(checkout.url, outcome="pay").status == 303
    body = SandboxDelivery.objects.get().body

    def steps() -> list[Step]:
        signed = {HEADER: sign(SECRET, body.encode(), clock.wall())}
        told = request("POST", "/webhooks/sandbox", body, signed)
        return [told, sweep("webhooks_inbound", now=START), sweep("outbox", now=START)]

    def proof() -> None:
        assert (charges(row), invoices(row), len(periods(row))) == ([PAID], ["paid"], 1)
        [(start, end)] = periods(row)
        assert (fresh(row).status, fresh(row).anchor, fresh(row).next_action_at) == ("active", start, end)
        assert fresh(checkout).status == "paid"
        assert [invoice.number for invoice in Invoice.objects.all()] == ["INV-2040-000001"]
        assert ledger() == {"provider_clearing": 10, "revenue": -10}

    return Story(START, steps, proof, is_news=True)


def _member(shop: Shop, plan: Any, card: str = "ok") -> Subscription:
    """Somebody whose first month is paid and whose stored card does what it is told."""
    user = UserFactory()
    subscription, _ = paid(user, plan, at=START)
    Subscription.objects.filter(pk=subscription.pk).update(payment_method=shop.second_card(user, card))
    row: Subscription = fresh(subscription)
    return row


def _swept(now: datetime) -> list[Step]:
    return [sweep("subscriptions_due", now=now), sweep("outbox", now=now)]


def _posted(path: str, body: dict[str, Any], headers: dict[str, str]) -> Step:
    return request("POST", path, json.dumps(body), {**headers, "Idempotency-Key": uuid.uuid4().hex})


def _taken() -> list[Decimal]:
    """What the sandbox's own books say that it took from stored methods."""
    rows = SandboxPayment.objects.filter(kind="charge", status="succeeded").order_by("amount")
    return list(rows.values_list("amount", flat=True))


def _runs_to(subscription: Subscription, end: datetime) -> None:
    row = fresh(subscription)
    assert (row.status, row.end_date, row.next_action_at) == ("active", end, end)
