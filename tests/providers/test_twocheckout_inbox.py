"""2Checkout's deliveries at the door: the panel's check, the receipt, a duplicate, a forgery."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from providers.twocheckout.signature import prove
from tests.providers.twocheckout_support import CONFIG, SECRET_KEY, form
from webhooks.models import InboundEvent

PATH = "/webhooks/2checkout"
FORM = "application/x-www-form-urlencoded"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def configured(settings: Any) -> None:
    settings.PAYFLOW_PROVIDERS = {
        **settings.PAYFLOW_PROVIDERS,
        "2checkout": {**CONFIG, "base_url": "http://127.0.0.1:9"},
    }


def test_what_is_not_understood_is_kept_and_receipted(client: Client) -> None:
    raw = form([("HELLO", "world")])
    assert prove(raw, secrets=[SECRET_KEY], allow_md5=False, max_bytes=1000).secret == SECRET_KEY

    answer = client.post(PATH, raw, content_type=FORM)

    assert answer.status_code == 200 and answer.content.startswith(b"<sig ")
    assert InboundEvent.objects.get(provider="2checkout").event_id.startswith("malformed:")
