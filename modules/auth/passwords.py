"""Passwords after NIST SP 800-63B-4 §3.1.1: length and a blocklist, no rules of composition.

At least 15 characters where nothing else is asked for, 8 beside a second factor, 256 at most, of
any script, normalised by NFKC so that another keyboard writes the same. Compared with the 30,000
most common ones and with what people would try because of whose it is; the guesses that it stands
are counted by zxcvbn (Wheeler, USENIX Security 2016), kindly. No password ends by age.

Hashed with Argon2id (RFC 9106) in threads, a few at a time: the loop goes on meanwhile.
"""

from __future__ import annotations

import base64
import re
import secrets
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import trio
from nacl import pwhash
from nacl.exceptions import InvalidkeyError

from clawpurse.ledger.errors import Malformed, StorageFault
from clawpurse.modules.kit.web.errors import rate_limited

CHARS_MIN_ALONE: Final = 15
CHARS_MIN: Final = 8
CHARS_MAX: Final = 256
"""Four times what must be accepted; beyond it is a file picked by mistake."""

BYTES_MAX: Final = 1_024
GUESSES_MIN_ALONE: Final = 10**8
GUESSES_MIN: Final = 10**6
"""Beside a second factor, and throttled: more than a stranger can try in years."""

_CHARS_COUNTED_MAX: Final = 72
_WORD_CHARS_MIN: Final = 4
HASHES_WAITING_MAX: Final = 64
"""At 22 a second the last one waits three seconds; further ones are told to come again."""

_PHC: Final = re.compile(rb"\$argon2id\$v=19\$m=([0-9]{1,8}),t=([0-9]{1,4}),p=1\$")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one hash takes: memory in KiB, and how often it is gone through."""

    memory_kib: int = 19_456
    passes: int = 2


def password_bytes(password: str) -> bytes:
    """Return what is hashed. Raises `Malformed` for what no keyboard types; never quotes it."""
    try:
        data = unicodedata.normalize("NFKC", password).encode()
    except UnicodeEncodeError:
        raise Malformed("password", "is not valid Unicode") from None
    if len(data) > BYTES_MAX:
        raise Malformed("password", f"is longer than {BYTES_MAX} bytes")
    return data


def is_long_enough_alone(password: str) -> bool:
    """Whether it may be the only factor."""
    return len(password_bytes(password).decode()) >= CHARS_MIN_ALONE


def check_new(password: str, known: Sequence[str], *, alone: bool) -> None:
    """Raise `Malformed` unless it may be set. `known`: the user's and the service's names.

    Takes some milliseconds, the first time a quarter of a second: call it in a thread.
    """
    text = password_bytes(password).decode()
    least = CHARS_MIN_ALONE if alone else CHARS_MIN
    if not least <= len(text) <= CHARS_MAX:
        raise Malformed(
            "password", f"has {len(text)} characters; {least} to {CHARS_MAX} are possible"
        )
    # Thirty thousand words are read when it is imported; who only signs in needs none.
    from zxcvbn import zxcvbn
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    folded = text.casefold()
    if folded in FREQUENCY_LISTS["passwords"]:
        raise Malformed("password", "is among those that everybody tries first")
    words = [one.casefold() for name in known for one in (name, *re.split(r"\W+", name)) if one]
    rest = folded
    for word in sorted(words, key=len, reverse=True):
        if len(word) >= _WORD_CHARS_MIN:
            rest = rest.replace(word, "")
    if len(rest) < min(CHARS_MIN, len(text)):
        raise Malformed("password", "is made of your name or the service's")
    guesses = int(zxcvbn(text[:_CHARS_COUNTED_MAX], user_inputs=words)["guesses"])
    if guesses < (GUESSES_MIN_ALONE if alone else GUESSES_MIN):
        raise Malformed(
            "password",
            "is easy to guess; four or five words that have nothing to do with each other "
            "are better",
        )


class Hasher:
    """Hashes passwords in threads, `parallel` at a time (each takes `cost.memory_kib`)."""

    def __init__(self, cost: Cost | None = None, parallel: int = 1) -> None:
        self.cost = cost or Cost()
        self._limiter = trio.CapacityLimiter(parallel)
        self._waiting = 0
        # Verified for names that are unknown: the same work, and it never matches.
        self._decoy = _decoy(self.cost)
        self.done = 0
        """How many were computed, for metrics and tests."""

    def set_cost(self, cost: Cost) -> None:
        """Hash at this cost from now on; older hashes are renewed when they are next used."""
        self.cost, self._decoy = cost, _decoy(cost)

    async def hashed(self, password: bytes) -> bytes:
        """Return the PHC string of a password. Raises `RpcError` (rateLimited) when too many wait.

        A caller that is cancelled learns of it when the hash is done.
        """
        return await self._run(lambda: _hashed(password, self.cost))

    async def matches(self, stored: bytes | None, password: bytes) -> bool:
        """Whether a password is the one that was hashed; None takes the same time and never is."""
        known = self._decoy if stored is None else stored
        same = await self._run(lambda: _matches(known, password))
        return same and stored is not None

    async def checked(self, password: str, known: Sequence[str], *, alone: bool) -> bytes:
        """Return the hash of a new password, if it may be set. Raises `Malformed` and as above."""

        def run() -> bytes:
            check_new(password, known, alone=alone)
            return _hashed(password_bytes(password), self.cost)

        return await self._run(run)

    def is_outdated(self, stored: bytes) -> bool:
        """Whether a hash was made at a lower cost than today's."""
        found = _PHC.match(stored)
        if found is None:
            return True
        return int(found[1]) < self.cost.memory_kib or int(found[2]) < self.cost.passes

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= HASHES_WAITING_MAX:
            raise rate_limited(1.0)
        self._waiting += 1
        try:
            return await trio.to_thread.run_sync(
                work, limiter=self._limiter, abandon_on_cancel=False
            )
        finally:
            self._waiting -= 1
            self.done += 1


def _hashed(password: bytes, cost: Cost) -> bytes:
    return pwhash.argon2id.str(password, opslimit=cost.passes, memlimit=cost.memory_kib * 1024)


def _matches(stored: bytes, password: bytes) -> bool:
    if _PHC.match(stored) is None:
        raise StorageFault("A password's hash is none.", "The database was changed.", "")
    try:
        return pwhash.argon2id.verify(stored, password)
    except InvalidkeyError:
        return False


def _decoy(cost: Cost) -> bytes:
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32)
    )
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.passes},p=1${salt}${digest}".encode()
