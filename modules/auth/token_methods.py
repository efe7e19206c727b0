"""Tokens anew: for a refresh token, for an API key; and the keys that they are signed with."""

from __future__ import annotations

from typing import Final

from clawpurse.modules.auth import programs, sessions, signing, users
from clawpurse.modules.auth.answers import (
    BY_API_KEY,
    charge_address,
    judged,
    signed_in,
    token_json,
)
from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.desk import Desk
from clawpurse.modules.auth.rights import rights_of
from clawpurse.modules.auth.shapes import AccessToken, Json, KeysShape
from clawpurse.modules.auth.users import State, User
from clawpurse.modules.kit.service.signin import RefreshParams, SignedIn
from clawpurse.modules.kit.web.apikeys import START
from clawpurse.modules.kit.web.errors import FORBIDDEN, RATE_LIMITED, UNAUTHENTICATED, RpcError
from clawpurse.modules.kit.web.grants import ONE_FACTOR
from clawpurse.modules.kit.web.jsonrpc import Context, Method

_REFUSALS: Final = (UNAUTHENTICATED, RATE_LIMITED, FORBIDDEN)


class Tokens:
    """See the module."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "auth_refresh",
                "New tokens for a refresh token, which counts once",
                self.refresh,
                RefreshParams,
                SignedIn,
                errors=_REFUSALS,
                cost=5,
            ),
            Method(
                "auth_exchangeApiKey",
                "An access token for the API key that calls",
                self.exchange,
                result=AccessToken,
                role="program",
                errors=_REFUSALS,
                cost=5,
            ),
            Method(
                "auth_getKeys",
                "The keys that tokens are signed with, as a JWKS",
                self.keys,
                result=KeysShape,
            ),
        ]

    async def refresh(self, params: RefreshParams, context: Context) -> Json:
        """auth_refresh."""

        def begin(book: Book) -> User | int | None:
            session = sessions.of_refresh(book, params.refresh_token)
            if session is None:
                # Unknown, or used before: then this ends its session. Only what is wrong is
                # counted: a server that passes refreshes on has one address for everybody.
                sessions.rotate(book, params.refresh_token)
                return charge_address(book, context) or None
            user = users.get(book, session.user)
            return user if user.state is State.ACTIVE else None

        user = judged(await self._desk.write(begin))
        roles = await self._desk.roles(user)

        def rotate(book: Book) -> Json | None:
            rotated = sessions.rotate(book, params.refresh_token)
            now = None if rotated is None else users.get(book, rotated[0].user)
            if rotated is None or now is None or now.state is not State.ACTIVE:
                return None
            rights = rights_of(book.settings, roles, rotated[0].scopes)
            return signed_in(book, now, rotated[0], rotated[1], rights)

        return judged(await self._desk.write(rotate))

    async def exchange(self, _params: object, context: Context) -> Json:
        """auth_exchangeApiKey."""
        caller = await self._desk.caller(context)
        user, key = caller.user, caller.key
        if user is None or key is None or (context.grant is not None and context.grant.issuer):
            raise RpcError(FORBIDDEN, "this is for API keys", hint="Authorization: Bearer cpk_…")
        roles = await self._desk.roles(user)

        def run(book: Book) -> Json:
            rights = rights_of(book.settings, roles, key.scopes)
            token, ends_ms = signing.access_token(
                book,
                users.get(book, user.number),
                rights,
                START + key.prefix,
                programs.next_token(book, key.prefix),
                level=ONE_FACTOR,
                methods=(BY_API_KEY,),
                proven_ms=0,
                ends_ms=key.expires_ms,
            )
            return token_json(token, ends_ms, ONE_FACTOR, rights)

        return await self._desk.write(run, caller)

    def keys(self, _params: object, _context: Context) -> Json:
        """auth_getKeys."""
        return signing.jwks(dict(self._desk.standing.keys))
