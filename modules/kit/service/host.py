"""One running service: its database, its methods, its place in the chain, and what it does itself.

The same host runs in a node's process and in one of its own; what differs is handed in: how the
node is asked, the account that sends, and who serves the methods. Whatever fails for a while (a
node that is away, a ledger that refuses) is a problem that people are shown and is tried again;
what cannot be made good ends the service, never the process around it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from clawpurse.ledger.errors import OperatorError, PeerError
from clawpurse.modules.kit.privacy.master import (
    create_file,
    from_command,
    from_file,
    from_passphrase,
    salt_in,
)
from clawpurse.modules.kit.privacy.sealing import KeyRing, MasterKey
from clawpurse.modules.kit.records.chores import Chores
from clawpurse.modules.kit.records.methods import RecordMethods
from clawpurse.modules.kit.records.model import CHAIN, NOBODY, Actor
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.callers import ROLE_EVENTS, LedgerRoles, Node, actor_of
from clawpurse.modules.kit.service.calls import call_method
from clawpurse.modules.kit.service.configuration import Configuration, newest
from clawpurse.modules.kit.service.declaration import (
    ChainEvent,
    Manifest,
    Network,
    Service,
    Settings,
    compiled,
)
from clawpurse.modules.kit.service.description import describe_method
from clawpurse.modules.kit.service.intake import WAIT_MS, Intake
from clawpurse.modules.kit.service.publishing import Counts, HistoryLog
from clawpurse.modules.kit.service.sending import Account, Sender
from clawpurse.modules.kit.service.shipping import Shipper
from clawpurse.modules.kit.service.telling import Teller
from clawpurse.modules.kit.service.trail import Trail
from clawpurse.modules.kit.store.database import Database
from clawpurse.modules.kit.store.migrations import migrate
from clawpurse.modules.kit.web.errors import RpcError, Unreachable
from clawpurse.modules.kit.web.grants import Authenticator
from clawpurse.modules.kit.web.jsonrpc import Context, Method

LOG: Final = logging.getLogger("clawpurse.modules")
CHORE_S: Final = 1.0
COUNT_S: Final = 15.0
PAUSE_S_MIN, PAUSE_S_MAX = 0.5, 30.0
MASTER_KEY_FILE: Final = "master.key"
SALT_FILE: Final = "master.salt"
DATABASE_FILE: Final = "records.db"
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where a service keeps what is its own.

    `folder` (made, 0700); `database`: a URL or path, none for SQLite in the folder;
    `master_key_file`: none for one in the folder, made at the first start; `master_key_command`
    prints the key instead, or it is stretched from `master_passphrase` (with a salt in the folder).
    """

    folder: Path
    database: str = field(default="", repr=False)
    master_key_file: Path | None = None
    master_key_command: str = field(default="", repr=False)
    master_passphrase: str = field(default="", repr=False)


