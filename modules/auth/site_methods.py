"""Signing in for pages of another address: a node's dashboard, a service's pages.

The authorization code grant with proof of possession (RFC 6749 §4.1, RFC 7636 S256), in JSON-RPC:
the page sends the browser here with a challenge, whoever is signed in agrees, the browser goes
back with a code, and who has the challenge's verifier gets a session of its own for it. Codes
count once and for five minutes; they are given for configured pages alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.rules import time_text
from clawpurse.modules.auth import attempts, sessions, users
from clawpurse.modules.auth.answers import charge_address, judged, signed_in
from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.desk import Desk
from clawpurse.modules.auth.rights import rights_of
from clawpurse.modules.auth.sessions import Ended, Session
from clawpurse.modules.auth.shapes import CodeShape, Json, SiteParams
from clawpurse.modules.auth.users import State, User
from clawpurse.modules.kit.service.signin import Done, RedeemParams, RefreshParams, SignedIn
from clawpurse.modules.kit.web.errors import FORBIDDEN, RATE_LIMITED, UNAUTHENTICATED, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context, Method

_REFUSALS: Final = (UNAUTHENTICATED, FORBIDDEN, RATE_LIMITED)


class Sites:
    """See the module."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "auth_authorizeSite",
                "A code that signs the caller in on a configured page",
                self.authorize,
                SiteParams,
                CodeShape,
                errors=_REFUSALS,
                role="user",
                cost=5,
            ),
            Method(
                "auth_redeemCode",
                "A session for the code of auth_authorizeSite, and the challenge's verifier",
                self.redeem,
                RedeemParams,
                SignedIn,
                errors=_REFUSALS,
                cost=5,
            ),
            Method(
                "auth_revokeToken",
                "End the session of a refresh token (RFC 7009)",
                self.revoke,
                RefreshParams,
                Done,
                errors=_REFUSALS,
                cost=5,
            ),
        ]

    async def authorize(self, params: SiteParams, context: Context) -> Json:
        """auth_authorizeSite."""
        user, session, caller = await self._desk.person(context)
        if params.site not in self._desk.settings.sites:
            raise RpcError(
                FORBIDDEN,
                f"nobody is signed in for {params.site} here",
                hint="whoever may: auth_setConfiguration {changes: {sites: [ORIGIN]}}",
            )
        if session.enrols:
            raise RpcError(FORBIDDEN, "set a second factor up first", hint="auth_addTotp")
        challenge = challenge_bytes(params.challenge)

        def run(book: Book) -> Json:
            nonce = _bound(challenge, params.site)
            code, attempt = attempts.begin(
                book, attempts.SITE, user.number, session.ident, nonce=nonce
            )
            book.note(user.number, "siteAuthorized", {"site": params.site})
            return {"code": code, "expires": time_text(attempt.expires_ms)}

        return await self._desk.write(run, caller)

    async def redeem(self, params: RedeemParams, context: Context) -> Json:
        """auth_redeemCode."""

        def begin(book: Book) -> tuple[User, Session] | int | None:
            found = _first_use(book, params)
            # What is wrong is counted: who passes codes on has one address for everybody.
            return found or charge_address(book, context) or None

        user, session = judged(await self._desk.write(begin))
        roles = await self._desk.roles(user)

        def run(book: Book) -> Json | None:
            now = users.get(book, user.number)
            if now.state is not State.ACTIVE or sessions.live(book, session.ident) is None:
                return None
            opened, refresh = sessions.branch(book, now, session, params.site)
            used = attempts.find(book, params.code, attempts.SITE_USED)
            if used is not None:
                attempts.use(book, used, attempts.SITE_USED, opened.ident)
            rights = rights_of(book.settings, roles, opened.scopes)
            return signed_in(book, now, opened, refresh, rights)

        return judged(await self._desk.write(run))

    async def revoke(self, params: RefreshParams, _context: Context) -> Json:
        """auth_revokeToken. An unknown token is over, too (RFC 7009 §2.2)."""

        def run(book: Book) -> bool:
            found = sessions.of_refresh(book, params.refresh_token)
            return found is not None and sessions.end(book, found.ident, Ended.SIGNED_OUT)

        return {"changed": await self._desk.write(run)}


def _first_use(book: Book, params: RedeemParams) -> tuple[User, Session] | None:
    """Return whose session a code was given in, and use it up. None when it was not for this page
    and verifier, or that session is over; at a second use what the first one opened ends (RFC 6749
    §10.5).
    """
    bound = _bound(hashlib.sha256(params.verifier.encode()).digest(), params.site)
    used = attempts.find(book, params.code, attempts.SITE_USED)
    if used is not None and hmac.compare_digest(used.nonce, bound):
        sessions.end(book, used.subject, Ended.REUSED)
    found = attempts.find(book, params.code, attempts.SITE)
    if found is None or found.user is None:
        return None
    if not hmac.compare_digest(found.nonce, bound):
        attempts.end(book, found)
        return None
    attempts.use(book, found, attempts.SITE_USED, "")
    session, user = sessions.live(book, found.subject), users.get(book, found.user)
    return None if session is None or user.state is not State.ACTIVE else (user, session)


def challenge_bytes(text: str) -> bytes:
    """Return the 32 bytes of an S256 challenge. Raises `Malformed` for another spelling."""
    try:
        data = base64.urlsafe_b64decode(text + "=")
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != hashlib.sha256().digest_size or _base64url(data) != text:
        raise Malformed("challenge", "is not the base64url of a SHA-256, without padding")
    return data


def _bound(challenge: bytes, site: str) -> bytes:
    """What a code is kept with: it is of no use with another verifier, or for another page."""
    return hashlib.sha256(challenge + site.encode()).digest()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
