"""Which tokens and keys stand, in memory: what a server asks for every call, without a database.

Read again after each change of ours and every second, so that a change by another part of the
service (a role that the ledger took away) reaches calls within a second. When it cannot be read
nothing stands: an old list of what ended is a list of what a thief may still use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from clawpurse.modules.auth import programs, signing
from clawpurse.modules.auth.book import Book, user_id
from clawpurse.modules.auth.settings import AuthSettings
from clawpurse.modules.kit.web.apikeys import START, ApiKeys, KeyRecord
from clawpurse.modules.kit.web.grants import Authenticator, Grant
from clawpurse.modules.kit.web.tokens import BearerTokens, Claims, Issuer

OLD_MS: Final = 30_000
"""After so long without a look nothing stands."""

TOKEN_LIFE_MAX_S: Final = 600
WINDOW_MS: Final = 2 * TOKEN_LIFE_MAX_S * 1000
"""What ended before that has no token left that could be shown."""


@dataclass(frozen=True)
class Snapshot:
    """What was read at a moment."""

    read_ms: int
    ended: frozenset[str] = frozenset()
    epochs: Mapping[str, int] = field(default_factory=dict)
    keys: Mapping[str, KeyRecord] = field(default_factory=dict)
    signing: Mapping[str, bytes] = field(default_factory=dict)


def read(book: Book) -> Snapshot:
    """Read what a server must know."""
    since_ms = book.now_ms - WINDOW_MS
    sessions, users = book.t.sessions, book.t.users
    ended = book.db.execute(sa.select(sessions.c.ident).where(sessions.c.ended_ms > since_ms))
    epochs: dict[str, int] = {}
    for row in book.db.execute(
        sa.select(users.c.number, users.c.account, users.c.epoch).where(users.c.epoch_ms > since_ms)
    ):
        epochs[user_id(row.number)] = row.epoch
        if row.account is not None:
            epochs[row.account] = row.epoch
    return Snapshot(
        book.now_ms,
        frozenset(ended.scalars()),
        epochs,
        {key.prefix: key for key in programs.standing_keys(book)},
        signing.published(book),
    )


class _OwnKeys:
    """Recognises API keys of ours; a key that is not ours may be the machine's own."""

    def __init__(self, standing: Standing, now_ms: Callable[[], int]) -> None:
        self._standing = standing
        self._keys = ApiKeys(standing, now_ms)

    def recognise(self, presented: str) -> Grant | None:
        """See `grants.Authenticator`."""
        prefix = presented.removeprefix(START).partition("_")[0]
        return self._keys.recognise(presented) if self._standing.api_key(prefix) else None


class Standing:
    """The newest snapshot, as authenticators ask for it."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._snapshot = Snapshot(-OLD_MS - 1)

    @property
    def keys(self) -> Mapping[str, bytes]:
        """The published keys."""
        return self._snapshot.signing

    def take(self, snapshot: Snapshot) -> None:
        """Go by this one from now on, unless a newer one is here."""
        if snapshot.read_ms >= self._snapshot.read_ms:
            self._snapshot = snapshot

    def stands(self, claims: Claims) -> bool:
        """Whether a token of ours was not ended. See `tokens.Issuer`."""
        found = self._snapshot
        if self._is_old or not claims.session or claims.session in found.ended:
            return False
        session, _, rest = claims.ident.rpartition(".")[0].rpartition(".")
        if session != claims.session or not rest.isdigit():
            return False
        if session.startswith(START) and session.removeprefix(START) not in found.keys:
            return False
        return int(rest) >= found.epochs.get(claims.name, 0)

    def api_key(self, prefix: str) -> KeyRecord | None:
        """See `apikeys.KeyBook`."""
        return None if self._is_old else self._snapshot.keys.get(prefix)

    def key(self, kid: str) -> bytes | None:
        """A published key."""
        return self._snapshot.signing.get(kid)

    def authenticators(self, settings: AuthSettings) -> tuple[Authenticator, ...]:
        """Return what recognises our tokens and API keys."""
        issuer = Issuer(
            settings.issuer,
            frozenset(settings.audience),
            TOKEN_LIFE_MAX_S,
            self.key,
            self.stands,
        )
        return BearerTokens((issuer,), self._now_ms), _OwnKeys(self, self._now_ms)

    @property
    def _is_old(self) -> bool:
        return self._now_ms() - self._snapshot.read_ms > OLD_MS
