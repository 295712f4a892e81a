"""credits/ and credits/spend: who may, what they answer, and that a refusal changes nothing."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.roles import BILLING_ADMIN, FINANCE, SUPPORT, VIEWER
from payflow.core import clock
from payflow.core.errors import Forbidden
from payflow.core.money import Money
from payments.credits import grant_write
from payments.models import CreditAccount, CreditGrant, CreditSource, CreditUse
from payments.services.credits import credit_grant, credit_revoke
from tests.factories import ApiKeyFactory, StaffFactory, UserFactory
from tests.flows import DAY, nothing_changes, refused
from tests.payments.credit_support import balance, give
from tests.providers.sandbox_support import at_once

pytestmark = pytest.mark.django_db
CREDITS, SPEND = "/api/v1/credits/", "/api/v1/credits/spend"
NOBODY = "00000000-0000-4000-8000-000000000000"
GRANTERS = {"admin", BILLING_ADMIN, FINANCE, "refunds"}
SPENDERS = {"usage", "subscriptions"}
READERS = {"owner", "other", "admin", BILLING_ADMIN, FINANCE, SUPPORT, VIEWER, "subscriptions", "read"}


@pytest.fixture
def clients(api, user, other_user, admin) -> dict:
    made = {
        "anonymous": api,
        "owner": api.as_user(user),
        "other": api.as_user(other_user),
        "admin": api.as_user(admin),
    }
    for role in (BILLING_ADMIN, FINANCE, SUPPORT, VIEWER):
        person = StaffFactory()
        person.groups.add(Group.objects.get(name=role))
        made[role] = api.as_user(person)
    for scope in ("refunds", "usage", "subscriptions", "read"):
        made[scope] = api.as_service(ApiKeyFactory(scopes=[scope]))
    return made


def grant_body(user, **fields) -> dict:
    return {"user_id": str(user.pk), "amount": 5, "currency": "USD", "reason": "sorry", **fields}


def spend_body(user, **fields) -> dict:
    return {"user_id": str(user.pk), "amount": 2, "currency": "USD", "key": "k", "reason": "a report", **fields}


def turned_away(who: str, response) -> None:
    refused(response, *((401, "UNAUTHENTICATED") if who == "anonymous" else (403, "FORBIDDEN")))


def test_who_may_do_what(clients, user):
    give(user, 5, at=clock.now())
    with nothing_changes():
        for who, client in clients.items():
            if who not in READERS:
                turned_away(who, client.get(CREDITS))
            if who not in GRANTERS:
                turned_away(who, client.post(CREDITS, grant_body(user)))
            if who not in SPENDERS:
                turned_away(who, client.post(SPEND, spend_body(user)))
            for method in ("put", "patch", "delete"):
                assert getattr(client, method)(CREDITS).status_code in (401, 403, 405)
    seen = {who: len(clients[who].get(CREDITS).json()["data"]["results"]) for who in READERS}
    assert seen == dict.fromkeys(READERS, 1) | {"other": 0}
    for who in GRANTERS:
        assert clients[who].post(CREDITS, grant_body(user)).status_code == 201, who
    for n, who in enumerate(SPENDERS):
        assert clients[who].post(SPEND, spend_body(user, key=f"k{n}")).status_code == 201, who
    assert balance(user) == 5 + 5 * len(GRANTERS) - 2 * len(SPENDERS)


def test_the_list_tells_what_there_is_in_the_order_in_which_it_is_spent(clients, user):
    now = clock.now()
    give(user, 5, at=now, reason="for ever")
    give(user, "2.5", at=now, expires=now + DAY, reason="soon")
    give(user, 300, at=now, currency="JPY")

    [yen, dollars] = clients["owner"].get(CREDITS).json()["data"]["results"]

    assert (yen["currency"], yen["balance"], dollars["balance"], dollars["user_id"]) == ("JPY", 300, 7.5, str(user.pk))
    assert [(row["reason"], row["remaining"], row["source"]) for row in dollars["grants"]] == [
        ("soon", 2.5, "goodwill"),
        ("for ever", 5, "goodwill"),
    ]
    assert set(dollars["grants"][0]) >= {"id", "amount", "expires_at", "expired_at", "revoked_at", "created_at"}
    assert [row["explanation"] for row in dollars["grants"]] == [{}, {}]  # whoever gave it is no formula
    narrow = clients["owner"].get(f"{CREDITS}?fields=balance&currency=USD").json()["data"]["results"]
    assert narrow == [{"balance": 7.5}]


def test_filters(clients, user, other_user):
    give(user, 5)
    give(user, 5, currency="EUR")
    give(other_user, 5)

    def found(who: str, query: str) -> list:
        rows = clients[who].get(f"{CREDITS}?{query}").json()["data"]["results"]
        return sorted((row["user_id"], row["currency"]) for row in rows)

    mine, theirs = str(user.pk), str(other_user.pk)
    assert found("admin", f"user={mine}") == [(mine, "EUR"), (mine, "USD")]
    assert found("admin", f"user={mine}&currency=EUR") == [(mine, "EUR")]
    assert len(found("admin", "currency=USD")) == 2
    # of others not even whether they exist
    assert found("owner", f"user={theirs}") == found("owner", f"user={NOBODY}") == []
    for query in ("user=x", "fields=secret", "cursor=x"):
        refused(clients["admin"].get(f"{CREDITS}?{query}"), 400, "VALIDATION_ERROR")


def test_the_list_takes_as_many_queries_for_ten_accounts_as_for_one(clients):
    give(UserFactory(), 5)
    clients["admin"].get(CREDITS)
    with CaptureQueriesContext(connection) as one:
        assert len(clients["admin"].get(CREDITS).json()["data"]["results"]) == 1
    for _ in range(9):
        customer = UserFactory()
        for _ in range(3):
            give(customer, 5)
    with CaptureQueriesContext(connection) as ten:
        assert len(clients["admin"].get(CREDITS).json()["data"]["results"]) == 10
    assert len(ten) == len(one) <= 6


def test_a_grant_is_answered_and_happens_once_per_key(clients, user):
    until = (clock.now() + timedelta(days=30)).isoformat()
    body = grant_body(user, amount="12.50", expires_at=until)

    answers = [clients[FINANCE].post(CREDITS, body, headers={"Idempotency-Key": "g-1"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].content == answers[1].content
    data = answers[0].json()["data"]
    assert (data["amount"], data["remaining"], data["currency"], data["reason"]) == (12.5, 12.5, "USD", "sorry")
    assert CreditGrant.objects.get().expires_at.isoformat() == until
    other = clients[FINANCE].post(CREDITS, grant_body(user), headers={"Idempotency-Key": "g-1"})
    refused(other, 422, "IDEMPOTENCY_MISMATCH")
    assert balance(user) == 12.5


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"amount": 0}, "VALIDATION_ERROR", "amount"),
        ({"amount": -5}, "VALIDATION_ERROR", "amount"),
        ({"amount": "x"}, "VALIDATION_ERROR", "amount"),
        ({"amount": True}, "VALIDATION_ERROR", "amount"),
        ({"amount": None}, "VALIDATION_ERROR", "amount"),
        ({"amount": "1.001"}, "VALIDATION_ERROR", "amount"),
        ({"currency": "XXX"}, "UNSUPPORTED_CURRENCY", "currency"),
        ({"currency": "usd"}, "UNSUPPORTED_CURRENCY", "currency"),
        ({"currency": "DOLLAR"}, "VALIDATION_ERROR", "currency"),
        ({"user_id": "x"}, "VALIDATION_ERROR", "user_id"),
        ({"reason": ""}, "VALIDATION_ERROR", "reason"),
        ({"reason": "x" * 256}, "VALIDATION_ERROR", "reason"),
    ],
    ids=str,
)
def test_bad_input_changes_nothing(clients, user, fields, code, field):
    give(user, 5)
    with nothing_changes():
        for who, path, body in (("admin", CREDITS, grant_body(user)), ("usage", SPEND, spend_body(user))):
            assert field in refused(clients[who].post(path, body | fields), 400, code), path
    assert not CreditUse.objects.exists()


@pytest.mark.parametrize(
    "fields", [{"user_id": NOBODY}, {"expires_at": "2020-01-01T00:00:00Z"}, {"expires_at": "soon"}]
)
def test_a_grant_to_nobody_or_into_the_past_is_refused(clients, user, fields):
    with nothing_changes():
        details = refused(clients["admin"].post(CREDITS, grant_body(user) | fields), 400, "VALIDATION_ERROR")
    assert set(details) == set(fields)
    assert not CreditAccount.objects.exists()


def test_spending_answers_once_per_key_and_user(clients, user):
    give(user, 5)

    first, again = (clients["usage"].post(SPEND, spend_body(user)) for _ in range(2))

    assert (first.status_code, first.content) == (201, again.content)
    data = first.json()["data"]
    assert (data["key"], data["user_id"], data["amount"], data["currency"]) == ("k", str(user.pk), 2, "USD")
    details = refused(clients["usage"].post(SPEND, spend_body(user, amount=3)), 400, "VALIDATION_ERROR")
    assert details == {"key": ["It was used to spend 2.00 USD"]}
    assert balance(user) == 3


def test_the_idempotency_key_serves_as_key(clients, user):
    give(user, 5)
    body = spend_body(user)
    del body["key"]
    assert set(refused(clients["usage"].post(SPEND, body), 400, "VALIDATION_ERROR")) == {"key"}

    answers = [clients["usage"].post(SPEND, body, headers={"Idempotency-Key": "s-1"}) for _ in range(2)]

    assert answers[0].status_code == 201 and answers[0].content == answers[1].content
    assert balance(user) == 3


def test_too_little_is_402_and_leaves_nothing_behind(clients, user):
    give(user, "1.50")
    with nothing_changes():
        for who in (user, UserFactory.build()):
            details = refused(clients["subscriptions"].post(SPEND, spend_body(who)), 402, "PAYMENT_DECLINED")
            assert details["currency"] == "USD"
    assert not CreditUse.objects.exists()
    assert balance(user) == 1.5


@pytest.mark.parametrize(("url", "body"), [(CREDITS, grant_body), (SPEND, spend_body)])
def test_a_misspelt_field_is_no_request_of_its_own(clients, user, url, body):
    give(user, 5, at=clock.now())
    who = clients["admin" if url == CREDITS else "usage"]
    with nothing_changes():
        answer = who.post(url, body(user, expires="2020-01-01T00:00:00Z"))
        assert refused(answer, 400, "VALIDATION_ERROR") == {"expires": ["There is no such field"]}


# --- what support may give --------------------------------------------------------------------------------------------


@pytest.fixture
def support(clients, settings):
    """Grants as support up to 20 dollars; answers the response."""
    settings.SUPPORT_CREDIT_LIMIT = ["USD:20", "EUR:5"]
    return lambda user, amount, **fields: clients[SUPPORT].post(CREDITS, grant_body(user, amount=amount, **fields))


def test_support_grants_up_to_its_limit_in_total(clients, user, other_user, support):
    assert support(user, "12.50").status_code == 201
    with nothing_changes():
        details = refused(support(user, "7.51"), 403, "FORBIDDEN")
    assert details == {"limit": "20.00", "granted": "12.50", "currency": "USD"}
    assert support(user, "7.50").status_code == 201
    with nothing_changes():
        refused(support(user, "0.01"), 403, "FORBIDDEN")
    # each customer and currency by itself, and nothing in a currency without a limit
    assert support(user, 5, currency="EUR").status_code == 201
    assert support(other_user, 20).status_code == 201
    with nothing_changes():
        refused(support(other_user, 1, currency="JPY"), 403, "FORBIDDEN")
        refused(support(other_user, "5.01", currency="EUR"), 403, "FORBIDDEN")
    assert (balance(user), balance(user, "EUR"), balance(other_user)) == (20, 5, 20)


def test_above_it_finance_and_billing_admins_grant_and_theirs_counts(clients, user, support):
    for who in (FINANCE, BILLING_ADMIN, "admin", "refunds"):
        assert clients[who].post(CREDITS, grant_body(user, amount=50)).status_code == 201, who
    with nothing_changes():
        assert refused(support(user, 1), 403, "FORBIDDEN")["granted"] == "200.00"


def test_support_with_a_higher_role_has_no_limit(api, user, settings):
    settings.SUPPORT_CREDIT_LIMIT = ["USD:20"]
    person = StaffFactory()
    person.groups.add(*Group.objects.filter(name__in=[SUPPORT, FINANCE]))
    assert api.as_user(person).post(CREDITS, grant_body(user, amount=21)).status_code == 201


def test_what_was_taken_back_and_what_is_long_ago_no_longer_counts(user, support):
    now = clock.now()
    give(user, 20, at=now - timedelta(days=30))
    mistake = give(user, 15, at=now)
    give(user, 5, at=now)
    refused(support(user, "0.01"), 403, "FORBIDDEN")

    credit_revoke(grant_id=mistake.pk, reason="a slip", actor="test", at=now)

    assert support(user, 15).status_code == 201
    refused(support(user, "0.01"), 403, "FORBIDDEN")


def test_unused_time_is_no_goodwill(user, support):
    with transaction.atomic():
        grant_write(
            user_id=user.pk,
            money=Money(Decimal(100), "USD"),
            source=CreditSource.UNUSED_TIME,
            reason="unused",
            key="unused:1",
            at=clock.now(),
        )
    assert support(user, 20).status_code == 201


def test_a_grant_within_the_limit_is_answered_again_when_the_limit_is_reached(clients, user, support):
    headers = {"Idempotency-Key": "s-1"}
    answers = [clients[SUPPORT].post(CREDITS, grant_body(user, amount=20), headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert balance(user) == 20


@pytest.mark.django_db(transaction=True)
def test_of_three_at_once_only_those_within_the_limit_are_granted(settings):
    settings.SUPPORT_CREDIT_LIMIT = ["USD:20"]
    user, person = UserFactory(), StaffFactory()
    person.groups.add(Group.objects.get_or_create(name=SUPPORT)[0])

    def grant() -> bool:
        try:
            credit_grant(
                user_id=user.pk,
                amount=Decimal(10),
                currency="USD",
                reason="sorry",
                expires_at=None,
                actor=f"user:{person.pk}",
                at=clock.now(),
            )
        except Forbidden:
            return False
        return True

    assert sorted(at_once(grant, 3)) == [False, True, True]
    assert balance(user) == 20
