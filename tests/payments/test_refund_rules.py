"""Who may refund how much, and refunds that were made by hand."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group

from accounts.roles import BILLING_ADMIN, FINANCE, SUPPORT
from payflow.core.errors import Forbidden, InvalidTransition
from payflow.core.models import AuditEntry
from payments.errors import RefundExceedsPayment
from payments.models import PaymentTransaction
from payments.services.refunds import refund_record_manual
from tests.conftest import Api
from tests.factories import ApiKeyFactory
from tests.flows import DAY, START, fresh, ledger, nothing_changes, refused
from tests.payments.test_refunds import refunds, the_charge, url, with_role
from tests.providers.sandbox_support import at_once

# --- support's limit -------------------------------------------------------------------------------------------------


def test_support_refunds_up_to_its_limit_of_each_payment_in_total(shop, user, settings):
    settings.SUPPORT_REFUND_LIMIT = ["EUR:50", "USD:7.50"]
    shop.buy(user)
    charge, client = the_charge(), Api().as_user(with_role(SUPPORT))

    assert client.post(url(charge), {"amount": 5, "reason": "sorry"}).status_code == 201

    with nothing_changes():
        for body in ({"amount": "2.51"}, {"amount": 5}, {}):
            details = refused(client.post(url(charge), {"reason": "x", **body}), 403, "FORBIDDEN")
            assert details == {"limit": "7.50", "refunded": "5.00", "currency": "USD"}
    assert client.post(url(charge), {"amount": "2.50", "reason": "to the limit"}).status_code == 201
    with nothing_changes():
        refused(client.post(url(charge), {"amount": "0.01", "reason": "x"}), 403, "FORBIDDEN")
        refused(client.post(url(charge), {"amount": 9, "reason": "x"}), 422, "REFUND_EXCEEDS_PAYMENT")
    assert refunds() == [("completed", 5), ("completed", Decimal("2.50"))]
    # the limit is of a payment, not of a person
    shop.buy(type(user).objects.create_user("next@example.com"))
    assert client.post(url(the_charge()), {"amount": 7, "reason": "another"}).status_code == 201


def test_a_currency_without_a_limit_is_not_supports_to_refund(shop, user, settings):
    settings.SUPPORT_REFUND_LIMIT = ["EUR:50"]
    shop.buy(user)
    client = Api().as_user(with_role(SUPPORT))
    with nothing_changes():
        answer = client.post(url(the_charge()), {"amount": 1, "reason": "x"})
        assert refused(answer, 403, "FORBIDDEN")["limit"] == "0.00"


@pytest.mark.parametrize("roles", [[FINANCE], [BILLING_ADMIN], [SUPPORT, FINANCE], [SUPPORT, BILLING_ADMIN]])
def test_who_has_another_role_than_support_has_no_limit(shop, user, settings, roles):
    settings.SUPPORT_REFUND_LIMIT = ["USD:1"]
    shop.buy(user)
    staff = with_role(None)
    staff.groups.add(*(Group.objects.get_or_create(name=role)[0] for role in roles))

    assert Api().as_user(staff).post(url(the_charge()), {"reason": "asked"}).status_code == 201


def test_services_have_no_limit_and_two_of_support_at_once_share_one(shop, user, settings):
    settings.SUPPORT_REFUND_LIMIT = ["USD:6"]
    shop.buy(user)
    charge = the_charge()
    people = iter([with_role(SUPPORT), with_role(SUPPORT)])

    answers = at_once(lambda: Api().as_user(next(people)).post(url(charge), {"amount": 4, "reason": "both"}), 2)

    assert sorted(answer.status_code for answer in answers) == [201, 403]
    assert (refunds(), fresh(charge).refunded_amount) == ([("completed", 4)], 4)
    service = Api().as_service(ApiKeyFactory(scopes=["refunds"]))
    assert service.post(url(charge), {"reason": "the rest"}).status_code == 201


# --- by hand ---------------------------------------------------------------------------------------------------------


def by_hand(charge: PaymentTransaction, amount: str | None = None, **fields) -> PaymentTransaction:
    return refund_record_manual(
        charge_id=charge.pk,
        amount=Decimal(amount) if amount else None,
        reason="given back in the cabinet",
        actor="system",
        at=START + DAY,
        **fields,
    )


def test_a_refund_by_hand_is_recorded_where_the_provider_has_no_api(shop, user, admin):
    subscription = shop.buy(user, provider="lava")
    charge = the_charge()
    with nothing_changes():
        refused(Api().as_user(admin).post(url(charge), {"reason": "x"}), 409, "REFUND_NOT_SUPPORTED")

    part = by_hand(charge, "4.00")

    assert (part.status, part.provider_txn_id, part.completed_at) == ("completed", f"manual:{part.pk}", START + DAY)
    assert (fresh(charge).status, fresh(charge).refunded_amount) == ("completed", 4)
    assert ledger() == {"provider_clearing": 6, "refunds": 4, "revenue": -10}
    with nothing_changes(), pytest.raises(RefundExceedsPayment):
        by_hand(charge, "6.01")
    assert by_hand(charge).amount == 6
    assert (fresh(charge).status, fresh(subscription).status) == ("refunded", "cancelled")
    assert ledger() == {"refunds": 10, "revenue": -10}
    entry = AuditEntry.objects.filter(action="payment.refund_manual").order_by("pk")[0]
    assert entry.data == {"refund": str(part.pk), "amount": "4.00", "reason": "given back in the cabinet"}


def test_one_request_is_one_refund_by_hand(shop, user):
    shop.buy(user, provider="lava")
    charge, request_id = the_charge(), uuid.uuid4()

    rows = at_once(lambda: by_hand(charge, "4.00", request_id=request_id), 3)

    assert len({row.pk for row in rows}) == 1
    assert (refunds(), fresh(charge).refunded_amount) == ([("completed", 4)], 4)


def test_where_the_provider_refunds_itself_nothing_is_recorded_by_hand(shop, user):
    shop.buy(user)
    with nothing_changes(), pytest.raises(InvalidTransition):
        by_hand(the_charge())


def test_supports_limit_holds_by_hand_too(shop, user, settings):
    settings.SUPPORT_REFUND_LIMIT = ["USD:5"]
    shop.buy(user, provider="lava")
    support = with_role(SUPPORT)
    with nothing_changes(), pytest.raises(Forbidden):
        refund_record_manual(charge_id=the_charge().pk, amount=None, reason="x", actor=f"user:{support.pk}", at=START)
