"""Tax rates: one in force for a country, made and switched off, never edited."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from payflow.core.errors import NotFound, ValidationFailed
from payflow.core.ids import uuid7
from payflow.core.models import AuditEntry
from payments.models import TaxRate
from payments.selectors import tax_rate_of, tax_rates_of
from payments.services.tax_rates import tax_rate_create, tax_rate_deactivate

pytestmark = pytest.mark.django_db

GERMAN = {"country": "DE", "name": "VAT", "percent": Decimal("19"), "inclusive": True, "actor": "user:1"}


def create(**change) -> TaxRate:
    return tax_rate_create(**{**GERMAN, **change})


def test_a_rate_is_made_and_found():
    rate = create(country="de", name=" VAT ", percent=Decimal("19.5"))

    assert (rate.country, rate.name, rate.percent, rate.inclusive, rate.is_active) == ("DE", "VAT", 19.5, True, True)
    assert tax_rate_of("DE") == rate
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action, entry.subject_id) == ("user:1", "tax_rate.created", rate.pk)
    assert entry.data == {"country": "DE", "name": "VAT", "percent": "19.5", "inclusive": True}


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"country": "XX"}, ["country"]),
        ({"country": "EU"}, ["country"]),
        ({"country": ""}, ["country"]),
        ({"name": " "}, ["name"]),
        ({"name": "V" * 51}, ["name"]),
        ({"percent": Decimal("-0.0001")}, ["percent"]),
        ({"percent": Decimal("100.0001")}, ["percent"]),
        ({"percent": Decimal("19.00001")}, ["percent"]),
        ({"percent": Decimal("NaN")}, ["percent"]),
        ({"country": "FR"}, ["country"]),
        ({"country": "fr", "name": "", "percent": Decimal("101")}, ["country", "name", "percent"]),
    ],
)
def test_what_is_refused_is_told_by_field(change, fields):
    create(country="FR")

    with pytest.raises(ValidationFailed) as refused:
        create(**change)

    assert list(refused.value.details) == fields
    assert all(isinstance(fault, str) for faults in refused.value.details.values() for fault in faults)
    assert TaxRate.objects.count() == AuditEntry.objects.count() == 1


@pytest.mark.parametrize("percent", ["0", "100", "8.8750"])
def test_the_ends_of_the_range(percent):
    assert create(percent=Decimal(percent)).percent == Decimal(percent)


def test_a_rate_is_switched_off_once_and_another_takes_its_place():
    old = create()
    for _ in range(2):
        assert tax_rate_deactivate(tax_rate_id=old.pk, actor="user:2").is_active is False
    assert tax_rate_of("DE") is None

    new = create(percent=Decimal("16"))

    assert tax_rate_of("DE") == new
    assert TaxRate.objects.get(pk=old.pk).percent == 19
    assert list(AuditEntry.objects.order_by("pk").values_list("action", "actor")) == [
        ("tax_rate.created", "user:1"),
        ("tax_rate.deactivated", "user:2"),
        ("tax_rate.created", "user:1"),
    ]


def test_a_rate_that_is_not_there_is_not_switched_off():
    with pytest.raises(NotFound):
        tax_rate_deactivate(tax_rate_id=uuid7(), actor="user:1")


def test_the_rates_of_many_countries_are_one_query():
    german, french = create(), create(country="FR")
    tax_rate_deactivate(tax_rate_id=create(country="PL").pk, actor="user:1")

    with CaptureQueriesContext(connection) as queries:
        assert tax_rates_of(["DE", "FR", "PL", "", "IT", "DE"]) == {"DE": german, "FR": french}
    assert len(queries) == 1

    with CaptureQueriesContext(connection) as queries:
        assert tax_rates_of([]) == {}
        assert tax_rate_of("") is None
    assert len(queries) == 0


@pytest.mark.django_db(transaction=True)
def test_of_two_operators_who_race_one_makes_the_rate():
    barrier, results = threading.Barrier(4), []

    def make():
        barrier.wait()
        try:
            results.append(create().country)
        except ValidationFailed as error:
            results.append(list(error.details))
        finally:
            connection.close()

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results, key=str) == ["DE", ["country"], ["country"], ["country"]]
    assert TaxRate.objects.count() == AuditEntry.objects.count() == 1
