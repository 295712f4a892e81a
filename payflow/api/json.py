"""JSON in and out: exact numbers, one envelope.

Every answer is `{"message", "data", "error", "code", "details"}`. Money is a JSON number with its digits kept: it is
parsed to Decimal and written from Decimal, and never passes through a float.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import IO, Any, NoReturn, Protocol

import orjson
from django.conf import settings
from django.http import HttpResponse
from django.utils.functional import Promise
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.response import Response

from payflow.core.errors import STATUS, Code, PayloadTooLarge, ValidationFailed

CONTENT_TYPE = "application/json"
OK = "Operation completed successfully"
#: orjson writes no more than 254 levels, and no request of ours needs ten.
MAX_DEPTH = 64
#: Digits before or after the point: far beyond numeric(19,4), far below what `1e999999999` would unfold to.
MAX_NUMBER_DIGITS = 40
MAX_INTEGER = 2**63 - 1

_MALFORMED = "Malformed JSON"
_OUT_OF_RANGE = "A number is too large, or has too many digits"


class Readable(Protocol):
    def read(self) -> bytes: ...


class Envelope(dict[str, Any]):
    """A body that is already enveloped; the renderer writes it as it is."""


def envelope(data: Any = None, *, message: str = OK) -> Envelope:
    """The body of a success."""
    return Envelope(message=message, data=data, error=None, code=None, details=None)


def error_envelope(error: str, code: Code, details: Any = None) -> Envelope:
    """The body of a refusal."""
    return Envelope(message=None, data=None, error=error, code=code.value, details=details)


def enveloped(data: Any, *, status: int) -> Envelope:
    """`data` in the envelope that its status asks for, unless it is in one."""
    if isinstance(data, Envelope):
        return data
    if status < 400:
        return envelope(data)
    return error_envelope("The request was refused", code_for_status(status), data)


def answer(
    data: Any = None, *, message: str = OK, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A DRF response with a message of its own. A plain `Response(data)` says "OK"."""
    return Response(envelope(data, message=message), status=status, headers=dict(headers or {}))


def json_response(body: Any, *, status: int = 200) -> HttpResponse:
    """`body` as it is, for views without DRF."""
    return HttpResponse(dumps(body), status=status, content_type=CONTENT_TYPE)


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON; Decimals are numbers with their digits kept (6.90 stays 6.90), moments end in Z.

    Raises TypeError for what JSON cannot say (NaN as a Decimal, objects of other types).
    """
    return orjson.dumps(value, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)


@dataclass(frozen=True, slots=True)
class Unusable:
    """Stands where something is that JSON can say and we cannot use."""

    reason: str


def loads(body: bytes, *, items: str | None = None) -> Any:
    """The JSON in `body`, its fractions as Decimal; of a repeated name the last wins.

    Raises ValidationFailed: malformed, NaN or Infinity, a number beyond all use, nested too deep, characters that
    PostgreSQL cannot store (NUL, lone surrogates), neither object nor array at the top. In an entry of the list called
    `items` all but the first two are Unusable in the place of the entry, and raise nothing.
    """
    beyond: list[Unusable] = []

    def or_unusable(parse: Callable[[str], Any]) -> Callable[[str], Any]:
        def parsed(text: str) -> Any:
            try:
                return parse(text)
            except ValidationFailed:
                beyond.append(Unusable(_OUT_OF_RANGE))
                return beyond[-1]

        return parsed

    try:
        value = json.loads(
            body.decode(),
            parse_float=or_unusable(_fraction),
            parse_int=or_unusable(_integer),
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise ValidationFailed(_MALFORMED) from error
    if not isinstance(value, dict | list):
        raise ValidationFailed("The body is a JSON object or array")
    # All are rare, so that a usual body is not walked a second time.
    entries: list[Any] = []
    rest = value
    if isinstance(value, dict) and isinstance(value.get(items), list):
        entries, rest = value[items], {name: part for name, part in value.items() if name != items}
    # An entry opens one itself: what is left can be opened within each other.
    opened = body.count(b"[") + body.count(b"{") - sum(isinstance(entry, dict | list) for entry in entries)
    if beyond or b"\\u" in body or opened > MAX_DEPTH:
        entries[:] = [_usable(entry) for entry in entries]
        _check(rest)
    return value


def read_body(stream: Readable, *, declared: int, limit: int | None = None) -> bytes:
    """The whole body. Raises PayloadTooLarge beyond `limit` bytes (DATA_UPLOAD_MAX_MEMORY_SIZE), before it is read."""
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE if limit is None else limit
    if limit is not None and declared > limit:
        raise PayloadTooLarge
    return stream.read()


class ExactJSONParser(BaseParser):
    """`loads` for DRF."""

    media_type = CONTENT_TYPE

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        declared = (parser_context or {})["request"].META.get("CONTENT_LENGTH") or 0
        return loads(read_body(stream, declared=int(declared)))


class EnvelopeRenderer(BaseRenderer):
    """Puts every body into the envelope, unless it is in one."""

    media_type = CONTENT_TYPE
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        response = (renderer_context or {}).get("response")
        return dumps(enveloped(data, status=response.status_code if response is not None else 200))


def code_for_status(status: int) -> Code:
    """The most general code of an HTTP status: the first of the enum that has it."""
    if status >= 500:
        return Code.INTERNAL_ERROR
    return next((code for code in Code if STATUS[code] == status), Code.VALIDATION_ERROR)


def redacted(value: Any, names: Iterable[str]) -> Any:
    """`value` with the fields called `names` blanked, at any depth: what may be kept of an answer with secrets."""
    hidden = frozenset(names)
    if isinstance(value, Mapping):
        return {k: "[redacted]" if k in hidden else redacted(v, hidden) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item, hidden) for item in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise TypeError(f"{value} is not a JSON number")
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, Promise):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _fraction(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except ArithmeticError as error:
        raise ValidationFailed(_OUT_OF_RANGE) from error
    exponent = number.as_tuple().exponent
    if isinstance(exponent, str) or len(text) > 2 * MAX_NUMBER_DIGITS or abs(exponent) > MAX_NUMBER_DIGITS:
        raise ValidationFailed(_OUT_OF_RANGE)
    return number


def _integer(text: str) -> int:
    if len(text) > 20 or abs(number := int(text)) > MAX_INTEGER:
        raise ValidationFailed(_OUT_OF_RANGE)
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _usable(entry: Any) -> Any:
    try:
        _check(entry)
    except ValidationFailed as error:
        return Unusable(error.message)
    return entry


def _check(value: Any) -> None:
    """Depth, numbers and characters, without recursion."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValidationFailed("The JSON is nested too deep")
        following: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                for name in item:
                    _check_text(name)
                following.extend(item.values())
            elif isinstance(item, list):
                following.extend(item)
            elif isinstance(item, str):
                _check_text(item)
            elif isinstance(item, Unusable):
                raise ValidationFailed(item.reason)
        level = following


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValidationFailed("Text may not contain the NUL character")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValidationFailed("Text may not contain lone surrogates")
