"""Sessions: what a sign-in leads to, kept alive by refresh tokens of which each counts once.

A refresh token that is shown a second time was copied, by the holder or from the holder: the whole
session ends, whoever was first. Sessions end by themselves when idle, and at the latest after
their life, whatever is refreshed (SP 800-63B-4 §2.2.3).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Row

from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.codes import REFRESH, digest_of, new_secret
from clawpurse.modules.auth.rights import ENROL
from clawpurse.modules.auth.users import User
from clawpurse.modules.kit.web.grants import ONE_FACTOR, TWO_FACTORS

OF_USER_MAX: Final = 50
"""Open at once; the one longest unused ends for another."""

REFRESHES_MAX: Final = 2_000
"""Of one session: one a minute for a day and more."""

KEPT_MS: Final = 30 * 86_400_000
"""Ended sessions stay listed for a month."""

SWEEP_ROWS: Final = 500
LABEL_CHARS_MAX: Final = 64


class Ended(StrEnum):
    """Why a session ended."""

    SIGNED_OUT = "signedOut"
    ENDED = "ended"
    REUSED = "refreshReused"
    EXPIRED = "expired"
    CROWDED = "tooMany"
    RENEWED = "passwordChanged"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Session:
    """A session as it is. `methods` are how its holder proved who they are, last `proven_ms`."""

    ident: str
    user: int
    created_ms: int
    seen_ms: int
    ends_ms: int
    proven_ms: int
    level: str
    methods: tuple[str, ...]
    scopes: str
    tokens: int
    label: str
    ended_ms: int | None
    reason: str | None

    @property
    def enrols(self) -> bool:
        """Whether it may do nothing but set a second factor up."""
        return self.scopes == ENROL.text


def open_session(
    book: Book, user: User, methods: tuple[str, ...], level: str, scopes: str, label: str
) -> tuple[Session, str]:
    """Begin a session; return it, and its first refresh token."""
    table = book.t.sessions
    crowd = _open(book, user.number)
    for old in crowd[: max(0, len(crowd) - OF_USER_MAX + 1)]:
        end(book, old.ident, Ended.CROWDED)
    ident = "s-" + secrets.token_hex(12)
    sealed = book.seal(user.number, "session", label.encode()) if label else None
    book.db.execute(
        table.insert(),
        {
            "ident": ident,
            "user": user.number,
            "created_ms": book.now_ms,
            "seen_ms": book.now_ms,
            "ends_ms": book.now_ms + book.settings.session_life_ms,
            "proven_ms": book.now_ms,
            "level": level,
            "methods": " ".join(methods),
            "scopes": scopes,
            "tokens": 0,
            "label": sealed,
        },
    )
    book.note(user.number, "signedIn", {"session": ident, "methods": list(methods)})
    return _get(book, ident), _new_refresh(book, ident)


def branch(book: Book, user: User, parent: Session, label: str) -> tuple[Session, str]:
    """Begin a session as good as another one, for another page; it ends no later than that."""
    opened, refresh = open_session(book, user, parent.methods, parent.level, parent.scopes, label)
    _set(book, opened.ident, proven_ms=parent.proven_ms, ends_ms=parent.ends_ms)
    return _get(book, opened.ident), refresh


def live(book: Book, ident: str) -> Session | None:
    """Return a session that goes on; None when it ended, was idle for too long, or never was."""
    table = book.t.sessions
    row = book.db.execute(table.select().where(table.c.ident == ident)).one_or_none()
    if row is None or not _goes_on(book, row):
        return None
    return _session(book, row)


def of_refresh(book: Book, refresh: str) -> Session | None:
    """Return the session that a refresh token is of, if both can still be used."""
    table = book.t.refreshes
    row = book.db.execute(table.select().where(table.c.digest == digest_of(refresh))).one_or_none()
    return None if row is None or row.used_ms is not None else live(book, row.session)


def rotate(book: Book, refresh: str) -> tuple[Session, str] | None:
    """Use a refresh token up; return its session, and the next token.

    None when it cannot be used; where it was used before, the session ends with that.
    """
    table = book.t.refreshes
    mine = table.c.digest == digest_of(refresh)
    row = book.db.execute(table.select().where(mine)).one_or_none()
    if row is None:
        return None
    if row.used_ms is not None:
        end(book, row.session, Ended.REUSED)
        return None
    found = live(book, row.session)
    if found is None:
        return None
    used = book.db.execute(
        sa.select(sa.func.count()).select_from(table).where(table.c.session == found.ident)
    ).scalar_one()
    if used >= REFRESHES_MAX:
        end(book, found.ident, Ended.EXPIRED)
        return None
    book.db.execute(table.update().where(mine).values(used_ms=book.now_ms))
    _set(book, found.ident, seen_ms=book.now_ms)
    return _get(book, found.ident), _new_refresh(book, found.ident)


def prove(book: Book, session: Session, method: str, *, two: bool) -> Session:
    """The holder proved anew who they are; with `two` factors the session may do more."""
    methods = tuple(dict.fromkeys((*session.methods, method)))
    level = TWO_FACTORS if two else session.level
    changes = {"proven_ms": book.now_ms, "methods": " ".join(methods), "level": level}
    if two and session.enrols:
        changes["scopes"] = ""
    _set(book, session.ident, **changes)
    return _get(book, session.ident)


def next_token(book: Book, session: Session) -> int:
    """Return the number of the next access token of a session."""
    number = session.tokens + 1
    _set(book, session.ident, tokens=number)
    return number


def end(book: Book, ident: str, reason: Ended) -> bool:
    """End a session; False when it had ended."""
    table = book.t.sessions
    open_one = (table.c.ident == ident) & table.c.ended_ms.is_(None)
    user = book.db.execute(sa.select(table.c.user).where(open_one)).scalar_one_or_none()
    if user is None:
        return False
    _set(book, ident, ended_ms=book.now_ms, reason=reason.value)
    book.note(user, "sessionEnded", {"session": ident, "reason": reason.value})
    return True


def end_all(book: Book, user: int, reason: Ended, but: str = "") -> int:
    """End every session of a user but one; return how many."""
    return sum(end(book, one.ident, reason) for one in _open(book, user) if one.ident != but)


def listed(book: Book, user: int) -> list[Session]:
    """Return a user's sessions, the newest first: open ones, and those that ended lately."""
    table = book.t.sessions
    asked = table.select().where(table.c.user == user).order_by(table.c.created_ms.desc())
    return [_session(book, row) for row in book.db.execute(asked.limit(2 * OF_USER_MAX))]


