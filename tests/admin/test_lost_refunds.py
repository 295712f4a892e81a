"""A refund whose answer was lost, at a provider without keys for refunds: an operator says whether it was made."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from payflow.core.models import AuditEntry
from payments.models import PaymentTransaction
from tests.admin.test_actions import confirmed, said
from tests.conftest import Api
from tests.factories import PlanFactory
from tests.flows import DAY, fresh, ledger
from tests.providers.lava_flavours import ADDITIONAL_KEY, SHOP_ID, SHOP_KEY
from tests.providers.lava_support import Peer

PAYMENTS = "/admin/payments/paymenttransaction/"


@pytest.fixture
def lost(shop: Any, user: Any, admin: Any, settings: Any) -> Iterator[PaymentTransaction]:
    """4.00 of 10.00 roubles, asked for of a lava.ru that answers 500: nobody knows."""
    providers, peer = settings.PAYFLOW_PROVIDERS, Peer()
    settings.PAYFLOW_PROVIDERS = {**providers, "lava": {**providers["lava"], "currency": "RUB"}}
    shop.buy(user, PlanFactory(price=Decimal("10.00"), currency="RUB"), provider="lava")
    peer.answers(500)
    keys = {"shop_id": SHOP_ID, "secret_key": SHOP_KEY, "additional_key": ADDITIONAL_KEY}
    settings.PAYFLOW_PROVIDERS = {**providers, "lava": {"adapter": "lava_ru", "base_url": peer.origin, **keys}}
    charge = PaymentTransaction.objects.get()
    answer = Api().as_user(admin).post(f"/api/v1/payments/{charge.pk}/refund", {"amount": "4.00", "reason": "asked"})
    assert answer.status_code == 503
    yield PaymentTransaction.objects.get(type="refund")
    peer.stop()


def buttons(operator: Any, refund: PaymentTransaction) -> list[bool]:
    page = operator.get(f"{PAYMENTS}{refund.pk}/change/").content.decode()
    return [f"{action}_this" in page for action in ("refund_was_made", "refund_was_not_made")]


@pytest.mark.parametrize(
    ("action", "status", "books"),
    [
        ("refund_was_made", "completed", {"provider_clearing": 6, "refunds": 4, "revenue": -10}),
        ("refund_was_not_made", "failed", {"provider_clearing": 10, "revenue": -10}),
    ],
)
def test_what_became_of_it_is_said_once(
    signed_in: Any, shop: Any, lost: PaymentTransaction, action: str, status: str, books: dict[str, int]
) -> None:
    finance, support = signed_in("finance"), signed_in("support")
    assert buttons(finance, lost) == [False, False], "its answer may still come"
    finance.post(PAYMENTS, confirmed(action, lost, reason="too early"))
    assert fresh(lost).status == "pending"

    shop.sweep("payments_refunds", later=DAY)

    assert fresh(lost.parent.subscription).review_reason
    assert (buttons(finance, lost), buttons(support, lost)) == ([True, True], [False, False])
    support.post(PAYMENTS, confirmed(action, lost, reason="not mine to say"))
    assert fresh(lost).status == "pending"
    assert "refunded" in said(finance.post(PAYMENTS, confirmed(action, lost, reason="the cabinet says so")))[-1]
    assert fresh(lost).status == status
    assert ledger("RUB") == books
    assert fresh(lost.parent).refunded_amount == (4 if status == "completed" else 0)
    entry = AuditEntry.objects.get(action="payment.refund_settled")
    assert (entry.actor, entry.data["made"]) == (f"user:{finance.user.pk}", status == "completed")
    assert buttons(finance, lost) == [False, False]
