"""Runs a service in a process of its own: beside a node, which it asks by JSON-RPC.

    tokens.json     who may call it (0600; of API keys their hashes)
    service.json    where it listens, while it runs, for commands of the same home
    master.key      opens what is sealed about persons
    records.db      its records, where no other database is named
    webhooks/       receivers of its events, and what is still to be sent
    keys/           the key of its account on the ledger, where it has one

Nobody calls it without a token, on this machine neither. What a token's owner may do is decided
by the roles that the ledger gives the account which the token is named after.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

import trio
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.service.callers import Node
from clawpurse.modules.kit.service.declaration import Service
from clawpurse.modules.kit.service.host import Place, RunningHost, open_host
from clawpurse.modules.kit.service.publishing import ServiceMetrics
from clawpurse.modules.kit.service.sending import Signed
from clawpurse.modules.kit.service.signin import (
    ISSUER,
    OPEN,
    SignInWay,
    bearer_tokens,
    closed_but,
    sign_in_routes,
)
from clawpurse.modules.kit.web.apikeys import ApiKeys
from clawpurse.modules.kit.web.app import App, RouteHandler
from clawpurse.modules.kit.web.grants import Authenticator
from clawpurse.modules.kit.web.guard import LOCAL_HOSTS, Access, Budgets, RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Dispatcher, Method
from clawpurse.modules.kit.web.jwks import KeySet
from clawpurse.modules.kit.web.limits import Limits
from clawpurse.modules.kit.web.messages import Request, Response
from clawpurse.modules.kit.web.openrpc import discovery
from clawpurse.modules.kit.web.polling import LongPoll
from clawpurse.modules.kit.web.replies import encode_json
from clawpurse.modules.kit.web.server import WebServer, bound_port, open_listeners
from clawpurse.modules.kit.web.subscriptions import Subscriptions
from clawpurse.modules.kit.web.tls import TlsFiles, secured
from clawpurse.modules.registry import build_registry
from clawpurse.node.callers import Callers
from clawpurse.node.module_hooks import hook_methods, open_hooks
from clawpurse.node.ports import port_error
from clawpurse.node.tokens import TokenRegister
from clawpurse.node.webhooks import Webhooks
from clawpurse.wallet.builder import (
    VALID_FOR_MS_DEFAULT,
    ChainTerms,
    Signing,
    Slot,
    build_body,
    sign_body_for,
)
from clawpurse.wallet.durable import make_private_directory, remove_private, replace_private
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.keystore import Keystore

GROUP: Final = "clawpurse.modules"
"""Entry points of installed distributions: NAME = "package.module:Class"."""

KEY_NAME: Final = "service"
TOKENS_FILE: Final = "tokens.json"
ANNOUNCED: Final = "service.json"
PORTS: Final = range(9643, 9650)
COST_PER_S: Final = 5_000
COST_BURST: Final = 20_000
"""A token's budget: some two hundred changes a second, or a hundred lists."""

_LIMITS: Final = Limits(memory_bytes_max=64 * 1024 * 1024)


def installed() -> Mapping[str, EntryPoint]:
    """Return the services that are installed here, by name."""
    return {one.name: one for one in sorted(entry_points(group=GROUP), key=lambda one: one.name)}


def load_service(name: str) -> Service:
    """Return a service by its name, or by `package.module:Class`. Raises `OperatorError`."""
    try:
        found = _imported(name) if ":" in name else installed()[name].load()
    except KeyError:
        known = ", ".join(installed()) or "none"
        raise OperatorError(
            f"No module is called {name}; installed: {known}.", "", "clawpurse module list"
        ) from None
    except (ImportError, AttributeError, ValueError) as error:
        raise OperatorError(
            f"The module {name} cannot be loaded: {error}.", "", "clawpurse module list"
        ) from None
    made = found() if isinstance(found, type) and issubclass(found, Service) else None
    if made is None:
        raise OperatorError(f"{name} is no service: a class of Service is wanted.", "", "")
    return made


