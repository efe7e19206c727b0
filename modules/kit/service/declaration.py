"""What a service is: its records, and what it does when something became final on the chain.

    class Support(Service):
        name = "support"
        entities = (Customer, Ticket)

        @on("kernel.held")
        def open_ticket(self, work: Work, event: ChainEvent) -> None:
            work.create(Ticket.kind, {...})

        @every(blocks=100)
        def rescore(self, work: Work, head: Head) -> None: ...

        @rpc("getHealth", "How customers fare", role="support.read", result=Health)
        def health(self, work: Work, params: HealthParams) -> dict[str, Any]: ...

Handlers are plain functions of a transaction. They may be run again after a crash, but what they
did was then never committed: an event is taken in with its effects, or not yet.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Final, Protocol, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from clawpurse.modules.kit.entities.calendars import Calendar
from clawpurse.modules.kit.entities.flows import checked_name
from clawpurse.modules.kit.entities.kinds import Entity, Kind
from clawpurse.modules.kit.pages.records import record_pages
from clawpurse.modules.kit.pages.site import Site
from clawpurse.modules.kit.privacy.sealing import KeyRing
from clawpurse.modules.kit.records.model import NOBODY, Actor
from clawpurse.modules.kit.records.persons import categories, consent_roles
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.callers import LedgerRoles
from clawpurse.modules.kit.store.database import Database
from clawpurse.modules.kit.store.migrations import Step
from clawpurse.modules.kit.store.tables import Tables, tables_of
from clawpurse.modules.kit.web.app import RouteHandler
from clawpurse.modules.kit.web.grants import Authenticator
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams

HANDLERS_MAX: Final = 256
_KIND: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9.]{0,63}")
_VERB: Final = re.compile(r"[a-z]+([A-Z][a-z0-9]*)*")
_MARK: Final = "__clawpurse_handles__"
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block that was taken in."""

    height: int


@dataclass(frozen=True, slots=True)
class ChainEvent:
    """One event of the final log. `cursor` is its place, the same on every node of the network.

    `data` has the event's fields by name, `accounts` whom it touches, `tx_id` (0x…) the transaction
    that made it, None for what nobody sent.
    """

    cursor: str
    height: int
    index: int
    time: str
    kind: str
    accounts: tuple[str, ...]
    data: Mapping[str, Any]
    tx_id: str | None


@dataclass(frozen=True, slots=True)
class Call:
    """A method of a service that is not made from a record; see `rpc`."""

    name: str
    summary: str
    role: str
    params: type[BaseModel]
    result: Any
    writes: bool
    cost: int
    description: str
    run: Callable[[Work, Any], Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of actions that were sent to the ledger; `number` is theirs in the outbox.

    `code` is `ok`, or the failure's name as in receipts, with `reason`; then nothing happened.
    `height` and `tx_id` are None for what was refused before any block had it.
    """

    number: int
    key: bytes
    code: str
    reason: str
    tx_id: str | None
    height: int | None

    @property
    def done(self) -> bool:
        """Whether the ledger did it."""
        return self.code == "ok"


class Settings(BaseModel):
    """Base of a service's configuration: whole, validated, replaced at once.

    A field that only a new start takes over says so: `Field(json_schema_extra={"live": False})`.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
    )


@dataclass(frozen=True, slots=True)
class _Handles:
    kinds: tuple[str, ...] = ()
    blocks: int = 0
    call: Callable[[Callable[[Work, Any], Any]], Call] | None = None


def on(*kinds: str) -> Callable[[F], F]:
    """Run the function for each event of these kinds; one that ends with a dot means all below."""
    if not kinds or any(not _KIND.fullmatch(kind) for kind in kinds):
        raise ValueError(f"{kinds} are no kinds of events")

    def mark(function: F) -> F:
        setattr(function, _MARK, _Handles(kinds=kinds))
        return function

    return mark