class RunningHost:
    """See the module. `open_host` makes one; `run` and `close` are called once each."""

    def __init__(
        self,
        manifest: Manifest,
        database: Database,
        keys: KeyRing,
        node: Node,
        network: Network,
        now_ms: Callable[[], int],
        account: Account | None,
        others: Callable[[], Sequence[Transactions]],
        audit: Node | None,
        holders: Mapping[str, Node],
    ) -> None:
        self.manifest: Final = manifest
        self.database: Final = database
        self.keys: Final = keys
        self.network: Final = network
        self.now_ms: Final = now_ms
        self.node: Final = node
        self.records: Final = Transactions(
            manifest.name,
            manifest.tables,
            manifest.kinds,
            database,
            keys,
            now_ms,
            self._committed,
        )
        self.roles: Final = LedgerRoles(node, lambda: round(trio.current_time() * 1000))
        self.actor_of: Final[Callable[[Context], Awaitable[Actor]]] = actor_of(self.roles)
        self.log: Final = HistoryLog(manifest, self.records)
        self.counts: Final = Counts(manifest)
        self.trail: Final = Trail(self.records, self.actor_of)
        self.shipper: Final = None if audit is None else Shipper(self.records, audit)
        self.tellers: Final = [Teller(self.records, *one) for one in holders.items()]
        self.sender: Final = Sender(manifest, self.records, node, account)
        self.configuration: Configuration
        #: Told by the server in front before it runs.
        self.authenticators: Sequence[Authenticator] = ()
        self._chores = Chores(self.records, others)
        self._intake = Intake(manifest, self.records, node, network.genesis_hash, self._taken)
        self._news = trio.Event()
        self._intake_problem = ""
        self._fault = ""
        #: Set when a fault has ended it.
        self.ended: Final = trio.Event()

    @property
    def name(self) -> str:
        """The service's name."""
        return self.manifest.name

    @property
    def settings(self) -> Settings:
        """The configuration in force."""
        return self.configuration.settings

    @property
    def problem(self) -> str:
        """What keeps it from its work now, for people; empty when nothing does."""
        behind = [*self.tellers, *(() if self.shipper is None else (self.shipper,))]
        found = (self._fault, self._intake_problem, self.sender.problem)
        return next(filter(None, (*found, *(one.problem for one in behind))), "")

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Ask the node. Raises `RpcError`, `Unreachable`, `BadAnswer`."""
        return await self.node.call(method, dict(params or {}))

    async def write(self, actor: Actor, run: Callable[[Work], T]) -> T:
        """Run in a transaction for `actor`; see `Transactions.write`."""
        return await self.records.write(actor, run)

    async def read(self, run: Callable[[Work], T], actor: Actor = NOBODY) -> T:
        """Run on a snapshot; see `Transactions.read`."""
        return await self.records.read(run, actor)

    def methods(self) -> list[Method]:
        """Return everything that it answers over JSON-RPC."""
        found = [
            describe_method(self.manifest, self.actor_of),
            *RecordMethods(self.records, self.actor_of).methods(),
            *(call_method(one, self.records, self.actor_of) for one in self.manifest.calls),
            *self.configuration.methods(self.actor_of),
            *self.manifest.service.methods(self),
        ]
        found = [self._with_inclusion(one) for one in found]
        quiet = {f"{self.name}_{verb}" for verb in self.manifest.service.quiet}
        return [one if one.name in quiet else self.trail.watched(one) for one in found]

    def _with_inclusion(self, method: Method) -> Method:
        """Let a proof of an entry say where the audit log has it, once it has."""
        proofs = {f"{self.name}_prove{kind.noun}" for kind in self.manifest.kinds.values()}
        shipper, handler = self.shipper, method.handler
        if shipper is None or method.name not in proofs:
            return method

        async def prove(params: Any, context: Context) -> Any:
            answer = await handler(params, context)
            return {**answer, "audit": await shipper.inclusion(answer["entry"]["number"])}

        return dataclasses.replace(method, handler=prove)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Do its work until cancelled. A fault ends it, is logged and kept in `problem`."""
        try:
            async with trio.open_nursery() as nursery:
                for task in (self._follow, self._take_in, self._do_chores, self._count):
                    nursery.start_soon(task)
                nursery.start_soon(self.sender.run)
                if self.shipper is not None:
                    nursery.start_soon(self.shipper.run)
                for teller in self.tellers:
                    nursery.start_soon(teller.run)
                nursery.start_soon(self.manifest.service.run, self)
                task_status.started()
                await trio.sleep_forever()
        except* Exception as group:
            first: BaseException = group
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            self._fault = f"{self.name} stopped: {type(first).__name__}: {first}"
            LOG.error("%s", self._fault, exc_info=group)
            self.ended.set()

    async def close(self) -> None:
        """Let go of the database; `run` has ended."""
        await trio.to_thread.run_sync(self.database.close)

    def _committed(self) -> None:
        self._news.set()
        self.sender.wake()
        if self.shipper is not None:
            self.shipper.wake()
        for teller in self.tellers:
            teller.wake()

    def _taken(self, events: Sequence[ChainEvent]) -> None:
        for event in events:
            if event.kind.startswith(ROLE_EVENTS):
                self.roles.told(event.kind, event.accounts[0], str(event.data.get("role", "")))

    async def _follow(self) -> None:
        while True:
            self._news = trio.Event()
            while await self.log.look():
                pass
            await self._news.wait()

    async def _take_in(self) -> None:
        wait_s = PAUSE_S_MIN
        while True:
            try:
                # After a problem the first answer is asked for at once: it says that it is over.
                await self._intake.step(0 if self._intake_problem else WAIT_MS)
                self._intake_problem, wait_s = "", PAUSE_S_MIN
            except (RpcError, Unreachable, PeerError) as error:
                if self._intake_problem != str(error):
                    LOG.warning("events wait", extra={"service": self.name, "problem": str(error)})
                self._intake_problem = str(error)
                await trio.sleep(wait_s)
                wait_s = min(2 * wait_s, PAUSE_S_MAX)

    async def _do_chores(self) -> None:
        while True:
            if not await self._chores.step():
                await trio.sleep(CHORE_S)

    async def _count(self) -> None:
        while True:
            await self.records.read(self.counts.read)
            await trio.sleep(COUNT_S)


