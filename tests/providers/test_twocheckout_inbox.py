"""2Checkout's deliveries at the door: the panel's check, the receipt, a duplicate, a forgery."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from providers.twocheckout.signature import prove
from tests.emulators.twocheckout import messages
from tests.providers.twocheckout_support import CONFIG, SECRET_KEY, fields_of, form, ipn
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


def test_address_answers_the_panels_check(client: Client) -> None:
    assert client.get(PATH).status_code == 200
    assert client.head(PATH).status_code == 200


def test_delivery_is_stored_once_and_each_time_answered_by_its_receipt(client: Client) -> None:
    raw = ipn()

    for _ in range(2):
        answer = client.post(PATH, raw, content_type=FORM)
        assert answer.status_code == 200
        assert messages.receipt_is_right(fields_of(raw), SECRET_KEY, answer.content.decode())
    [stored] = InboundEvent.objects.filter(provider="2checkout")
    assert (stored.event_id, bytes(stored.body)) == ("2co:ipn:254498854202", raw)


def test_forgery_gets_no_receipt(client: Client) -> None:
    answer = client.post(PATH, form(fields_of(ipn(REFNO="1"))[:-2], "another"), content_type=FORM)

    assert answer.status_code == 401
    assert b"<sig" not in answer.content
    assert not InboundEvent.objects.filter(provider="2checkout").exclude(status="rejected").exists()


def test_what_is_not_understood_is_kept_and_receipted(client: Client) -> None:
    raw = form([("HELLO", "world")])
    assert prove(raw, secrets=[SECRET_KEY], allow_md5=False, max_bytes=1000).secret == SECRET_KEY

    answer = client.post(PATH, raw, content_type=FORM)

    assert answer.status_code == 200 and answer.content.startswith(b"<sig ")
    assert InboundEvent.objects.get(provider="2checkout").event_id.startswith("malformed:")