def every(*, blocks: int) -> Callable[[F], F]:
    """Run the function each `blocks` blocks; once for all of them after an absence."""
    if blocks < 1:
        raise ValueError("every needs at least one block")

    def mark(function: F) -> F:
        setattr(function, _MARK, _Handles(blocks=blocks))
        return function

    return mark


def rpc(
    name: str,
    summary: str,
    *,
    role: str = "",
    params: type[BaseModel] = NoParams,
    result: Any = Any,
    writes: bool = False,
    cost: int = 20,
    description: str = "",
) -> Callable[[F], F]:
    """Make the function `(self, work, params) -> result` a method `<service>_<name>`.

    It runs in a transaction, on a snapshot unless `writes`. `role`: any of these on the ledger.
    """
    if not _VERB.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a method: verbNoun")

    def mark(function: F) -> F:
        made = partial(Call, name, summary, role, params, result, writes, cost, description)
        setattr(function, _MARK, _Handles(call=made))
        return function

    return mark


@dataclass(frozen=True)
class Network:
    """Which network a service belongs to."""

    chain_id: str
    genesis_hash: bytes


class Host(Protocol):
    """What a service sees of whatever runs it: in a node's process, or alone.

    `records` are its transactions, `database` and `keys` beneath them; `now_ms` is the wall clock.
    """

    @property
    def name(self) -> str:
        """The service's name."""

    @property
    def records(self) -> Transactions:
        """Its transactions."""

    @property
    def database(self) -> Database:
        """Its database."""

    @property
    def keys(self) -> KeyRing:
        """What opens what is sealed about persons."""

    @property
    def network(self) -> Network:
        """The network that it belongs to."""

    @property
    def now_ms(self) -> Callable[[], int]:
        """The wall clock, UTC ms."""

    @property
    def settings(self) -> Settings:
        """The configuration in force."""

    @property
    def roles(self) -> LedgerRoles:
        """Who has which role on the ledger."""

    @property
    def actor_of(self) -> Callable[[Context], Awaitable[Actor]]:
        """Who calls: their account, and its roles by the ledger as it is now."""

    @property
    def authenticators(self) -> Sequence[Authenticator]:
        """What recognises the tokens that its server takes."""

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Ask the node. Raises `RpcError`, `Unreachable`, `BadAnswer`."""

    async def write(self, actor: Actor, run: Callable[[Work], T]) -> T:
        """Run in a transaction for `actor`; see `Transactions.write`."""

    async def read(self, run: Callable[[Work], T], actor: Actor = NOBODY) -> T:
        """Run on a snapshot; see `Transactions.read`."""


class Service:
    """Base of services. A subclass says `name`, `entities`, and the `steps` of its migrations.

    `roles`: what it asks for beside those that its records and methods name. `permissions`: the
    actions that its own account sends to the ledger; what is not named is refused here. `open`:
    methods that it answers without a token; every other call needs one.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    entities: ClassVar[Sequence[type[Entity]]] = ()
    steps: ClassVar[Sequence[Step]] = ()
    settings: ClassVar[type[Settings]] = Settings
    roles: ClassVar[Sequence[str]] = ()
    permissions: ClassVar[Sequence[str]] = ()
    quiet: ClassVar[Sequence[str]] = ()
    open: ClassVar[frozenset[str]] = frozenset()

    def tables(self, metadata: sa.MetaData) -> None:
        """Describe tables of its own; their names begin with the service's and an underscore."""

    def placed(self, folder: Path) -> None:
        """Told once, before anything else: the folder that is the service's alone."""

    def calendars(self, settings: Settings) -> Mapping[str, Calendar]:
        """Return what the clocks' calendars are, by name."""
        return {}

    def configured(self, settings: Settings) -> None:
        """Take over a configuration: at the start, and when it is changed. Quick, on the loop."""

    def methods(self, host: Host) -> Sequence[Method]:
        """Return methods that need more than a transaction."""
        return ()

    def site(self) -> Site:
        """Return the pages at its port: those that are made from its declarations."""
        return record_pages()

    def routes(self, host: Host) -> Mapping[tuple[str, str], RouteHandler]:
        """Return pages of its own by (method, path), where it runs alone."""
        return {}

    def authenticators(self, host: Host) -> Sequence[Authenticator]:
        """Return what recognises tokens of its own, where it runs alone."""
        return ()

    def settled(self, work: Work, sent: Sent) -> None:
        """Take in what became of actions that it sent, in the transaction that notes it."""

    async def run(self, host: Host) -> None:
        """Work in the background; cancelled at the end."""


