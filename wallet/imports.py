"""Keys as other software keeps them: bare seeds, PKCS#8, and the file of the ClawPurse 2.0 wallet.

A seed of 32 bytes comes as raw bytes, hex, base64, or PKCS#8 (RFC 8410) in DER or PEM. What
could be read in two ways is refused. The older ClawPurse wallet seals its words by AES-256-GCM
under scrypt; they serve here, as another account: its chain derives secp256k1 keys from them,
this one Ed25519. Nothing here touches a disk.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from enum import Enum
from typing import Final, NoReturn

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import Malformed
from clawpurse.wallet.counting import counted
from clawpurse.wallet.passphrase import BYTES_MAX as PASSPHRASE_BYTES_MAX

# Every form of one key is below 4 KiB; a larger file is another one.
FILE_BYTES_MAX: Final = 16_384
_PAIR_BYTES: Final = 2 * crypto.KEY_BYTES
_PEM_BEGIN: Final = "-----BEGIN "
_PEM_TITLE: Final = "PRIVATE KEY"
_PEM_LINE_CHARS: Final = 64
_DER_SEQUENCE: Final = 0x30
# RFC 8410 §7: version 0, the algorithm id-Ed25519, an octet string within an octet string.
_PKCS8_HEAD: Final = bytes.fromhex("302e020100300506032b657004220420")

# The older wallet writes no parameters; its code has these.
_SCRYPT_N: Final = 2**14
_SCRYPT_R: Final = 8
_SCRYPT_P: Final = 1
_SCRYPT_MEMORY_BYTES_MAX: Final = 64 * 2**20
_CIPHER_KEY_BYTES: Final = 32
_SALT_BYTES: Final = 32
_IV_BYTES: Final = 16
_TAG_BYTES: Final = 16
# Twenty-four words of eight letters, with much room.
_SEALED_BYTES_MAX: Final = 1_024
_MEMBERS: Final = frozenset(["version", "address", "encryptedMnemonic", "salt", "iv", "createdAt"])


class Kind(Enum):
    """What a file with a key is."""

    KEY_FILE = "a key file of ours"
    CLAWPURSE_2 = "a keystore of the ClawPurse 2.0 wallet"
    SEED = "a bare secret"


def kind_of(data: bytes) -> Kind:
    """Tell what a file is, without judging whether it is whole. Raises `Malformed` if too large."""
    if len(data) > FILE_BYTES_MAX:
        raise Malformed("key file", f"is larger than {FILE_BYTES_MAX} bytes")
    if len(data) in (crypto.KEY_BYTES, _PAIR_BYTES) or not data.lstrip().startswith(b"{"):
        return Kind.SEED
    return Kind.CLAWPURSE_2 if b'"encryptedMnemonic"' in data else Kind.KEY_FILE


def read_seed(data: bytes) -> bytes:
    """Return the 32-byte Ed25519 seed that `data` holds in any of the forms above.

    Also from 64 bytes of seed and public key (libsodium), if they belong together. Raises
    `Malformed` saying what is wrong, never quoting it.
    """
    if len(data) > FILE_BYTES_MAX:
        raise Malformed("key file", f"is larger than {FILE_BYTES_MAX} bytes")
    text = _ascii(data)
    if text is None:
        return _of_der(data) if data[:1] == bytes([_DER_SEQUENCE]) and len(data) > 40 else _of(data)
    if text.startswith(_PEM_BEGIN):
        return _of_pem(text)
    digits = text.removeprefix("0x")
    if len(digits) in (2 * crypto.KEY_BYTES, 2 * _PAIR_BYTES) and _is_hex(digits):
        return _of(bytes.fromhex(digits))
    octets = _base64(text)
    if octets is None or len(octets) not in (crypto.KEY_BYTES, _PAIR_BYTES):
        raise Malformed("seed", "is text, but not 32 bytes in hex, base64 or PEM")
    return _of(octets)


def pkcs8_pem(seed: bytes) -> str:
    """Return a seed as PKCS#8 in PEM, which `openssl pkey` and most libraries read."""
    body = base64.b64encode(_PKCS8_HEAD + seed).decode()
    return f"{_PEM_BEGIN}{_PEM_TITLE}-----\n{body}\n-----END {_PEM_TITLE}-----\n"


def read_clawpurse_2(data: bytes, passphrase: str) -> str | None:
    """Return the words of a ClawPurse 2.0 keystore, None when the passphrase is wrong.

    Takes a tenth of a second, once the form is right. Raises `Malformed` naming the field.
    """
    document = _document(data)
    codec.version(document["version"], "version", (1,))
    salt = _octets(document["salt"], "salt", _SALT_BYTES, _SALT_BYTES)
    iv = _octets(document["iv"], "iv", _IV_BYTES, _IV_BYTES)
    text = codec.ascii_text(
        document["encryptedMnemonic"], "encryptedMnemonic", 2 * _SEALED_BYTES_MAX + 33
    )
    body_text, colon, tag_text = text.partition(":")
    if not colon:
        raise Malformed("encryptedMnemonic", "has no tag")
    body = _octets(body_text, "encryptedMnemonic", 1, _SEALED_BYTES_MAX)
    tag = _octets(tag_text, "encryptedMnemonic", _TAG_BYTES, _TAG_BYTES)
    # Not normalised: the older wallet hashes what was typed.
    try:
        typed = passphrase.encode()
    except UnicodeEncodeError:
        raise Malformed("passphrase", "is not valid Unicode") from None
    if len(typed) > PASSPHRASE_BYTES_MAX:
        raise Malformed("passphrase", f"is longer than {PASSPHRASE_BYTES_MAX} bytes")
    key = hashlib.scrypt(
        typed,
        salt=salt,
        n=_SCRYPT_N,
        r=_SCRYPT_R,
        p=_SCRYPT_P,
        maxmem=_SCRYPT_MEMORY_BYTES_MAX,
        dklen=_CIPHER_KEY_BYTES,
    )
    # Forty milliseconds to import; only who imports such a file pays them.
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        plain = AESGCM(key).decrypt(iv, body + tag, None)
    except InvalidTag:
        return None
    try:
        return plain.decode()
    except UnicodeDecodeError:
        raise Malformed("encryptedMnemonic", "does not hold text") from None


