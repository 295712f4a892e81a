"""2Checkout's wire: how it signs, the forms of IPN and LCN, their read receipts, the API's header and the buy link's token.

Written from 2Checkout's documents, apart from the adapter: a mistake of one is not the other's truth.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote_plus

MAX_BODY = 64 * 1024
ALGORITHMS = {"sha3-256": hashlib.sha3_256, "sha256": hashlib.sha256, "md5": hashlib.md5}
#: The signatures of a delivery, in the order in which they end it.
SIGNATURES = (("HASH", "md5"), ("SIGNATURE_SHA2_256", "sha256"), ("SIGNATURE_SHA3_256", "sha3-256"))
RECEIPT = re.compile(r'<sig algo="([a-z0-9-]+)" date="(\d{14})">([0-9a-f]+)</sig>')
OLD_RECEIPT = re.compile(r"<EPAYMENT>(\d{14})\|([0-9a-f]{32})</EPAYMENT>")
#: What the signature of a buy link covers; the rest may be changed by whoever has the link.
SIGNED_PARAMETERS = frozenset(
    "return-url return-type expiration order-ext-ref item-ext-ref customer-ref customer-ext-ref lock currency prod price"
    " qty tangible type opt description recurrence duration renewal-price".split()
)

Fields = Sequence[tuple[str, str]]


class Refusal(Exception):
    """An answer that is an error; `code` is 2Checkout's error_code."""

    def __init__(self, status: int, code: str, message: str = "refused") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def source(values: Sequence[str]) -> str:
    """Each value with its length in bytes before it."""
    return "".join(f"{len(value.encode())}{value}" for value in values)


def mac(algorithm: str, secret: str, text: str) -> str:
    return hmac.new(secret.encode(), text.encode(), ALGORITHMS[algorithm]).hexdigest()


def signed_form(fields: Fields, secret: str, algorithms: Sequence[str] = ("md5", "sha256", "sha3-256")) -> bytes:
    """The body of a delivery: its fields, then the signatures over their values."""
    text = source([value for _, value in fields])
    signatures = [(name, mac(algorithm, secret, text)) for name, algorithm in SIGNATURES if algorithm in algorithms]
    return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in [*fields, *signatures]).encode()


def receipt_is_right(fields: Fields, secret: str, answer: str) -> bool:
    """Is this the read receipt of the delivery of these fields?"""
    first: dict[str, str] = {}
    for name, value in fields:
        first.setdefault(name.removesuffix("[]"), value)
    if "LICENSE_CODE" in first:
        values = [first["LICENSE_CODE"], first["EXPIRATION_DATE"]]
    else:
        values = [first["IPN_PID"], first["IPN_PNAME"], first["IPN_DATE"]]
    if found := RECEIPT.search(answer):
        algorithm, date, given = found.groups()
    elif found := OLD_RECEIPT.search(answer):
        algorithm, (date, given) = "md5", found.groups()
    else:
        return False
    return algorithm in ALGORITHMS and hmac.compare_digest(mac(algorithm, secret, source([*values, date])), given)


def header_fields(header: str) -> dict[str, str]:
    """code, date, hash and algo of an X-Avangate-Authentication header."""
    return dict(re.findall(r'(code|date|hash|algo)="([^"]*)"', header))


def header_is_right(header: str, merchant: str, secret: str) -> bool:
    given = header_fields(header)
    algorithm, date = given.get("algo", "md5"), given.get("date", "")
    if given.get("code") != merchant or algorithm not in ALGORITHMS or not date:
        return False
    return hmac.compare_digest(mac(algorithm, secret, source([merchant, date])), given.get("hash", ""))


def token_claims(token: str, secret: str) -> dict[str, Any]:
    """The claims of a JWT that was signed with HS512. Raises Refusal(401)."""
    parts = token.split(".")
    if len(parts) != 3:
        raise Refusal(401, "AUTHENTICATION_ERROR")
    head, body, given = parts
    expected = hmac.new(secret.encode(), f"{head}.{body}".encode(), hashlib.sha512).digest()
    if not hmac.compare_digest(expected, _unpadded(given)) or json.loads(_unpadded(head)).get("alg") != "HS512":
        raise Refusal(401, "AUTHENTICATION_ERROR")
    return json.loads(_unpadded(body))


def link_signature(parameters: Mapping[str, str], secret: str) -> str:
    """What the signature service answers: over the parameters that need one, in the order of their names."""
    signed = [str(parameters[name]) for name in sorted(parameters) if name in SIGNED_PARAMETERS]
    return mac("sha256", secret, source(signed))


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises Refusal(400)."""
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "INVALID_JSON") from error
    if not isinstance(value, dict):
        raise Refusal(400, "INVALID_JSON")
    return value


def _unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