@dataclass(frozen=True)
class Manifest:
    """A service, compiled: its records, tables and handlers in order of their names."""

    name: str
    title: str
    version: str
    service: Service
    kinds: Mapping[str, Kind]
    tables: Tables
    steps: tuple[Step, ...]
    events: tuple[tuple[tuple[str, ...], Callable[[Work, ChainEvent], None]], ...]
    beats: tuple[tuple[int, Callable[[Work, Head], None]], ...]
    calls: tuple[Call, ...]

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role that somebody has to be given for this service to be of use."""
        named = [*self.service.roles, *(role for call in self.calls for role in call.role.split())]
        named += [role for kind in self.kinds.values() for role in kind.roles]
        if categories(self.kinds):
            named += consent_roles(self.name).split()
        return tuple(sorted(set(named)))

    def handlers(self, kind: str) -> list[Callable[[Work, ChainEvent], None]]:
        """Return what is to run for an event of this kind."""
        return [
            handler
            for wanted, handler in self.events
            if any(kind == one or (one.endswith(".") and kind.startswith(one)) for one in wanted)
        ]


def compiled(service: Service) -> Manifest:
    """Compile a service. Raises `ValueError` for a declaration that does not hold together."""
    checked_name("service", service.name)
    kinds: dict[str, Kind] = {}
    prefixes: set[str] = set()
    for entity in service.entities:
        kind = entity.kind
        if kind.name in kinds or kind.prefix in prefixes:
            raise ValueError(f"{service.name}: two records are called {kind.name} or {kind.prefix}")
        if kind.name.startswith("kit_"):
            raise ValueError(f"{service.name}: {kind.name} begins as the kit's own tables do")
        kinds[kind.name] = kind
        prefixes.add(kind.prefix)
    for kind in kinds.values():
        for spec in kind.fields.values():
            if spec.ref is not None and "." not in spec.ref.kind and spec.ref.kind not in kinds:
                raise ValueError(f"{kind.name}.{spec.name}: there is no record {spec.ref.kind}")
    events: list[tuple[tuple[str, ...], Callable[[Work, ChainEvent], None]]] = []
    beats: list[tuple[int, Callable[[Work, Head], None]]] = []
    calls: list[Call] = []
    members: list[tuple[str, Any]] = inspect.getmembers(service, callable)
    for name, member in members:
        handles = getattr(member, _MARK, None)
        if not isinstance(handles, _Handles):
            continue
        if inspect.iscoroutinefunction(member):
            raise ValueError(f"{service.name}.{name}: a handler is a plain function")
        if handles.call is not None:
            calls.append(handles.call(member))
        elif handles.blocks:
            beats.append((handles.blocks, member))
        else:
            events.append((handles.kinds, member))
    if len(events) + len(beats) + len(calls) > HANDLERS_MAX:
        raise ValueError(f"{service.name}: more than {HANDLERS_MAX} handlers")
    tables = tables_of(kinds.values(), service.tables)
    strange = [name for name in tables.own if not name.startswith(f"{service.name}_")]
    if strange:
        raise ValueError(f"{service.name}: {strange[0]} does not begin with the service's name")
    return Manifest(
        service.name,
        service.title or service.name.replace("_", " ").capitalize(),
        service.version,
        service,
        MappingProxyType(kinds),
        tables,
        tuple(service.steps),
        tuple(events),
        tuple(beats),
        tuple(calls),
    )
