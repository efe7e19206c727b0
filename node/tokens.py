"""The tokens of a node: `tokens.json` (0600) in its home, written by `clawpurse token`.

The file lists every token and API key that this node gave out, and those of other issuers that
it refuses. It holds no secret: of API keys their hashes. A local token that is not in it is
refused, so that a lost or older file takes rights away and never gives them back. Each change
is one durable step; a running node looks every second, so a revocation needs no restart.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import trio

from clawpurse.ledger.errors import ClawPurseError, Malformed, OperatorError, StorageFault
from clawpurse.modules.kit.web.apikeys import START, KeyRecord
from clawpurse.modules.kit.web.scopes import ALL_SCOPES, Scopes, read_scopes
from clawpurse.modules.kit.web.tokens import IDENT, NAME_CHARS_MAX, Claims
from clawpurse.wallet.durable import (
    locked,
    read_private,
    remove_unfinished,
    replace_private,
)

TOKENS_MAX: Final = 4_096
"""Entries that have not ended. At 300 bytes each the file is read in 10 ms."""

FILE_BYTES_MAX: Final = 4 << 20
KEPT_AFTER_END_MS: Final = 30 * 86_400_000
"""Ended entries stay listed for a month, for whoever wonders why something stopped."""

LIFETIME_MAX_MS: Final = 366 * 86_400_000
FOREIGN_LIFETIME_MAX_MS: Final = 86_400_000
"""Tokens of another issuer live a day at most, so that a refusal need be kept no longer."""

LOOK_S: Final = 1.0
VERSION: Final = 1
TOKEN, API_KEY, FOREIGN = "token", "api-key", "foreign"
log = logging.getLogger("clawpurse.node")


class Entry(NamedTuple):
    """One token. `digest` is of API keys only; `revoked_ms` is None while it holds."""

    ident: str
    kind: str
    name: str
    scopes: Scopes
    created_ms: int
    expires_ms: int
    revoked_ms: int | None = None
    digest: bytes = b""

    def state(self, now_ms: int) -> str:
        """Return revoked, expired or valid."""
        if self.revoked_ms is not None:
            return "revoked"
        return "valid" if now_ms < self.expires_ms else "expired"


class TokenRegister:
    """The register in one file. Reading is for the node, `add` and `revoke` for the command."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = path.with_name(path.name + ".lock")
        self._mark: tuple[int, int, int] | None = None
        self._entries: Mapping[str, Entry] = MappingProxyType({})

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What the file said when it was last read, by id."""
        return self._entries

    def load(self) -> None:
        """Read the file; none is an empty register. Raises `OperatorError` or `StorageFault`."""
        self._mark = self._look()
        try:
            data = read_private(self._path, FILE_BYTES_MAX)
        except FileNotFoundError:
            self._entries = MappingProxyType({})
            return
        if self._mark is not None and self._path.stat().st_mode & 0o077:
            raise OperatorError(
                f"{self._path} can be read by others.", "", f"chmod 600 {self._path}"
            )
        try:
            document = json.loads(data)
            if document["version"] != VERSION:
                raise Malformed("version", f"is not {VERSION}")
            entries = [_entry(item) for item in document["tokens"]]
        except (ValueError, KeyError, TypeError, AttributeError, Malformed) as error:
            raise OperatorError(
                f"{self._path} is damaged: {error}.",
                "No token in it is accepted.",
                "restore it from a backup, or remove it and create new tokens",
            ) from None
        self._entries = MappingProxyType({entry.ident: entry for entry in entries})

    def refresh(self) -> None:
        """Take a changed file over. A damaged one is logged and admits nobody; never raises."""
        try:
            if self._look() == self._mark:
                return
            self.load()
            log.info("tokens read again", extra={"tokens": len(self._entries)})
        except ClawPurseError as error:
            self._entries = MappingProxyType({})
            log.error("no token is accepted", extra={"problem": str(error)})

    async def run(self) -> None:
        """Look for changes until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            self.refresh()

    def stands(self, claims: Claims) -> bool:
        """Whether a token of this node is listed and not revoked."""
        entry = self._find(claims.ident)
        return entry is not None and entry.kind == TOKEN and entry.revoked_ms is None

    def foreign_stands(self, claims: Claims) -> bool:
        """Whether another issuer's token was not refused here."""
        return f"{FOREIGN}:{claims.ident}" not in self._entries

    def api_key(self, prefix: str) -> KeyRecord | None:
        """See `apikeys.KeyBook`."""
        entry = self._find(START + prefix)
        if entry is None or entry.kind != API_KEY or entry.revoked_ms is not None:
            return None
        return KeyRecord(prefix, entry.name, entry.digest, entry.scopes, entry.expires_ms)

    def _find(self, ident: str) -> Entry | None:
        """Look up an entry; one that is not known may have been written a moment ago."""
        if ident not in self._entries:
            self.refresh()
        return self._entries.get(ident)

    def add(self, entry: Entry, now_ms: int) -> None:
        """Write an entry; when this returns it survives whatever happens to the machine.

        Raises `OperatorError` when there are too many, `StorageFault` when the disk fails.
        """

        def change(entries: dict[str, Entry]) -> None:
            live = sum(one.state(now_ms) == "valid" for one in entries.values())
            if live >= TOKENS_MAX:
                raise OperatorError(
                    f"There are {live} tokens already.", "", "clawpurse token revoke ID"
                )
            if entry.ident in entries:
                raise OperatorError(f"There is a token {entry.ident} already.", "", "")
            entries[entry.ident] = entry

        self._change(change, now_ms)

    def revoke(self, ident: str, now_ms: int) -> Entry:
        """End a token for ever; one that is not listed is taken for another issuer's.

        Doing it twice changes nothing. Raises `OperatorError` or `StorageFault`.
        """
        ended: list[Entry] = []

        def change(entries: dict[str, Entry]) -> None:
            found = entries.get(ident) or entries.get(f"{FOREIGN}:{ident}")
            if found is None:
                if IDENT.fullmatch(ident) is None:
                    raise OperatorError(f"{ident!r} is no id.", "", "clawpurse token list")
                found = Entry(
                    f"{FOREIGN}:{ident}",
                    FOREIGN,
                    "of another issuer",
                    ALL_SCOPES,
                    now_ms,
                    now_ms + FOREIGN_LIFETIME_MAX_MS,
                )
            if found.revoked_ms is None:
                found = found._replace(revoked_ms=now_ms)
            entries[found.ident] = found
            ended.append(found)

        self._change(change, now_ms)
        return ended[0]

    def _change(self, change: Callable[[dict[str, Entry]], None], now_ms: int) -> None:
        with locked(self._lock, f"{self._path} is being changed by another command."):
            remove_unfinished(self._path)
            self.load()
            entries = dict(self._entries)
            change(entries)
            kept = [
                entry
                for entry in entries.values()
                if now_ms < entry.expires_ms + (0 if entry.kind == FOREIGN else KEPT_AFTER_END_MS)
            ]
            document = {"version": VERSION, "tokens": [_plain(entry) for entry in kept]}
            replace_private(self._path, json.dumps(document, indent=1).encode() + b"\n")
            self.load()

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageFault(f"{self._path} cannot be read: {error}.", "", "") from error
        return found.st_ino, found.st_size, found.st_mtime_ns


