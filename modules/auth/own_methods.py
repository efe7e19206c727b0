"""What somebody who is signed in does about themselves: sessions, factors, password, account."""

from __future__ import annotations

import base64
from typing import Any, Final

from clawpurse.ledger.rules import time_text
from clawpurse.modules.auth import attempts, factors, passkeys, sessions, throttle, users
from clawpurse.modules.auth.answers import (
    BY_PASSKEY,
    BY_WORD,
    HASH_COST,
    begun_json,
    judged,
    session_token,
    show_factor,
    token_json,
)
from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.desk import Caller, Desk, wrong
from clawpurse.modules.auth.passwords import is_long_enough_alone, password_bytes
from clawpurse.modules.auth.rights import rights_of
from clawpurse.modules.auth.sessions import Ended, Session
from clawpurse.modules.auth.shapes import (
    AccessToken,
    AddedPasskeyParams,
    Begun,
    CodeParams,
    CodesShape,
    FactorsShape,
    IdentParams,
    Json,
    KeyProof,
    Me,
    PasskeysShape,
    PasswordParams,
    SecondFactor,
    SessionsShape,
    StepUpParams,
    TotpShape,
)
from clawpurse.modules.auth.signing_in import SignIn
from clawpurse.modules.auth.throttle import USER_PACE
from clawpurse.modules.auth.users import User
from clawpurse.modules.kit.records.answers import refusals
from clawpurse.modules.kit.records.model import Conflict
from clawpurse.modules.kit.service.signin import Done
from clawpurse.modules.kit.web.errors import (
    CONFLICT,
    FORBIDDEN,
    NOT_FOUND,
    RATE_LIMITED,
    UNAUTHENTICATED,
)
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams

ROLE: Final = "user"
_REFUSALS: Final = (UNAUTHENTICATED, FORBIDDEN, RATE_LIMITED, NOT_FOUND, CONFLICT)


_Row = tuple[str, str, Any, Any, Any, int]


