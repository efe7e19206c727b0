"""The format of a key file: what is in it, how it is sealed, what we refuse to read.

A JSON object with a plain header (name, account, public key, derivation path, Argon2id cost and
salt) and one sealed box. The passphrase goes through Argon2id (RFC 9106, libsodium, one lane)
to the key of XChaCha20-Poly1305, whose associated data is the whole header in canonical bytes:
nobody swaps an account, a name or a path without the passphrase. An unkeyed checksum over all
of it tells damage from a wrong passphrase. Nothing here touches a disk.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, NoReturn

import nacl.bindings
import nacl.exceptions

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.wallet import mnemonic
from clawpurse.wallet.counting import counted
from clawpurse.wallet.keys import SigningKey, derive, parse_path
from clawpurse.wallet.names import check_name
from clawpurse.wallet.passphrase import passphrase_bytes

FORMAT: Final = "clawpurse-key"
FILE_VERSION: Final = 1
# A file we write is under 1 KiB.
FILE_BYTES_MAX: Final = 16_384
SALT_BYTES: Final = 16
NONCE_BYTES: Final = 24
_KDF_NAME: Final = "argon2id13"
_CIPHER_NAME: Final = "xchacha20poly1305"
_SEALED_BYTES_MAX: Final = 256
_SEALED_VERSION: Final = 1
_TAG_BYTES: Final = 16

# What we accept when reading: a hostile file must not ask for 64 GiB or an hour. 1 GiB and 16
# passes are above every published recommendation; their product is held to 4 GiB of writing,
# about ten seconds. Below 8 MiB a file is not one of ours and protects nothing.
MEMORY_BYTES_MIN: Final = 8 * 2**20
MEMORY_BYTES_MAX: Final = 2**30
PASSES_MAX: Final = 16
_WORK_BYTES_MAX: Final = 4 * 2**30


class KdfCost(NamedTuple):
    """What one guess of a passphrase costs: Argon2id passes over so many bytes."""

    passes: int
    memory_bytes: int

    @property
    def work_bytes(self) -> int:
        """How much memory one guess writes, in bytes."""
        return self.passes * self.memory_bytes


# RFC 9106 §4 (second choice) asks 64 MiB and 3 passes with four lanes; libsodium has one lane,
# so twice the memory. Measured: a quarter of a second on one core.
KDF_DEFAULT: Final = KdfCost(3, 128 * 2**20)


def renewed_cost(cost: KdfCost, today: KdfCost) -> KdfCost | None:
    """Return what a file of `cost` is to cost from now on, or None if it is strong enough.

    Neither the memory of a guess nor its work may be below today's, and neither ever falls.
    """
    if cost.memory_bytes >= today.memory_bytes and cost.work_bytes >= today.work_bytes:
        return None
    memory_bytes = max(cost.memory_bytes, today.memory_bytes)
    if today.passes * memory_bytes >= cost.work_bytes:
        return KdfCost(today.passes, memory_bytes)
    return KdfCost(cost.passes, memory_bytes)


@dataclass(frozen=True)
class KeyRecord:
    """One key file, decoded and checked for form; still sealed.

    `path` is None for a key that was imported as a bare seed and so has no words. `account`
    differs from `public_key` once the account's key was changed.
    """

    name: str
    account: bytes
    public_key: bytes
    path: str | None
    cost: KdfCost
    salt: bytes
    nonce: bytes
    sealed: bytes = b""

    @property
    def header(self) -> bytes:
        """The canonical bytes that the seal covers besides the secret."""
        return codec.pack(
            [
                FORMAT,
                FILE_VERSION,
                self.name,
                self.account,
                self.public_key,
                self.path,
                _KDF_NAME,
                self.cost.passes,
                self.cost.memory_bytes,
                self.salt,
                _CIPHER_NAME,
                self.nonce,
            ]
        )

    @property
    def checksum(self) -> bytes:
        """Tells a damaged file from a wrong passphrase; protects against nobody."""
        return crypto.message_hash_of(codec.pack([self.header, self.sealed]))


class Secret(NamedTuple):
    """What a key file seals: entropy with the language of its words, or a bare 32-byte seed."""

    language: str | None
    data: bytes

    def __repr__(self) -> str:
        return "Secret()"


class UnlockedKey:
    """An opened key: signs, and shows its words or seed only when asked by name."""

    __slots__ = ("name", "path", "secret", "signer")

    def __init__(self, name: str, path: str | None, signer: SigningKey, secret: Secret) -> None:
        self.name = name
        self.path = path
        self.signer = signer
        self.secret = secret

    @property
    def account(self) -> bytes:
        """The 32-byte account id that this key signs for."""
        return self.signer.account

    @property
    def language(self) -> str | None:
        """The language of the words, None for a key without words."""
        return self.secret.language

    def reveal_words(self) -> list[str] | None:
        """Return the words, for a person who asked for them; None for a key without words."""
        if self.secret.language is None:
            return None
        return mnemonic.words_of(self.secret.data, self.secret.language)

    def __repr__(self) -> str:
        return f"UnlockedKey({self.name!r}, {account_text(self.account)})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an unlocked key is never pickled or copied")


def signing_key_of(secret: Secret, path: str | None, account: bytes | None) -> SigningKey:
    """Return the key that a secret stands for: derived at `path`, or the seed itself."""
    if secret.language is None or path is None:
        return SigningKey(secret.data, account)
    words = mnemonic.words_of(secret.data, secret.language)
    return SigningKey(derive(mnemonic.seed_of(words), path).key, account)


def seal(blank: KeyRecord, secret: Secret, passphrase: str) -> KeyRecord:
    """Return `blank` with its secret sealed under `passphrase`. Takes the time of one guess."""
    key = _stretch(passphrase, blank)
    plain = codec.pack([_SEALED_VERSION, secret.language, secret.data])
    sealed = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        plain, blank.header, blank.nonce, key
    )
    return replace(blank, sealed=bytes(sealed))


def unseal(record: KeyRecord, passphrase: str) -> UnlockedKey | None:
    """Open a record; None when the passphrase is wrong. Takes the time of one guess.

    Raises `Malformed` when the seal opens but what is inside does not belong to the header.
    """
    key = _stretch(passphrase, record)
    try:
        plain = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            record.sealed, record.header, record.nonce, key
        )
    except nacl.exceptions.CryptoError:
        return None
    wire = codec.array(codec.unpack(plain, size_max=_SEALED_BYTES_MAX, field="seal"), "seal", 3)
    codec.version(wire[0], "seal.version", (_SEALED_VERSION,))
    language = None if wire[1] is None else codec.ascii_text(wire[1], "seal.language", 32)
    secret = Secret(language, codec.binary(wire[2], "seal.secret", 32, 16))
    if (language is None) != (record.path is None):
        raise Malformed("seal.language", "does not fit the path")
    signer = signing_key_of(secret, record.path, record.account)
    if signer.public_key != record.public_key:
        raise Malformed("seal.secret", "is not the secret of this public key")
    return UnlockedKey(record.name, record.path, signer, secret)


def _stretch(passphrase: str, record: KeyRecord) -> bytes:
    try:
        return bytes(
            nacl.bindings.crypto_pwhash_alg(
                nacl.bindings.crypto_aead_xchacha20poly1305_ietf_KEYBYTES,
                passphrase_bytes(passphrase),
                record.salt,
                record.cost.passes,
                record.cost.memory_bytes,
                nacl.bindings.crypto_pwhash_ALG_ARGON2ID13,
            )
        )
    except (nacl.exceptions.RuntimeError, MemoryError) as err:
        mib = record.cost.memory_bytes >> 20
        raise OperatorError(
            f"Not enough memory to open {record.name}:", f"it takes {mib} MiB.", "free some memory"
        ) from err


def encode(record: KeyRecord) -> bytes:
    """Return the bytes of the key file: readable JSON, one object."""
    document = {
        "format": FORMAT,
        "version": FILE_VERSION,
        "name": record.name,
        "account": account_text(record.account),
        "publicKey": _hex(record.public_key),
        "path": record.path,
        "kdf": {
            "algorithm": _KDF_NAME,
            "passes": record.cost.passes,
            "memoryBytes": record.cost.memory_bytes,
            "salt": _hex(record.salt),
        },
        "cipher": {
            "algorithm": _CIPHER_NAME,
            "nonce": _hex(record.nonce),
            "sealed": _hex(record.sealed),
        },
        "checksum": _hex(record.checksum),
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def decode(data: bytes) -> KeyRecord:
    """Read a key file strictly. Raises `Malformed` naming the field; asks no one for memory."""
    top = _members(_parse(data), "key file", _TOP)
    if top["format"] != FORMAT:
        raise Malformed("format", f"is not {FORMAT}")
    codec.version(top["version"], "version", (FILE_VERSION,))
    kdf = _members(top["kdf"], "kdf", ("algorithm", "passes", "memoryBytes", "salt"))
    cipher = _members(top["cipher"], "cipher", ("algorithm", "nonce", "sealed"))
    if kdf["algorithm"] != _KDF_NAME:
        raise Malformed("kdf.algorithm", f"is not {_KDF_NAME}")
    if cipher["algorithm"] != _CIPHER_NAME:
        raise Malformed("cipher.algorithm", f"is not {_CIPHER_NAME}")
    passes = codec.integer(kdf["passes"], "kdf.passes", 1, PASSES_MAX)
    memory = codec.integer(
        kdf["memoryBytes"], "kdf.memoryBytes", MEMORY_BYTES_MIN, MEMORY_BYTES_MAX
    )
    if KdfCost(passes, memory).work_bytes > _WORK_BYTES_MAX:
        raise Malformed("kdf", f"asks for more work than {_WORK_BYTES_MAX} bytes")
    path = None if top["path"] is None else codec.ascii_text(top["path"], "path", 120)
    if path is not None:
        parse_path(path)
    record = KeyRecord(
        check_name(codec.ascii_text(top["name"], "name", 64)),
        account_from_text(codec.ascii_text(top["account"], "account", 90)),
        _octets(top["publicKey"], "publicKey", crypto.KEY_BYTES, crypto.KEY_BYTES),
        path,
        KdfCost(passes, memory),
        _octets(kdf["salt"], "kdf.salt", SALT_BYTES, SALT_BYTES),
        _octets(cipher["nonce"], "cipher.nonce", NONCE_BYTES, NONCE_BYTES),
        _octets(cipher["sealed"], "cipher.sealed", _TAG_BYTES, _SEALED_BYTES_MAX),
    )
    if _octets(top["checksum"], "checksum", 32, 32) != record.checksum:
        raise Malformed("checksum", "does not fit: the file was damaged or edited")
    return record


_TOP: Final = (
    "format",
    "version",
    "name",
    "account",
    "publicKey",
    "path",
    "kdf",
    "cipher",
    "checksum",
)


def _parse(data: bytes) -> object:
    if len(data) > FILE_BYTES_MAX:
        raise Malformed("key file", f"is larger than {FILE_BYTES_MAX} bytes")
    try:
        return json.loads(
            data.decode(),
            object_pairs_hook=_unique,
            parse_float=_no_float,
            parse_constant=_no_float,
        )
    except (ValueError, RecursionError):
        raise Malformed("key file", "is not JSON") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("key file", "has a member twice")
    return members


def _no_float(text: str) -> NoReturn:
    raise Malformed("key file", "has a number that is not an integer")


def _members(value: object, field: str, names: tuple[str, ...]) -> dict[str, object]:
    if type(value) is not dict:
        raise Malformed(field, "is not an object")
    for name in names:
        if name not in value:
            raise Malformed(f"{field}.{name}", "is missing")
    for name in value:
        if name not in names:
            raise Malformed(f"{field}.{name[:32]}", "is not known in this version")
    return value


def _octets(value: object, field: str, size_min: int, size_max: int) -> bytes:
    text = codec.ascii_text(value, field, 2 + 2 * size_max)
    if text != text.lower() or not text.startswith("0x"):
        raise Malformed(field, "is not 0x and lower-case hex digits")
    try:
        octets = bytes.fromhex(text[2:])
    except ValueError:
        raise Malformed(field, "is not 0x and lower-case hex digits") from None
    if _hex(octets) != text or not size_min <= len(octets) <= size_max:
        raise Malformed(
            field, f"is {counted(len(octets), 'byte')}, {size_min}…{size_max} are allowed"
        )
    return octets


def _hex(octets: bytes) -> str:
    return "0x" + octets.hex()
