"""Access tokens, and the keys that sign them: published as a JWKS, renewed with an overlap.

A key is published a quarter of an hour before it signs, so that every verifier has fetched it
(nodes look every five minutes), and stays published until the last token of it has ended. Its
seed lies sealed, and is destroyed when the next key signs.
"""

from __future__ import annotations

import base64
import secrets
from typing import Any, Final

import sqlalchemy as sa

from clawpurse.ledger.crypto import public_key_of
from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.rights import Rights
from clawpurse.modules.auth.users import User
from clawpurse.modules.kit.web.tokens import Claims, issue, key_id

SEED_BYTES: Final = 32
AHEAD_MS: Final = 15 * 60_000
AFTER_MS: Final = 11 * 60_000
"""Longer than any token of ours lives."""


def renew_keys(book: Book) -> bool:
    """Make the next key when it is time, and let go of what is over; True if anything changed."""
    table = book.t.signing_keys
    newest = book.db.execute(table.select().order_by(table.c.signs_ms.desc())).first()
    if newest is None:
        _make(book, book.now_ms)
        return True
    changed = False
    until_ms = newest.signs_ms + book.settings.signing_key_ms
    if book.now_ms >= until_ms - AHEAD_MS:
        _make(book, max(until_ms, book.now_ms + AHEAD_MS))
        changed = True
    return _retire(book) or changed


def replace_keys(book: Book) -> None:
    """Every key so far is somebody else's too: none is published any more, a new one signs now."""
    table = book.t.signing_keys
    book.db.execute(table.update().values(seed=None))
    book.db.execute(
        table.update()
        .where(table.c.gone_ms.is_(None) | (table.c.gone_ms > book.now_ms))
        .values(gone_ms=book.now_ms)
    )
    _make(book, book.now_ms)


def published(book: Book) -> dict[str, bytes]:
    """Return the keys that tokens may be of, by `kid`."""
    table = book.t.signing_keys
    there = table.c.gone_ms.is_(None) | (table.c.gone_ms > book.now_ms)
    rows = book.db.execute(table.select().where(there).order_by(table.c.signs_ms))
    return {row.kid: bytes(row.public_key) for row in rows.all()}


def jwks(keys: dict[str, bytes]) -> dict[str, Any]:
    """Return the key set as RFC 7517 and RFC 8037 write it."""
    return {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": base64.urlsafe_b64encode(public_key).rstrip(b"=").decode(),
                "kid": kid,
                "use": "sig",
                "alg": "EdDSA",
            }
            for kid, public_key in keys.items()
        ]
    }


def access_token(
    book: Book,
    user: User,
    rights: Rights,
    session: str,
    number: int,
    *,
    level: str,
    methods: tuple[str, ...],
    proven_ms: int,
    ends_ms: int,
) -> tuple[str, int]:
    """Return a token, and when it ends, UTC ms: at `ends_ms` at the latest.

    `jti` names the session, the user's epoch and the token's number: what ends a token is found
    by it alone.
    """
    table = book.t.signing_keys
    signing = table.c.seed.is_not(None) & (table.c.signs_ms <= book.now_ms)
    row = book.db.execute(
        table.select().where(signing).order_by(table.c.signs_ms.desc()).limit(1)
    ).one()
    seed = book.open_own(f"signing key {row.kid}", row.seed)
    expires_s = min(book.now_ms + book.settings.token_life_ms, ends_ms) // 1000
    claims = Claims(
        book.settings.issuer,
        book.settings.audience,
        f"{session}.{user.epoch}.{number}",
        user.subject,
        rights.scopes,
        book.now_ms // 1000,
        expires_s,
        user.account or "",
        rights.roles,
        session,
        level,
        methods,
        proven_ms // 1000,
    )
    return issue(seed, claims), expires_s * 1000


def _make(book: Book, signs_ms: int) -> None:
    seed = secrets.token_bytes(SEED_BYTES)
    public_key = public_key_of(seed)
    kid = key_id(public_key)
    book.db.execute(
        book.t.signing_keys.insert(),
        {
            "kid": kid,
            "public_key": public_key,
            "seed": book.seal_own(f"signing key {kid}", seed),
            "created_ms": book.now_ms,
            "signs_ms": signs_ms,
        },
    )


def _retire(book: Book) -> bool:
    """Destroy seeds of keys that a newer one took over from."""
    table = book.t.signing_keys
    newest = book.db.execute(
        sa.select(sa.func.max(table.c.signs_ms)).where(table.c.signs_ms <= book.now_ms)
    ).scalar_one()
    older = (table.c.signs_ms < newest) & table.c.seed.is_not(None)
    kids = book.db.execute(sa.select(table.c.kid).where(older)).scalars().all()
    for kid in kids:
        gone_ms = book.now_ms + AFTER_MS
        book.db.execute(table.update().where(table.c.kid == kid).values(seed=None, gone_ms=gone_ms))
    return bool(kids)
