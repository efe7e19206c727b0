"""Keys from elsewhere come in exactly as they are, and nothing that could be two things does."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Malformed
from clawpurse.wallet.imports import (
    FILE_BYTES_MAX,
    Kind,
    kind_of,
    pkcs8_pem,
    read_clawpurse_2,
    read_seed,
)
from clawpurse.wallet.mnemonic import words_of

SEED = bytes(range(200, 232))
PAIR = SEED + crypto.public_key_of(SEED)
OLDER = (Path(__file__).parent.parent / "vectors" / "clawpurse2_keystore.json").read_bytes()
OLDER_PASSPHRASE = "an older passwörd"
# RFC 8410 §10.3: the same key without and with attributes and public key.
RFC_8410 = (
    "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC",
    "MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhCoB8wHQYKKoZIhvcNAQkJFDEPDA1D"
    "dXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",
)
RFC_8410_SEED = "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842"


def pem(body: str, title: str = "PRIVATE KEY") -> bytes:
    lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    return f"-----BEGIN {title}-----\n{lines}\n-----END {title}-----\n".encode()


@pytest.mark.parametrize(
    "data",
    [
        SEED,
        SEED.hex().encode(),
        SEED.hex().upper().encode() + b"\n",
        b"0x" + SEED.hex().encode() + b"\r\n",
        base64.b64encode(SEED),
        base64.urlsafe_b64encode(SEED).rstrip(b"="),
        PAIR,
        PAIR.hex().encode(),
        base64.b64encode(PAIR),
        pkcs8_pem(SEED).encode(),
        pkcs8_pem(SEED).replace("\n", "\r\n").encode(),
        base64.b64decode(pkcs8_pem(SEED).splitlines()[1]),
    ],
)
def test_every_form_of_a_seed_is_read(data: bytes) -> None:
    assert kind_of(data) is Kind.SEED
    assert read_seed(data) == SEED


@pytest.mark.parametrize("body", RFC_8410)
def test_the_examples_of_rfc_8410_are_read(body: str) -> None:
    assert read_seed(pem(body)).hex() == RFC_8410_SEED
    assert read_seed(base64.b64decode(body)).hex() == RFC_8410_SEED


def test_what_we_write_others_read(tmp_path: Path) -> None:
    """An exported key must open in openssl and in libraries, not only here."""
    loaded = serialization.load_pem_private_key(pkcs8_pem(SEED).encode(), None)
    assert isinstance(loaded, ed25519.Ed25519PrivateKey)
    assert loaded.private_bytes_raw() == SEED
    theirs = loaded.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    assert theirs.decode() == pkcs8_pem(SEED) and read_seed(theirs) == SEED


def encrypted() -> bytes:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(SEED)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )


def of_another_curve() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not 32 bytes"),
        (bytes(range(128, 159)), "is 31 bytes"),
        (SEED + b"\n", "is 33 bytes"),
        (SEED + SEED, "second half is not its public key"),
        (b"a" * 32, "is text, but not 32 bytes"),
        (SEED.hex()[:32].encode(), "is text, but not 32 bytes"),
        (SEED.hex()[:-1].encode(), "is text, but not 32 bytes"),
        (SEED.hex().encode() + b" " + SEED.hex().encode(), "is text, but not"),
        (base64.b64encode(SEED)[:-2] + b"9=", "is text, but not"),
        (base64.b64encode(SEED) + b"AAAA", "is text, but not"),
        (b"\x00" * (FILE_BYTES_MAX + 1), "larger than"),
        (encrypted(), "is encrypted PEM"),
        (of_another_curve(), "not of an Ed25519 key"),
        (pem(RFC_8410[0], "EC PRIVATE KEY"), "not a PRIVATE KEY"),
        (pem(RFC_8410[0], "PUBLIC KEY"), "not a PRIVATE KEY"),
        (pem(RFC_8410[0])[:-10], "without its end"),
        (b"-----BEGIN PRIVATE KEY-----\n", "without its end"),
        (pem("!" * 64), "not base64"),
        (pem(base64.b64encode(b"\x30\x80" + bytes(60)).decode()), "impossible length"),
        (b"\x30\x82\xff\xff" + b"\xff" * 60, "impossible length"),
        (b"\x30\x7f" + b"\xff" * 60, "cut off"),
        (bytes.fromhex("302e020100300506032b657004220420") + SEED + b"\x00", "behind it"),
        (bytes.fromhex("302e020107300506032b657004220420") + SEED, "unknown version"),
        (bytes.fromhex("302e020100300506032b656e04220420") + SEED, "not of an Ed25519"),
    ],
)
def test_what_is_no_seed_is_refused_with_its_reason(data: bytes, why: str) -> None:
    """A key that is read wrongly is money at an address that nobody has."""
    with pytest.raises(Malformed, match=why) as caught:
        read_seed(data)
    assert SEED.hex() not in str(caught.value)


def test_a_public_key_that_belongs_to_another_key_is_noticed() -> None:
    der = bytearray(base64.b64decode(RFC_8410[1]))
    der[-1] ^= 1
    with pytest.raises(Malformed, match="another one's"):
        read_seed(bytes(der))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_seed_or_a_typed_error(data: bytes) -> None:
    try:
        assert len(read_seed(data)) == 32
    except Malformed:
        return


@given(st.data())
def test_a_changed_byte_of_pkcs8_is_refused_or_stays_in_the_key(data: st.DataObject) -> None:
    """Only the 32 bytes of the secret may differ; those carry no checksum."""
    good = base64.b64decode(RFC_8410[0])
    place = data.draw(st.integers(0, len(good) - 1))
    octet = data.draw(st.integers(0, 255).filter(lambda value: value != good[place]))
    try:
        seed = read_seed(good[:place] + bytes([octet]) + good[place + 1 :])
    except Malformed:
        return
    assert place >= 16 or seed.hex() == RFC_8410_SEED


def test_a_keystore_of_the_older_wallet_opens() -> None:
    """Made by Node.js's crypto with that wallet's parameters: its users keep their words."""
    assert kind_of(OLDER) is Kind.CLAWPURSE_2
    assert read_clawpurse_2(OLDER, OLDER_PASSPHRASE) == " ".join(words_of(bytes(range(64, 96))))
    assert read_clawpurse_2(OLDER, "another passwörd") is None


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("version", 2),
        ("version", True),
        ("version", 1.0),
        ("salt", "00" * 31),
        ("salt", "zz" * 32),
        ("salt", 7),
        ("iv", "00" * 12),
        ("iv", ""),
        ("encryptedMnemonic", "00"),
        ("encryptedMnemonic", ":" + "00" * 16),
        ("encryptedMnemonic", "00:" + "00" * 15),
        ("encryptedMnemonic", "00" * 2000 + ":" + "00" * 16),
        ("encryptedMnemonic", None),
        ("scryptN", 2**30),
        ("salt", ...),
    ],
)
def test_a_hostile_keystore_is_refused_before_any_work(member: str, value: Any) -> None:
    document = json.loads(OLDER)
    if value is ...:
        del document[member]
    else:
        document[member] = value
    with pytest.raises(Malformed):
        read_clawpurse_2(json.dumps(document).encode(), OLDER_PASSPHRASE)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"[" * 9000, b'{"version":1,"version":1}', b"x" * 20_000, b"\xff"]
)
def test_any_bytes_in_place_of_a_keystore_are_a_typed_error(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_clawpurse_2(data, "x")


def test_a_passphrase_longer_than_any_is_refused() -> None:
    for passphrase in ("x" * 1025, "\ud800"):
        with pytest.raises(Malformed, match="passphrase"):
            read_clawpurse_2(OLDER, passphrase)


def test_a_keystore_with_a_changed_byte_never_gives_other_words() -> None:
    """Eleven places through the sealed part: its tag refuses each."""
    document = json.loads(OLDER)
    sealed = document["encryptedMnemonic"]
    for place in range(0, len(sealed), len(sealed) // 10):
        if sealed[place] == ":":
            continue
        digit = "0" if sealed[place] != "0" else "1"
        changed = sealed[:place] + digit + sealed[place + 1 :]
        data = json.dumps({**document, "encryptedMnemonic": changed}).encode()
        assert read_clawpurse_2(data, OLDER_PASSPHRASE) is None
