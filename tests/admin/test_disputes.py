"""What operators see of disputes, refunds in part and by hand, and what waits for their review."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest

from payflow.core.models import AuditEntry
from payments.models import PaymentTransaction
from subscriptions.models import Subscription
from subscriptions.services.missed import TOO_MANY_CHARGES
from tests.admin.test_actions import confirmed, form, said
from tests.admin.world import customer
from tests.flows import DAY, fresh, ledger, nothing_changes

PAYMENTS = "/admin/payments/paymenttransaction/"
SUBSCRIPTIONS = "/admin/subscriptions/subscription/"


@pytest.fixture
def paid(shop, user) -> PaymentTransaction:
    shop.buy(user)
    return PaymentTransaction.objects.get()


def again(action: str, *rows, **fields):
    """The same act, confirmed on another page."""
    return {**confirmed(action, *rows, **fields), "request_id": str(uuid.uuid4())}


# --- disputes --------------------------------------------------------------------------------------------------------


def test_disputes_are_found_by_what_became_of_them_and_on_their_payments_page(signed_in, shop, user, other_user, paid):
    lost = shop.dispute(paid)
    shop.dispute_ends(lost, "lost")
    shop.buy(other_user)
    other = PaymentTransaction.objects.filter(type="charge").latest("pk")
    opened = shop.dispute(other)
    viewer = signed_in("viewer")

    def found(query: str) -> set[str]:
        page = viewer.get(f"{PAYMENTS}?{query}").content.decode()
        return {ref for ref in (lost, opened, paid.provider_txn_id) if ref in page}

    assert found("type__exact=chargeback") == {lost, opened}
    assert found("type__exact=chargeback&status__exact=completed") == {lost}
    assert found("dispute=open") == {opened}
    assert found("dispute=lost") == {lost}
    assert found("dispute=won") == set()
    page = viewer.get(f"{PAYMENTS}{paid.pk}/change/").content.decode()
    assert lost in page
    assert opened not in page


def test_a_disputed_payment_offers_no_refund_and_refuses_one(signed_in, shop, paid):
    finance = signed_in("finance")
    shop.dispute(paid)
    page = finance.get(f"{PAYMENTS}{paid.pk}/change/").content.decode()
    assert "refund_in_full_this" not in page
    assert "refund_a_part_this" not in page
    assert "a charge that is disputed" in finance.post(PAYMENTS, form("refund_in_full", paid)).content.decode()

    for action in ("refund_in_full", "refund_a_part", "record_manual_refund"):
        with nothing_changes():
            answer = finance.post(PAYMENTS, confirmed(action, paid, reason="x", amount="1"))
        assert "disputed cannot be refunded" in said(answer)[-1]


# --- refunds ---------------------------------------------------------------------------------------------------------


def test_a_part_is_refunded_once_however_often_it_is_sent(signed_in, paid):
    support = signed_in("support")
    page = support.get(f"{PAYMENTS}{paid.pk}/refund_a_part_this/").content.decode()
    assert 'name="amount"' in page
    assert "Access stays as it is." in page

    for bad in ("0", "-1", "x", "1e30"):
        with nothing_changes():
            answer = support.post(PAYMENTS, confirmed("refund_a_part", paid, reason="x", amount=bad))
        assert answer.status_code == 200
    for _ in range(2):
        answer = support.post(PAYMENTS, confirmed("refund_a_part", paid, reason="sorry", amount="4.00"))
        assert said(answer)[-1].endswith("4.00 USD refunded")

    assert fresh(paid).refunded_amount == 4
    with nothing_changes():
        answer = support.post(PAYMENTS, again("refund_a_part", paid, reason="x", amount="6.01"))
        assert "larger than what is left" in said(answer)[-1]
    support.post(PAYMENTS, again("refund_a_part", paid, reason="the rest", amount=""))
    assert fresh(paid).refunded_amount == 10


def test_supports_limit_is_a_message_that_names_it(signed_in, paid, settings):
    settings.SUPPORT_REFUND_LIMIT = ["USD:5"]
    support, finance = signed_in("support"), signed_in("finance")
    with nothing_changes():
        answer = support.post(PAYMENTS, confirmed("refund_in_full", paid, reason="x"))
        assert "Support may refund 5.00 USD of a payment" in said(answer)[-1]
    answer = finance.post(PAYMENTS, again("refund_in_full", paid, reason="x"))
    assert "refunded" in said(answer)[-1]


@pytest.mark.parametrize(
    ("role", "may"),
    [("superuser", True), ("billing-admin", True), ("finance", True), ("support", False), ("viewer", False)],
)
def test_who_may_record_a_refund_by_hand(signed_in, shop, user, role, may):
    shop.buy(user, provider="lava")
    payment, operator = PaymentTransaction.objects.get(), signed_in(role)
    button = f"{PAYMENTS}{payment.pk}/record_manual_refund_this/"
    assert operator.get(button).status_code == (200 if may else 403)
    assert (button in operator.get(f"{PAYMENTS}{payment.pk}/change/").content.decode()) is may

    answer = operator.post(PAYMENTS, confirmed("record_manual_refund", payment, reason="by transfer", amount="4"))

    refunds = list(payment.children.values_list("type", "status", "amount", "reason"))
    if may:
        assert said(answer)[-1].endswith("4.00 USD recorded as refunded")
        assert refunds == [("refund", "completed", Decimal("4.00"), "by transfer")]
        assert ledger() == {"provider_clearing": 6, "refunds": 4, "revenue": -10}
        assert AuditEntry.objects.get(action="payment.refund_manual").actor == f"user:{operator.user.pk}"
    else:
        assert refunds == []


def test_where_the_provider_refunds_itself_the_button_is_not_there(signed_in, paid):
    page = signed_in("finance").get(f"{PAYMENTS}{paid.pk}/change/").content.decode()
    assert "refund_a_part_this" in page
    assert "record_manual_refund_this" not in page


# --- reviews ---------------------------------------------------------------------------------------------------------


def waiting(number: int = 0) -> Subscription:
    """Charged too often in a day: the rest waits, and an operator looks."""
    subscription = customer(number).subscription
    subscription.review_reason = TOO_MANY_CHARGES
    subscription.next_action_at = subscription.end_date + DAY
    subscription.save()
    return subscription


def test_what_waits_for_review_or_is_disputed_is_found(signed_in, db):
    review, disputed, plain = waiting(1), customer(2).subscription, customer(3).subscription
    disputed.disputed_at = disputed.start_date
    disputed.save()
    viewer = signed_in("viewer")

    def found(outlook: str) -> set[str]:
        page = viewer.get(f"{SUBSCRIPTIONS}?outlook={outlook}").content.decode()
        return {str(row.pk) for row in (review, disputed, plain) if f"{row.pk}/change" in page}

    assert found("review") == {str(review.pk)}
    assert found("disputed") == {str(disputed.pk)}
    page = viewer.get(f"{SUBSCRIPTIONS}{review.pk}/change/").content.decode()
    assert TOO_MANY_CHARGES in page


@pytest.mark.parametrize(
    ("role", "may"),
    [("superuser", True), ("billing-admin", True), ("support", True), ("finance", False), ("viewer", False)],
)
def test_who_may_say_that_it_is_reviewed(signed_in, db, role, may):
    row, operator = waiting(), signed_in(role)
    button = f"{SUBSCRIPTIONS}{row.pk}/reviewed_this/"
    assert operator.get(button).status_code == (200 if may else 403)

    operator.post(SUBSCRIPTIONS, confirmed("reviewed", row))

    after = fresh(row)
    assert after.review_reason == ("" if may else TOO_MANY_CHARGES)
    assert after.next_action_at == row.next_action_at  # what was put off stays put off
    entries = AuditEntry.objects.filter(action="subscription.reviewed")
    if may:
        [entry] = entries
        assert (entry.actor, entry.subject_id) == (f"user:{operator.user.pk}", row.pk)
        assert entry.data["reason"] == TOO_MANY_CHARGES
        assert "reviewed_this" not in operator.get(f"{SUBSCRIPTIONS}{row.pk}/change/").content.decode()
    else:
        assert not entries


def test_what_does_not_wait_is_not_reviewed(signed_in, db):
    row = customer().subscription
    support = signed_in("support")
    with nothing_changes():
        answer = support.post(SUBSCRIPTIONS, confirmed("reviewed", row))
    assert "nothing to review" in said(answer)[-1]
