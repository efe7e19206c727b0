"""The keys of another issuer, as a JWKS (RFC 7517): fetched, checked, kept, renewed.

A key set is asked for every five minutes, and sooner when a token names a key that is not in
it, but not more often than every ten seconds. While the issuer is unreachable its last keys go
on for a day; then its tokens are refused, and the answer says why. Nothing else depends on it.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from clawpurse.ledger.errors import ClawPurseError, Malformed
from clawpurse.modules.kit.web.grants import NotAuthentic

REFRESH_S: Final = 300.0
ASKED_REFRESH_S: Final = 10.0
KEPT_MS: Final = 24 * 3_600_000
FETCH_TIMEOUT_S: Final = 10.0
SET_BYTES_MAX: Final = 64 * 1024
KEYS_MAX: Final = 64
log = logging.getLogger("clawpurse.web")


def read_jwks(data: bytes) -> dict[str, bytes]:
    """Return the Ed25519 keys of a set by `kid`. Raises `Malformed`.

    Keys of other kinds and uses are passed over, as RFC 7517 §5 asks. A set in which a `kid`
    stands twice, or which publishes a private key, is refused whole: its owner made a mistake.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise Malformed("jwks", "is not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if len(data) > SET_BYTES_MAX or not isinstance(entries, list) or len(entries) > KEYS_MAX:
        raise Malformed("jwks", f"is not a set of at most {KEYS_MAX} keys")
    keys: dict[str, bytes] = {}
    for entry in entries:
        if not isinstance(entry, dict) or "d" in entry:
            raise Malformed("jwks", "has an entry that is no public key")
        if not _is_ours(entry):
            continue
        kid = entry["kid"]
        if kid in keys:
            raise Malformed("jwks", "has a kid twice")
        keys[kid] = _public_key(entry.get("x"))
    return keys


def _is_ours(entry: dict[str, Any]) -> bool:
    kid, operations = entry.get("kid"), entry.get("key_ops", ["verify"])
    return (
        entry.get("kty") == "OKP"
        and entry.get("crv") == "Ed25519"
        and entry.get("use", "sig") == "sig"
        and entry.get("alg", "EdDSA") in ("EdDSA", "Ed25519")
        and isinstance(operations, list)
        and "verify" in operations
        and isinstance(kid, str)
        and 0 < len(kid) <= 256
    )


def _public_key(text: object) -> bytes:
    try:
        key = base64.urlsafe_b64decode(text + "=") if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32 or base64.urlsafe_b64encode(key).rstrip(b"=").decode() != text:
        raise Malformed("jwks.x", "is not 32 bytes in base64url")
    return key


class KeySet:
    """One issuer's keys. `fetch` returns the set's bytes and raises what the log shall say."""

    def __init__(
        self, source: str, fetch: Callable[[], Awaitable[bytes]], now_ms: Callable[[], int]
    ) -> None:
        self.source: Final = source
        self._fetch = fetch
        self._now_ms = now_ms
        self._keys: dict[str, bytes] = {}
        self._fetched_ms: int | None = None
        self._asked = trio.Event()
        self.problem = ""
        """Why the last attempt failed; empty when it did not."""

    def key(self, kid: str) -> bytes | None:
        """The key with an id. Raises `NotAuthentic` when the keys are too old to be trusted."""
        if self._fetched_ms is None or self._now_ms() - self._fetched_ms > KEPT_MS:
            self._asked.set()
            raise NotAuthentic(
                "issuer-unreachable", "the issuer of this token cannot be reached by this node"
            )
        found = self._keys.get(kid)
        if found is None:
            self._asked.set()
        return found

    async def run(self) -> None:
        """Keep the keys fresh until cancelled."""
        while True:
            await self.refresh()
            self._asked = trio.Event()
            await trio.sleep(ASKED_REFRESH_S)
            with trio.move_on_after(REFRESH_S - ASKED_REFRESH_S):
                await self._asked.wait()

    async def refresh(self) -> None:
        """Fetch once; a failure is logged, and the keys that are here stay."""
        problem = f"no answer within {FETCH_TIMEOUT_S:g} s"
        with trio.move_on_after(FETCH_TIMEOUT_S):
            try:
                self._keys = read_jwks(await self._fetch())
                self._fetched_ms = self._now_ms()
                problem = ""
            except (ClawPurseError, OSError) as error:
                problem = str(error)
        if problem and problem != self.problem:
            log.warning(
                "the keys of a token issuer cannot be had; those known go on for a day",
                extra={"source": self.source, "problem": problem},
            )
        self.problem = problem
