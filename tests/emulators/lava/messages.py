"""The document's messages: JSON in its own digits, the request to create, the signed webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

MAX_BODY = 64 * 1024
CREATE_FIELDS = ("sum", "order_id", "hook_url", "success_url", "fail_url", "expire", "custom_fields")


class Number(str):
    """A JSON number in its own digits: 6.90 stays 6.90."""

    __slots__ = ()


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def dump(value: Any) -> str:
    """Compact JSON; a Number is written as it is."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{json.dumps(str(k), ensure_ascii=False)}:{dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object, its numbers as Number. Raises Refusal(400)."""
    try:
        value = json.loads(body.decode(), parse_float=Number, parse_int=Number)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "the body is not JSON") from error
    if not isinstance(value, dict):
        raise Refusal(400, "the body is not an object")
    return value


def webhook_body(
    *, invoice_id: str, order_id: str, status: str, pay_time: str, amount: str, custom_fields: Mapping[str, Any]
) -> bytes:
    """The document's webhook, its fields in the document's order. A Number is sent as a number, a str as a string."""
    return dump(
        {
            "invoice_id": invoice_id,
            "order_id": order_id,
            "status": status,
            "pay_time": pay_time,
            "amount": amount,
            "custom_fields": custom_fields,
        }
    ).encode()


def signature(secret_key: str, body: bytes) -> str:
    return hmac.new(secret_key.encode(), body, hashlib.sha256).hexdigest()


def validate_create(request: Mapping[str, Any]) -> None:
    """Raises Refusal(400) for a request to create that is not the document's."""
    if unknown := sorted(set(request) - set(CREATE_FIELDS)):
        raise Refusal(400, f"unknown field {unknown[0]}")
    if missing := [name for name in CREATE_FIELDS if name not in request]:
        raise Refusal(400, f"{missing[0]} is required")
    if not isinstance(request["sum"], Number) or not float(request["sum"]) > 0:
        raise Refusal(400, "sum is a positive number")
    if not isinstance(request["expire"], Number) or not request["expire"].isdigit() or int(request["expire"]) < 1:
        raise Refusal(400, "expire is a positive whole number")
    if not _is_string(request["order_id"]) or not 0 < len(request["order_id"]) <= 255:
        raise Refusal(400, "order_id is a string")
    for name in ("hook_url", "success_url", "fail_url"):
        if not _is_string(request[name]) or urlsplit(request[name]).scheme not in ("http", "https"):
            raise Refusal(400, f"{name} is an http(s) URL")
    if not isinstance(request["custom_fields"], dict):
        raise Refusal(400, "custom_fields is an object")


def _is_string(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)
