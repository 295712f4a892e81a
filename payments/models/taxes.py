"""Tax rates by country. What an invoice was taxed with stands on its own lines."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models

from payflow.core.models import Timestamped


class TaxRate(Timestamped):
    """One rate of a country: added to the price, or contained in it. A new rate is a new row; the old one is switched off."""

    country = models.CharField(
        max_length=2, validators=[RegexValidator(r"^[A-Z]{2}$")], help_text="ISO 3166-1 alpha-2, the buyer's"
    )
    name = models.CharField(max_length=50, help_text="as it stands on the invoice: VAT, GST")
    percent = models.DecimalField(max_digits=7, decimal_places=4)
    inclusive = models.BooleanField(default=False, help_text="the price contains it; otherwise it is added")
    is_active = models.BooleanField(default=True)

    class Meta:
        db_table = "tax_rates"
        ordering = ["country", "-is_active", "-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["country"], condition=models.Q(is_active=True), name="uniq_tax_rates_country"
            ),
            models.CheckConstraint(
                condition=models.Q(percent__gte=0, percent__lte=100), name="tax_rates_percent_in_range"
            ),
            models.CheckConstraint(condition=models.Q(country__regex=r"^[A-Z]{2}$"), name="tax_rates_country_code"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.percent.normalize():f} % ({self.country})"
