"""Who may call the wallet service: tokens of one home, by method and by key.

    service/tokens.json     0600: of each token its name, scopes, keys, end, and a hash

A token is an API key (`cpk_…`) shown once; only its hash is kept. Scopes say which methods it
reaches, `keys` which keys of the home: an agent with a token for one key learns nothing of the
others. The file is the truth of a running service: what it does not list is refused, and it is
read again when it changed, so revoking needs no restart. Calls block for disk (a millisecond).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.errors import ClawPurseError, Malformed, OperatorError, StorageFault
from clawpurse.ledger.params import DAY_MS
from clawpurse.modules.kit.web.apikeys import START, KeyRecord, new_key
from clawpurse.modules.kit.web.scopes import Scopes, read_scopes
from clawpurse.wallet.durable import (
    locked,
    make_private_directory,
    read_private,
    remove_unfinished,
    replace_private,
)
from clawpurse.wallet.names import check_name

# One for each program of a person, many times over; the file stays below a millisecond to read.
TOKENS_MAX: Final = 256
KEYS_MAX: Final = 64
NAME_CHARS_MAX: Final = 64
LIFETIME_MS_MAX: Final = 366 * DAY_MS
# Ended ones stay listed for a month, for whoever wonders why something stopped.
KEPT_AFTER_END_MS: Final = 30 * DAY_MS
FILE_BYTES_MAX: Final = 1 << 20
VERSION: Final = 1
_DIGEST_BYTES: Final = 32
_MEMBERS: Final = {
    "id",
    "name",
    "scopes",
    "keys",
    "createdMs",
    "expiresMs",
    "revokedMs",
    "blake2b",
}


class ServiceToken(NamedTuple):
    """One token. `keys` are names of keys that it may touch, none for all. Times in ms UTC."""

    ident: str
    name: str
    scopes: Scopes
    keys: tuple[str, ...]
    created_ms: int
    expires_ms: int
    revoked_ms: int | None
    digest: bytes

    def state(self, now_ms: int) -> str:
        """Return revoked, expired or valid."""
        if self.revoked_ms is not None:
            return "revoked"
        return "valid" if now_ms < self.expires_ms else "expired"


class ServiceTokens:
    """The tokens of one home. `now_ms` is the wall clock, ms UTC.

    `create` and `revoke` are for the command, the rest for the service. Safe for processes.
    """

    def __init__(self, directory: Path, *, now_ms: Callable[[], int]) -> None:
        self.file = directory / "tokens.json"
        self._lock = directory / "tokens.lock"
        self._now_ms = now_ms
        self._mark: tuple[int, int, int] | None = None
        self._tokens: Mapping[str, ServiceToken] = MappingProxyType({})
        self._was_read = False

    def all(self) -> list[ServiceToken]:
        """Return every token, the oldest first. Raises `StorageFault` for a damaged file."""
        self._load()
        return sorted(self._tokens.values(), key=lambda one: (one.created_ms, one.ident))

    def create(
        self, name: str, scopes: Scopes, keys: tuple[str, ...], lifetime_ms: int
    ) -> tuple[str, ServiceToken]:
        """Make a token; return its secret, shown once, and what is kept. Durable.

        Raises `Malformed` for a name, key or time that is not allowed, `OperatorError` when there
        are too many, `StorageFault`.
        """
        if not 0 < len(name.strip()) <= NAME_CHARS_MAX or not name.isprintable():
            raise Malformed("name", f"is not 1…{NAME_CHARS_MAX} printable characters")
        if not 0 < lifetime_ms <= LIFETIME_MS_MAX:
            raise Malformed("expires", "is not a time of at most 366 days")
        if len(keys) > KEYS_MAX:
            raise Malformed("account", f"names {len(keys)} keys, at most {KEYS_MAX} fit")
        allowed = tuple(sorted({check_name(one) for one in keys}))
        secret, prefix, digest = new_key()
        now_ms = self._now_ms()
        made = ServiceToken(
            START + prefix,
            name.strip(),
            scopes,
            allowed,
            now_ms,
            now_ms + lifetime_ms,
            None,
            digest,
        )

        def add(tokens: dict[str, ServiceToken]) -> None:
            if sum(one.state(now_ms) == "valid" for one in tokens.values()) >= TOKENS_MAX:
                raise OperatorError(
                    f"There are {TOKENS_MAX} tokens already.", "", "clawpurse wallet token revoke"
                )
            tokens[made.ident] = made

        self._change(add)
        return secret, made

    def revoke(self, ident: str) -> ServiceToken:
        """End a token for ever; twice changes nothing. Raises `OperatorError`, `StorageFault`."""
        ended: list[ServiceToken] = []

        def end(tokens: dict[str, ServiceToken]) -> None:
            found = tokens.get(ident)
            if found is None:
                raise OperatorError(
                    f"There is no token {ident[:NAME_CHARS_MAX]!r}.",
                    "",
                    "clawpurse wallet token list",
                )
            if found.revoked_ms is None:
                found = found._replace(revoked_ms=self._now_ms())
            tokens[ident] = found
            ended.append(found)

        self._change(end)
        return ended[0]

    def remove(self, ident: str) -> None:
        """Forget a token that was for a moment: nobody asks later what it was."""
        self._change(lambda tokens: tokens.pop(ident, None))

    def find(self, ident: str) -> ServiceToken | None:
        """Return a token that holds now, None for every other; a damaged file admits nobody."""
        if not self._was_read or self._look() != self._mark:
            try:
                self._load()
            except ClawPurseError:
                self._tokens = MappingProxyType({})
        found = self._tokens.get(ident)
        return found if found is not None and found.state(self._now_ms()) == "valid" else None

    def api_key(self, prefix: str) -> KeyRecord | None:
        """See `apikeys.KeyBook`."""
        found = self.find(START + prefix)
        if found is None:
            return None
        return KeyRecord(prefix, found.name, found.digest, found.scopes, found.expires_ms)

    def _change(self, change: Callable[[dict[str, ServiceToken]], object]) -> None:
        make_private_directory(self.file.parent)
        with locked(self._lock, f"{self.file} is being changed by another command."):
            remove_unfinished(self.file)
            self._load()
            tokens = dict(self._tokens)
            change(tokens)
            now_ms = self._now_ms()
            kept = [one for one in tokens.values() if now_ms < one.expires_ms + KEPT_AFTER_END_MS]
            document = {"version": VERSION, "tokens": [_plain(one) for one in kept]}
            replace_private(self.file, json.dumps(document, indent=1).encode() + b"\n")
            self._load()

    def _load(self) -> None:
        mark = self._look()
        self._was_read, self._mark = True, mark
        try:
            data = read_private(self.file, FILE_BYTES_MAX)
        except FileNotFoundError:
            self._tokens = MappingProxyType({})
            return
        try:
            document = json.loads(data)
            if type(document) is not dict or document.keys() != {"version", "tokens"}:
                raise Malformed("tokens", "is not an object with version and tokens")
            codec.version(document["version"], "version", (VERSION,))
            if type(document["tokens"]) is not list:
                raise Malformed("tokens", "is not a list")
            found = [_token(item) for item in document["tokens"]]
        except (ValueError, RecursionError, Malformed) as err:
            raise StorageFault(
                f"The tokens in {self.file} are damaged ({err}).",
                "None of them is accepted.",
                "remove the file and create new tokens",
            ) from err
        self._tokens = MappingProxyType({one.ident: one for one in found})

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = self.file.stat()
        except OSError:
            # Gone or unreadable: reading it says which, and admits nobody.
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


def scopes_of(words: tuple[str, ...]) -> Scopes:
    """Return the scopes of a wallet token. Raises `Malformed` for what is no `wallet_…` pattern.

    `*` is refused: it would read as everything of every server there is.
    """
    scopes = read_scopes(words)
    for pattern in sorted(scopes.patterns):
        if not pattern.startswith("wallet_") and pattern != "rpc_discover":
            raise Malformed("scope", f"{pattern!r} is neither wallet_* nor one of its methods")
    return scopes


def _plain(one: ServiceToken) -> dict[str, Any]:
    return {
        "id": one.ident,
        "name": one.name,
        "scopes": sorted(one.scopes.patterns),
        "keys": list(one.keys),
        "createdMs": one.created_ms,
        "expiresMs": one.expires_ms,
        "revokedMs": one.revoked_ms,
        "blake2b": one.digest.hex(),
    }


def _token(item: object) -> ServiceToken:
    if type(item) is not dict or item.keys() != _MEMBERS:
        raise Malformed("tokens[]", f"is not an object with {', '.join(sorted(_MEMBERS))}")
    scopes, keys, revoked = item["scopes"], item["keys"], item["revokedMs"]
    if type(scopes) is not list or type(keys) is not list:
        raise Malformed("tokens[].scopes", "is not a list")
    digest = bytes.fromhex(codec.ascii_text(item["blake2b"], "blake2b", 2 * _DIGEST_BYTES))
    if len(digest) != _DIGEST_BYTES:
        raise Malformed("tokens[].blake2b", f"is not {_DIGEST_BYTES} bytes")
    if type(item["name"]) is not str:
        raise Malformed("tokens[].name", "is not a string")
    return ServiceToken(
        codec.ascii_text(item["id"], "tokens[].id", 64),
        item["name"],
        read_scopes(codec.ascii_text(one, "tokens[].scopes[]", 128) for one in scopes),
        tuple(check_name(codec.ascii_text(one, "tokens[].keys[]", 64)) for one in keys),
        codec.integer(item["createdMs"], "tokens[].createdMs"),
        codec.integer(item["expiresMs"], "tokens[].expiresMs"),
        None if revoked is None else codec.integer(revoked, "tokens[].revokedMs"),
        digest,
    )
