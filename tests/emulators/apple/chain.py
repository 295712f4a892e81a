"""The App Store's signature: a chain of three certificates with Apple's purposes, JWS in both directions.

Source: providers.md 3.2 (the OIDs and extensions), RFC 7515 and 7518 (ES256 is r and s, 32 bytes each).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

LEAF_OID = "1.2.840.113635.100.6.11.1"
INTERMEDIATE_OID = "1.2.840.113635.100.6.2.1"
_NULL = b"\x05\x00"


class Chain:
    """Root, intermediate and leaf, made anew. Another one's signatures are foreign to whoever trusts this root."""

    def __init__(
        self, *, leaf_oid: str = LEAF_OID, intermediate_oid: str = INTERMEDIATE_OID, ocsp_url: str | None = None
    ) -> None:
        """`ocsp_url` is where the certificates say that their revocation can be asked for."""
        root_key, middle_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self._key = ec.generate_private_key(ec.SECP256R1())
        root = _certificate("Emulated Root CA", root_key, None, root_key, depth=None)
        middle = _certificate(
            "Emulated WWDR", middle_key, root, root_key, depth=0, oid=intermediate_oid, ocsp_url=ocsp_url
        )
        leaf = _certificate("Emulated Store", self._key, middle, middle_key, depth=-1, oid=leaf_oid, ocsp_url=ocsp_url)
        #: Who signed what, for an OCSP responder: serial number -> (certificate, issuer, the issuer's key).
        self.issued = {
            middle.serial_number: (middle, root, root_key),
            leaf.serial_number: (leaf, middle, middle_key),
        }
        self.certificates = [each.public_bytes(serialization.Encoding.DER) for each in (leaf, middle, root)]

    @property
    def root_der(self) -> bytes:
        return self.certificates[2]

    @property
    def root_base64(self) -> str:
        return base64.b64encode(self.root_der).decode()

    def sign(self, payload: Mapping[str, Any] | bytes, **header: Any) -> str:
        """`payload` as JSON, or these very bytes."""
        x5c = [base64.b64encode(der).decode() for der in self.certificates]
        return jws({"alg": "ES256", "x5c": x5c, **header}, payload, self._key)


def jws(header: Mapping[str, Any], payload: Mapping[str, Any] | bytes, key: ec.EllipticCurvePrivateKey) -> str:
    parts = (
        part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode()
        for part in (header, payload)
    )
    signed = ".".join(map(_b64, parts))
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def open_jws(token: str, key: ec.EllipticCurvePublicKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and payload of a JWS by `key`. Raises ValueError."""
    signed, _, signature = token.rpartition(".")
    head, _, body = signed.partition(".")
    raw = _unb64(signature)
    if len(raw) != 64:
        raise ValueError("the signature is not ES256")
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    try:
        key.verify(der, signed.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise ValueError("the signature is wrong") from error
    return json.loads(_unb64(head)), json.loads(_unb64(body))


def payload_of(token: str) -> dict[str, Any]:
    """What a JWS says, unproven."""
    return json.loads(_unb64(token.split(".")[1]))


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    depth: int | None,
    oid: str | None = None,
    ocsp_url: str | None = None,
) -> x509.Certificate:
    """`depth` -1 is a leaf. Long-lived: the emulator's clock may run decades ahead."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    is_ca = depth != -1
    began = datetime.now(UTC) - timedelta(days=3650)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=18_250))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=depth if is_ca else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not is_ca,
                key_cert_sign=is_ca,
                crl_sign=is_ca,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if oid is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), _NULL), critical=False)
    if ocsp_url is not None:
        where = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp_url))
        builder = builder.add_extension(x509.AuthorityInformationAccess([where]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
