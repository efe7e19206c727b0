"""Certificates for tests: a CA of one's own, and server certificates that it signed."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


class Ca(NamedTuple):
    """A CA: its certificate as a file, and what it signs with."""

    file: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def serve(
        self,
        folder: Path,
        name: str = "node",
        *,
        names: tuple[str, ...] = ("localhost", "127.0.0.1"),
        ends_ms: int | None = None,
    ) -> tuple[Path, Path]:
        """Write `<name>.pem` and `<name>.key` (0600) for these names; returns both paths."""
        key = ec.generate_private_key(ec.SECP256R1())
        ends = (
            None
            if ends_ms is None
            else datetime.datetime.fromtimestamp(ends_ms / 1000, datetime.UTC)
        )
        built = _builder(name, key, ends).issuer_name(self.certificate.subject)
        built = built.add_extension(
            x509.SubjectAlternativeName([_general(one) for one in names]), critical=False
        )
        built = built.add_extension(x509.BasicConstraints(False, None), critical=True)
        certificate, secret = folder / f"{name}.pem", folder / f"{name}.key"
        signed = built.sign(self.key, hashes.SHA256())
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        secret.touch(mode=0o600)
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, secret


def make_ca(folder: Path, name: str = "ca") -> Ca:
    """Make a CA, its certificate in `<name>.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    built = _builder(name, key, None).issuer_name(_name(name))
    built = built.add_extension(x509.BasicConstraints(True, None), critical=True)
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    built = built.add_extension(
        x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage),
        critical=True,
    )
    certificate = built.sign(key, hashes.SHA256())
    file = folder / f"{name}.pem"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Ca(file, certificate, key)


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, ends: datetime.datetime | None
) -> x509.CertificateBuilder:
    # Worlds of tests have clocks of their own: a certificate is good under any of them.
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(ends or datetime.datetime.now(datetime.UTC) + 30 * DAY)
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
