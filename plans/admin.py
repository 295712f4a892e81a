"""Operators' pages of plans and coupons. Whatever they change goes through the services, like everything else."""

from __future__ import annotations

import json
from decimal import Decimal

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpResponseRedirect
from unfold.admin import ModelAdmin, TabularInline
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldBooleanWidget

from payflow.core import clock
from payflow.core.admin_base import amount_text
from payflow.core.errors import DomainError
from plans import coupon_rules, pricing_rules, rules, services, services_coupons
from plans.errors import LoweringNotConfirmed
from plans.models import ActionPrice, Coupon, Plan, PlanPrice, PlanProviderRef


class PlanForm(forms.ModelForm):
    confirm = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanWidget,
        label="Lower what subscribers have",
        help_text="Features and limits are live for all who subscribed",
    )

    class Meta:
        model = Plan
        fields = (
            "code",
            "name",
            "description",
            "price",
            "currency",
            "billing_cycle",
            "billing_interval",
            "trial_days",
            "trial_needs_method",
            "proration_unit",
            "features",
            "max_usage_per_day",
            "max_usage_per_month",
            "family",
            "is_active",
            "sort_order",
        )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if "code" in self.fields:
            self.fields["code"].required = False
            self.fields["code"].help_text = "Without one it is made from the name"

    def clean(self):
        cleaned = super().clean()
        if not self.errors:
            self._refuse_what_the_service_would()
        return cleaned

    def _refuse_what_the_service_would(self):
        values = self.values()
        try:
            if self.instance._state.adding:
                rules.checked(values)
            else:
                # Django has not written the form into the instance yet: this is still the row as it was read.
                services.changes_of(self.instance, values, confirm=self.cleaned_data.get("confirm", False))
        except LoweringNotConfirmed as error:
            less = ", ".join(error.details["lowered"])
            raise forms.ValidationError(
                {"confirm": f"{less}: this takes something from {error.details['affected']} subscriptions. Confirm it."}
            ) from error
        except DomainError as error:
            raise forms.ValidationError(self._faults(error)) from error

    def values(self):
        """What the service takes of this form."""
        values = {name: value for name, value in self.cleaned_data.items() if name in PlanForm.Meta.fields}
        if "code" in values:
            values["code"] = values["code"] or None
        return values

    def _faults(self, error):
        details = error.details if isinstance(error.details, dict) else {}
        named = {name: faults for name, faults in details.items() if name in self.fields}
        if "fields" in details:  # PlanInUse names them
            named = {name: [str(error)] for name in details["fields"] if name in self.fields}
        return named or str(error)


class ReplacedAsASet(TabularInline):
    """Rows that the service replaces as one set: `set_name` is its argument."""

    extra = 0
    tab = True


class PriceInline(ReplacedAsASet):
    model = PlanPrice
    fields = ("currency", "amount")
    set_name = "prices"


class ProviderRefInline(ReplacedAsASet):
    model = PlanProviderRef
    fields = ("provider", "ref", "currency")
    set_name = "provider_refs"


class ExactNumbers(json.JSONDecoder):
    """Numbers as they are written: no float."""

    def __init__(self, **options):
        super().__init__(**{**options, "parse_float": Decimal})


class ActionPriceForm(forms.ModelForm):
    # Stored as text; typed in as numbers or as text.
    tiers = forms.JSONField(required=False, widget=UnfoldAdminTextareaWidget, decoder=ExactNumbers)

    class Meta:
        model = ActionPrice
        fields = ("action", "currency", "settlement", "model", "included", "unit_amount", "package_size", "tiers")

    def clean_tiers(self):
        return self.cleaned_data["tiers"] or []

    def clean(self):
        cleaned = super().clean()
        if not self.errors:
            try:
                # As its column keeps it: the model's checks of the database come after this.
                cleaned |= pricing_rules.action_prices([{name: cleaned[name] for name in self.Meta.fields}])[0]
            except ValueError as error:
                raise forms.ValidationError(str(error)) from error
        return cleaned


class ActionPriceInline(ReplacedAsASet):
    """Before the prices: what is sold in another currency must have its actions priced in it."""

    model = ActionPrice
    form = ActionPriceForm
    fields = ActionPriceForm.Meta.fields
    set_name = "action_prices"
    verbose_name_plural = "prices of actions"

    def get_queryset(self, request):
        return super().get_queryset(request).filter(retired_at=None)


