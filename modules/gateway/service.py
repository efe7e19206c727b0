"""The service `gateway`: the public port, what stands behind it, and how it is looked after.

Its public port sells; its own port, as every service's, is for whoever runs it. The configuration
is one file, looked at every two seconds: what is right is taken over without dropping anybody,
what is wrong changes nothing and is said.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import trio

from clawpurse.ledger.errors import OperatorError, PeerError, StorageFault
from clawpurse.modules.gateway import invoices, prepaid
from clawpurse.modules.gateway import store as tables
from clawpurse.modules.gateway.access import AccessGuard, Accounts
from clawpurse.modules.gateway.calls import Guard
from clawpurse.modules.gateway.config import FIXED, GatewayConfig, changes, read_config
from clawpurse.modules.gateway.dues import Dues
from clawpurse.modules.gateway.front import Front, OwnHandler, State
from clawpurse.modules.gateway.ledger_words import Ledger
from clawpurse.modules.gateway.limits import Limits, LocalLimits, RedisLimits
from clawpurse.modules.gateway.methods import Management
from clawpurse.modules.gateway.own_paths import OwnPaths
from clawpurse.modules.gateway.registry import ROLE, Registry
from clawpurse.modules.gateway.routing import Router
from clawpurse.modules.gateway.selling import Selling
from clawpurse.modules.gateway.store import Store
from clawpurse.modules.gateway.upstreams import Upstream, trust_of
from clawpurse.modules.kit.service.declaration import Host, Service
from clawpurse.modules.kit.web.errors import RpcError, Unreachable
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Method
from clawpurse.modules.kit.web.server import open_listeners
from clawpurse.modules.kit.web.tls import TlsFiles, secured

LOG: Final = logging.getLogger("clawpurse.gateway")
FILE: Final = "gateway.toml"
DATABASE: Final = "payments.db"
LOOK_S: Final = 2.0
SERVICES_S: Final = 1.0
AGAIN_S: Final = 5.0
ADMIN: Final = "gateway.admin"
READER: Final = "gateway.reader"


class Gateway(Service):
    """See the module. `file`: its configuration, instead of the one in its folder."""

    name: ClassVar[str] = "gateway"
    title: ClassVar[str] = "API gateway"
    roles: ClassVar[Sequence[str]] = (ADMIN, READER, ROLE)
    quiet: ClassVar[Sequence[str]] = ("getStatus", "listRoutes")
    permissions: ClassVar[Sequence[str]] = ("assets.transfer", "payments.claimChannel")

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._folder = Path()
        self._config = GatewayConfig()
        self._front: Front | None = None
        self._store: Store | None = None
        self._dues: Dues | None = None
        self._limits: RedisLimits | None = None
        self._upstreams: dict[str, Upstream] = {}
        self._changed = trio.Event()
        self._make_guard: Callable[[GatewayConfig], Guard] = _nobody
        self._own: Mapping[tuple[str, str], OwnHandler] = {}
        #: What was wrong with the file when it was last read.
        self.problem = ""

    def placed(self, folder: Path) -> None:
        """See `Service.placed`. Raises `OperatorError` for a configuration that is none."""
        self._folder = folder
        self._config = read_config(self.file)

    @property
    def file(self) -> Path:
        """The configuration's file."""
        return self._file or self._folder / FILE

    @property
    def config(self) -> GatewayConfig:
        """The configuration in force."""
        return self._config

    @property
    def front(self) -> Front | None:
        """The public port, once it serves."""
        return self._front

    @property
    def store(self) -> Store | None:
        """The payments' database, once it is open."""
        return self._store

    @property
    def upstreams(self) -> Mapping[str, Upstream]:
        """The upstreams by name, as they are now."""
        return self._upstreams

    def methods(self, host: Host) -> Sequence[Method]:
        """See `Service.methods`."""
        return Management(self, host, (ADMIN, READER)).methods()

    async def run(self, host: Host) -> None:
        """See `Service.run`: open everything, serve, look after it."""
        config = self._config
        async with AsyncExitStack() as opened:
            store = await self._open_store(config, host)
            opened.callback(store.close)
            if config.redis:
                local = LocalLimits(trio.current_time)
                self._limits = RedisLimits(config.redis, config.when_redis_is_gone, local)
                opened.callback(self._limits.close)
            serving: list[trio.CancelScope] = []
            async with trio.open_nursery() as nursery:
                await nursery.start(_shielded, serving, store.run)
                await nursery.start(_shielded, serving, self._run_upstreams)
                try:
                    await self._begin(host, store, nursery, serving)
                    await self._look_after()
                finally:
                    # A stop lets requests under way end, and what serves them goes on until then.
                    with trio.CancelScope(shield=True):
                        await self._drain()
                    for scope in serving:
                        scope.cancel()

    async def _open_store(self, config: GatewayConfig, host: Host) -> Store:
        def make() -> Store:
            store = Store(config.database or self._folder / DATABASE)
            try:
                store.hold(config.name)
                network = f"{host.network.chain_id} {host.network.genesis_hash.hex()}"
                known = store.database.write_now(
                    lambda db: tables.remembered(db, "network", network)
                )
            except BaseException:
                store.close()
                raise
            if known != network:
                store.close()
                raise OperatorError(
                    f"{store.database.place} is of the network {known.partition(' ')[0]}, the node"
                    f" of {host.network.chain_id}.",
                    "Payments of two networks in one database would be sold twice.",
                    "name another database in gateway.toml",
                )
            return store

        self._store = await trio.to_thread.run_sync(make)
        return self._store

    async def _drain(self) -> None:
        if self._front is not None:
            self._front.stop()
            await self._front.ended.wait()

    async def _begin(
        self, host: Host, store: Store, nursery: trio.Nursery, serving: list[trio.CancelScope]
    ) -> None:
        config = self._config
        secret = await store.write(tables.secret)
        given_back = await store.write(
            lambda db: (
                prepaid.release_unserved(db, config.name)
                + invoices.release_unserved(db, config.name)
            )
        )
        if given_back:
            LOG.warning("requests of the last run were not served", extra={"count": given_back})
        node = _Asked(host)
        ledger = Ledger(node, config.payee, host.network.chain_id, host.network.genesis_hash)
        accounts = Accounts(node, host.now_ms)
        limits: Limits = LocalLimits(trio.current_time)
        if self._limits is not None:
            limits = self._limits
        registry = Registry(store, accounts, host.roles, host.network.genesis_hash, host.now_ms)
        access = AccessGuard(
            host.authenticators,
            accounts,
            host.roles,
            host.now_ms,
            limits,
        )

        def guard(config: GatewayConfig) -> Guard:
            if not config.payee:
                return access
            return Selling(config, access, store, ledger, secret, config.name, host.now_ms)

        self._make_guard = guard
        own = OwnPaths(self, ledger, store, host.now_ms, trio.current_time, registry, access)
        self._own = own.handlers()
        state = self._state(config)
        front = Front(state, RefusalLog(), trio.current_time)
        try:
            listeners = await open_listeners(*config.address)
        except OSError as error:
            raise OperatorError(
                f"The gateway cannot listen on {config.listen}: {error.strerror or error}.",
                "",
                "set listen in gateway.toml to a port that is free",
            ) from None
        tls = None
        if config.tls_certificate:
            ca = self._beside(config.client_ca) if config.client_ca else None
            tls = TlsFiles(self._beside(config.tls_certificate), self._beside(config.tls_key), ca)
            nursery.start_soon(tls.run)
        await nursery.start(_shielded, serving, partial(front.run, secured(listeners, tls)))
        front.port = listeners[0].socket.getsockname()[1]
        self._front = front
        LOG.info("the gateway serves", extra={"listen": f"{config.address[0]}:{front.port}"})
        nursery.start_soon(self._find_services, registry)
        if config.payee:
            self._dues = Dues(host, store, ledger, lambda: self._config)
            nursery.start_soon(ledger.follow, store)
            nursery.start_soon(self._dues.run)

    async def _look_after(self) -> None:
        """Take changes of the file over until the front has ended."""
        seen = _stamp(self.file)
        while True:
            await trio.sleep(LOOK_S)
            now = _stamp(self.file)
            if now != seen:
                seen = now
                # What was wrong is logged, stands in the status, and changes nothing.
                with suppress(OperatorError):
                    self.reload()

    def reload(self) -> list[str]:
        """Take the file over as it is now; return what changed, a line each.

        Raises `OperatorError`, and then everything is as it was: a file that is wrong, or a change
        that only a new start can make.
        """
        try:
            fresh = read_config(self.file)
            fixed = [one for one in FIXED if getattr(fresh, one) != getattr(self._config, one)]
            if fixed:
                raise OperatorError(
                    f"{fixed[0]} cannot change while the gateway runs.", "", "start it again"
                )
        except OperatorError as error:
            if self.problem != str(error):
                LOG.error("the configuration was not taken over", extra={"problem": str(error)})
            self.problem = str(error)
            raise
        self.problem = ""
        lines = list(changes(self._config, fresh))
        if lines and self._front is not None:
            self._config = fresh
            self._front.state = self._state(fresh)
            LOG.info("the configuration was taken over", extra={"changes": lines})
        return lines

    def _state(self, config: GatewayConfig) -> State:
        """Return what requests see from now on. Upstreams that are as they were go on."""
        made: dict[str, Upstream] = {}
        for name, wanted in config.upstreams.items():
            known = self._upstreams.get(name)
            if known is not None and known.config == wanted:
                made[name] = known
                continue
            made[name] = self._new_upstream(name, wanted)
        self._upstreams = made
        self._changed.set()
        return State(config, Router(config.routes), made, self._make_guard(config), self._own)

    async def _run_upstreams(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Ask each upstream for its health while it is one, and close it after."""
        task_status.started()
        running: dict[Upstream, trio.CancelScope] = {}
        async with trio.open_nursery() as nursery:
            while True:
                self._changed = trio.Event()
                wanted = set(self._upstreams.values())
                for upstream in wanted - running.keys():
                    running[upstream] = trio.CancelScope()
                    nursery.start_soon(_within, running[upstream], upstream)
                for gone in running.keys() - wanted:
                    running.pop(gone).cancel()
                await self._changed.wait()

    async def _find_services(self, registry: Registry) -> None:
        """Take over where services are; while nobody can be asked, they are where they were."""
        while True:
            try:
                present = await registry.present()
            except (RpcError, Unreachable, PeerError, StorageFault) as error:
                LOG.warning("services could not be looked for", extra={"problem": str(error)})
                await trio.sleep(AGAIN_S)
                continue
            for upstream in list(self._upstreams.values()):
                wanted = upstream.config.service
                if wanted is not None:
                    tags = frozenset(upstream.config.tags)
                    found = [url for url, has in present.get(wanted, ()) if tags <= has]
                    for gone in upstream.set_targets(found):
                        await gone.close()
            await trio.sleep(SERVICES_S)

    def _new_upstream(self, name: str, wanted: Any) -> Upstream:
        try:
            trust = trust_of(
                wanted.model_copy(update={"ca": str(self._beside(wanted.ca))})
                if wanted.ca
                else wanted
            )
        except OSError as error:
            raise OperatorError(
                f"upstreams.{name}.ca: {error.strerror or error}.", "", "name a PEM file"
            ) from None
        return Upstream(name, wanted, trio.current_time, trust)

    def _beside(self, name: str) -> Path:
        """A file that the configuration names: relative to where it lies."""
        return self.file.parent / name


class _Asked:
    """A host as the node that it asks."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def call(self, method: str, params: Any = None, /) -> Any:
        """See `callers.Node`."""
        return await self._host.call(method, params)


async def _shielded(
    serving: list[trio.CancelScope],
    run: Callable[..., Awaitable[None]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run something until its scope, noted in `serving`, is cancelled; nothing else ends it."""
    with trio.CancelScope(shield=True) as scope:
        serving.append(scope)
        await run(task_status=task_status)


async def _within(scope: trio.CancelScope, upstream: Upstream) -> None:
    try:
        with scope:
            await upstream.run()
            await trio.sleep_forever()
    finally:
        await upstream.close()


def _nobody(_config: GatewayConfig) -> Guard:
    raise OperatorError("the gateway has not begun", "", "")


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
