"""What people type into the pages. Shape only: the services decide."""

from __future__ import annotations

from collections.abc import Sequence

from django import forms

from accounts.serializers import MAX_PASSWORD


class LoginForm(forms.Form):
    email = forms.EmailField(
        label="E-mail", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "username"})
    )
    password = forms.CharField(
        max_length=MAX_PASSWORD, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )


class SignupForm(forms.Form):
    name = forms.CharField(
        label="Name", max_length=150, required=False, widget=forms.TextInput(attrs={"autocomplete": "name"})
    )
    email = forms.EmailField(label="E-mail", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "email"}))
    password = forms.CharField(
        max_length=MAX_PASSWORD,
        strip=False,
        help_text="At least 8 characters, and not one that everybody uses.",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class ProviderForm(forms.Form):
    """Through whom to pay. The first is chosen already."""

    provider = forms.ChoiceField(label="Pay with", widget=forms.RadioSelect)

    def __init__(self, data: object = None, *, choices: Sequence[tuple[str, str]]) -> None:
        super().__init__(data, initial={"provider": choices[0][0] if choices else None})  # type: ignore[arg-type]
        self.fields["provider"].choices = list(choices)  # type: ignore[attr-defined]
