"""Service accounts and API keys: sign-in for programs.

A key is shown once; kept is its hash (`kit/web/apikeys.py`). It reaches what its owner could reach
by the ledger when it was made, and ends when a role that this rests on is revoked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Row

from clawpurse.modules.auth import users
from clawpurse.modules.auth.book import Book, user_id
from clawpurse.modules.auth.rights import Rights
from clawpurse.modules.auth.users import State, User
from clawpurse.modules.kit.records.model import Conflict
from clawpurse.modules.kit.web.apikeys import KeyRecord, new_key
from clawpurse.modules.kit.web.scopes import read_scopes

OF_USER_MAX: Final = 50
LIFE_MAX_MS: Final = 366 * 86_400_000
KEYS_MAX: Final = 4_096
"""In all; every one is held in memory, where callers are recognised."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as lists show it."""

    prefix: str
    user: int
    label: str
    scopes: str
    roles: tuple[str, ...]
    created_ms: int
    expires_ms: int
    revoked_ms: int | None


def create_key(
    book: Book, owner: User, label: str, rights: Rights, life_ms: int
) -> tuple[str, ApiKey]:
    """Make a key; return it, this once, and what lists show. Raises `Conflict` for too many."""
    if owner.state is not State.ACTIVE:
        raise Conflict(f"{owner.id} is {owner.state}")
    table = book.t.api_keys
    standing = table.c.revoked_ms.is_(None) & (table.c.expires_ms > book.now_ms)
    for limit, where in (
        (OF_USER_MAX, standing & (table.c.user == owner.number)),
        (KEYS_MAX, standing),
    ):
        asked = sa.select(sa.func.count()).select_from(table).where(where)
        if book.db.execute(asked).scalar_one() >= limit:
            raise Conflict(f"There are {limit} keys already; revoke one.")
    key, prefix, digest = new_key()
    book.db.execute(
        table.insert(),
        {
            "prefix": prefix,
            "user": owner.number,
            "digest": digest,
            "label": book.seal(owner.number, "api key", label.encode()),
            "scopes": rights.scopes.text,
            "roles": " ".join(rights.roles),
            "created_ms": book.now_ms,
            "expires_ms": book.now_ms + min(life_ms, LIFE_MAX_MS),
            "tokens": 0,
        },
    )
    book.note(owner.number, "apiKeyMade", {"prefix": prefix, "scopes": rights.scopes.text})
    found = find_key(book, prefix)
    assert found is not None
    return key, found


def find_key(book: Book, prefix: str) -> ApiKey | None:
    """Return a key by its prefix, revoked ones too."""
    table = book.t.api_keys
    row = book.db.execute(table.select().where(table.c.prefix == prefix)).one_or_none()
    return None if row is None else _key(book, row)


def keys_of(book: Book, user: int) -> list[ApiKey]:
    """Return a user's keys, newest first."""
    table = book.t.api_keys
    asked = table.select().where(table.c.user == user).order_by(table.c.created_ms.desc())
    return [_key(book, row) for row in book.db.execute(asked.limit(2 * OF_USER_MAX)).all()]


def revoke_key(book: Book, key: ApiKey, reason: str) -> bool:
    """End a key; False when it had ended."""
    table = book.t.api_keys
    mine = (table.c.prefix == key.prefix) & table.c.revoked_ms.is_(None)
    if not book.db.execute(table.update().where(mine).values(revoked_ms=book.now_ms)).rowcount:
        return False
    book.note(key.user, "apiKeyRevoked", {"prefix": key.prefix, "reason": reason})
    return True


def next_token(book: Book, prefix: str) -> int:
    """Return the number of the next access token that a key was exchanged for."""
    table = book.t.api_keys
    mine = table.c.prefix == prefix
    book.db.execute(table.update().where(mine).values(tokens=table.c.tokens + 1))
    return int(book.db.execute(sa.select(table.c.tokens).where(mine)).scalar_one())


def standing_keys(book: Book) -> list[KeyRecord]:
    """Return what recognises callers: keys that hold, of active users."""
    table, owners = book.t.api_keys, book.t.users
    rows = book.db.execute(
        sa.select(table, owners.c.account, owners.c.number)
        .join(owners, owners.c.number == table.c.user)
        .where(table.c.revoked_ms.is_(None))
        .where(table.c.expires_ms > book.now_ms)
        .where(owners.c.state == State.ACTIVE.value)
        .limit(KEYS_MAX)
    )
    return [
        KeyRecord(
            row.prefix,
            row.account or user_id(row.number),
            bytes(row.digest),
            read_scopes(row.scopes.split()),
            row.expires_ms,
        )
        for row in rows.all()
    ]


def role_revoked(book: Book, account: str, role: str) -> bool:
    """An account lost a role: its tokens end, and keys that rest on it. False for a stranger's."""
    found = users.by_account(book, account)
    if found is None:
        return False
    users.end_tokens(book, found.number)
    for key in keys_of(book, found.number):
        if role in key.roles:
            revoke_key(book, key, "role revoked")
    book.note(found.number, "roleRevoked", {"role": role})
    return True


def _key(book: Book, row: Row[Any]) -> ApiKey:
    return ApiKey(
        row.prefix,
        row.user,
        book.open(row.user, "api key", row.label).decode(),
        row.scopes,
        tuple(row.roles.split()),
        row.created_ms,
        row.expires_ms,
        row.revoked_ms,
    )