async def open_host(
    service: Service,
    place: Place,
    node: Node,
    now_ms: Callable[[], int],
    *,
    account: Account | None = None,
    others: Callable[[], Sequence[Transactions]] = tuple,
    audit: Node | None = None,
    holders: Mapping[str, Node] | None = None,
) -> RunningHost:
    """Open what a service keeps, bring its tables to what it declares, and return it ready to run.

    `node` answers JSON-RPC, `audit` that of an audit log, `holders` by name those of services that
    erase whom this one erased. The node must be there at the very first
    start, and may be away later. Raises `OperatorError` (database or key that does not fit, another
    network), `StorageFault`, `Unreachable`.
    """
    manifest = compiled(service)
    place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    service.placed(place.folder)
    keys = KeyRing(await trio.to_thread.run_sync(_master_key, place))
    url = place.database or place.folder / DATABASE_FILE
    database = await trio.to_thread.run_sync(Database, url, manifest.name)
    try:
        at_ms = now_ms()
        done = await database.write(lambda db: migrate(db, manifest.tables, manifest.steps, at_ms))
        for line in done:
            LOG.info("migrated", extra={"service": manifest.name, "step": line})
        network = await _network(manifest, database, node)
        host = RunningHost(
            manifest, database, keys, node, network, now_ms, account, others, audit, holders or {}
        )
        version, settings = await host.read(
            lambda work: newest(work.connection, work.tables, service.settings)
        )

        def within(work: Work, settings: Settings) -> None:
            work.deadlines.declare(manifest.kinds, service.calendars(settings))

        host.configuration = Configuration(
            host.records, service.settings, version, settings, within, service.configured
        )
        service.configured(settings)
        await host.write(CHAIN, lambda work: within(work, settings))
        await host.log.open()
        await host.read(host.counts.read)
    except BaseException:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(database.close)
        raise
    return host


async def _network(manifest: Manifest, database: Database, node: Node) -> Network:
    """Return the network that the node follows, which must be the database's."""
    table = manifest.tables.cursor
    known = await database.read(lambda db: db.execute(table.select()).one_or_none())
    try:
        status = await node.call("chain_getStatus", {})
        found = Network(str(status["chainId"]), bytes.fromhex(str(status["genesisHash"])[2:]))
    except Unreachable:
        if known is None:
            raise
        return Network("", known.genesis_hash)
    except (KeyError, TypeError, ValueError):
        raise PeerError("the node does not tell which network it follows") from None
    if known is not None and known.genesis_hash != found.genesis_hash:
        raise OperatorError(
            f"The database of {manifest.name} belongs to another network than {found.chain_id}.",
            "What it knows happened elsewhere.",
            "use another database, or the node of its network",
        )
    return found


def _master_key(place: Place) -> MasterKey:
    if place.master_key_command:
        return from_command(place.master_key_command)
    if place.master_passphrase:
        return from_passphrase(place.master_passphrase, salt_in(place.folder / SALT_FILE))
    file = place.master_key_file or place.folder / MASTER_KEY_FILE
    if place.master_key_file is None and not file.exists():
        if (place.folder / DATABASE_FILE).exists():
            raise OperatorError(
                f"{file} is gone, and the database beside it was sealed with it.",
                "Without it nothing about persons can be read.",
                f"restore {file} from a backup",
            )
        create_file(file)
    return from_file(file)


def problems(hosts: Sequence[RunningHost]) -> list[str]:
    """Return what keeps services from their work, a sentence each."""
    return [f"{host.name}: {host.problem}" for host in hosts if host.problem]