class Own:
    """See the module."""

    def __init__(self, desk: Desk, sign_in: SignIn) -> None:
        self._desk = desk
        self._sign_in = sign_in

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                f"auth_{name}",
                says,
                handler,
                params,
                result,
                errors=_REFUSALS,
                cost=cost,
                role=ROLE,
            )
            for name, says, handler, params, result, cost in (
                *self._of_sessions(),
                *self._of_factors(),
            )
        ]

    def _of_sessions(self) -> list[_Row]:
        stepped: Any = AccessToken | SecondFactor
        return [
            ("me", "Who calls, with the roles that the ledger gives now", self.me, NoParams, Me, 2),
            ("logout", "End this session", self.logout, NoParams, Done, 2),
            ("listSessions", "One's sessions", self.sessions, NoParams, SessionsShape, 5),
            ("endSession", "End one of one's sessions", self.end_session, IdentParams, Done, 2),
            (
                "endOtherSessions",
                "End every session but this one",
                self.end_others,
                NoParams,
                Done,
                5,
            ),
            (
                "stepUp",
                "Prove again who one is, for dangerous calls; without a proof, how to",
                self.step_up,
                StepUpParams,
                stepped,
                HASH_COST,
            ),
        ]

    def _of_factors(self) -> list[_Row]:
        return [
            ("addTotp", "Begin with an authenticator app", self.add_totp, NoParams, TotpShape, 5),
            (
                "confirmTotp",
                "The app's first code; from then on it is asked for",
                self.confirm_totp,
                CodeParams,
                FactorsShape,
                5,
            ),
            ("removeTotp", "Forget the app", self.remove_totp, NoParams, FactorsShape, 5),
            ("addPasskey", "Begin with a passkey", self.add_passkey, NoParams, Begun, 5),
            (
                "confirmPasskey",
                "What the browser made of it",
                self.confirm_passkey,
                AddedPasskeyParams,
                PasskeysShape,
                5,
            ),
            ("listPasskeys", "One's passkeys", self.passkeys, NoParams, PasskeysShape, 5),
            ("removePasskey", "Forget one", self.remove_passkey, IdentParams, PasskeysShape, 5),
            (
                "newRecoveryCodes",
                "Ten codes for paper; older ones end",
                self.new_codes,
                NoParams,
                CodesShape,
                5,
            ),
            (
                "changePassword",
                "Another password; every other session ends",
                self.change_password,
                PasswordParams,
                Done,
                2 * HASH_COST,
            ),
            (
                "bindAccount",
                "Act for a ledger account whose key signed a challenge",
                self.bind_account,
                KeyProof,
                Me,
                10,
            ),
        ]

    async def me(self, _params: object, context: Context) -> Json:
        """auth_me."""
        caller = await self._desk.caller(context)
        if caller.user is None:
            return await self._stranger(caller)
        user, session = caller.user, caller.session
        roles = await self._desk.roles(user)

        def run(book: Book) -> Json:
            return {
                "user": user.id,
                "name": users.name_of(book, user.number),
                "kind": user.kind.value,
                "state": user.state.value,
                "account": user.account,
                "roles": sorted(roles),
                "session": None if session is None else session.ident,
                "level": "" if session is None else session.level,
                "proven": None if session is None else time_text(session.proven_ms),
                "factors": list(factors.of_user(book, user.number)),
                "recoveryCodes": factors.codes_left(book, user.number),
                "hasPassword": user.password is not None,
            }

        return await self._desk.read(run)

    async def _stranger(self, caller: Caller) -> Json:
        """Who has a token of this machine, or of another issuer, and is no user."""
        account = caller.account
        roles = await self._desk.ledger.roles_of(account) if account else frozenset[str]()
        return {
            **dict.fromkeys(("name", "session", "proven")),
            "user": caller.actor,
            "kind": "token",
            "state": "active",
            "account": account,
            "roles": sorted(roles),
            "level": "",
            "factors": [],
            "recoveryCodes": 0,
            "hasPassword": False,
        }

    async def logout(self, _params: object, context: Context) -> Json:
        """auth_logout."""
        _, session, caller = await self._desk.person(context)
        ended = await self._desk.write(
            lambda book: sessions.end(book, session.ident, Ended.SIGNED_OUT), caller
        )
        return {"changed": ended}

    async def sessions(self, _params: object, context: Context) -> Json:
        """auth_listSessions."""
        user, session, _ = await self._desk.person(context)
        found = await self._desk.read(lambda book: sessions.listed(book, user.number))
        return {"sessions": [_session_json(one, session.ident) for one in found]}

    async def end_session(self, params: IdentParams, context: Context) -> Json:
        """auth_endSession."""
        user, _, caller = await self._desk.fresh(context)

        def run(book: Book) -> bool:
            found = sessions.live(book, params.id)
            mine = found is not None and found.user == user.number
            return mine and sessions.end(book, params.id, Ended.ENDED)

        return {"changed": await self._desk.write(run, caller)}

    async def end_others(self, _params: object, context: Context) -> Json:
        """auth_endOtherSessions."""
        user, session, caller = await self._desk.fresh(context)
        ended = await self._desk.write(
            lambda book: sessions.end_all(book, user.number, Ended.ENDED, but=session.ident), caller
        )
        return {"changed": bool(ended)}

    async def step_up(self, params: StepUpParams, context: Context) -> Json:
        """auth_stepUp. Whoever has a second factor shows that; whoever has none, the password."""
        user, session, caller = await self._desk.person(context)
        having = await self._desk.read(lambda book: factors.of_user(book, user.number))
        if not params.proof.given and params.password is None:
            return await self._begin_step_up(user, having, caller)
        method: str | int | None = None
        if having:
            method = await self._desk.write(lambda book: self._shown(book, user, params), caller)
        elif params.password is not None:
            await self._check_password(user, params.password, caller)
            method = BY_WORD
        shown = judged(method)
        roles = await self._desk.roles(user)

        def run(book: Book) -> Json | None:
            found = sessions.live(book, session.ident)
            if found is None:
                return None
            proven = sessions.prove(book, found, shown, two=bool(having))
            rights = rights_of(book.settings, roles, proven.scopes)
            now = users.get(book, user.number)
            return token_json(*session_token(book, now, proven, rights), proven.level, rights)

        return judged(await self._desk.write(run, caller))

    async def _begin_step_up(self, user: User, having: tuple[str, ...], caller: Caller) -> Json:
        def run(book: Book) -> Json:
            secret, attempt = attempts.begin(book, attempts.STEP_UP, user.number)
            asks = factors.PASSKEY in having
            return {
                "status": "secondFactor",
                "attempt": secret,
                "expires": time_text(attempt.expires_ms),
                "factors": list(having) or ["password"],
                "passkey": passkeys.request_options(book, attempt) if asks else None,
            }

        return await self._desk.write(run, caller)

    @staticmethod
    def _shown(book: Book, user: User, params: StepUpParams) -> str | int | None:
        attempt = None
        if params.attempt is not None:
            attempt = attempts.find(book, params.attempt, attempts.STEP_UP)
            if attempt is None or attempt.user != user.number:
                return None
        shown = show_factor(book, user, params.proof, attempt)
        if isinstance(shown, str) and attempt is not None:
            attempts.end(book, attempt)
        return shown

    async def _check_password(self, user: User, password: str, caller: Caller) -> None:
        """Raise the one refusal unless it is the user's password; tries are counted."""
        data = password_bytes(password)

        def charge(book: Book) -> tuple[bytes, bytes | None] | int:
            now = users.get(book, user.number)
            mark = book.mark("tries", users.plain_name(users.name_of(book, user.number) or "-"))
            return throttle.charge(book, mark, USER_PACE) or (mark, now.password)

        mark, stored = judged(await self._desk.write(charge, caller))
        same, _ = await self._desk.verified(stored, data)
        if not same:
            raise wrong()
        await self._desk.write(lambda book: throttle.forgive(book, mark), caller)

    async def add_totp(self, _params: object, context: Context) -> Json:
        """auth_addTotp."""
        user, _, caller = await self._desk.fresh(context)

        def run(book: Book) -> Json:
            name = users.name_of(book, user.number) or user.id
            secret, uri = factors.add_totp(book, user, name)
            return {"secret": base64.b32encode(secret).decode(), "uri": uri}

        with refusals():
            return await self._desk.write(run, caller)

    async def confirm_totp(self, params: CodeParams, context: Context) -> Json:
        """auth_confirmTotp."""
        user, session, caller = await self._desk.fresh(context)

        def run(book: Book) -> Json | int | None:
            mark = book.mark("factor", user.id)
            wait_ms = throttle.charge(book, mark, USER_PACE)
            if wait_ms or not factors.confirm_totp(book, user, params.code):
                return wait_ms or None
            throttle.forgive(book, mark)
            sessions.prove(book, session, "otp", two=True)
            return {"factors": list(factors.of_user(book, user.number))}

        return judged(await self._desk.write(run, caller))

    async def remove_totp(self, _params: object, context: Context) -> Json:
        """auth_removeTotp."""
        user, _, caller = await self._desk.fresh(context)

        def run(book: Book) -> Json:
            factors.remove_totp(book, user.number)
            _keep_one(book, user)
            return {"factors": list(factors.of_user(book, user.number))}

        with refusals():
            return await self._desk.write(run, caller)

    async def add_passkey(self, _params: object, context: Context) -> Json:
        """auth_addPasskey."""
        user, _, caller = await self._desk.fresh(context)

        def run(book: Book) -> Json:
            secret, attempt = attempts.begin(book, attempts.ADD_PASSKEY, user.number)
            name = users.name_of(book, user.number) or user.id
            return begun_json(secret, attempt, passkeys.creation_options(book, user, name, attempt))

        return await self._desk.write(run, caller)

    async def confirm_passkey(self, params: AddedPasskeyParams, context: Context) -> Json:
        """auth_confirmPasskey."""
        user, session, caller = await self._desk.fresh(context)

        def run(book: Book) -> Json | None:
            attempt = attempts.take(book, params.attempt, attempts.ADD_PASSKEY)
            if attempt is None or attempt.user != user.number:
                return None
            passkeys.add(book, user, attempt, params.credential, params.label)
            sessions.prove(book, session, BY_PASSKEY, two=True)
            return _passkeys_json(book, user)

        with refusals():
            return judged(await self._desk.write(run, caller))

    async def passkeys(self, _params: object, context: Context) -> Json:
        """auth_listPasskeys."""
        user, _, _ = await self._desk.person(context)
        return await self._desk.read(lambda book: _passkeys_json(book, user))

    async def remove_passkey(self, params: IdentParams, context: Context) -> Json:
        """auth_removePasskey."""
        user, _, caller = await self._desk.fresh(context)

        def run(book: Book) -> Json:
            passkeys.remove(book, user.number, params.id)
            _keep_one(book, user)
            return _passkeys_json(book, user)

        with refusals():
            return await self._desk.write(run, caller)

    async def new_codes(self, _params: object, context: Context) -> Json:
        """auth_newRecoveryCodes."""
        user, _, caller = await self._desk.fresh(context)

        def run(book: Book) -> Json:
            if not factors.of_user(book, user.number):
                raise Conflict("There is no second factor that a code could stand in for.")
            return {"codes": factors.new_codes(book, user)}

        with refusals():
            return await self._desk.write(run, caller)

    async def change_password(self, params: PasswordParams, context: Context) -> Json:
        """auth_changePassword."""
        user, session, caller = await self._desk.fresh(context)
        await self._check_password(user, params.current, caller)

        def known(book: Book) -> tuple[str, bool]:
            name = users.name_of(book, user.number) or ""
            return name, not factors.of_user(book, user.number)

        name, alone = await self._desk.read(known)
        words = (name, self._desk.settings.service_name)
        hashed = await self._desk.hasher.checked(params.password, words, alone=alone)

        def run(book: Book) -> bool:
            now = users.get(book, user.number)
            users.set_password(book, now, hashed, alone=is_long_enough_alone(params.password))
            book.note(user.number, "passwordChanged")
            sessions.end_all(book, user.number, Ended.RENEWED, but=session.ident)
            return True

        return {"changed": await self._desk.write(run, caller)}

    async def bind_account(self, params: KeyProof, context: Context) -> Json:
        """auth_bindAccount. Tokens from before end: the next ones are named by the account."""
        user, _, caller = await self._desk.fresh(context)
        account = await self._sign_in.proven_account(params)
        with refusals():
            await self._desk.write(
                lambda book: users.bind(book, users.get(book, user.number), account), caller
            )
        return await self.me(params, context)


def _keep_one(book: Book, user: User) -> None:
    """Raise `Conflict` when the last factor goes that a user cannot be without."""
    now = users.get(book, user.number)
    alone = now.password_alone and book.settings.second_factor == "optional"
    if not alone and not factors.of_user(book, user.number):
        raise Conflict("It is the last second factor, and one is needed; add another first.")


def _passkeys_json(book: Book, user: User) -> Json:
    return {
        "passkeys": [
            {
                "id": one.ident,
                "label": one.label,
                "created": time_text(one.created_ms),
                "used": None if one.used_ms is None else time_text(one.used_ms),
                "backedUp": one.backed_up,
            }
            for one in passkeys.listed(book, user.number)
        ]
    }


def _session_json(session: Session, current: str) -> Json:
    return {
        "id": session.ident,
        "label": session.label,
        "created": time_text(session.created_ms),
        "seen": time_text(session.seen_ms),
        "ends": time_text(session.ends_ms),
        "level": session.level,
        "methods": list(session.methods),
        "ended": None if session.ended_ms is None else time_text(session.ended_ms),
        "reason": session.reason,
        "current": session.ident == current,
    }
