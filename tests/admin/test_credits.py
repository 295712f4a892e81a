"""Credit in the admin: granted on the customer's or the account's page, taken back on the grant's, never edited."""

from __future__ import annotations

from decimal import Decimal

import pytest

from payflow.core.models import AuditEntry
from payments.models import CreditAccount, CreditGrant
from tests.admin.test_actions import confirmed, form, said
from tests.payments.credit_support import balance, give, spend

pytestmark = pytest.mark.django_db
USERS, ACCOUNTS, GRANTS = "/admin/accounts/user/", "/admin/payments/creditaccount/", "/admin/payments/creditgrant/"
ASKED = {"amount": "12.50", "expires_at_0": "", "expires_at_1": "", "reason": "a bad day"}


def test_credit_is_granted_to_a_customer_without_an_account_once(signed_in, user):
    finance = signed_in("finance")
    assert "grant_credit_this" in finance.get(f"{USERS}{user.pk}/change/").text
    page = finance.get(f"{USERS}{user.pk}/grant_credit_this/")
    for name in ("amount", "currency", "expires_at_0", "reason"):
        assert f'name="{name}"' in page.text
    assert not CreditAccount.objects.exists()

    for _ in range(2):
        answer = finance.post(USERS, confirmed("grant_credit", user, currency="usd", **ASKED))

    assert said(answer)[-1].endswith("12.50 USD granted")
    grant = CreditGrant.objects.get()
    assert (grant.reason, grant.expires_at, balance(user)) == ("a bad day", None, Decimal("12.50"))
    assert AuditEntry.objects.get(action="credit.grant").actor == f"user:{finance.user.pk}"


def test_the_account_knows_its_currency_and_the_moment_is_utc(signed_in, user):
    give(user, 300, currency="JPY")
    account = CreditAccount.objects.get()
    admin = signed_in("billing-admin")
    until = {"expires_at_0": "2050-01-31", "expires_at_1": "10:00:00"}

    admin.post(ACCOUNTS, confirmed("grant_credit", account, **ASKED | {"amount": "200"} | until))

    assert balance(user, "JPY") == 500
    assert CreditGrant.objects.order_by("-pk")[0].expires_at.isoformat() == "2050-01-31T10:00:00+00:00"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"amount": ""}, "This field is required"),
        ({"reason": " "}, "This field is required"),
        ({"currency": "EURO"}, "at most 3 characters"),
        ({"amount": "0.001"}, "not valid"),
        ({"currency": "XXX"}, "ISO 4217"),
        ({"expires_at_0": "2020-01-01", "expires_at_1": "00:00"}, "not valid"),
    ],
    ids=str,
)
def test_what_makes_no_sense_grants_nothing(signed_in, user, fields, told):
    answer = signed_in("finance").post(
        USERS, confirmed("grant_credit", user, **{"currency": "USD"} | ASKED | fields), follow=True
    )
    assert told in answer.text
    assert not CreditAccount.objects.exists()


def test_what_is_left_is_taken_back(signed_in, user):
    grant = give(user, 10)
    spend(user, 4, "k")
    finance = signed_in("finance")
    assert "take_back_this" in finance.get(f"{GRANTS}{grant.pk}/change/").text
    assert "loses 6.00 USD" in finance.get(f"{GRANTS}{grant.pk}/take_back_this/").text
    assert balance(user) == 6

    finance.post(GRANTS, confirmed("take_back", grant, reason="the wrong customer"))

    assert balance(user) == 0
    assert "take_back_this" not in finance.get(f"{GRANTS}{grant.pk}/change/").text
    assert AuditEntry.objects.get(action="credit.revoke").actor == f"user:{finance.user.pk}"


@pytest.mark.parametrize("role", ["support", "viewer"])
def test_other_roles_look_and_give_nothing(signed_in, user, role):
    grant = give(user, 10)
    client = signed_in(role)
    account = CreditAccount.objects.get()
    page = client.get(f"{ACCOUNTS}{account.pk}/change/")
    assert "10.00 USD" in page.text and "sorry" in page.text and "grant_credit_this" not in page.text
    for path in (f"{ACCOUNTS}{account.pk}/grant_credit_this/", f"{GRANTS}{grant.pk}/take_back_this/"):
        assert client.get(path).status_code == 403
    client.post(ACCOUNTS, confirmed("grant_credit", account, **ASKED))
    client.post(USERS, confirmed("grant_credit", user, currency="USD", **ASKED))
    client.post(GRANTS, confirmed("take_back", grant, reason="x"))
    client.post(GRANTS, form("take_back", grant))
    assert (balance(user), CreditGrant.objects.count()) == (10, 1)


def test_support_with_a_limit_grants_up_to_it_and_takes_nothing_back(signed_in, user, settings):
    settings.SUPPORT_CREDIT_LIMIT = ["USD:20"]
    support = signed_in("support")
    assert "grant_credit_this" in support.get(f"{USERS}{user.pk}/change/").text

    support.post(USERS, confirmed("grant_credit", user, currency="USD", **ASKED))

    grant = CreditGrant.objects.get()
    assert balance(user) == Decimal("12.50")
    # Another page, and with it another grant: above the limit together
    second = {**confirmed("grant_credit", grant.account, **ASKED), "request_id": "0198c0de-0000-7000-8000-000000000002"}
    answer = support.post(ACCOUNTS, second)
    assert "Support may grant a customer 20.00 USD in 30 days" in said(answer)[-1]
    assert "take_back_this" not in support.get(f"{GRANTS}{grant.pk}/change/").text
    assert support.get(f"{GRANTS}{grant.pk}/take_back_this/").status_code == 403
    support.post(GRANTS, confirmed("take_back", grant, reason="x"))
    assert (balance(user), CreditGrant.objects.count()) == (Decimal("12.50"), 1)


def test_a_grants_page_shows_its_uses(signed_in, user):
    grant = give(user, 10)
    spend(user, 4, "report-7")
    page = signed_in("viewer").get(f"{GRANTS}{grant.pk}/change/").text
    assert "4.00 USD" in page and "spent:report-7" in page
