"""Users: invited → active → locked → closed. Registration is by invitation alone.

A user is a person or a program. What it may do is said by the ledger of its account; what it is
called is sealed, and found by a mark. `epoch` grows when all tokens given before are to end.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Row

from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.modules.auth import attempts
from clawpurse.modules.auth.book import Book, user_id
from clawpurse.modules.auth.codes import INVITATION, digest_of, new_secret
from clawpurse.modules.auth.throttle import forgive
from clawpurse.modules.kit.records.model import Conflict

NAME_CHARS_MAX: Final = 128
LIST_MAX: Final = 500


class State(StrEnum):
    """Where a user stands."""

    INVITED = "invited"
    ACTIVE = "active"
    LOCKED = "locked"
    CLOSED = "closed"


class Sort(StrEnum):
    """What a user is."""

    PERSON = "person"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class User:
    """A user as it is. `password` is the hash, None where there is none."""

    number: int
    kind: Sort
    state: State
    account: str | None
    password: bytes | None
    password_alone: bool
    created_ms: int
    changed_ms: int
    epoch: int

    @property
    def id(self) -> str:
        """What people call it: U-3."""
        return user_id(self.number)

    @property
    def subject(self) -> str:
        """`sub` of its tokens: its account, so that the ledger says what it may do."""
        return self.account or self.id


def plain_name(name: str) -> str:
    """Return a name as it is found by: NFKC, without case. Raises `Malformed`, quoting nothing."""
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    if not 0 < len(text) <= NAME_CHARS_MAX or not text.isprintable() or text != text.strip():
        raise Malformed("name", f"is not 1…{NAME_CHARS_MAX} printable characters")
    return text


def parse_user(text: str) -> int:
    """Return the number of U-3. Raises `Malformed`."""
    bare = text.removeprefix("U-")
    if bare == text or not bare.isascii() or not bare.isdigit() or len(bare) > 18:
        raise Malformed("user", "is no user: U- and a number")
    return int(bare)


def name_mark(book: Book, name: str) -> bytes:
    """Return by what a name is found."""
    return book.mark("name", plain_name(name))


def by_name(book: Book, name: str) -> User | None:
    """Return the user of a name."""
    return _one(book, book.t.users.c.name_mark == name_mark(book, name))


def by_account(book: Book, account: str) -> User | None:
    """Return the user of a ledger account (claw1…)."""
    return _one(book, book.t.users.c.account == account)


def get(book: Book, number: int) -> User:
    """Return a user. Raises `NotFound`."""
    found = _one(book, book.t.users.c.number == number)
    if found is None:
        raise NotFound(f"user {user_id(number)}")
    return found


def page(book: Book, after: int, limit: int) -> list[User]:
    """Return users above a number, in order."""
    table = book.t.users
    asked = table.select().where(table.c.number > after).order_by(table.c.number)
    rows = book.db.execute(asked.limit(min(limit, LIST_MAX)))
    return [_user(book, row) for row in rows.all()]


def name_of(book: Book, number: int) -> str | None:
    """Return what a user is called; None once that was erased."""
    table = book.t.users
    sealed = book.db.execute(
        sa.select(table.c.name).where(table.c.number == number)
    ).scalar_one_or_none()
    return None if sealed is None else book.open(number, "name", sealed).decode()


def create(book: Book, name: str, kind: Sort, state: State) -> User:
    """Make a user. Raises `Conflict` when the name is taken."""
    table, mark = book.t.users, name_mark(book, name)
    if _one(book, table.c.name_mark == mark) is not None:
        raise Conflict("There is a user of that name already.")
    newest = book.db.execute(sa.select(sa.func.max(table.c.number))).scalar_one()
    number = (newest or 0) + 1
    book.db.execute(
        table.insert(),
        {
            "number": number,
            "kind": kind.value,
            "state": state.value,
            "version": 0,
            "name_mark": mark,
            "name": book.seal(number, "name", name.encode()),
            "password_alone": False,
            "created_ms": book.now_ms,
            "changed_ms": book.now_ms,
            "epoch": 1,
            "epoch_ms": book.now_ms,
        },
    )
    return get(book, number)


def invite(book: Book, name: str) -> tuple[str, User]:
    """Invite somebody of a new name, or an invited one again; return the secret, and the user.

    An older invitation of the same user ends. Raises `Conflict` for a name that is registered.
    """
    found = by_name(book, name)
    if found is None:
        found = create(book, name, Sort.PERSON, State.INVITED)
    elif found.state is not State.INVITED:
        raise Conflict("There is a user of that name already.")
    return _invitation(book, found), found


def renew(book: Book, user: User) -> str:
    """Let an active user choose a new password; return the secret for that.

    The old password works no more from now on, and every session ends with `forget`'s caller.
    """
    if user.kind is not Sort.PERSON or user.state is not State.ACTIVE:
        raise Conflict(f"{user.id} is {user.state}, and sets no password")
    secret = _invitation(book, user)
    _set(book, user.number, password=None)
    book.note(user.number, "renewed")
    return secret


def _invitation(book: Book, user: User) -> str:
    table, secret = book.t.invitations, new_secret(INVITATION)
    gone = (table.c.user == user.number) | (table.c.expires_ms <= book.now_ms)
    book.db.execute(table.delete().where(gone))
    book.db.execute(
        table.insert(),
        {
            "digest": digest_of(secret),
            "user": user.number,
            "created_ms": book.now_ms,
            "expires_ms": book.now_ms + book.settings.invitation_ms,
        },
    )
    if user.state is State.INVITED:
        book.note(user.number, "invited")
    return secret


def invited(book: Book, secret: str, *, take: bool = False) -> User | None:
    """Return whom an invitation is for, if it is open; `take` ends it."""
    table = book.t.invitations
    mine = (table.c.digest == digest_of(secret)) & (table.c.expires_ms > book.now_ms)
    number = book.db.execute(sa.select(table.c.user).where(mine)).scalar_one_or_none()
    if number is None:
        return None
    found = get(book, number)
    if found.state not in (State.INVITED, State.ACTIVE):
        return None
    if take:
        book.db.execute(table.delete().where(mine))
    return found


def set_password(book: Book, user: User, hashed: bytes, *, alone: bool) -> None:
    """Keep the hash of a new password, sealed; the failures of the old one are forgotten."""
    sealed = book.seal(user.number, "password", hashed)
    _set(book, user.number, password=sealed, password_alone=alone)
    name = name_of(book, user.number)
    if name is not None:
        forgive(book, book.mark("tries", plain_name(name)))


def rehash(book: Book, user: User, hashed: bytes) -> None:
    """Keep a hash of the same password at today's cost."""
    _set(book, user.number, password=book.seal(user.number, "password", hashed))


