"""Every page of every registered model: lists, searches, filters, rows; who may see them; nothing unescaped."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.contrib import admin
from django.db import connection
from django.forms import MultiValueField
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework_simplejwt.token_blacklist.models import OutstandingToken

from payflow.core.admin_base import ReadOnlyAdmin, amount_text
from payflow.settings.admin import UNFOLD
from tests.admin.world import EVIL, everything

ROLES = ["superuser", "billing-admin", "support", "finance", "viewer"]
#: Not rows of PayFlow: no role but the superuser's sees them.
SUPERUSERS_ONLY = {"auth", "token_blacklist"}


def pages():
    return [(model, model_admin) for model, model_admin in admin.site._registry.items()]


def url(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def choices_of_filters(changelist):
    """A query string for each choice of each filter of a list."""
    for spec in changelist.filter_specs:
        for choice in spec.choices(changelist):
            if "query_string" in choice:
                yield choice["query_string"]
                continue
            for name, field in choice["form"].fields.items():
                if hasattr(field, "choices"):
                    yield from (f"?{name}={value}" for value, _ in field.choices)
                elif not isinstance(field, MultiValueField):
                    yield f"?{name}=x"
                else:  # a moment
                    yield f"?{name}_0=2026-01-01&{name}_1=12:00:00"
                    yield f"?{name}_0=nonsense"


def test_every_list_opens_and_takes_any_search(signed_in):
    everything()
    client = signed_in("superuser")
    for model, _ in pages():
        assert model.objects.exists(), f"no row of {model.__name__}"
        for query in ("", "?q=x", "?q=0198c0de-0000-7000-8000-000000000000", "?q=%00"):
            assert client.get(f"{url(model, 'changelist')}{query}").status_code == 200, f"{model.__name__}{query}"


def test_every_choice_of_every_filter_and_every_order_works(signed_in, rf):
    everything()
    user = signed_in("superuser").user

    def changelist(model_admin, query):
        request = rf.get(f"/admin/{query}")
        request.user = user
        return model_admin.get_changelist_instance(request)

    for _, model_admin in pages():
        list(changelist(model_admin, "?o=1.-2").result_list)
        for query in choices_of_filters(changelist(model_admin, "")):
            list(changelist(model_admin, query).result_list)


def test_every_row_opens_and_nothing_is_rendered_unescaped(signed_in):
    everything()
    client = signed_in("superuser")
    for model, _ in pages():
        for path in (url(model, "changelist"), url(model, "change", model.objects.first().pk)):
            response = client.get(path)
            assert response.status_code == 200, path
            assert b"<script>alert" not in response.content, path


def test_what_is_read_only_refuses_add_change_and_delete(signed_in):
    everything()
    client = signed_in("superuser")
    for model, model_admin in pages():
        if not isinstance(model_admin, ReadOnlyAdmin):
            continue
        row = model.objects.first()
        before = model.objects.filter(pk=row.pk).values().get()
        assert client.get(url(model, "add")).status_code == 403
        assert client.post(url(model, "change", row.pk), {"status": "paid"}).status_code == 403
        assert client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        page = url(model, "changelist")
        client.post(page, {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"})
        assert model.objects.filter(pk=row.pk).values().get() == before


@pytest.mark.parametrize("role", ROLES)
def test_operators_see_the_rows_of_payflow(signed_in, role):
    everything()
    client = signed_in(role)
    assert client.get("/admin/").status_code == 200
    for model, _ in pages():
        hidden = model._meta.app_label in SUPERUSERS_ONLY and role != "superuser"
        for path in (url(model, "changelist"), url(model, "change", model.objects.first().pk)):
            assert client.get(path).status_code == (403 if hidden else 200), path


def test_customers_and_strangers_see_nothing(signed_in, client):
    everything()
    customer = signed_in("customer")
    for model, _ in pages():
        for visitor in (customer, client):
            for path in (url(model, "changelist"), url(model, "change", model.objects.first().pk)):
                response = visitor.get(path)
                assert response.status_code == 302
                assert response.url.startswith("/admin/login/")


def test_lists_ask_as_often_for_20_rows_as_for_one(signed_in):
    client = signed_in("superuser")

    def counts():
        asked = {}
        for model, _ in pages():
            client.get(url(model, "changelist"))  # what is cached, is cached
            with CaptureQueriesContext(
                connection,
            ) as queries:
                client.get(url(model, "changelist"))
            asked[model.__name__] = len(queries)
        return asked

    everything()
    with_one = counts()
    for number in range(1, 20):
        everything(number)
    assert counts() == with_one
    assert max(with_one.values()) <= 12


def test_a_subscriptions_page_asks_as_often_for_many_periods(signed_in):
    made = everything()
    client = signed_in("viewer")
    path = url(type(made.subscription), "change", made.subscription.pk)
    client.get(path)
    with CaptureQueriesContext(connection) as queries:
        client.get(path)
    before = len(queries)
    for event in range(2, 12):
        made.subscription.events.create(
            sequence=event + 10, to_status="active", reason="x", actor="system", at=made.subscription.start_date
        )
    with CaptureQueriesContext(connection) as queries:
        client.get(path)
    assert len(queries) == before


def test_a_subscriptions_page_shows_what_belongs_to_it(signed_in):
    made = everything()
    page = signed_in("viewer").get(url(type(made.subscription), "change", made.subscription.pk)).content.decode()
    invoice = made.payment.invoice
    for text in (
        "10.00 USD",
        invoice.number,
        f"/admin/payments/invoice/{invoice.pk}/change/",
        "subscribed",
        "checkout",
    ):
        assert text in page, text


def test_a_webhooks_body_is_for_those_who_may_act_on_it(signed_in):
    event = everything().inbound
    path = url(type(event), "change", event.pk)
    shown = signed_in("support").get(path).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; of 0" in shown
    assert "\\xff" in shown
    assert " of 0" not in signed_in("viewer").get(path).content.decode()


def test_refresh_tokens_are_never_shown(signed_in):
    everything()
    row = OutstandingToken.objects.get()
    page = signed_in("superuser").get(url(OutstandingToken, "change", row.pk)).content.decode()
    assert row.jti in page
    assert row.token not in page


def test_a_search_finds_by_address_number_and_any_id(signed_in):
    made = everything()
    everything(1)
    client = signed_in("viewer")
    path = url(type(made.subscription), "changelist")
    for term in ("0@example.com", made.user.pk, made.subscription.pk):
        found = client.get(path, {"q": str(term)}).context["cl"].result_list
        assert [row.pk for row in found] == [made.subscription.pk], term
    audited = client.get(url(made.subscription.__class__, "history", made.subscription.pk), follow=True)
    assert audited.redirect_chain[0][0] == f"/admin/core/auditentry/?q={made.subscription.pk}"


def test_the_sidebar_leads_to_every_list_one_may_see(signed_in, settings):
    settings.UNFOLD = UNFOLD
    everything()
    index = signed_in("superuser").get("/admin/").content.decode()
    sidebar = index[index.index("nav-sidebar-apps") : index.index("</nav>")]
    inlines_only = {"InvoiceLine", "BlacklistedToken"}
    for model, _ in pages():
        assert (url(model, "changelist") in sidebar) is (model.__name__ not in inlines_only), model
    assert "/api/docs" in sidebar
    assert "sandbox money" in index
    viewers = signed_in("viewer").get("/admin/").content.decode()
    assert url(type(everything(1).payment), "changelist") in viewers
    assert "token_blacklist" not in viewers


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (Decimal("1234.5"), "USD", "1,234.50 USD"),
        (Decimal("5000.0000"), "JPY", "5,000 JPY"),
        (Decimal("-0.0025"), "USD", "-0.0025 USD"),
    ],
)
def test_amounts_have_their_currencys_digits(amount, currency, text):
    assert amount_text(amount, currency) == text


def test_evil_is_in_the_world(signed_in):
    # Else the test of escaping would prove nothing.
    made = everything()
    page = signed_in("superuser").get(url(type(made.payment), "change", made.payment.pk)).content.decode()
    assert page.count("&lt;script&gt;alert(1)") >= 3
    assert EVIL not in page
