"""Confirmed actions of operators: asked for on a list or on a row's page, confirmed on a page of their own.

An action calls a service once per row, outside any transaction (Django's list and page views open none), and the service
writes the audit entry. A refusal is a message about its row; the other rows go on.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextareaWidget

from payflow.core.errors import DomainError
from payflow.core.ids import parse_uuid

#: Each row may be a call to a provider: a page that confirms more would outlive its request.
MAX_ROWS = 50

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What the operator confirmed. `request_id` belongs to one confirmation page: sent twice, it is the same act.

    `data` is what the act's own form asked for.
    """

    actor: str
    reason: str
    request_id: uuid.UUID
    data: Mapping[str, Any] = field(default_factory=dict)

    def request_id_of(self, row: Any) -> uuid.UUID:
        return uuid.uuid5(self.request_id, str(row.pk))


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=255,
        widget=UnfoldAdminTextareaWidget({"rows": 2}),
        help_text="Kept with the money and in the audit",
    )


@dataclass(frozen=True, slots=True)
class Act:
    """An action: `will` says what is going to happen to a row, `run` does it and says what has happened.

    `permission` names a method `has_<permission>_permission`; `applies` hides the button where it makes no sense. `form`
    asks for more than a reason.
    """

    name: str
    title: str
    question: str
    permission: str
    will: Callable[[Any], str]
    run: Callable[[Any, Confirmed], str]
    applies: Callable[[Any], bool]
    icon: str = "bolt"
    asks_reason: bool = False
    dangerous: bool = False
    form: type[ReasonForm] | None = None

    def new_form(self, data: Any = None) -> ReasonForm | None:
        if self.form is not None:
            return self.form(data)
        return ReasonForm(data) if self.asks_reason else None


class AmountForm(ReasonForm):
    """Fields in the order in which they are asked; an amount that is not given is all there is."""

    field_order = ("amount", "reason")
    amount = forms.DecimalField(
        required=False,
        max_digits=19,
        decimal_places=4,
        min_value=Decimal("0.0001"),
        widget=UnfoldAdminDecimalFieldWidget(),
        help_text="In the payment's currency; empty: all that is left",
    )


class ConfirmedActions:
    """Mixin of a ModelAdmin with `acts`: each is an action of the list and a button of the row's page."""

    acts: Sequence[Act] = ()
    # Of the ModelAdmin that this is mixed into:
    model: Any
    opts: Any
    admin_site: Any

    def __init__(self, model: Any, admin_site: Any) -> None:
        self.actions = [_list_action(act) for act in self.acts]
        self.actions_detail = [f"{act.name}_this" for act in self.acts]
        for act in self.acts:
            setattr(self, f"{act.name}_this", _page_action(self, act))
        super().__init__(model, admin_site)  # type: ignore[call-arg]

    def named(self, row: Any) -> str:
        """What messages and confirmations call a row."""
        return str(row)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """The permitted actions that make sense for this row."""
        permitted: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        row = self._row(request, object_id) if permitted else None
        if row is None:
            return []
        sensible = {f"{act.name}_this" for act in self.acts if act.applies(row)}
        return [action for action in permitted if action.path in sensible]

    def response_action(self, request: HttpRequest, queryset: Any) -> Any:
        selected = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if any(parse_uuid(key) is None for key in selected):
            self._say(request, "There is no such row", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset)  # type: ignore[misc]

    def confirm_or_run(self, request: HttpRequest, act: Act, queryset: Any) -> HttpResponse | None:
        """Shows the confirmation page, or does what it confirmed."""
        rows = list(queryset.order_by("pk")[: MAX_ROWS + 1])
        if len(rows) > MAX_ROWS:
            self._say(request, f"At most {MAX_ROWS} rows at once", messages.ERROR)
            return None
        form = act.new_form(request.POST if "confirmed" in request.POST else None)
        request_id = parse_uuid(request.POST.get("request_id", ""))
        if "confirmed" not in request.POST or request_id is None or (form is not None and not form.is_valid()):
            return self._confirmation(request, act, rows, form, from_page="from_page" in request.POST)
        confirmed = Confirmed(
            actor=f"user:{request.user.pk}",
            reason=form.cleaned_data["reason"] if form else "",
            request_id=request_id,
            data=form.cleaned_data if form else {},
        )
        for row in rows:
            self._run(request, act, row, confirmed)
        if "from_page" in request.POST and len(rows) == 1:
            return HttpResponseRedirect(self._url("change", rows[0].pk))
        return HttpResponseRedirect(request.get_full_path())

    def confirm_this(self, request: HttpRequest, act: Act, object_id: str) -> HttpResponse:
        """The button of a row's page: the same confirmation, for one row."""
        if not getattr(self, f"has_{act.permission}_permission")(request):
            raise PermissionDenied
        row = self._row(request, object_id)
        if row is None:
            redirect: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined]
            return redirect
        return self._confirmation(request, act, [row], act.new_form(), from_page=True)

    def _run(self, request: HttpRequest, act: Act, row: Any, confirmed: Confirmed) -> None:
        try:
            done = act.run(row, confirmed)
        except DomainError as error:
            self._say(request, f"{self.named(row)}: {error.message}", messages.ERROR)
        except Exception as error:
            log.exception("%s of %s failed", act.name, row.pk)
            self._say(request, f"{self.named(row)}: {type(error).__name__}, see the log", messages.ERROR)
        else:
            self._say(request, f"{self.named(row)}: {done}", messages.SUCCESS)

    def _confirmation(
        self, request: HttpRequest, act: Act, rows: list[Any], form: forms.Form | None, *, from_page: bool
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": act.title,
            "opts": self.opts,
            "act": act,
            "rows": [(row.pk, self.named(row), self._url("change", row.pk), act.will(row)) for row in rows],
            "form": form,
            "action_url": self._url("changelist") if from_page else request.get_full_path(),
            "back_url": self._url("change", rows[0].pk) if from_page and rows else request.get_full_path(),
            "from_page": from_page,
            "request_id": uuid.uuid4(),
            "checkbox_name": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/payflow/confirm.html", context)

    def _row(self, request: HttpRequest, object_id: Any) -> Any:
        key = parse_uuid(unquote(str(object_id)))
        return None if key is None else self.get_queryset(request).filter(pk=key).first()  # type: ignore[attr-defined]

    def _say(self, request: HttpRequest, text: str, level: int) -> None:
        self.message_user(request, text, level)  # type: ignore[attr-defined]

    def _url(self, page: str, *args: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args)


def _list_action(act: Act) -> Callable[..., HttpResponse | None]:
    def action(model_admin: Any, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        answer: HttpResponse | None = model_admin.confirm_or_run(request, act, queryset)
        return answer

    action.__name__ = act.name
    action.short_description = act.title  # type: ignore[attr-defined]
    action.allowed_permissions = [act.permission]  # type: ignore[attr-defined]
    return action


def _page_action(model_admin: ConfirmedActions, act: Act) -> Callable[..., HttpResponse]:
    def action(request: HttpRequest, object_id: str) -> HttpResponse:
        return model_admin.confirm_this(request, act, object_id)

    action.__name__ = action.__qualname__ = f"{act.name}_this"
    for name, value in {
        "short_description": act.title,
        "allowed_permissions": [act.permission],
        "url_path": f"{act.name}_this",
        "attrs": {},
        "icon": act.icon,
        "variant": ActionVariant.DANGER if act.dangerous else ActionVariant.DEFAULT,
    }.items():
        setattr(action, name, value)
    return action