def sweep(book: Book) -> int:
    """End sessions whose time is over, and forget those that ended long ago; return how many."""
    table, refreshes = book.t.sessions, book.t.refreshes
    over = (table.c.ends_ms <= book.now_ms) | (
        table.c.seen_ms <= book.now_ms - book.settings.session_idle_ms
    )
    late = sa.select(table.c.ident).where(table.c.ended_ms.is_(None) & over).limit(SWEEP_ROWS)
    ended = [end(book, ident, Ended.EXPIRED) for ident in book.db.execute(late).scalars().all()]
    old = sa.select(table.c.ident).where(table.c.ended_ms <= book.now_ms - KEPT_MS)
    gone = book.db.execute(old.limit(SWEEP_ROWS)).scalars().all()
    book.db.execute(refreshes.delete().where(refreshes.c.session.in_(gone)))
    book.db.execute(table.delete().where(table.c.ident.in_(gone)))
    return len(ended) + len(gone)


def level_of(methods: tuple[str, ...]) -> str:
    """The level that proofs reach: a passkey that asked for its owner is two factors in one.

    A code and a recovery code are of one kind. The key of an account lies under a passphrase of
    its wallet, which nobody can see from here: it counts as one factor, and goes with any other.
    """
    kinds = {"otp": "code", "rec": "code"}
    both = len({kinds.get(one, one) for one in methods}) > 1 or "mfa" in methods
    return TWO_FACTORS if both else ONE_FACTOR


def _new_refresh(book: Book, ident: str) -> str:
    refresh = new_secret(REFRESH)
    book.db.execute(
        book.t.refreshes.insert(),
        {"digest": digest_of(refresh), "session": ident, "created_ms": book.now_ms},
    )
    return refresh


def _goes_on(book: Book, row: Row[Any]) -> bool:
    idle = book.now_ms - row.seen_ms >= book.settings.session_idle_ms
    return row.ended_ms is None and book.now_ms < row.ends_ms and not idle


def _open(book: Book, user: int) -> list[Session]:
    table = book.t.sessions
    mine = (table.c.user == user) & table.c.ended_ms.is_(None)
    rows = book.db.execute(table.select().where(mine).order_by(table.c.seen_ms))
    return [_session(book, row) for row in rows.all()]


def _get(book: Book, ident: str) -> Session:
    table = book.t.sessions
    return _session(book, book.db.execute(table.select().where(table.c.ident == ident)).one())


def _set(book: Book, ident: str, **columns: Any) -> None:
    table = book.t.sessions
    book.db.execute(table.update().where(table.c.ident == ident).values(columns))


def _session(book: Book, row: Row[Any]) -> Session:
    label = b"" if row.label is None else book.open(row.user, "session", row.label)
    return Session(
        row.ident,
        row.user,
        row.created_ms,
        row.seen_ms,
        row.ends_ms,
        row.proven_ms,
        row.level,
        tuple(row.methods.split()),
        row.scopes,
        row.tokens,
        label.decode(),
        row.ended_ms,
        row.reason,
    )
