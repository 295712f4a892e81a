"""Operators' pages of moves from one provider to another: started here, and how far everybody is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from accounts.roles import is_admin
from payflow.core import clock
from payflow.core.admin_actions import Act, Confirmed, ConfirmedActions, ReasonForm
from payflow.core.admin_base import CREATED, AuditHistory, ReadOnlyAdmin, Shown
from payflow.core.errors import ValidationFailed
from subscriptions.models import MemberStatus, MoveStatus, ProviderMove, ProviderMoveMember
from subscriptions.services.moves import (
    move_check,
    move_end,
    move_pause,
    move_progress,
    move_resume,
    move_start,
    move_widen,
)

TERMS = ("from_provider", "to_provider", "percent", "days_before")
COUNTS = ("to_do", "invited", "moved", "left_alone", "failed")
STARTS = (
    "Saving starts it: new subscribers of the share begin at the new provider at once, and everybody of the share whose"
    " period ends within these days is sent a link now, the others when their turn comes."
)


def _configured() -> list[tuple[str, str]]:
    return [("", "—"), *((name, name) for name in settings.PAYFLOW_PROVIDERS)]


class NewMoveForm(forms.ModelForm):  # type: ignore[type-arg]
    from_provider = forms.ChoiceField(choices=_configured, widget=UnfoldAdminSelectWidget)
    to_provider = forms.ChoiceField(choices=_configured, widget=UnfoldAdminSelectWidget)

    class Meta:
        model = ProviderMove
        fields = TERMS

    def clean(self) -> dict[str, Any]:
        # Without ModelForm's own: it would tell of the database's constraints beside what the service says of them.
        if not self.errors:
            try:
                move_check(**{name: self.cleaned_data[name] for name in TERMS})
            except ValidationFailed as error:
                raise forms.ValidationError(error.details) from error
        return self.cleaned_data


class WidenForm(ReasonForm):
    field_order = ("percent", "reason")
    percent = forms.IntegerField(min_value=1, max_value=100, widget=UnfoldAdminIntegerFieldWidget())


def _pause(move: ProviderMove, confirmed: Confirmed) -> str:
    move_pause(move_id=move.pk, actor=confirmed.actor)
    return "nobody else is invited"


def _resume(move: ProviderMove, confirmed: Confirmed) -> str:
    move_resume(move_id=move.pk, actor=confirmed.actor)
    return "it goes on"


def _widen(move: ProviderMove, confirmed: Confirmed) -> str:
    move_widen(
        move_id=move.pk, percent=confirmed.data["percent"], actor=confirmed.actor, reason=confirmed.data["reason"]
    )
    return f"{confirmed.data['percent']} % move"


def _end(move: ProviderMove, confirmed: Confirmed) -> str:
    move_end(move_id=move.pk, actor=confirmed.actor, now=clock.now())
    return "the move has ended"


def _end_will(move: ProviderMove) -> str:
    progress = move_progress(move, now=clock.now())
    return (
        f"Links that were sent are good no more ({progress.invited}). Who has moved stays moved ({progress.moved});"
        f" everybody else stays at {move.from_provider}. Who subscribes from now on begins at"
        f" {settings.PAYFLOW_DEFAULT_PROVIDER}."
    )


@admin.register(ProviderMove)
class ProviderMoveAdmin(ConfirmedActions, Shown, AuditHistory, ModelAdmin):  # type: ignore[misc]
    acts = (
        Act(
            name="pause_move",
            title="Pause",
            question="Invite nobody else for now?",
            permission="move",
            will=lambda move: "Links that were sent stay good. New subscribers begin at the setting's provider again.",
            run=_pause,
            applies=lambda move: move.status == MoveStatus.ACTIVE,
            icon="pause",
        ),
        Act(
            name="resume_move",
            title="Resume",
            question="Go on with the move?",
            permission="move",
            will=lambda move: (
                f"Links to {move.to_provider} are sent again, {move.days_before} days before a period ends."
            ),
            run=_resume,
            applies=lambda move: move.status == MoveStatus.PAUSED,
            icon="play_arrow",
        ),
        Act(
            name="widen_move",
            title="Move a larger share",
            question="Move a larger share?",
            permission="move",
            will=lambda move: f"{move.percent} % move now; who is in that share stays in it.",
            run=_widen,
            applies=lambda move: move.status != MoveStatus.ENDED and move.percent < 100,
            icon="percent",
            form=WidenForm,
        ),
        Act(
            name="end_move",
            title="End",
            question="End the move?",
            permission="move",
            will=_end_will,
            run=_end,
            applies=lambda move: move.status != MoveStatus.ENDED,
            icon="stop",
            dangerous=True,
        ),
    )
    form = NewMoveForm
    list_display = (
        "__str__",
        "status",
        "days_before",
        "invited",
        "moved",
        "left_alone",
        "failed",
        "created_at",
    )
    list_filter = ("status", CREATED)
    list_filter_submit = True
    search_fields = ("from_provider__exact", "to_provider__exact")
    search_help_text = "The name of a provider"
    show_full_result_count = False
    ordering = ("-pk",)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return self.shown(super().get_list_display(request), in_list=True)

    def get_fields(self, request: HttpRequest, obj: ProviderMove | None = None) -> list[str]:
        if obj is None:
            return list(TERMS)
        return [*TERMS, "status", *COUNTS, "actor", "created_at", "ended_at", "id"]

    def get_fieldsets(self, request: HttpRequest, obj: ProviderMove | None = None) -> Sequence[Any]:
        told = {} if obj else {"description": STARTS}
        return [(None, {"fields": self.get_fields(request, obj), **told})]

    def get_readonly_fields(self, request: HttpRequest, obj: ProviderMove | None = None) -> list[str]:
        return [] if obj is None else self.get_fields(request, obj)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ProviderMove]:
        """With its members counted by status, for a whole list at once."""
        counts = {
            f"members_{status}": Count("members", filter=Q(members__status=status)) for status in MemberStatus.values
        }
        rows: QuerySet[ProviderMove] = super().get_queryset(request)
        return rows.annotate(**counts)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_admin(request.user)

    def has_move_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_admin(request.user)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ProviderMove, form: Any, change: bool) -> None:
        terms = {name: form.cleaned_data[name] for name in TERMS}
        move = move_start(**terms, actor=f"user:{request.user.pk}", now=clock.now())
        # The page and its log go on with the row that was made.
        obj.pk, obj._state.adding = move.pk, False

    @admin.display(description="to do")
    def to_do(self, move: ProviderMove) -> int:
        return move_progress(move, now=clock.now()).to_do

    @admin.display(description="invited")
    def invited(self, move: Any) -> SafeString:
        return _members(move, MemberStatus.PREPARING, MemberStatus.INVITED)

    @admin.display(description="moved")
    def moved(self, move: Any) -> SafeString:
        return _members(move, MemberStatus.MOVED)

    @admin.display(description="left alone")
    def left_alone(self, move: Any) -> SafeString:
        return _members(move, MemberStatus.LEFT)

    @admin.display(description="failed")
    def failed(self, move: Any) -> SafeString:
        return _members(move, MemberStatus.FAILED)


def _members(move: Any, *statuses: MemberStatus) -> SafeString:
    """How many there are, as a link to them."""
    found = sum(getattr(move, f"members_{status}") for status in statuses)
    query = {"move__id__exact": move.pk, "status__in": ",".join(statuses)}
    url = reverse("admin:subscriptions_providermovemember_changelist")
    return format_html('<a href="{}?{}" class="text-link">{}</a>', url, urlencode(query), found)


@admin.register(ProviderMoveMember)
class ProviderMoveMemberAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "subscription", "move", "status", "period_start", "price", "reason", "moved_at")
    list_filter = ("status", "move", CREATED)
    list_select_related = ("subscription", "move")
    search_fields = ("subscription__user__email__icontains",)
    search_help_text = "E-mail address, or the id of a subscription or move"
    search_ids = ("pk", "subscription_id", "move_id")
