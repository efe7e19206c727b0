"""The service `auth` on the kit's host: tables, methods, the key set, what time and the ledger do.

Servers that take its tokens ask `authenticators`; nodes take them as a foreign issuer's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, TypeVar

import sqlalchemy as sa
import trio

from clawpurse.ledger.errors import Bug
from clawpurse.modules.auth import programs, sessions, signing
from clawpurse.modules.auth.admin_methods import Administration
from clawpurse.modules.auth.book import Book
from clawpurse.modules.auth.desk import Chain, Desk
from clawpurse.modules.auth.ledger_words import NodeLedger
from clawpurse.modules.auth.own_methods import Own
from clawpurse.modules.auth.pages import auth_pages
from clawpurse.modules.auth.passwords import Cost, Hasher
from clawpurse.modules.auth.settings import AuthSettings
from clawpurse.modules.auth.signing_in import SignIn
from clawpurse.modules.auth.site_methods import Sites
from clawpurse.modules.auth.standing import Standing
from clawpurse.modules.auth.tables import AuthTables, auth_tables
from clawpurse.modules.auth.token_methods import Tokens
from clawpurse.modules.kit.pages.site import Site
from clawpurse.modules.kit.records.model import CHAIN, Actor
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.declaration import ChainEvent, Host, Service, Settings, on
from clawpurse.modules.kit.web.app import RouteHandler
from clawpurse.modules.kit.web.grants import Authenticator
from clawpurse.modules.kit.web.jsonrpc import Method
from clawpurse.modules.kit.web.messages import Request, Response

LOOK_S: Final = 1.0
SWEEPS: Final = 60
"""What time ends is looked for once in so many looks."""

_OPEN: Final = frozenset(
    (
        "register",
        "login",
        "finishLogin",
        "beginPasskey",
        "loginPasskey",
        "challenge",
        "loginKey",
        "refresh",
        "redeemCode",
        "revokeToken",
        "getKeys",
    )
)
OPEN: Final = frozenset(f"auth_{name}" for name in _OPEN)
"""What is answered to who is not signed in: how to."""

JWKS_PATH: Final = "/.well-known/jwks.json"
T = TypeVar("T")


class Auth(Service):
    """See the module. `cost`: of hashes, instead of the configuration's (tests)."""

    name: ClassVar[str] = "auth"
    title: ClassVar[str] = "Sign-in"
    settings: ClassVar[type[Settings]] = AuthSettings
    roles: ClassVar[Sequence[str]] = ("auth.admin",)
    open: ClassVar[frozenset[str]] = OPEN
    # Signing in and out is in the history already, and strangers do not fill a trail.
    quiet: ClassVar[Sequence[str]] = (*sorted(_OPEN), "exchangeApiKey", "me")

    def __init__(self, cost: Cost | None = None) -> None:
        self._cost = cost
        self._hasher = Hasher(cost)
        self._described = auth_tables(sa.MetaData())
        self._settings = AuthSettings()
        self._desk: Desk | None = None

    def tables(self, metadata: sa.MetaData) -> None:
        """See `Service.tables`."""
        auth_tables(metadata)

    def configured(self, settings: Settings) -> None:
        """See `Service.configured`."""
        assert isinstance(settings, AuthSettings)
        self._settings = settings
        self._hasher.set_cost(self._cost or settings.cost)

    @on("roles.revoked")
    def role_revoked(self, work: Work, event: ChainEvent) -> None:
        """Tokens of an account that lost a role end, and API keys that rest on it."""
        book = Book(work, self._described, self._settings, actor="ledger", origin="chain")
        programs.role_revoked(book, event.accounts[0], str(event.data["role"]))

    def desk(self, host: Host) -> Desk:
        """Return what its methods stand on, made at the first use."""
        if self._desk is None:
            chain = Chain(host.network.chain_id, host.network.genesis_hash)

            def settings() -> AuthSettings:
                # Without a list of its own a token is for the whole network.
                own = self._settings
                return (
                    own if own.audience else own.model_copy(update={"audience": (chain.chain_id,)})
                )

            async def ask(method: str, params: dict[str, object]) -> object:
                return await host.call(method, params)

            self._desk = Desk(
                _Transactions(host, self._described, settings),
                self._hasher,
                Standing(host.now_ms),
                NodeLedger(ask, host.roles.of),
                chain,
                settings,
                host.now_ms,
            )
        return self._desk

    def methods(self, host: Host) -> Sequence[Method]:
        """See `Service.methods`."""
        desk = self.desk(host)
        sign_in = SignIn(desk)
        return [
            *sign_in.methods(),
            *Tokens(desk).methods(),
            *Sites(desk).methods(),
            *Own(desk, sign_in).methods(),
            *Administration(desk, sign_in).methods(),
        ]

    def site(self) -> Site:
        """Return its own pages: it keeps no records, but persons and sessions."""
        return auth_pages()

    def routes(self, host: Host) -> Mapping[tuple[str, str], RouteHandler]:
        """See `Service.routes`."""
        return {("GET", JWKS_PATH): self._keys}

    def authenticators(self, host: Host) -> tuple[Authenticator, ...]:
        """Return what recognises its tokens and API keys, for the server that it is behind."""
        desk = self.desk(host)
        return desk.standing.authenticators(desk.settings)

    async def prepare(self, host: Host) -> None:
        """Make the first keys, and read what stands: before anybody is served."""
        await self.desk(host).write(lambda _book: None)

    async def run(self, host: Host) -> None:
        """See `Service.run`: keys are renewed, sessions end, what stands is read each second."""
        desk = self.desk(host)
        await self.prepare(host)
        looks = 0
        while True:
            await trio.sleep(LOOK_S)
            looks += 1
            if looks % SWEEPS == 0:
                await desk.write(_sweep)
            else:
                await desk.look()

    def _keys(self, _request: Request) -> Response:
        if self._desk is None:
            raise Bug("the key set was asked for before the service was ready")
        body = json.dumps(signing.jwks(dict(self._desk.standing.keys))).encode()
        fields = (("Cache-Control", "public, max-age=300"),)
        return Response(200, body, content_type="application/jwk-set+json", headers=fields)


class _Transactions:
    """See `desk.Transact`."""

    def __init__(
        self, host: Host, tables: AuthTables, settings: Callable[[], AuthSettings]
    ) -> None:
        self._host = host
        self._tables = tables
        self._settings = settings
        self._prepared = False

    async def write(self, run: Callable[[Book], T], actor: str = "", origin: str = "") -> T:
        settings = self._settings()
        who = Actor(actor or "auth", frozenset(), origin)

        def within(work: Work) -> T:
            book = Book(work, self._tables, settings, actor=actor, origin=origin)
            if not self._prepared:
                book.prepare()
                signing.renew_keys(book)
            return run(book)

        done = await self._host.write(who, within)
        self._prepared = True
        return done

    async def read(self, run: Callable[[Book], T]) -> T:
        settings = self._settings()
        return await self._host.read(lambda work: run(Book(work, self._tables, settings)), CHAIN)


def _sweep(book: Book) -> None:
    signing.renew_keys(book)
    sessions.sweep(book)
