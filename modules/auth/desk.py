"""What every method of sign-in stands on: transactions, who calls, and how one is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from clawpurse.modules.auth import factors, programs, sessions, standing, users
from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.passwords import Hasher
from clawpurse.modules.auth.programs import ApiKey
from clawpurse.modules.auth.rights import Ledger
from clawpurse.modules.auth.sessions import Session
from clawpurse.modules.auth.settings import AuthSettings
from clawpurse.modules.auth.standing import Standing
from clawpurse.modules.auth.users import State, User
from clawpurse.modules.kit.service.callers import is_account
from clawpurse.modules.kit.web.apikeys import START
from clawpurse.modules.kit.web.errors import (
    FORBIDDEN,
    UNAUTHENTICATED,
    RpcError,
    rate_limited,
)
from clawpurse.modules.kit.web.grants import TWO_FACTORS, Grant
from clawpurse.modules.kit.web.guard import ADMIN
from clawpurse.modules.kit.web.jsonrpc import Context

OPERATOR: Final = "operator"
T = TypeVar("T")


class Transact(Protocol):
    """How a function of a `Book` is run; `actor` and `origin` stand in what it notes."""

    async def write(self, run: Callable[[Book], T], actor: str = "", origin: str = "") -> T:
        """Run in one transaction, committed when it returns."""

    async def read(self, run: Callable[[Book], T]) -> T:
        """Run on one snapshot."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Which network the service belongs to."""

    chain_id: str
    genesis_hash: bytes


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a user of ours, by a session or an API key; or, without one, whoever a token of
    this machine or of another issuer stands for: `account`, and `ident` of the token.
    """

    user: User | None
    session: Session | None = None
    key: ApiKey | None = None
    account: str | None = None
    ident: str = OPERATOR

    @property
    def is_operator(self) -> bool:
        """Whether it has the admin token of this machine."""
        return self.user is None and self.ident == OPERATOR

    @property
    def actor(self) -> str:
        """Who stands in the history."""
        if self.user is not None:
            return f"user/{self.user.id}"
        return self.account or f"token:{self.ident}"

    @property
    def origin(self) -> str:
        """By which way it came, in the history."""
        if self.session is not None:
            return self.session.ident
        return self.ident if self.key is None else START + self.key.prefix


class Desk:
    """See the module. `now_ms` is the wall clock."""

    def __init__(
        self,
        transact: Transact,
        hasher: Hasher,
        seen: Standing,
        ledger: Ledger,
        chain: Chain,
        settings: Callable[[], AuthSettings],
        now_ms: Callable[[], int],
    ) -> None:
        self.transact: Final = transact
        self.hasher: Final = hasher
        self.standing: Final = seen
        self.ledger: Final = ledger
        self.chain: Final = chain
        self.now_ms: Final = now_ms
        self._settings = settings

    @property
    def settings(self) -> AuthSettings:
        """The configuration in force."""
        return self._settings()

    async def write(self, run: Callable[[Book], T], caller: Caller | None = None) -> T:
        """Run a change for a caller; what stands is read again before anybody is answered."""
        actor, origin = ("", "") if caller is None else (caller.actor, caller.origin)

        def within(book: Book) -> tuple[T, standing.Snapshot]:
            return run(book), standing.read(book)

        done, snapshot = await self.transact.write(within, actor, origin)
        self.standing.take(snapshot)
        return done

    async def read(self, run: Callable[[Book], T]) -> T:
        """Run a question."""
        return await self.transact.read(run)

    async def look(self) -> None:
        """Read what stands."""
        self.standing.take(await self.read(standing.read))

    async def caller(self, context: Context) -> Caller:
        """Return who calls, by the database as it is now. Raises `RpcError` for who is nobody."""
        grant = context.grant
        if grant is None:
            raise RpcError(UNAUTHENTICATED, "nobody is signed in")
        found = await self.read(lambda book: who(book, grant))
        if found is None:
            raise RpcError(
                FORBIDDEN, "the token is none of a session here", hint="sign in: auth_login"
            )
        return found

    async def person(self, context: Context) -> tuple[User, Session, Caller]:
        """As `caller`, for what needs a session of one's own."""
        found = await self.caller(context)
        if found.user is None or found.session is None:
            raise RpcError(FORBIDDEN, "this is for who signed in", hint="sign in: auth_login")
        return found.user, found.session, found

    async def fresh(self, context: Context) -> tuple[User, Session, Caller]:
        """As `person`, for dangerous calls: who they are was proven a moment ago."""
        user, session, caller = await self.person(context)
        await self.read(lambda book: require_fresh(book, user, session))
        return user, session, caller

    async def administrator(self, context: Context, *, danger: bool = True) -> Caller:
        """Return a caller who may administer users: by role on the ledger, now, and by a recent
        proof; or the operator of this machine.
        """
        found = await self.caller(context)
        if found.is_operator:
            return found
        account = found.account if found.user is None else found.user.account
        needed = self.settings.admin_role
        held = account is not None and needed in await self.ledger.roles_of(account)
        if not held:
            raise RpcError(
                FORBIDDEN,
                f"this needs the role {needed} on the ledger",
                hint=f"clawpurse role grant ACCOUNT {needed}",
                facts={"roles": [needed]},
            )
        if danger and found.user is not None:
            await self.fresh(context)
        return found

    async def roles(self, user: User) -> frozenset[str]:
        """Return the roles of a user by the ledger; none without an account."""
        return frozenset() if user.account is None else await self.ledger.roles_of(user.account)

    async def verified(self, stored: bytes | None, password: bytes) -> tuple[bool, bytes | None]:
        """Whether a password matches; and a new hash of it where the old one is too cheap."""
        same = await self.hasher.matches(stored, password)
        if not same or stored is None or not self.hasher.is_outdated(stored):
            return same, None
        return same, await self.hasher.hashed(password)


