"""Stripe's bytes: forms with brackets in, JSON and signatures out, errors as Stripe words them."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

Json = dict[str, Any]

_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)\Z")
_PART = re.compile(r"\[([^\[\]]*)\]")


class Refusal(Exception):
    """An answer that is an error; `fields` are those of Stripe's error object."""

    def __init__(self, status: int, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.fields = {"type": "invalid_request_error", "message": message, **fields}


def missing(kind: str, id_: object, status: int = 404, param: str = "id") -> Refusal:
    return Refusal(status, f"No such {kind}: '{id_}'", code="resource_missing", param=param)


def read_form(text: str) -> Json:
    """`a[b][0][c]=v` as nested objects and lists; values stay texts. Raises Refusal(400)."""
    root: Json = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        match = _KEY.match(name)
        if match is None:
            raise Refusal(400, f"Invalid parameter name: {name}")
        path = [match[1], *_PART.findall(match[2])]
        at: Json = root
        for part, following in pairwise(path):
            at = at.setdefault(part or str(len(at)), {})
            if not isinstance(at, dict):
                raise Refusal(400, f"Invalid parameter: {name} before {following}")
        at[path[-1] or str(len(at))] = value
    return {name: _listed(value) for name, value in root.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {name: _listed(item) for name, item in value.items()}
    if inner and list(inner) == [str(n) for n in range(len(inner))]:
        return list(inner.values())
    return inner


def dump(value: Any) -> bytes:
    """Stripe's JSON is indented. What begins with an underscore is the emulator's own."""
    return json.dumps(_shown(value), indent=2, ensure_ascii=True).encode()


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shown(item) for name, item in value.items() if not name.startswith("_")}
    return [_shown(item) for item in value] if isinstance(value, list) else value


def signature(secret: str, timestamp: int, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def header_of(secrets: list[str], timestamp: int, body: bytes) -> str:
    """Stripe-Signature: one v1 for each secret in force, and a v0 that nobody may trust."""
    signed = [f"v1={signature(secret, timestamp, body)}" for secret in secrets]
    return ",".join([f"t={timestamp}", *signed, f"v0={'0' * 64}"])


def whole(value: Any, name: str, *, least: int = 1) -> int:
    if not isinstance(value, str) or not value.lstrip("-").isdigit() or int(value) < least:
        raise Refusal(400, f"Invalid integer: {name}", param=name)
    return int(value)


def flag(value: Any) -> bool:
    if value not in ("true", "false"):
        raise Refusal(400, "Invalid boolean")
    return value == "true"


def refuse_unknown(params: Json, *known: str) -> None:
    for name in params:
        if name not in (*known, "expand"):
            raise Refusal(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
