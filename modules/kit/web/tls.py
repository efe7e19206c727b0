"""TLS for listeners: TLS 1.2 and newer, certificates renewed without dropping anybody.

A new certificate serves new connections; those that are open go on under the old one. A file
that does not fit (half copied, key of another certificate) changes nothing and is logged: the
old certificate is better than none. Clients' certificates are checked against a file of CAs.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import trio
from cryptography import x509

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.web.grants import Certificate

CIPHERS_1_2: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2 only what has forward secrecy and authenticated encryption; 1.3 has no other."""

LOOK_S: Final = 2.0
"""How often the files are looked at: a stat of each."""

FILE_BYTES_MAX: Final = 1 << 20
log = logging.getLogger("clawpurse.web")


class TlsFiles:
    """Certificate and key files, and the context made from them.

    `client_ca`: with it clients are asked for a certificate of one of these CAs; whether they
    must show one is `guard.Access`'s to say. Raises `OperatorError` when the files do not fit
    at the beginning.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        client_ca: Path | None = None,
    ) -> None:
        self.certificate: Final = certificate
        self.key: Final = key
        self._client_ca = client_ca
        self._seen = self._look()
        self.context = self._load()
        self.expires_ms = expiry_ms(certificate)
        """When the certificate in use ends."""

    def refresh(self) -> bool:
        """Take changed files over; True when that happened. Never raises."""
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            context, expires_ms = self._load(), expiry_ms(self.certificate)
        except OperatorError as error:
            log.error("the new certificate is not used", extra={"problem": str(error)})
            return False
        self.context, self.expires_ms = context, expires_ms
        log.info("serving with a new certificate", extra={"file": str(self.certificate)})
        return True

    async def run(self) -> None:
        """Look for changed files until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            self.refresh()

    def _look(self) -> tuple[Any, ...]:
        paths = (self.certificate, self.key, self._client_ca)
        return tuple(_mark(path) for path in paths if path is not None)

    def _load(self) -> ssl.SSLContext:
        if self.key.exists() and self.key.stat().st_mode & 0o077:
            raise OperatorError(
                f"{self.key} can be read by others.", "It is a secret.", f"chmod 600 {self.key}"
            )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS_1_2)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self._client_ca is not None:
                context.load_verify_locations(self._client_ca)
                context.verify_mode = ssl.CERT_OPTIONAL
        except (OSError, ssl.SSLError) as error:
            raise OperatorError(
                f"{self.certificate} and {self.key} cannot be used for TLS: {error}.",
                "",
                "clawpurse doctor",
            ) from None
        return context


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def expiry_ms(path: Path) -> int:
    """When the first certificate of a PEM file ends, Unix milliseconds. Raises `OperatorError`."""
    try:
        with open(path, "rb") as file:
            found = x509.load_pem_x509_certificate(file.read(FILE_BYTES_MAX))
    except (OSError, ValueError) as error:
        raise OperatorError(f"{path} is no certificate: {error}.", "", "clawpurse doctor") from None
    return int(found.not_valid_after_utc.replace(tzinfo=datetime.UTC).timestamp() * 1000)


class TlsListener(trio.abc.Listener[trio.abc.Stream]):
    """A listener whose connections speak TLS; the handshake is left to who serves them."""

    def __init__(self, listener: trio.abc.Listener[Any], files: TlsFiles) -> None:
        self._listener = listener
        self._files = files

    async def accept(self) -> trio.abc.Stream:
        """Accept a connection under the certificate of this moment."""
        stream = await self._listener.accept()
        return trio.SSLStream(stream, self._files.context, server_side=True, https_compatible=True)

    async def aclose(self) -> None:
        """Close the listener beneath."""
        await self._listener.aclose()


def secured(
    listeners: Sequence[trio.abc.Listener[Any]], files: TlsFiles | None
) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
    """The same listeners, speaking TLS if there are files for it."""
    return listeners if files is None else [TlsListener(one, files) for one in listeners]


def client_certificate(stream: trio.SSLStream[Any]) -> Certificate | None:
    """The certificate that a client showed and TLS verified, after the handshake."""
    binary = stream.getpeercert(binary_form=True)
    if not binary:
        return None
    details = stream.getpeercert() or {}
    names = [
        f"cn:{value}"
        for part in details.get("subject", ())
        for name, value in part
        if name == "commonName"
    ]
    names += [f"dns:{value}" for kind, value in details.get("subjectAltName", ()) if kind == "DNS"]
    return Certificate("sha256:" + hashlib.sha256(binary).hexdigest(), tuple(names))
