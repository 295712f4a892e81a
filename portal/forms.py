"""What people type into the pages. Shape only: the services decide."""

from __future__ import annotations

from collections.abc import Sequence

from django import forms

from accounts.serializers import MAX_PASSWORD
from payflow.core.countries import countries


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


class OrderForm(forms.Form):
    """What an order may say beside its plan. The first provider is chosen already, and the country that we know."""

    country = forms.ChoiceField(label="Country", required=False, help_text="Decides which tax is added.")
    coupon = forms.CharField(
        label="Coupon", max_length=50, required=False, widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    provider = forms.ChoiceField(label="Pay with", required=False, widget=forms.RadioSelect)

    def __init__(self, data: object = None, *, choices: Sequence[tuple[str, str]], country: str) -> None:
        self._default = {"provider": choices[0][0] if choices else "", "country": country}
        super().__init__(data, initial=self._default)  # type: ignore[arg-type]
        self.fields["provider"].choices = list(choices)  # type: ignore[attr-defined]
        # Who has said where he lives lives somewhere.
        unknown = [] if country else [("", "Please choose")]
        self.fields["country"].choices = [*unknown, *countries().items()]  # type: ignore[attr-defined]

    def chosen(self, name: str) -> str:
        """What counts of a field: what was typed, if it makes sense, else what the page began with."""
        typed: str = getattr(self, "cleaned_data", {}).get(name, "")
        return typed or self._default.get(name, "")