def _of(octets: bytes) -> bytes:
    if len(octets) == _PAIR_BYTES:
        seed, public_key = octets[: crypto.KEY_BYTES], octets[crypto.KEY_BYTES :]
        if crypto.public_key_of(seed) != public_key:
            raise Malformed("seed", "is 64 bytes whose second half is not its public key")
        return seed
    if len(octets) != crypto.KEY_BYTES:
        raise Malformed("seed", f"is {len(octets)} bytes, {crypto.KEY_BYTES} are required")
    return octets


def _ascii(data: bytes) -> str | None:
    """Return printable ASCII text without its white space, None for anything else.

    Thirty-two random bytes are never all printable; text of that length is a mistake.
    """
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        return None
    text = text.strip()
    return text if all(c.isprintable() or c in "\r\n" for c in text) else None


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdefABCDEF" for c in text)


def _base64(text: str) -> bytes | None:
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        octets = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    # One text for one key: no bits that do not count.
    return octets if base64.b64encode(octets).decode().rstrip("=") == plain else None


def _of_pem(text: str) -> bytes:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    title = lines[0].removeprefix(_PEM_BEGIN).removesuffix("-----")
    if title == f"ENCRYPTED {_PEM_TITLE}":
        raise Malformed("key file", "is encrypted PEM; `openssl pkey -in FILE` opens it")
    if title != _PEM_TITLE:
        raise Malformed("key file", f"is PEM, but not a {_PEM_TITLE}")
    if len(lines) < 3 or lines[-1] != f"-----END {_PEM_TITLE}-----":
        raise Malformed("key file", "is PEM without its end")
    if any(len(line) > _PEM_LINE_CHARS for line in lines[1:-1]):
        raise Malformed("key file", "is PEM with lines that are too long")
    octets = _base64("".join(lines[1:-1]))
    if octets is None:
        raise Malformed("key file", "is PEM, but not base64")
    return _of_der(octets)


def _of_der(octets: bytes) -> bytes:
    """Return the seed of PKCS#8: RFC 8410 §7, version 0 or 1, attributes and public key allowed."""
    body, rest = _tlv(octets, _DER_SEQUENCE)
    if rest:
        raise Malformed("key file", "is PKCS#8 with something behind it")
    version, body = _tlv(body, 0x02)
    algorithm, body = _tlv(body, _DER_SEQUENCE)
    if version not in (b"\x00", b"\x01"):
        raise Malformed("key file", "is PKCS#8 of an unknown version")
    if algorithm != bytes.fromhex("06032b6570"):
        raise Malformed("key file", "is PKCS#8, but not of an Ed25519 key")
    outer, body = _tlv(body, 0x04)
    seed, rest = _tlv(outer, 0x04)
    if rest or len(seed) != crypto.KEY_BYTES:
        raise Malformed("key file", "is PKCS#8 whose key is not 32 bytes")
    if body[:1] == b"\xa0":
        _, body = _tlv(body, 0xA0)
    if version == b"\x01" and body[:1] == b"\x81":
        public_key, body = _tlv(body, 0x81)
        if public_key != b"\x00" + crypto.public_key_of(seed):
            raise Malformed("key file", "is PKCS#8 whose public key is another one's")
    if body:
        raise Malformed("key file", "is PKCS#8 with something behind its key")
    return seed


def _tlv(octets: bytes, tag: int) -> tuple[bytes, bytes]:
    """Return the content of the DER element `tag` at the start, and what follows it."""
    if len(octets) < 2 or octets[0] != tag:
        raise Malformed("key file", "is not PKCS#8")
    size, start = octets[1], 2
    if size == 0x81 and len(octets) > 2 and octets[2] >= 0x80:
        size, start = octets[2], 3
    elif size >= 0x80:
        # Nothing in one key is longer than 255 bytes, and DER has one form for a length.
        raise Malformed("key file", "is PKCS#8 with an impossible length")
    if len(octets) < start + size:
        raise Malformed("key file", "is PKCS#8 that was cut off")
    return octets[start : start + size], octets[start + size :]


def _document(data: bytes) -> dict[str, object]:
    if len(data) > FILE_BYTES_MAX:
        raise Malformed("keystore", f"is larger than {FILE_BYTES_MAX} bytes")
    try:
        document = json.loads(data.decode(), object_pairs_hook=_unique, parse_float=_no_float)
    except (ValueError, RecursionError):
        raise Malformed("keystore", "is not JSON") from None
    if type(document) is not dict or document.keys() != _MEMBERS:
        raise Malformed("keystore", f"does not have the members {', '.join(sorted(_MEMBERS))}")
    return document


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("keystore", "has a member twice")
    return members


def _no_float(text: str) -> NoReturn:
    raise Malformed("keystore", "has a number that is not an integer")


def _octets(value: object, field: str, size_min: int, size_max: int) -> bytes:
    text = codec.ascii_text(value, field, 2 * size_max)
    if len(text) % 2 or not _is_hex(text):
        raise Malformed(field, "is not hex digits")
    if not size_min <= len(text) // 2 <= size_max:
        raise Malformed(
            field, f"is {counted(len(text) // 2, 'byte')}, {size_min}…{size_max} are allowed"
        )
    return bytes.fromhex(text)
