"""TLS: new certificates reach new connections only, and a wrong CA gets nowhere."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.web.grants import Certificate, Grant
from clawpurse.modules.kit.web.guard import Access
from clawpurse.modules.kit.web.messages import Peer
from clawpurse.modules.kit.web.scopes import read_scopes
from clawpurse.modules.kit.web.tls import TlsFiles, expiry_ms

CALL = {"jsonrpc": "2.0", "id": 1, "method": "test_whoami"}
STRANGER = Peer("203.0.113.9:5", "203.0.113.9")


def make_certificate(folder: Path, name: str, days: int = 30) -> tuple[Path, Path]:
    """A self-signed certificate and its key (0600), as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / f"{name}.pem", folder / f"{name}.key"
    certificate_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate_file, key_file


def trusting(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(path)
    return context


async def secured_client(web: Any, files: TlsFiles, context: ssl.SSLContext, name: str) -> Any:
    """A client over TLS in memory; its handshake is done with its first bytes."""

    def pair() -> Any:
        ours, theirs = trio.testing.memory_stream_pair()
        return (
            trio.SSLStream(ours, context, server_hostname=name, https_compatible=True),
            trio.SSLStream(theirs, files.context, server_side=True, https_compatible=True),
        )

    return web.connect(STRANGER, pair)


async def test_a_renewed_certificate_drops_nobody(make_web: Any, tmp_path: Path) -> None:
    first = make_certificate(tmp_path, "one.example")
    second = make_certificate(tmp_path, "two.example", days=60)
    files = TlsFiles(*first)
    web = make_web()
    old = await secured_client(web, files, trusting(first[0]), "one.example")
    trust_second = trusting(second[0])
    assert (await old.rpc(CALL))[0] == 200
    assert not files.refresh()
    first[0].write_bytes(second[0].read_bytes())
    assert not files.refresh(), "the key of the old one does not fit: the old one stays"
    again = await secured_client(web, files, trust_second, "two.example")
    with pytest.raises(trio.BrokenResourceError):
        await again.rpc(CALL)
    first[1].write_bytes(second[1].read_bytes())
    assert files.refresh()
    assert files.expires_ms == expiry_ms(second[0])
    new = await secured_client(web, files, trust_second, "two.example")
    assert (await new.rpc(CALL))[0] == 200
    assert (await old.rpc(CALL))[0] == 200


async def test_clients_are_known_by_their_certificates(make_web: Any, tmp_path: Path) -> None:
    server, shop, evil = (make_certificate(tmp_path, name) for name in ("srv", "shop", "evil"))
    seen: list[Certificate] = []

    class Judge:
        def of_certificate(self, certificate: Certificate) -> Grant | None:
            seen.append(certificate)
            return Grant("cert-1", "shop", read_scopes(["test_*"]))

    files = TlsFiles(*server, shop[0])
    web = make_web(access=Access(certificates=Judge(), closed=True, certificate_needed=True))
    context = trusting(server[0])
    context.load_cert_chain(*shop)
    good = await secured_client(web, files, context, "srv")
    assert (await good.rpc(CALL))[1]["result"] == ["token:cert-1", "test_*"]
    assert seen[0].names == ("cn:shop", "dns:shop")
    assert seen[0].fingerprint.startswith("sha256:")
    nobody = await secured_client(web, files, trusting(server[0]), "srv")
    assert (await nobody.rpc(CALL))[0] == 401
    wrong = trusting(server[0])
    wrong.load_cert_chain(*evil)
    with pytest.raises((trio.BrokenResourceError, AssertionError)):
        await (await secured_client(web, files, wrong, "srv")).rpc(CALL)
    assert web.log.counts["tls"] == 1
    assert len(seen) == 1


async def test_old_versions_and_plain_text_get_nowhere(make_web: Any, tmp_path: Path) -> None:
    server = make_certificate(tmp_path, "srv")
    files, web = TlsFiles(*server), make_web()
    old = trusting(server[0])
    # Else this client's own library would not even ask.
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(trio.BrokenResourceError):
        await (await secured_client(web, files, old, "srv")).rpc(CALL)
    ours, theirs = trio.testing.memory_stream_pair()
    secured = trio.SSLStream(theirs, files.context, server_side=True, https_compatible=True)
    plain = web.connect(STRANGER, lambda: (ours, secured))
    await plain.send(b"GET /healthz HTTP/1.1\r\nHost: srv\r\n\r\n")
    assert b"200 OK" not in await plain.receive_to_end()
    assert web.log.counts["tls"] == 2


async def test_a_silent_handshake_ends(make_web: Any, tmp_path: Path, autojump_clock: Any) -> None:
    files, web = TlsFiles(*make_certificate(tmp_path, "srv")), make_web()
    ours, theirs = trio.testing.memory_stream_pair()
    secured = trio.SSLStream(theirs, files.context, server_side=True, https_compatible=True)
    silent = web.connect(STRANGER, lambda: (ours, secured))
    assert await silent.receive_to_end() == b""
    assert web.log.counts["timeout-tls"] == 1


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "srv")
    key.chmod(0o640)
    with pytest.raises(OperatorError, match="chmod 600"):
        TlsFiles(certificate, key)
    key.chmod(0o600)
    with pytest.raises(OperatorError):
        TlsFiles(certificate, make_certificate(tmp_path, "other")[1])
    with pytest.raises(OperatorError):
        TlsFiles(tmp_path / "missing.pem", key)