def move(book: Book, user: User, state: State, why: str, reason: str = "") -> None:
    """Move a user to a state. Raises `Conflict` for a move that there is none of."""
    allowed = {
        (State.INVITED, State.ACTIVE),
        (State.ACTIVE, State.LOCKED),
        (State.LOCKED, State.ACTIVE),
        (State.INVITED, State.CLOSED),
        (State.ACTIVE, State.CLOSED),
        (State.LOCKED, State.CLOSED),
    }
    if (user.state, state) not in allowed:
        raise Conflict(f"{user.id} is {user.state}")
    _set(book, user.number, state=state.value)
    book.note(user.number, why, {"reason": reason} if reason else None)


def bind(book: Book, user: User, account: str) -> None:
    """Bind a user to an account whose key it has shown. Raises `Conflict` if it is another's."""
    if user.account == account:
        return
    if user.account is not None or by_account(book, account) is not None:
        raise Conflict("The user has an account, or the account a user, already.")
    _set(book, user.number, account=account)
    end_tokens(book, user.number)
    book.note(user.number, "bound", {"account": account})


def end_tokens(book: Book, number: int) -> None:
    """Let every access token end that a user was given before. Sessions go on."""
    table = book.t.users
    _set(book, number, epoch=table.c.epoch + 1, epoch_ms=book.now_ms)


def forget(book: Book, user: User) -> None:
    """Destroy what is known of a closed user as a person; its number, account and deeds stay."""
    book.erase(user.number)
    _set(book, user.number, name=None, name_mark=None, password=None)
    for table in (book.t.totps, book.t.passkeys, book.t.codes, book.t.invitations):
        book.db.execute(table.delete().where(table.c.user == user.number))
    sessions = book.t.sessions
    book.db.execute(sessions.update().where(sessions.c.user == user.number).values(label=None))
    attempts.end_of_user(book, user.number)
    book.note(user.number, "erased")


def _set(book: Book, number: int, **columns: Any) -> None:
    table = book.t.users
    book.db.execute(table.update().where(table.c.number == number).values(columns))


def _one(book: Book, where: sa.ColumnElement[bool]) -> User | None:
    row = book.db.execute(book.t.users.select().where(where)).one_or_none()
    return None if row is None else _user(book, row)


def _user(book: Book, row: Row[Any]) -> User:
    sealed = row.password
    return User(
        row.number,
        Sort(row.kind),
        State(row.state),
        row.account,
        None if sealed is None else book.open(row.number, "password", sealed),
        row.password_alone,
        row.created_ms,
        row.changed_ms,
        row.epoch,
    )
