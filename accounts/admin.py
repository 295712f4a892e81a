"""Operators' pages of users and API keys. Keys are made through the API, which shows them once; here they are ended."""

from __future__ import annotations

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget

from accounts.models import ApiKey, User
from accounts.roles import is_admin
from accounts.services import api_key_revoke
from payflow.core import clock
from payflow.core.countries import countries


class NewUserForm(UserCreationForm):
    class Meta:
        model = User
        fields = ("email",)


class ChangedUserForm(UserChangeForm):
    country = forms.ChoiceField(
        required=False,
        choices=lambda: [("", "Not known"), *((code, f"{name} ({code})") for code, name in countries().items())],
        widget=UnfoldAdminSelectWidget,
        help_text="For tax",
    )

    class Meta:
        model = User
        fields = "__all__"


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):
    form = ChangedUserForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    ordering = ("-created_at",)
    list_display = ("email", "name", "is_active", "is_staff", "created_at")
    list_filter = ("is_active", "is_staff", "groups")
    search_fields = ("email", "name", "external_id")
    readonly_fields = ("id", "external_id", "last_login", "created_at", "updated_at")
    fieldsets = (
        (None, {"fields": ("id", "email", "password", "name", "country", "timezone", "external_id")}),
        ("Access", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "created_at", "updated_at")}),
    )
    add_fieldsets = ((None, {"classes": ("wide",), "fields": ("email", "usable_password", "password1", "password2")}),)

    def has_delete_permission(self, request, obj=None):
        return False  # money refers to users: an account is closed, not deleted

    def get_readonly_fields(self, request, obj=None):
        # Only a superuser makes operators: else a billing admin could make himself one.
        fields = super().get_readonly_fields(request, obj)
        if request.user.is_superuser:
            return fields
        return (*fields, "is_staff", "is_superuser", "groups", "user_permissions")

    def has_change_permission(self, request, obj=None):
        # … or take over a superuser's account by a new password.
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)


admin.site.unregister(Group)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    pass


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):
    list_display = ("name", "prefix", "scopes", "expires_at", "revoked_at", "last_used_at")
    search_fields = ("name", "prefix")
    exclude = ("digest",)
    actions = ("revoke",)

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False

    def has_revoke_permission(self, request):
        return is_admin(request.user)

    @admin.action(description="Revoke at once", permissions=["revoke"])
    def revoke(self, request, queryset):
        for row in queryset:
            api_key_revoke(api_key_id=row.pk, actor=f"user:{request.user.pk}", wall=clock.wall())
        self.message_user(request, f"{len(queryset)} API keys revoked", messages.SUCCESS)