@admin.register(Plan)
class PlanAdmin(ModelAdmin):
    form = PlanForm
    inlines = (ActionPriceInline, PriceInline, ProviderRefInline)
    list_display = ("name", "code", "price", "currency", "billing_cycle", "family", "is_active", "sort_order")
    list_filter = ("is_active", "billing_cycle", "currency", "family")
    search_fields = ("code", "name", "description", "provider_refs__ref")
    readonly_fields = ("id", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": ("name", "code", "description", "is_active", "sort_order", "family")}),
        ("Price", {"fields": ("price", "currency", "billing_cycle", "billing_interval", "proration_unit")}),
        ("Trial", {"fields": ("trial_days", "trial_needs_method")}),
        ("What it gives", {"fields": ("features", "max_usage_per_day", "max_usage_per_month", "confirm")}),
        ("Row", {"fields": ("id", "created_at", "updated_at")}),
    )
    actions = ("activate", "deactivate", "clone")

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        # The form has checked all this; what arrives here changed between its check and the lock.
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except DomainError as error:
            return self._refused(request, error)

    def delete_view(self, request, object_id, extra_context=None):
        try:
            return super().delete_view(request, object_id, extra_context)
        except DomainError as error:
            return self._refused(request, error)

    def save_model(self, request, obj, form, change):
        values = form.values()
        if change:
            confirm = form.cleaned_data.get("confirm", False)
            services.plan_update(plan_id=obj.pk, **_who_and_when(request), confirm=confirm, **values)
        else:
            plan = services.plan_create(**_who_and_when(request), **values)
            # The page, its inlines and its log go on with the row that was made.
            obj.pk, obj.code, obj._state.adding = plan.pk, plan.code, False

    def save_formset(self, request, form, formset, change):
        formset.save(commit=False)  # writes nothing; tells the log what was changed
        if not formset.has_changed():
            return
        inline = next(inline for inline in self.inlines if inline.model is formset.model)
        rows = [
            {name: row.cleaned_data[name] for name in inline.fields}
            for row in formset.forms
            if row.cleaned_data.get(inline.fields[0]) and not row.cleaned_data.get("DELETE")
        ]
        services.plan_update(plan_id=form.instance.pk, **_who_and_when(request), **{inline.set_name: rows})

    def delete_model(self, request, obj):
        services.plan_delete(plan_id=obj.pk, **_who_and_when(request))

    def delete_queryset(self, request, queryset):
        # Django tells of all or nothing, so it is all or nothing.
        with transaction.atomic():
            for plan in queryset:
                services.plan_delete(plan_id=plan.pk, **_who_and_when(request))

    @admin.action(description="Sell these plans", permissions=["change"])
    def activate(self, request, queryset):
        self._each(request, queryset, services.plan_activate, "on sale")

    @admin.action(description="Stop selling these plans", permissions=["change"])
    def deactivate(self, request, queryset):
        self._each(request, queryset, services.plan_deactivate, "not sold any more")

    @admin.action(description="Clone these plans", permissions=["add"])
    def clone(self, request, queryset):
        self._each(request, queryset, services.plan_clone, "cloned, not on sale yet")

    def _each(self, request, queryset, service, done):
        for plan in queryset:
            try:
                service(plan_id=plan.pk, **_who_and_when(request))
            except DomainError as error:
                self.message_user(request, f"{plan.name}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"{plan.name}: {done}", messages.SUCCESS)

    def _refused(self, request, error):
        self.message_user(request, str(error), messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())


class CouponForm(forms.ModelForm):
    class Meta:
        model = Coupon
        fields = (
            "code",
            "name",
            "kind",
            "percent",
            "amount",
            "currency",
            "duration",
            "cycles",
            "starts_at",
            "ends_at",
            "max_redemptions",
            "first_time_only",
            "plans",
            "is_active",
        )

    def clean_code(self):
        # Before the model's own pattern, which knows capitals only.
        return coupon_rules.normal_code(self.cleaned_data["code"])

    def clean(self):
        cleaned = super().clean()
        if not self.errors:
            self._refuse_what_the_service_would()
        return cleaned

    def _refuse_what_the_service_would(self):
        try:
            if self.instance._state.adding:
                coupon_rules.checked(self.values(), present=coupon_rules.DEFAULTS)
            else:
                services_coupons.changes_of(Coupon.objects.get(pk=self.instance.pk), self.values())
        except DomainError as error:
            details = error.details or {}
            named = {name: faults for name, faults in details.items() if name in self.fields}
            raise forms.ValidationError(named or str(error)) from error

    def values(self):
        """What the service takes of this form."""
        return {**self.cleaned_data, "plans": [plan.code for plan in self.cleaned_data["plans"]]}


@admin.register(Coupon)
class CouponAdmin(ModelAdmin):
    form = CouponForm
    list_display = (
        "code",
        "name",
        "off",
        "duration",
        "cycles",
        "redemptions",
        "max_redemptions",
        "ends_at",
        "is_active",
    )
    list_filter = ("is_active", "kind", "duration", "first_time_only")
    search_fields = ("code", "name")
    autocomplete_fields = ("plans",)
    readonly_fields = ("redemptions", "id", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": ("code", "name", "is_active")}),
        ("Takes off", {"fields": ("kind", "percent", "amount", "currency", "duration", "cycles")}),
        (
            "For whom and when",
            {"fields": ("plans", "first_time_only", "starts_at", "ends_at", "max_redemptions", "redemptions")},
        ),
        ("Row", {"fields": ("id", "created_at", "updated_at")}),
    )
    actions = ("deactivate",)

    @admin.display(description="takes off")
    def off(self, row):
        return amount_text(row.amount, row.currency) if row.amount is not None else f"{row.percent.normalize():f} %"

    def changeform_view(self, request, object_id=None, form_url="", extra_context=None):
        # As on the page of plans: what arrives here changed between the form's check and the lock.
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except DomainError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request, obj, form, change):
        actor = _who_and_when(request)["actor"]
        if change:
            services_coupons.coupon_update(coupon_id=obj.pk, actor=actor, **form.values())
        else:
            coupon = services_coupons.coupon_create(actor=actor, **form.values())
            # The page and its log go on with the row that was made.
            obj.pk, obj._state.adding = coupon.pk, False

    def save_related(self, request, form, formsets, change):
        """Nothing: the service has written the plans."""

    def delete_model(self, request, obj):
        services_coupons.coupon_delete(coupon_id=obj.pk, actor=_who_and_when(request)["actor"])

    def delete_queryset(self, request, queryset):
        with transaction.atomic():
            for coupon in queryset:
                services_coupons.coupon_delete(coupon_id=coupon.pk, actor=_who_and_when(request)["actor"])

    @admin.action(description="Deactivate these coupons", permissions=["change"])
    def deactivate(self, request, queryset):
        for coupon in queryset:
            services_coupons.coupon_deactivate(coupon_id=coupon.pk, actor=_who_and_when(request)["actor"])
            self.message_user(request, f"{coupon.code}: cannot be redeemed any more", messages.SUCCESS)


def _who_and_when(request):
    return {"actor": f"user:{request.user.pk}", "at": clock.now()}