def new_ident() -> str:
    """Return an id for a token; it is no secret, and nobody can guess the next one."""
    return "t-" + secrets.token_hex(8)


def check_name(name: str) -> str:
    """Return the name that a person gives a token. Raises `Malformed`."""
    if not 0 < len(name.strip()) <= NAME_CHARS_MAX or not name.isprintable():
        raise Malformed("name", f"is not 1…{NAME_CHARS_MAX} printable characters")
    return name.strip()


def _plain(entry: Entry) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "id": entry.ident,
        "kind": entry.kind,
        "name": entry.name,
        "scopes": sorted(entry.scopes.patterns),
        "createdMs": entry.created_ms,
        "expiresMs": entry.expires_ms,
        "revokedMs": entry.revoked_ms,
    }
    if entry.digest:
        plain["blake2b"] = entry.digest.hex()
    return plain


def _entry(item: Mapping[str, Any]) -> Entry:
    kind, revoked_ms = item["kind"], item["revokedMs"]
    if kind not in (TOKEN, API_KEY, FOREIGN) or not isinstance(item["id"], str):
        raise Malformed("kind", "is unknown")
    digest = bytes.fromhex(item.get("blake2b", ""))
    if len(digest) != (32 if kind == API_KEY else 0):
        raise Malformed("blake2b", "is not 32 bytes of an API key")
    times = (item["createdMs"], item["expiresMs"], 0 if revoked_ms is None else revoked_ms)
    if not all(type(time_ms) is int for time_ms in times):
        raise Malformed("expiresMs", "is not a whole number")
    return Entry(
        item["id"],
        kind,
        check_name(item["name"]),
        read_scopes(item["scopes"]),
        item["createdMs"],
        item["expiresMs"],
        revoked_ms,
        digest,
    )
