"""Operators' page of the tax rates: a new rate is a new row, an old one is switched off, none is edited."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminSelectWidget

from accounts.roles import BILLING_ADMIN, FINANCE, has_role
from payflow.core.admin_actions import Act, Confirmed, ConfirmedActions
from payflow.core.admin_base import CREATED
from payflow.core.countries import countries
from payflow.core.errors import ValidationFailed
from payments.models import TaxRate
from payments.services.tax_rates import tax_rate_check, tax_rate_create, tax_rate_deactivate


class NewTaxRateForm(forms.ModelForm):  # type: ignore[type-arg]
    country = forms.ChoiceField(
        choices=lambda: [("", "—"), *((code, f"{name} ({code})") for code, name in countries().items())],
        widget=UnfoldAdminSelectWidget,
        help_text="Of the buyer",
    )

    class Meta:
        model = TaxRate
        fields = ("country", "name", "percent", "inclusive")

    def clean(self) -> dict[str, Any]:
        # Without ModelForm's own: it would tell of the database's constraint beside what the service says of it.
        if not self.errors:
            values = {name: self.cleaned_data[name] for name in ("country", "name", "percent")}
            try:
                tax_rate_check(**values)
            except ValidationFailed as error:
                raise forms.ValidationError(error.details) from error
        return self.cleaned_data


def _switch_off(rate: TaxRate, confirmed: Confirmed) -> str:
    tax_rate_deactivate(tax_rate_id=rate.pk, actor=confirmed.actor)
    return "switched off"


@admin.register(TaxRate)
class TaxRateAdmin(ConfirmedActions, ModelAdmin):  # type: ignore[misc]
    acts = (
        Act(
            name="switch_off",
            title="Switch off",
            question="Stop taxing with these rates?",
            permission="switch_off",
            will=lambda rate: f"Buyers in {countries().get(rate.country, rate.country)} are taxed no more, from now on",
            run=_switch_off,
            applies=lambda rate: rate.is_active,
            icon="toggle_off",
        ),
    )
    form = NewTaxRateForm
    list_display = ("__str__", "country", "percent", "inclusive", "is_active", "created_at")
    list_filter = ("is_active", "inclusive", CREATED)
    list_filter_submit = True
    search_fields = ("country__iexact", "name__icontains")
    show_full_result_count = False

    def get_fields(self, request: HttpRequest, obj: TaxRate | None = None) -> list[str]:
        new = list(NewTaxRateForm.Meta.fields)
        return new if obj is None else [*new, "is_active", "id", "created_at", "updated_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return has_role(request.user, BILLING_ADMIN, FINANCE)

    def has_switch_off_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return has_role(request.user, BILLING_ADMIN, FINANCE)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: TaxRate, form: Any, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in NewTaxRateForm.Meta.fields}
        rate = tax_rate_create(**values, actor=f"user:{request.user.pk}")
        # The page and its log go on with the row that was made.
        obj.pk, obj._state.adding = rate.pk, False
