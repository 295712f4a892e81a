"""Signing up, in and out. Attempts are counted with those at the API, by address."""

from __future__ import annotations

from django.contrib.auth import authenticate, login, logout
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from django.views.generic import View

from accounts.errors import InvalidCredentials
from accounts.models import User
from accounts.services import user_register
from payflow.core import clock
from payflow.core.errors import ValidationFailed
from portal.forms import LoginForm, SignupForm
from portal.pages.common import SeeOther, next_page, seconds_to_wait, show

BACKEND = "django.contrib.auth.backends.ModelBackend"


@method_decorator([never_cache, sensitive_post_parameters("password")], name="dispatch")
class _Entry(View):
    """A form that ends in a session. Who has one already goes on."""

    form_class: type[Form]
    template: str

    def get(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            return SeeOther(next_page(request))
        return self._page(request, self.form_class())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = self.form_class(request.POST)
        if wait := seconds_to_wait(request):
            form.add_error(None, f"Too many attempts. Please try again in {wait} seconds.")
            response = self._page(request, form, status=429)
            response["Retry-After"] = str(wait)
            return response
        user = self.enter(request, form) if form.is_valid() else None
        if user is None:
            return self._page(request, form, status=400)
        login(request, user, backend=BACKEND)  # a new session key: one that was planted before is worth nothing
        return SeeOther(next_page(request))

    def enter(self, request: HttpRequest, form: Form) -> User | None:
        """The user to sign in; None with the form's errors set."""
        raise NotImplementedError

    def _page(self, request: HttpRequest, form: Form, status: int = 200) -> HttpResponse:
        wanted = request.POST.get("next") or request.GET.get("next") or ""
        context = {"form": form, "next": next_page(request) if wanted else ""}
        return show(request, self.template, context, now=clock.now(), status=status)


class LoginView(_Entry):
    form_class = LoginForm
    template = "portal/login.html"

    def enter(self, request: HttpRequest, form: Form) -> User | None:
        data = form.cleaned_data
        user = authenticate(request, username=data["email"], password=data["password"])
        if isinstance(user, User):
            return user
        # One text for an unknown address, a wrong password and a closed account.
        form.add_error(None, f"{InvalidCredentials.message}.")
        return None


class SignupView(_Entry):
    form_class = SignupForm
    template = "portal/signup.html"

    def enter(self, request: HttpRequest, form: Form) -> User | None:
        data = form.cleaned_data
        try:
            return user_register(email=data["email"], password=data["password"], name=data["name"])
        except ValidationFailed as refusal:
            faults = refusal.details if isinstance(refusal.details, dict) else {}
            for name, texts in faults.items():
                form.add_error(name if name in form.fields else None, texts)
            if not faults:
                form.add_error(None, refusal.message)
            return None


@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    logout(request)
    return SeeOther("/")
