"""API keys: `cpk_<prefix>_<secret>`, for programs that cannot renew a token.

The secret is 32 random bytes. What is kept is its BLAKE2b-256: a hash that is meant to be slow,
or salted, protects secrets that people can think of; 2^256 values are beyond guessing however
fast each guess is, and a slow hash would let strangers buy our time with wrong keys. The prefix
is no secret: lists and logs show it, so that a leaked key can be told from the others.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from clawpurse.modules.kit.web.grants import Grant, NotAuthentic
from clawpurse.modules.kit.web.scopes import Scopes

START: Final = "cpk_"
PREFIX_CHARS: Final = 10
_KEY: Final = re.compile(r"cpk_([a-z2-7]{10})_([A-Za-z0-9_-]{43})")
_PERSON: Final = b"clawpurse-apikey"
# Compared with when a prefix is unknown, so that both ways take the same steps.
_NOTHING: Final = bytes(32)


class KeyRecord(NamedTuple):
    """What is kept of a key: `digest` of the whole key, never the key."""

    prefix: str
    name: str
    digest: bytes
    scopes: Scopes
    expires_ms: int


class KeyBook(Protocol):
    """Where records of keys are."""

    def api_key(self, prefix: str) -> KeyRecord | None:
        """Return the record of a key that was not revoked, or None."""


def new_key() -> tuple[str, str, bytes]:
    """Return a new key, its prefix, and its digest."""
    prefix = base64.b32encode(secrets.token_bytes(7))[:PREFIX_CHARS].decode().lower()
    secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    key = f"{START}{prefix}_{secret}"
    return key, prefix, digest_of(key)


def digest_of(key: str) -> bytes:
    """What is kept of a key."""
    return hashlib.blake2b(key.encode(), digest_size=32, person=_PERSON).digest()


class ApiKeys:
    """Recognises keys of a book; `now_ms` is the clock that ends them."""

    def __init__(self, book: KeyBook, now_ms: Callable[[], int]) -> None:
        self._book = book
        self._now_ms = now_ms

    def recognise(self, presented: str) -> Grant | None:
        """See `grants.Authenticator`. Digests are compared in constant time."""
        if not presented.startswith(START):
            return None
        match = _KEY.fullmatch(presented)
        if match is None:
            raise NotAuthentic("key-malformed", "this is no API key")
        prefix = match.group(1)
        record = self._book.api_key(prefix)
        known = _NOTHING if record is None else record.digest
        same = hmac.compare_digest(known, digest_of(presented))
        if record is None or not same:
            raise NotAuthentic("bad-key", "the API key is unknown or was revoked")
        if self._now_ms() >= record.expires_ms:
            raise NotAuthentic("key-expired", "the API key has expired")
        return Grant(
            START + prefix,
            record.name,
            record.scopes,
            record.expires_ms,
            lambda: self._holds(record),
        )

    def _holds(self, record: KeyRecord) -> bool:
        """Whether the book still has the very key that was shown."""
        return self._now_ms() < record.expires_ms and self._book.api_key(record.prefix) == record
