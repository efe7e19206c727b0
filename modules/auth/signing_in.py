"""Signing in: by password, passkey or a ledger account's key, and then by a second factor.

Every way takes the same steps for users who are there and for names that nobody has: a counted
try, a hash, a transaction, one answer. Only who proved one factor learns that there is another.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.rules import time_text
from clawpurse.modules.auth import (
    attempts,
    factors,
    passkeys,
    sessions,
    throttle,
    users,
)
from clawpurse.modules.auth.answers import (
    BY_KEY,
    BY_PASSKEY,
    BY_WORD,
    HASH_COST,
    begun_json,
    charge_address,
    judged,
    settle_address,
    show_factor,
    signed_in,
)
from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.chainkeys import Challenge, is_signed
from clawpurse.modules.auth.desk import Desk, too_soon, wrong
from clawpurse.modules.auth.passwords import is_long_enough_alone, password_bytes
from clawpurse.modules.auth.rights import ENROL, check_wanted, rights_of
from clawpurse.modules.auth.sessions import Ended, level_of
from clawpurse.modules.auth.shapes import (
    Begun,
    ChallengeParams,
    ChallengeShape,
    FinishParams,
    Json,
    KeyLoginParams,
    KeyProof,
    LoginParams,
    PasskeyLoginParams,
    RegisterParams,
    SecondFactor,
    SessionParams,
    hex_bytes,
)
from clawpurse.modules.auth.throttle import USER_PACE
from clawpurse.modules.auth.users import State, User
from clawpurse.modules.kit.service.signin import SignedIn
from clawpurse.modules.kit.web.errors import (
    FORBIDDEN,
    RATE_LIMITED,
    UNAUTHENTICATED,
)
from clawpurse.modules.kit.web.grants import ONE_FACTOR
from clawpurse.modules.kit.web.jsonrpc import Context, Method
from clawpurse.modules.kit.web.scopes import read_scopes

_REFUSALS: Final = (UNAUTHENTICATED, RATE_LIMITED, FORBIDDEN)


class Proven(NamedTuple):
    """A user who proved enough to be signed in, by these methods."""

    user: User
    methods: tuple[str, ...]


class SignIn:
    """The methods that need no session."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def methods(self) -> list[Method]:
        """Return the definitions."""
        signed: Any = SignedIn | SecondFactor

        def method(
            name: str, says: str, handler: Any, params: Any, result: Any, cost: int = 5
        ) -> Method:
            return Method(
                f"auth_{name}", says, handler, params, result, errors=_REFUSALS, cost=cost
            )

        return [
            method(
                "register",
                "Accept an invitation: choose a password, and sign in",
                self.register,
                RegisterParams,
                signed,
                HASH_COST,
            ),
            method(
                "login",
                "Sign in by name and password; a second factor may be asked for",
                self.login,
                LoginParams,
                signed,
                HASH_COST,
            ),
            method(
                "finishLogin",
                "Show the second factor that a sign-in asked for",
                self.finish,
                FinishParams,
                SignedIn,
            ),
            Method(
                "auth_beginPasskey",
                "What the browser asks a passkey, for auth_loginPasskey",
                self.begin_passkey,
                result=Begun,
                cost=5,
            ),
            method(
                "loginPasskey",
                "Sign in by a passkey, which is two factors in one",
                self.login_passkey,
                PasskeyLoginParams,
                SignedIn,
            ),
            method(
                "challenge",
                "What the wallet of a ledger account signs, for auth_loginKey",
                self.challenge,
                ChallengeParams,
                ChallengeShape,
            ),
            method(
                "loginKey",
                "Sign in by the key of a ledger account",
                self.login_key,
                KeyLoginParams,
                signed,
            ),
        ]

    async def register(self, params: RegisterParams, context: Context) -> Json:
        """auth_register."""
        password_bytes(params.password)

        def begin(book: Book) -> tuple[User, str] | int | None:
            wait_ms = charge_address(book, context)
            found = users.invited(book, params.invitation)
            if wait_ms or found is None:
                return wait_ms or None
            return found, users.name_of(book, found.number) or ""

        begun = await self._desk.write(begin)
        user, name = judged(begun)
        settings = self._desk.settings
        alone = settings.second_factor == "optional"
        known = (name, settings.service_name)
        hashed = await self._desk.hasher.checked(params.password, known, alone=alone)

        def end(book: Book) -> User | None:
            found = users.invited(book, params.invitation, take=True)
            if found is None or found.number != user.number:
                return None
            if found.state is State.INVITED:
                users.move(book, found, State.ACTIVE, "registered")
            users.set_password(book, found, hashed, alone=is_long_enough_alone(params.password))
            sessions.end_all(book, found.number, Ended.RENEWED)
            users.end_tokens(book, found.number)
            settle_address(book, context)
            return users.get(book, found.number)

        found = judged(await self._desk.write(end))
        return await self._after_one(found, BY_WORD, params)

    async def login(self, params: LoginParams, context: Context) -> Json:
        """auth_login."""
        password = password_bytes(params.password)
        name = users.plain_name(params.name)

        def begin(book: Book) -> tuple[User | None, bytes | None] | int:
            wait_ms = charge_address(book, context)
            wait_ms = wait_ms or throttle.charge(book, book.mark("tries", name), USER_PACE)
            found = users.by_name(book, name)
            return wait_ms or (found, None if found is None else found.password)

        found, stored = judged(await self._desk.write(begin))
        same, renewed = await self._desk.verified(stored, password)

        def end(book: Book) -> User | None:
            user = None if found is None else users.get(book, found.number)
            if user is None:
                book.pretend_note()
                return None
            if not same or user.password != stored or user.state is not State.ACTIVE:
                book.note(user.number, "signInRefused")
                return None
            throttle.forgive(book, book.mark("tries", name))
            settle_address(book, context)
            if renewed is not None:
                users.rehash(book, user, renewed)
            return user

        user = judged(await self._desk.write(end))
        return await self._after_one(user, BY_WORD, params)

    async def finish(self, params: FinishParams, context: Context) -> Json:
        """auth_finishLogin."""

        def run(book: Book) -> Proven | int | None:
            wait_ms = charge_address(book, context)
            attempt = attempts.find(book, params.attempt, attempts.FACTOR)
            if wait_ms or attempt is None or attempt.user is None:
                return wait_ms or None
            user = users.get(book, attempt.user)
            shown = show_factor(book, user, params.proof, attempt)
            if not isinstance(shown, str):
                return shown
            attempts.end(book, attempt)
            if user.state is not State.ACTIVE:
                return None
            settle_address(book, context)
            return Proven(user, (attempt.subject, shown))

        proven = judged(await self._desk.write(run))
        return await self._sign_in(proven, params)

    async def begin_passkey(self, _params: object, context: Context) -> Json:
        """auth_beginPasskey."""

        def run(book: Book) -> Json | int:
            wait_ms = charge_address(book, context)
            if wait_ms:
                return wait_ms
            secret, attempt = attempts.begin(book, attempts.PASSKEY)
            settle_address(book, context)
            return begun_json(secret, attempt, passkeys.request_options(book, attempt))

        return judged(await self._desk.write(run))

    async def login_passkey(self, params: PasskeyLoginParams, context: Context) -> Json:
        """auth_loginPasskey."""

        def run(book: Book) -> Proven | int | None:
            wait_ms = charge_address(book, context)
            if wait_ms:
                return wait_ms
            attempt = attempts.take(book, params.attempt, attempts.PASSKEY)
            number = attempt and passkeys.answered(book, attempt, params.credential)
            user = users.get(book, number) if number else None
            if user is None or user.state is not State.ACTIVE:
                return None
            settle_address(book, context)
            return Proven(user, (BY_PASSKEY,))

        proven = judged(await self._desk.write(run))
        return await self._sign_in(proven, params)

    async def challenge(self, params: ChallengeParams, context: Context) -> Json:
        """auth_challenge. Whether anybody has the account is not told."""
        account_from_text(params.account)

        def run(book: Book) -> Json | int:
            wait_ms = charge_address(book, context)
            if wait_ms:
                return wait_ms
            secret, attempt = attempts.begin(book, attempts.KEY, subject=params.account)
            settle_address(book, context)
            asked = self._asked(book, attempt)
            return {
                "attempt": secret,
                "text": asked.text,
                "message": f"0x{asked.message.hex()}",
                "expires": time_text(attempt.expires_ms),
            }

        return judged(await self._desk.write(run))

    async def login_key(self, params: KeyLoginParams, context: Context) -> Json:
        """auth_loginKey."""

        def charge(book: Book) -> int:
            return charge_address(book, context)

        wait_ms = await self._desk.write(charge)
        if wait_ms:
            raise too_soon(wait_ms)
        account = await self.proven_account(params)

        def run(book: Book) -> User | None:
            user = users.by_account(book, account)
            if user is None or user.state is not State.ACTIVE:
                return None
            settle_address(book, context)
            return user

        user = judged(await self._desk.write(run))
        return await self._after_one(user, BY_KEY, params)

    async def proven_account(self, params: KeyProof) -> str:
        """Return the account whose key signed a challenge. Raises `RpcError`, `Unreachable`.

        The key must be the one that signs for the account alone, by the ledger, now.
        """
        public_key = hex_bytes(params.public_key, 32, "publicKey")
        signature = hex_bytes(params.signature, 64, "signature")

        def take(book: Book) -> str | None:
            attempt = attempts.take(book, params.attempt, attempts.KEY)
            if attempt is None or not is_signed(self._asked(book, attempt), public_key, signature):
                return None
            return attempt.subject

        account = judged(await self._desk.write(take))
        if await self._desk.ledger.key_of(account) != public_key:
            raise wrong()
        return account

    async def _after_one(self, user: User, method: str, params: SessionParams) -> Json:
        """Sign in whoever proved one factor, or ask for the second one."""

        def run(book: Book) -> Json | None:
            having = factors.of_user(book, user.number)
            if not having:
                return None
            secret, attempt = attempts.begin(book, attempts.FACTOR, user.number, method)
            asks = factors.PASSKEY in having
            return {
                "status": "secondFactor",
                "attempt": secret,
                "expires": time_text(attempt.expires_ms),
                "factors": list(having),
                "passkey": passkeys.request_options(book, attempt) if asks else None,
            }

        asked = await self._desk.write(run)
        if asked is not None:
            return asked
        return await self._sign_in(Proven(user, (method,)), params)

    async def _sign_in(self, proven: Proven, params: SessionParams) -> Json:
        roles = await self._desk.roles(proven.user)
        settings, wanted = self._desk.settings, ""
        if params.scopes is not None:
            check_wanted(settings, roles, params.scopes)
            wanted = read_scopes({*params.scopes, "auth_me", "auth_logout"}).text
        level = level_of(proven.methods)

        def run(book: Book) -> Json | None:
            user = users.get(book, proven.user.number)
            if user.state is not State.ACTIVE:
                return None
            short = BY_WORD in proven.methods and not user.password_alone
            strict = book.settings.second_factor == "required"
            enrols = level == ONE_FACTOR and (short or strict)
            session, refresh = sessions.open_session(
                book, user, proven.methods, level, ENROL.text if enrols else wanted, params.label
            )
            return signed_in(
                book, user, session, refresh, rights_of(settings, roles, session.scopes)
            )

        return judged(await self._desk.write(run))

    def _asked(self, book: Book, attempt: attempts.Attempt) -> Challenge:
        chain = self._desk.chain
        return Challenge(
            book.settings.rp_id,
            chain.chain_id,
            chain.genesis_hash,
            account_from_text(attempt.subject),
            attempt.nonce,
            attempt.created_ms,
            attempt.expires_ms,
        )
