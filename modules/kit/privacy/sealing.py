"""Seals what is about a person with a key of that person, and commits to it without telling it.

A person's data key is made once and stored wrapped by the installation's master key. Whoever
destroys the wrapped key has erased everything that was sealed with it, in backups too, once the
master key that wrapped it is renewed. On the chain and in histories stands only a commitment:
HMAC-SHA256 under a random key of its own (RFC 2104), so that nobody can try likely values.
AES-256-GCM (NIST SP 800-38D) binds each value to where it belongs: moved bytes do not open.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from clawpurse.ledger.errors import Bug, NotFound, StorageFault

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
SEAL_VERSION: Final = b"\x01"
SEALED_BYTES_MIN: Final = len(SEAL_VERSION) + NONCE_BYTES + TAG_BYTES

SEALS_PER_KEY_MAX: Final = 2**32
"""Random nonces of 96 bits: beyond that two may be the same (SP 800-38D, 8.3). No person has a
billionth of it; the bound is why the master key wraps keys and never data."""

KEYS_KEPT_MAX: Final = 1_024
"""Unwrapped keys in memory: who is worked on now."""

_COMMITMENT: Final = b"clawpurse/commitment/v1"


class Sealed(NotFound):
    """The person was erased: the bytes are there, nobody can read them."""


class MasterKey:
    """The key that wraps every person's. It is shown by nothing, and compares with nothing."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        """Raises `ValueError` for anything but 32 bytes."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"a master key is {KEY_BYTES} bytes")
        self._cipher = AESGCM(key)

    def wrap(self, subject: str, key: bytes) -> bytes:
        """Seal a person's key."""
        return _seal(self._cipher, key, _joined("key", subject))

    def unwrap(self, subject: str, wrapped: bytes) -> bytes:
        """Open a person's key. Raises `StorageFault` when this is not the key that wrapped it."""
        try:
            return _open(self._cipher, wrapped, _joined("key", subject))
        except InvalidTag:
            raise StorageFault(
                "A person's key does not open.",
                "The master key is another one, or the database was changed.",
                "use the key that sealed it, or a backup of the database",
            ) from None


def new_key() -> bytes:
    """A random key."""
    return secrets.token_bytes(KEY_BYTES)


class SubjectCipher:
    """Seals and opens the values of one person. `place`: where a value belongs, in words."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, value: bytes, place: Sequence[str]) -> bytes:
        return _seal(self._cipher, value, _joined("value", *place))

    def open(self, sealed: bytes, place: Sequence[str]) -> bytes:
        """Raises `StorageFault` when the bytes were changed, or belong elsewhere."""
        try:
            return _open(self._cipher, sealed, _joined("value", *place))
        except InvalidTag:
            raise StorageFault(
                f"A sealed value of {'/'.join(place)} does not open.",
                "The database was changed, or it was moved there from elsewhere.",
                "restore the database from a backup",
            ) from None


class KeyRing:
    """Unwrapped keys of the persons who were worked on last; forgets the others.

    It is used by the writer's thread and by readers' at once.
    """

    def __init__(self, master: MasterKey) -> None:
        self._master = master
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[bytes, SubjectCipher]] = OrderedDict()
        # A reader on an older snapshot must not bring back what was let go of.
        self._gone: OrderedDict[str, None] = OrderedDict()

    def made(self, subject: str) -> tuple[bytes, SubjectCipher]:
        """A new person's wrapped key, and the cipher of it."""
        key = new_key()
        wrapped = self._master.wrap(subject, key)
        return wrapped, self._keep(subject, wrapped, key)

    def cipher(self, subject: str, wrapped: bytes | None) -> SubjectCipher:
        """The cipher of a person whose wrapped key is stored as `wrapped`.

        Raises `Sealed` when that is None: the person was erased.
        """
        if wrapped is None:
            self.forget(subject)
            raise Sealed("what was known of this person")
        with self._lock:
            held = self._kept.get(subject)
            if held is not None and held[0] == wrapped:
                self._kept.move_to_end(subject)
                return held[1]
        return self._keep(subject, wrapped, self._master.unwrap(subject, wrapped))

    def forget(self, subject: str) -> None:
        """Let go of a person's key, and keep it no more."""
        with self._lock:
            self._kept.pop(subject, None)
            self._gone[subject] = None
            self._gone.move_to_end(subject)
            while len(self._gone) > KEYS_KEPT_MAX:
                self._gone.popitem(last=False)

    def holds(self, subject: str) -> bool:
        """Whether a person's key is in memory now."""
        with self._lock:
            return subject in self._kept

    def _keep(self, subject: str, wrapped: bytes, key: bytes) -> SubjectCipher:
        cipher = SubjectCipher(key)
        with self._lock:
            if subject not in self._gone:
                self._kept[subject] = wrapped, cipher
                self._kept.move_to_end(subject)
            while len(self._kept) > KEYS_KEPT_MAX:
                self._kept.popitem(last=False)
        return cipher


def commit(key: bytes, subject: str, topic: str, value: bytes) -> bytes:
    """A commitment of 32 bytes to `value` of `subject` under `topic`.

    `key` is random, of exactly 32 bytes, and used for no other value. Subject and topic are in
    the message, so that one person's commitment is never shown as another's.
    """
    if len(key) != KEY_BYTES:
        raise Bug(f"a commitment key of {len(key)} bytes")
    return hmac.digest(key, _joined(_COMMITMENT.decode(), subject, topic) + value, "sha256")


def opens(commitment: bytes, key: bytes, subject: str, topic: str, value: bytes) -> bool:
    """Whether a commitment is to that value; takes the same time for every wrong one."""
    return hmac.compare_digest(commitment, commit(key, subject, topic, value))


def _joined(*parts: str) -> bytes:
    """Parts with their lengths: no two lists of parts have the same bytes."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def _seal(cipher: AESGCM, value: bytes, place: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return SEAL_VERSION + nonce + cipher.encrypt(nonce, value, SEAL_VERSION + place)


def _open(cipher: AESGCM, sealed: bytes, place: bytes) -> bytes:
    if len(sealed) < SEALED_BYTES_MIN or sealed[:1] != SEAL_VERSION:
        raise InvalidTag
    nonce = sealed[1 : 1 + NONCE_BYTES]
    return cipher.decrypt(nonce, sealed[1 + NONCE_BYTES :], SEAL_VERSION + place)
