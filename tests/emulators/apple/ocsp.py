"""The server that is asked whether a certificate of the chain was revoked, on loopback."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ReasonFlags, ocsp

from tests.emulators.apple.chain import Chain


class Responder:
    """`word`: good | revoked | busy (tryLater) | error (500). `asked` counts the questions."""

    def __init__(self) -> None:
        self.word = "good"
        self.asked = 0
        responder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                responder.asked += 1
                answer = responder.answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(500 if responder.word == "error" else 200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self.chain = Chain(ocsp_url=self.url)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def answer(self, question: bytes) -> bytes:
        """Signed by the issuer of the certificate that is asked about."""
        if self.word == "busy":
            busy = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
            return busy.public_bytes(serialization.Encoding.DER)
        serial = ocsp.load_der_ocsp_request(question).serial_number
        certificate, issuer, key = self.chain.issued[serial]
        now, revoked = datetime.now(UTC), self.word == "revoked"
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=certificate,
            issuer=issuer,
            algorithm=hashes.SHA256(),
            cert_status=ocsp.OCSPCertStatus.REVOKED if revoked else ocsp.OCSPCertStatus.GOOD,
            this_update=now - timedelta(minutes=1),
            next_update=now + timedelta(hours=1),
            revocation_time=now - timedelta(days=1) if revoked else None,
            revocation_reason=ReasonFlags.key_compromise if revoked else None,
        )
        response = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer).sign(key, hashes.SHA256())
        return response.public_bytes(serialization.Encoding.DER)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
