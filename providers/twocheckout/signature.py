"""2Checkout's proofs: the form of a delivery, what is signed of it, the receipt that it wants, and its own API's header.

Every value is signed with its length in bytes before it, the names are not: a delivery proves that 2Checkout sent these
values in this order, not which is which. Nobody believes it before the API was asked (`confirm_events`).
Source: providers.md 2.1 and 2.2.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import unquote_to_bytes

from providers.base import SignatureError

Algorithm = Literal["sha3_256", "sha256", "md5"]
#: The API's name of an algorithm, and ours.
API_ALGORITHMS: Mapping[str, Algorithm] = {"sha3-256": "sha3_256", "sha256": "sha256"}


@dataclass(frozen=True, slots=True)
class _Scheme:
    """A signature that a delivery may carry: the field, the algorithm, and its name in a receipt."""

    field: bytes
    algorithm: Algorithm
    label: str


#: The strongest first; what is there must be right, a weaker one does not make good for it.
_SCHEMES = (
    _Scheme(b"SIGNATURE_SHA3_256", "sha3_256", "sha3-256"),
    _Scheme(b"SIGNATURE_SHA2_256", "sha256", "sha256"),
    _Scheme(b"HASH", "md5", "md5"),
)
_SIGNATURES = frozenset(scheme.field for scheme in _SCHEMES)
_ITEM = re.compile(rb"(.+)\[\d*\]", re.DOTALL)
_SLASHED = re.compile(rb"\\(.?)", re.DOTALL)

#: A delivery's fields in the order in which their names first came; those named `X[]` are lists, blank items and all.
Form = dict[bytes, bytes | list[bytes]]


@dataclass(frozen=True, slots=True)
class Proof:
    """Who signed a delivery, and how: the receipt is signed the same way."""

    form: Form = field(repr=False)
    scheme: _Scheme
    secret: str = field(repr=False)


def read_form(raw_body: bytes) -> Form:
    """A form as PHP reads it, in bytes: a later value replaces an earlier one, `X[]` collects. Anything can be read."""
    form: Form = {}
    for pair in raw_body.split(b"&"):
        if not pair:
            continue
        name, _, value = pair.partition(b"=")
        name, value = (unquote_to_bytes(part.replace(b"+", b" ")) for part in (name, value))
        item = _ITEM.fullmatch(name)
        if item is None:
            form[name] = value
            continue
        known = form.get(item[1])
        if isinstance(known, list):
            known.append(value)
        else:
            form[item[1]] = [value]
    return form


def signed_source(values: Iterable[bytes]) -> bytes:
    """Each value after its length in bytes; an empty one is a 0."""
    return b"".join(b"%d%b" % (len(value), value) for value in values)


def sign(algorithm: Algorithm, secret: str, source: bytes) -> str:
    return hmac.new(secret.encode(), source, getattr(hashlib, algorithm)).hexdigest()


def delivery_source(form: Form) -> bytes:
    """What a delivery's signature is made over: every value but the signatures, in the order received."""
    return signed_source(_values(form))


def prove(raw_body: bytes, *, secrets: Sequence[str], allow_md5: bool, max_bytes: int) -> Proof:
    """Raises SignatureError unless one of `secrets` signed these values in this order."""
    if len(raw_body) > max_bytes:
        raise SignatureError("the delivery is too large")
    form = read_form(raw_body)
    for scheme in _SCHEMES:
        given = form.get(scheme.field)
        if not given or (scheme.algorithm == "md5" and not allow_md5):
            continue
        if isinstance(given, list):
            break
        for source in _sources(form):
            for secret in secrets:
                expected = sign(scheme.algorithm, secret, source).encode()
                if secret and hmac.compare_digest(expected, given.strip().lower()):
                    return Proof(form, scheme, secret)
        raise SignatureError("the delivery's signature is wrong")
    raise SignatureError("the delivery is not signed")


def receipt(proof: Proof, now: datetime) -> bytes:
    """The signed answer without which a delivery counts as lost. `now` is named in it, so that each is fresh."""
    date = f"{now.astimezone(UTC):%Y%m%d%H%M%S}"
    names = (b"LICENSE_CODE", b"EXPIRATION_DATE") if b"LICENSE_CODE" in proof.form else IPN_RECEIPT_FIELDS
    values = [*(_first(proof.form, name) for name in names), date.encode()]
    signed = sign(proof.scheme.algorithm, proof.secret, signed_source(values))
    if proof.scheme.algorithm == "md5":
        return f"<EPAYMENT>{date}|{signed}</EPAYMENT>".encode()
    return f'<sig algo="{proof.scheme.label}" date="{date}">{signed}</sig>'.encode()


IPN_RECEIPT_FIELDS = (b"IPN_PID", b"IPN_PNAME", b"IPN_DATE")


def api_header(*, merchant_code: str, secret_key: str, algorithm: str, now: datetime) -> str:
    """The value of X-Avangate-Authentication. `now` is real time: 2Checkout refuses an old one."""
    date = f"{now.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    signed = sign(API_ALGORITHMS[algorithm], secret_key, signed_source([merchant_code.encode(), date.encode()]))
    return f'code="{merchant_code}" date="{date}" hash="{signed}" algo="{algorithm}"'


def _sources(form: Form) -> Iterator[bytes]:
    """What may have been signed. 2Checkout's own SDK signs values without their backslashes."""
    source = delivery_source(form)
    yield source
    if b"\\" in source:
        yield signed_source(_SLASHED.sub(rb"\1", value) for value in _values(form))


def _values(form: Form) -> Iterator[bytes]:
    for name, value in form.items():
        if name not in _SIGNATURES:
            yield from value if isinstance(value, list) else (value,)


def _first(form: Form, name: bytes) -> bytes:
    value = form.get(name, b"")
    return (value[0] if value else b"") if isinstance(value, list) else value