def who(book: Book, grant: Grant) -> Caller | None:
    """Return whom a grant stands for; None for one of ours that may act no more."""
    ident, ours = grant.ident, grant.issuer == book.settings.issuer
    if ours:
        ident = ident.rpartition(".")[0].rpartition(".")[0]
    if ident.startswith(START) and (ours or not grant.issuer):
        key = programs.find_key(book, ident.removeprefix(START))
        if key is not None:
            ended = key.revoked_ms is not None or book.now_ms >= key.expires_ms
            user = users.get(book, key.user)
            return None if ended or user.state is not State.ACTIVE else Caller(user, key=key)
    if ours:
        session = sessions.live(book, ident)
        if session is None:
            return None
        user = users.get(book, session.user)
        return Caller(user, session) if user.state is State.ACTIVE else None
    if ident == ADMIN and not grant.issuer:
        return Caller(None)
    account = grant.name if is_account(grant.name) else None
    return Caller(None, account=account, ident=ident)


def require_fresh(book: Book, user: User, session: Session) -> None:
    """Raise `RpcError` unless the holder proved who they are a moment ago, by all they have."""
    recent = book.now_ms - session.proven_ms <= book.settings.step_up_ms
    full = session.level == TWO_FACTORS or not factors.of_user(book, user.number)
    if recent and full:
        return
    raise RpcError(
        FORBIDDEN,
        "this needs a proof of who you are that is not older than "
        f"{book.settings.step_up_ms // 60_000} minutes",
        hint="auth_stepUp, then call again with its token",
        facts={"stepUp": True, "maxAgeMs": book.settings.step_up_ms},
    )


def wrong() -> RpcError:
    """The one answer to whatever did not sign anybody in, whoever it was about."""
    return RpcError(
        UNAUTHENTICATED,
        "that signs nobody in",
        hint="look at what was typed; whoever forgot a password asks an administrator",
    )


def too_soon(wait_ms: int) -> RpcError:
    """The answer to a try that comes before its time."""
    return rate_limited(wait_ms / 1000)
