"""What was begun and waits for an answer: a second factor, a passkey, a signature.

Whoever begins gets a secret that names the attempt; its nonce is what a passkey or a wallet signs.
An attempt is good for one purpose, for five minutes, and once: a wrong answer may be mended a few
times within a second factor, a signature is asked for anew.
"""

from __future__ import annotations

import secrets
from typing import Final, NamedTuple

import sqlalchemy as sa

from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.codes import ATTEMPT, digest_of, new_secret

FACTOR: Final = "factor"
STEP_UP: Final = "stepUp"
ADD_PASSKEY: Final = "addPasskey"
PASSKEY: Final = "passkey"
KEY: Final = "key"
SITE: Final = "site"
SITE_USED: Final = "siteUsed"
LIFE_MS: Final = 5 * 60_000
NONCE_BYTES: Final = 32
FAILURES_MAX: Final = 5
ROWS_MAX: Final = 20_000
"""At once: anybody may begin one. Beyond it the oldest go, and their owners begin anew."""

SWEEP_ROWS: Final = 500


class Attempt(NamedTuple):
    """An attempt. `user` is None where anybody may answer; `subject` is what it is about."""

    digest: bytes
    purpose: str
    user: int | None
    nonce: bytes
    subject: str
    created_ms: int
    expires_ms: int


def begin(
    book: Book,
    purpose: str,
    user: int | None = None,
    subject: str = "",
    *,
    nonce: bytes = b"",
) -> tuple[str, Attempt]:
    """Return the secret of a new attempt, and the attempt; its nonce is random unless given."""
    table = book.t.attempts
    book.db.execute(table.delete().where(table.c.expires_ms <= book.now_ms))
    count = book.db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    if count >= ROWS_MAX:
        oldest = sa.select(table.c.digest).order_by(table.c.expires_ms).limit(SWEEP_ROWS)
        book.db.execute(table.delete().where(table.c.digest.in_(oldest)))
    secret = new_secret(ATTEMPT)
    made = Attempt(
        digest_of(secret),
        purpose,
        user,
        nonce or secrets.token_bytes(NONCE_BYTES),
        subject,
        book.now_ms,
        book.now_ms + LIFE_MS,
    )
    book.db.execute(table.insert(), {**made._asdict(), "failures": 0})
    return secret, made


def find(book: Book, secret: str, purpose: str) -> Attempt | None:
    """Return the attempt that a secret names, if it is of this purpose and still open."""
    table = book.t.attempts
    row = book.db.execute(
        table.select().where(
            (table.c.digest == digest_of(secret))
            & (table.c.purpose == purpose)
            & (table.c.expires_ms > book.now_ms)
        )
    ).one_or_none()
    if row is None:
        return None
    return Attempt(*(getattr(row, name) for name in Attempt._fields))


def take(book: Book, secret: str, purpose: str) -> Attempt | None:
    """As `find`, and nobody finds it again."""
    found = find(book, secret, purpose)
    if found is not None:
        end(book, found)
    return found


def use(book: Book, attempt: Attempt, purpose: str, subject: str) -> None:
    """The attempt is of another purpose from now on, and about something else."""
    table = book.t.attempts
    mine = table.c.digest == attempt.digest
    book.db.execute(table.update().where(mine).values(purpose=purpose, subject=subject))


def end(book: Book, attempt: Attempt) -> None:
    """The attempt is over."""
    table = book.t.attempts
    book.db.execute(table.delete().where(table.c.digest == attempt.digest))


def fail(book: Book, attempt: Attempt) -> None:
    """Count a wrong answer; after the last one it is over."""
    table = book.t.attempts
    mine = table.c.digest == attempt.digest
    book.db.execute(table.update().where(mine).values(failures=table.c.failures + 1))
    book.db.execute(table.delete().where(mine & (table.c.failures >= FAILURES_MAX)))


def end_of_user(book: Book, user: int) -> None:
    """Whatever a user began is over."""
    table = book.t.attempts
    book.db.execute(table.delete().where(table.c.user == user))
