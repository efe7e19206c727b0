"""One transaction of sign-in: its tables, its clock, who is found by which mark, what is noted.

Everything else in this folder that touches the database is a function of a `Book`.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa

from clawpurse.ledger.errors import Bug
from clawpurse.modules.auth.settings import AuthSettings
from clawpurse.modules.auth.tables import AuthTables
from clawpurse.modules.kit.privacy.sealing import KEY_BYTES
from clawpurse.modules.kit.records.work import Work

SERVICE: Final = "auth"
USER: Final = "user"
OWN_SUBJECT: Final = "auth/service"
_MARKS: Final = "marks"


class Book:
    """`actor` and `origin` stand in the history beside whatever this transaction notes."""

    def __init__(
        self,
        work: Work,
        tables: AuthTables,
        settings: AuthSettings,
        *,
        actor: str = "",
        origin: str = "",
    ) -> None:
        self.db: Final = work.connection
        self.t: Final = tables
        self.settings: Final = settings
        self.now_ms: Final = work.now_ms
        self.actor: Final = actor
        self.origin: Final = origin
        self._work = work

    def prepare(self) -> None:
        """Make the service's own secret, once."""
        table = self.t.secrets
        if self.db.execute(sa.select(table.c.name)).first() is None:
            sealed = self.seal_own(_MARKS, secrets.token_bytes(KEY_BYTES))
            self.db.execute(table.insert(), {"name": _MARKS, "sealed": sealed})

    def mark(self, purpose: str, text: str) -> bytes:
        """Return by what a text is found that must not stand in the file: HMAC-SHA256."""
        table = self.t.secrets
        asked = sa.select(table.c.sealed).where(table.c.name == _MARKS)
        sealed = self.db.execute(asked).scalar_one_or_none()
        if sealed is None:
            raise Bug("sign-in was not prepared")
        key = self.open_own(_MARKS, sealed)
        return hmac.digest(key, f"{purpose}\0{text}".encode(), "sha256")

    def seal(self, user: int, place: str, value: bytes) -> bytes:
        """Seal something of a user, for one place. Raises `Erased`."""
        return self._work.values.cipher(subject_of(user)).seal(value, (SERVICE, place, str(user)))

    def open(self, user: int, place: str, sealed: bytes) -> bytes:
        """Open what was sealed for that place. Raises `Erased`, `StorageFault`."""
        return self._work.values.cipher(subject_of(user)).open(sealed, (SERVICE, place, str(user)))

    def seal_own(self, place: str, value: bytes) -> bytes:
        """Seal something of the service itself."""
        return self._work.values.cipher(OWN_SUBJECT).seal(value, (SERVICE, place))

    def open_own(self, place: str, sealed: bytes) -> bytes:
        """Open it. Raises `StorageFault`."""
        return self._work.values.cipher(OWN_SUBJECT).open(sealed, (SERVICE, place))

    def erase(self, user: int) -> None:
        """Destroy a user's key: whatever was sealed with it is gone."""
        table, subject = self._work.tables.subjects, subject_of(user)
        gone = {"wrapped_key": None, "erased_ms": self.now_ms}
        self.db.execute(table.update().where(table.c.subject == subject).values(gone))

    def note(self, user: int, move: str, changes: Mapping[str, Any] | None = None) -> None:
        """Write an entry of a user's history. Nothing in it may be personal or secret."""
        table = self.t.users
        mine = table.c.number == user
        changed = {"version": table.c.version + 1, "changed_ms": self.now_ms}
        self.db.execute(table.update().where(mine).values(changed))
        row = self.db.execute(sa.select(table.c.version, table.c.state).where(mine)).one()
        self._append(user, row.version, row.state, move, changes or {})

    def pretend_note(self) -> None:
        """Do the work of a note and undo it, so that an answer about nobody takes as long."""
        with self.db.begin_nested() as point:
            table = self.t.users
            self.db.execute(table.update().where(table.c.number == 0).values(version=0))
            self.db.execute(sa.select(table.c.version).where(table.c.number == 0)).first()
            self._append(0, 1, "none", "signInRefused", {})
            point.rollback()

    def _append(
        self, user: int, version: int, state: str, move: str, changes: Mapping[str, Any]
    ) -> None:
        self._work.history.append(
            {
                "kind": USER,
                "record": user,
                "version": version,
                "at_ms": self.now_ms,
                "actor": self.actor or subject_of(user),
                "origin": self.origin,
                "move": move,
                "state": state,
            },
            changes,
            None,
        )


def user_id(user: int) -> str:
    """Return what people and tokens call a user: U-3."""
    return f"U-{user}"


def subject_of(user: int) -> str:
    """Return what a user is called where keys of persons are kept."""
    return f"{USER}/{user_id(user)}"