def _imported(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


class ServiceAccount:
    """The account that a service sends from (`sending.Account`): an account's key, or a session
    key that the account made for it (`owner`), with the lane that the session has.
    """

    def __init__(
        self,
        key: SigningKey,
        terms: ChainTerms,
        now_ms: Callable[[], int],
        *,
        owner: bytes | None = None,
        lane: int = 0,
    ) -> None:
        self._key = key
        self._account = key.account if owner is None else owner
        self._terms = terms
        self._now_ms = now_ms
        self._lane = lane
        self._registry = build_registry()

    @property
    def address(self) -> str:
        """Whose it is: claw1…."""
        return account_text(self._account)

    @property
    def lane(self) -> int:
        """The lane that nobody else uses."""
        return self._lane

    def sign(self, actions: Sequence[RawAction], sequence: int, fee: int, key: bytes) -> Signed:
        """See `sending.Account.sign`."""
        body = build_body(
            self._terms,
            self._registry,
            self._account,
            Slot(self._lane, sequence),
            actions,
            valid_until_ms=self._now_ms() + VALID_FOR_MS_DEFAULT,
            fee=fee * len(actions),
            idempotency_key=key,
        )
        signed = sign_body_for(body, [Signing(Role.SENDER, self._account, self._key)])
        return Signed(signed.raw, signed.tx_id, body.valid_until_ms)


@dataclass(frozen=True)
class Sending:
    """The key in a service's folder, and how it is used: `passphrase` opens it; `owner` and `lane`
    are of a session key.
    """

    passphrase: str = field(repr=False)
    owner: bytes | None = None
    lane: int = 0


@dataclass(frozen=True)
class Settings:
    """How to serve a service. It gets the first port of `ports` that is free.

    `connect` makes the way to the node, `audit` to an audit log;
    `holders` by name those to services elsewhere that erase whom this one erased;
    `authenticators` recognise tokens of others beside those of its own file; people sign in at
    `sign_in`, which issues tokens as `issuer`. `webhook_allow` names
    receivers beyond https to the open internet; `others` are services of the same process. Times in
    ms UTC.
    """

    service: Service
    place: Place
    connect: Callable[[], AbstractAsyncContextManager[Node]]
    now_ms: Callable[[], int]
    version: str
    host: str = "127.0.0.1"
    ports: Sequence[int] = PORTS
    tls: TlsFiles | None = None
    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    sending: Sending | None = None
    authenticators: tuple[Authenticator, ...] = ()
    audit: Callable[[], AbstractAsyncContextManager[Node]] | None = None
    holders: Mapping[str, Callable[[], AbstractAsyncContextManager[Node]]] = field(
        default_factory=dict
    )
    webhook_allow: tuple[str, ...] = ()
    sign_in: SignInWay | None = None
    issuer: str = ISSUER
    others: Callable[[], Sequence[Transactions]] = tuple


@dataclass(frozen=True)
class Listening:
    """A service that runs: where, and what."""

    url: str
    host: RunningHost = field(repr=False)
    _server: WebServer = field(repr=False)

    def stop(self) -> None:
        """End it cleanly: requests under way finish within five seconds."""
        self._server.stop()

    def stopping(self) -> bool:
        """Tell whether it was told to stop."""
        return self._server.stopping


def service_keys(folder: Path, now_ms: Callable[[], int]) -> Keystore:
    """Return the keys of a service's account: one, called `service`."""
    return Keystore(folder / "keys", now_ms=now_ms)


def register_of(folder: Path) -> TokenRegister:
    """Return who may call the service of a folder."""
    return TokenRegister(folder / TOKENS_FILE)


async def serve(
    settings: Settings, *, task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until `Listening.stop`, or cancelled.

    Raises `OperatorError` (database in use or of another network, port taken, bad key file),
    `Unreachable` at the first start without a node, `WrongPassphrase`, `StorageFault`.
    """
    folder, now_ms = settings.place.folder, settings.now_ms
    make_private_directory(folder)
    register = register_of(folder)
    register.load()
    async with AsyncExitStack() as opened:
        node = await opened.enter_async_context(settings.connect())
        audit = None
        if settings.audit is not None:
            audit = await opened.enter_async_context(settings.audit())
        account = await open_account(settings, node)
        host = await open_host(
            settings.service,
            settings.place,
            node,
            now_ms,
            account=account,
            others=settings.others,
            audit=audit,
            holders={
                name: await opened.enter_async_context(way())
                for name, way in settings.holders.items()
            },
        )
        opened.push_async_callback(_closed_down, host)
        hooks = open_hooks(folder, host, allow=settings.webhook_allow, version=settings.version)
        opened.callback(hooks.close)
        refusals = RefusalLog()
        keys = None if settings.sign_in is None else settings.sign_in.keys(now_ms)
        server = WebServer(
            build_app(settings, host, hooks, register, refusals, keys),
            log=refusals,
            limits=_LIMITS,
            wall_time_s=lambda: now_ms() / 1000,
        )
        # Whatever runs has ended before what it runs on is closed.
        async with trio.open_nursery() as nursery:
            listeners = await _listeners(settings)
            shown = f"[{settings.host}]" if ":" in settings.host else settings.host
            scheme = "http" if settings.tls is None else "https"
            url = f"{scheme}://{shown}:{bound_port(listeners[0])}"
            nursery.start_soon(Callers((), None, settings.tls, register, keys).run)
            await nursery.start(host.run)
            nursery.start_soon(hooks.run)
            with _announced(folder / ANNOUNCED, settings.service.name, url):
                async with trio.open_nursery() as serving:
                    await serving.start(server.run, secured(listeners, settings.tls))
                    task_status.started(Listening(url, host, server))
            nursery.cancel_scope.cancel()


async def _closed_down(host: RunningHost) -> None:
    with trio.CancelScope(shield=True):
        await host.close()


async def open_account(settings: Settings, node: Node) -> ServiceAccount | None:
    """Open the key of a service's account, where it has one. Raises `WrongPassphrase`."""
    wanted = settings.sending
    if wanted is None:
        return None
    keys = service_keys(settings.place.folder, settings.now_ms)
    opened = await trio.to_thread.run_sync(keys.unlock, KEY_NAME, wanted.passphrase)
    status = await node.call("chain_getStatus", {})
    terms = ChainTerms(status["chainId"], bytes.fromhex(status["genesisHash"][2:]))
    return ServiceAccount(
        opened.signer, terms, settings.now_ms, owner=wanted.owner, lane=wanted.lane
    )


def build_app(
    settings: Settings,
    host: RunningHost,
    hooks: Webhooks,
    register: TokenRegister,
    refusals: RefusalLog,
    keys: KeySet | None = None,
) -> App:
    """Return what a service answers: JSON-RPC, its events, its description, pages, metrics. `keys`
    are those of the sign-in service.
    """
    sign_in, open_names = settings.sign_in, set(settings.service.open)
    topics = [host.log.topic]
    methods: list[Method] = [
        *host.methods(),
        *Subscriptions(topics).methods(),
        *LongPoll(topics, host.name).methods(),
        *hook_methods(host, hooks),
    ]
    authenticators: tuple[Authenticator, ...] = (
        *settings.service.authenticators(host),
        ApiKeys(register, settings.now_ms),
        *settings.authenticators,
    )
    if sign_in is not None and keys is not None:
        methods += sign_in.methods()
        open_names |= OPEN
        issued = bearer_tokens(
            settings.issuer, host.network.chain_id, keys, host.roles, settings.now_ms
        )
        authenticators = (*authenticators, issued)
    host.authenticators = authenticators
    methods = [closed_but(method, open_names) for method in methods]
    title = f"ClawPurse {host.manifest.title}"
    discover, document = discovery(methods, title=title, version=settings.version)
    methods.append(discover)
    metrics = CollectorRegistry()
    metrics.register(ServiceMetrics(lambda: ((host.name, host.log, host.counts, host.problem),)))
    pages: Mapping[tuple[str, str], RouteHandler] = settings.service.site().routes()

    def ready(_request: Request) -> Response:
        problem = host.problem
        body = encode_json({"ready": not problem, "problem": problem or None})
        return Response(503 if problem else 200, body)

    def scrape(_request: Request) -> Response:
        return Response(200, generate_latest(metrics), CONTENT_TYPE_LATEST)

    return App(
        log=refusals,
        dispatcher=Dispatcher(
            methods, log=refusals, limits=_LIMITS, budgets=Budgets(COST_PER_S, COST_BURST)
        ),
        routes={
            **pages,
            **settings.service.routes(host),
            **sign_in_routes(sign_in),
            ("GET", "/healthz"): lambda _request: Response(200, b'{"alive":true}'),
            ("GET", "/readyz"): ready,
            ("GET", "/metrics"): scrape,
            ("GET", "/openrpc.json"): lambda _request: Response(200, document),
        },
        access=Access(
            hosts=LOCAL_HOSTS | settings.hosts,
            origins=settings.origins,
            authenticators=authenticators,
            closed=True,
            strangers=bool(open_names),
        ),
        limits=_LIMITS,
        guarded={"/metrics": "metrics"},
    )


async def _listeners(settings: Settings) -> list[trio.SocketListener]:
    for port in settings.ports:
        try:
            return await open_listeners(settings.host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == settings.ports[-1]:
                raise port_error(port, error) from error
    raise OperatorError("No port was named.", "", "--listen HOST:PORT")


@contextmanager
def _announced(file: Path, name: str, url: str) -> Iterator[None]:
    """Say in a file of the service's folder where it listens, while it does."""
    document = {"module": name, "pid": os.getpid(), "url": url}
    replace_private(file, json.dumps(document).encode() + b"\n")
    try:
        yield
    finally:
        remove_private(file)
