"""What methods of sign-in share: tries of an address, a second factor in its turn, answers."""

from __future__ import annotations

from typing import Final, TypeVar

from clawpurse.ledger.rules import time_text
from clawpurse.modules.auth import attempts, factors, sessions, signing, throttle
from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.desk import too_soon, wrong
from clawpurse.modules.auth.rights import Rights
from clawpurse.modules.auth.sessions import Session
from clawpurse.modules.auth.shapes import Json
from clawpurse.modules.auth.throttle import ADDRESS_PACE, USER_PACE
from clawpurse.modules.auth.users import User
from clawpurse.modules.kit.web.guard import LOOPBACK_CLIENTS
from clawpurse.modules.kit.web.jsonrpc import Context

BY_WORD: Final = "pwd"
BY_KEY: Final = "pop"
BY_API_KEY: Final = "key"
BY_PASSKEY: Final = "mfa"
"""Names of RFC 8176, as tokens say how somebody proved who they are."""

HASH_COST: Final = 20
"""In budget units: a hash takes a core for 45 ms."""

T = TypeVar("T")


def judged(found: T | int | None) -> T:
    """Return what was found. Raises the one refusal for nothing, and for a wait in ms."""
    if found is None:
        raise wrong()
    if isinstance(found, int):
        raise too_soon(found)
    return found


def charge_address(book: Book, context: Context) -> int:
    """Count a try of an address; 0, or how many ms it comes too early.

    Callers of this machine share one address, and are counted by user alone. Who calls with a
    token is counted by whom it names.
    """
    mark = _address_mark(book, context)
    return 0 if mark is None else throttle.charge(book, mark, ADDRESS_PACE)


def settle_address(book: Book, context: Context) -> None:
    """Give a try back: it was a good one."""
    mark = _address_mark(book, context)
    if mark is not None:
        throttle.give_back(book, mark)


def _address_mark(book: Book, context: Context) -> bytes | None:
    if context.grant is not None:
        return book.mark("token", context.grant.name)
    if context.client in LOOPBACK_CLIENTS:
        return None
    return book.mark("address", context.client)


def show_factor(
    book: Book, user: User, proof: factors.Proof, attempt: attempts.Attempt | None
) -> str | int | None:
    """Judge a second factor in its turn: its RFC 8176 name, None for a wrong one, or a wait, ms."""
    mark = book.mark("factor", user.id)
    wait_ms = throttle.charge(book, mark, USER_PACE)
    if wait_ms:
        return wait_ms
    shown = factors.show(book, user, proof, attempt)
    if shown is None:
        book.note(user.number, "factorRefused")
        if attempt is not None:
            attempts.fail(book, attempt)
        return None
    throttle.forgive(book, mark)
    return shown


def signed_in(book: Book, user: User, session: Session, refresh: str, rights: Rights) -> Json:
    """Return the answer to a sign-in or a refresh."""
    token, ends_ms = session_token(book, user, session, rights)
    return {
        "status": "signedIn",
        "user": user.id,
        "session": session.ident,
        **token_json(token, ends_ms, session.level, rights),
        "refreshToken": refresh,
        "enrol": session.enrols,
    }


def session_token(book: Book, user: User, session: Session, rights: Rights) -> tuple[str, int]:
    """Return the next access token of a session, and when it ends."""
    return signing.access_token(
        book,
        user,
        rights,
        session.ident,
        sessions.next_token(book, session),
        level=session.level,
        methods=session.methods,
        proven_ms=session.proven_ms,
        ends_ms=session.ends_ms,
    )


def token_json(token: str, ends_ms: int, level: str, rights: Rights) -> Json:
    """Return an access token as it is answered."""
    return {
        "accessToken": token,
        "expires": time_text(ends_ms),
        "level": level,
        "scopes": sorted(rights.scopes.patterns),
    }


def begun_json(secret: str, attempt: attempts.Attempt, options: Json) -> Json:
    """Return what a browser needs to ask a passkey."""
    return {"attempt": secret, "expires": time_text(attempt.expires_ms), "options": options}
