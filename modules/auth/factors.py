"""Second factors of a user: an authenticator app, passkeys, recovery codes on paper."""

from __future__ import annotations

import secrets
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from clawpurse.modules.auth import passkeys, totp
from clawpurse.modules.auth.attempts import Attempt
from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.codes import new_recovery_codes, recovery_digest
from clawpurse.modules.auth.users import User
from clawpurse.modules.kit.records.model import Conflict

TOTP: Final = "totp"
PASSKEY: Final = "passkey"
RECOVERY: Final = "recoveryCode"
UNCONFIRMED_MS: Final = 15 * 60_000
"""How long an app may take from the QR code to its first code."""


class Proof(NamedTuple):
    """What somebody shows as a second factor: exactly one of them."""

    totp: str | None = None
    recovery_code: str | None = None
    passkey: dict[str, Any] | None = None

    @property
    def given(self) -> bool:
        """Whether it is exactly one."""
        return sum(one is not None for one in self) == 1


def of_user(book: Book, user: int) -> tuple[str, ...]:
    """Return the kinds of second factors that a user has, sorted; codes alone are none."""
    found = []
    if passkeys.listed(book, user):
        found.append(PASSKEY)
    if _totp(book, user, confirmed=True) is not None:
        found.append(TOTP)
    if found and codes_left(book, user):
        found.append(RECOVERY)
    return tuple(sorted(found))


def show(book: Book, user: User, proof: Proof, attempt: Attempt | None) -> str | None:
    """Judge a proof; return the RFC 8176 name of what was shown, None when it is no good.

    What counted once counts never again: the code's step, the recovery code, the passkey's counter.
    """
    if not proof.given:
        return None
    if proof.totp is not None:
        return "otp" if _code_counts(book, user.number, proof.totp, confirmed=True) else None
    if proof.recovery_code is not None:
        return "rec" if _recovery_counts(book, user.number, proof.recovery_code) else None
    if attempt is None or proof.passkey is None:
        return None
    return "mfa" if passkeys.answered(book, attempt, proof.passkey) == user.number else None


def add_totp(book: Book, user: User, name: str) -> tuple[bytes, str]:
    """Begin with an authenticator app; return its secret and the URI of the QR code.

    An unconfirmed one is replaced. Raises `Conflict` when there is one already.
    """
    if _totp(book, user.number, confirmed=True) is not None:
        raise Conflict("There is an authenticator app already; remove it first.")
    table, secret = book.t.totps, secrets.token_bytes(totp.SECRET_BYTES)
    book.db.execute(table.delete().where(table.c.user == user.number))
    book.db.execute(
        table.insert(),
        {
            "user": user.number,
            "secret": book.seal(user.number, "totp", secret),
            "last_step": -1,
            "created_ms": book.now_ms,
        },
    )
    return secret, totp.enrolment_uri(secret, book.settings.service_name, name)


def confirm_totp(book: Book, user: User, code: str) -> bool:
    """The app showed its first code; from now on it is asked for."""
    if not _code_counts(book, user.number, code, confirmed=False):
        return False
    table = book.t.totps
    mine = table.c.user == user.number
    book.db.execute(table.update().where(mine).values(confirmed_ms=book.now_ms))
    book.note(user.number, "totpAdded")
    return True


def remove_totp(book: Book, user: int) -> bool:
    """Forget an app; False if there is none."""
    if _totp(book, user, confirmed=True) is None:
        return False
    table = book.t.totps
    book.db.execute(table.delete().where(table.c.user == user))
    book.note(user, "totpRemoved")
    return True


def new_codes(book: Book, user: User) -> list[str]:
    """Return ten new recovery codes; older ones end. They are shown this once."""
    table, made = book.t.codes, new_recovery_codes()
    book.db.execute(table.delete().where(table.c.user == user.number))
    for code in made:
        book.db.execute(table.insert(), {"digest": recovery_digest(code), "user": user.number})
    book.note(user.number, "recoveryCodesMade")
    return made


def codes_left(book: Book, user: int) -> int:
    """Return how many recovery codes were not used."""
    table = book.t.codes
    asked = sa.select(sa.func.count()).select_from(table).where(table.c.user == user)
    return int(book.db.execute(asked).scalar_one())


def _recovery_counts(book: Book, user: int, code: str) -> bool:
    table = book.t.codes
    mine = (table.c.digest == recovery_digest(code)) & (table.c.user == user)
    if not book.db.execute(table.delete().where(mine)).rowcount:
        return False
    book.note(user, "recoveryCodeUsed", {"left": codes_left(book, user)})
    return True


def _code_counts(book: Book, user: int, code: str, *, confirmed: bool) -> bool:
    row = _totp(book, user, confirmed=confirmed)
    if row is None:
        return False
    secret = book.open(user, "totp", row.secret)
    step = totp.step_of_code(secret, code, book.now_ms, row.last_step)
    if step is None:
        return False
    table = book.t.totps
    book.db.execute(table.update().where(table.c.user == user).values(last_step=step))
    return True


def _totp(book: Book, user: int, *, confirmed: bool) -> Any:
    table = book.t.totps
    row = book.db.execute(table.select().where(table.c.user == user)).one_or_none()
    if row is None or (row.confirmed_ms is not None) is not confirmed:
        return None
    if not confirmed and book.now_ms - row.created_ms > UNCONFIRMED_MS:
        return None
    return row
