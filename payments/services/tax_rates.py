"""Tax rates: made and switched off, never changed. What an invoice was taxed with stands on its own lines."""

from __future__ import annotations

import uuid
from decimal import Decimal

from django.db import IntegrityError, transaction

from payflow.core import audit
from payflow.core.countries import country_code
from payflow.core.errors import NotFound, ValidationFailed
from payflow.core.locks import lock_rows
from payments.models import TaxRate
from payments.selectors import tax_rate_of

#: Of the columns.
MAX_NAME, MAX_DECIMALS = 50, 4


def tax_rate_create(*, country: str, name: str, percent: Decimal, inclusive: bool, actor: str) -> TaxRate:
    """The rate of a country from now on.

    Raises ValidationFailed, its details by field: no country of ISO 3166-1, no name, not 0 to 100 percent, or a country
    whose rate is in force (switch that one off first, so that nobody replaces it unawares).
    """
    tax_rate_check(country=country, name=name, percent=percent)
    code = country_code(country)
    try:
        with transaction.atomic():
            rate = TaxRate.objects.create(country=code, name=name.strip(), percent=percent, inclusive=inclusive)
            _audit(actor, "tax_rate.created", rate, inclusive=inclusive)
    except IntegrityError as error:  # another operator was quicker
        raise ValidationFailed.field("country", _taken(code)) from error
    return rate


def tax_rate_check(*, country: str, name: str, percent: Decimal) -> None:
    """Raises what `tax_rate_create` would, and makes nothing: forms ask before they save."""
    faults: dict[str, list[str]] = {}
    try:
        code = country_code(country)
    except ValueError as error:
        faults["country"] = [str(error)]
    else:
        if tax_rate_of(code) is not None:
            faults["country"] = [_taken(code)]
    if not 0 < len(name.strip()) <= MAX_NAME:
        faults["name"] = [f"1 to {MAX_NAME} characters, as they shall stand on the invoice"]
    if not percent.is_finite() or not 0 <= percent <= 100 or percent != round(percent, MAX_DECIMALS):
        faults["percent"] = [f"From 0 to 100, with at most {MAX_DECIMALS} decimals"]
    if faults:
        raise ValidationFailed(details=faults)


def tax_rate_deactivate(*, tax_rate_id: uuid.UUID, actor: str) -> TaxRate:
    """Switches a rate off; a second time changes nothing. Invoices that have it keep it. Raises NotFound."""
    with transaction.atomic():
        rows = lock_rows(TaxRate.objects.filter(pk=tax_rate_id))
        if not rows:
            raise NotFound("There is no such tax rate")
        rate = rows[0]
        if rate.is_active:
            rate.is_active = False
            rate.save(update_fields=["is_active"])
            _audit(actor, "tax_rate.deactivated", rate)
    return rate


def _taken(code: str) -> str:
    return f"{code} has a rate already: switch that one off first"


def _audit(actor: str, action: str, rate: TaxRate, **data: object) -> None:
    audit.record(
        actor=actor,
        action=action,
        subject_type="tax_rate",
        subject_id=rate.pk,
        data={"country": rate.country, "name": rate.name, "percent": str(rate.percent), **data},
    )
