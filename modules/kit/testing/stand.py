"""A service's records on a database of their own, with a clock that stands until it is moved.

    stand = Stand(compiled(Support()), folder / "support.db", random=Random(7))
    ticket = stand.made(Ticket.kind)
    stand.bring(ticket, "resolved")

What the shared tests need of any service is made here from its declarations alone: records with
good values, in any state that can be reached, by people who may.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

import trio
from pydantic_core import to_json
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import Bug
from clawpurse.modules.kit.entities.calendars import Calendar
from clawpurse.modules.kit.entities.flows import Move
from clawpurse.modules.kit.entities.kinds import FieldSpec, Kind
from clawpurse.modules.kit.privacy.sealing import KeyRing, MasterKey
from clawpurse.modules.kit.records.chores import rebuild_deadlines
from clawpurse.modules.kit.records.methods import RecordMethods
from clawpurse.modules.kit.records.model import Actor, MoveRefused, Proposal, Record
from clawpurse.modules.kit.records.persons import consent_roles, give_consent, privacy_role
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.calls import call_method
from clawpurse.modules.kit.service.declaration import Manifest
from clawpurse.modules.kit.service.trail import Trail
from clawpurse.modules.kit.store.database import Database
from clawpurse.modules.kit.store.migrations import migrate
from clawpurse.modules.kit.testing.walks import Seen, Walker
from clawpurse.modules.kit.web.errors import FORBIDDEN, RpcError
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Context, Dispatcher, Method, Pending

START_MS: Final = 1_800_000_000_000
DRAWS_MAX: Final = 200
"""Of values for a move whose guard refuses some."""
MASTER: Final = MasterKey(b"m" * 32)
MAKER: Final = Actor("maker", frozenset(), "test", system=True)
WORDING: Final = bytes(32)
T = TypeVar("T")


class Stand:
    """`url`: a file or a database's URL. `calendars`: others than the service configures.

    `random` draws values. `risen`: the tables are there, as a service left them that was killed.
    Each transaction is `tick_ms` after the one before.
    """

    def __init__(
        self,
        manifest: Manifest,
        url: str | Path,
        *,
        random: Random,
        calendars: Mapping[str, Calendar] | None = None,
        risen: bool = False,
    ) -> None:
        self.manifest: Final = manifest
        self.kinds: Final = self.manifest.kinds
        self.now_ms = START_MS
        self.tick_ms = 1_000
        self.database: Final = unsynced(Database(url, self.manifest.name))
        self.keys: Final = KeyRing(MASTER)
        self.records: Final = Transactions(
            self.manifest.name,
            self.manifest.tables,
            self.kinds,
            self.database,
            self.keys,
            self._tick,
        )
        self.walker: Final = Walker(random, self.roles)
        self._callers: dict[str, Actor] = {}
        if not risen:
            self._begin(calendars)

    def _begin(self, calendars: Mapping[str, Calendar] | None) -> None:
        service = self.manifest.service
        self.database.write_now(
            lambda db: migrate(db, self.manifest.tables, self.manifest.steps, self.now_ms)
        )
        configured = service.calendars(service.settings()) if calendars is None else calendars
        self.do(MAKER, lambda work: work.deadlines.declare(self.kinds, configured))
        while self.do(MAKER, rebuild_deadlines):
            pass

    @property
    def roles(self) -> tuple[str, ...]:
        """Every role that the service speaks of."""
        name = self.manifest.name
        some = {*self.manifest.roles, *consent_roles(name).split(), privacy_role(name)}
        return tuple(sorted(some))

    def do(self, actor: Actor, run: Callable[[Work], T]) -> T:
        """Work in a transaction."""
        now_ms = self._tick()
        return self.database.write_now(lambda db: run(self._work(db, actor, now_ms)))

    def look(self, run: Callable[[Work], T]) -> T:
        """Look at a snapshot."""
        return self.database.read_now(lambda db: run(self._work(db, MAKER, self.now_ms)))

    def call(self, actor: Actor, method: str, **params: Any) -> Any:
        """Call a method as over the wire; what is refused comes as `RpcError`."""
        return trio.run(self._answered, actor, method, params)

    async def _answered(self, actor: Actor, method: str, params: Mapping[str, Any]) -> Any:
        self._callers[actor.subject] = actor
        name = f"{self.manifest.name}_{method}"
        message = {"jsonrpc": "2.0", "id": 1, "method": name, "params": dict(params)}
        reply: Any = self._dispatcher.answer(to_json(message), Context(actor.subject))
        if isinstance(reply, Pending):
            reply = await reply.run()
        answer = json.loads(bytes(reply))
        if "error" in answer:
            return RpcError(answer["error"]["code"], json.dumps(answer["error"]))
        return answer["result"]

    @cached_property
    def methods(self) -> Mapping[str, Method]:
        """The methods of the service's records and its declared calls, by name."""
        calls = self.manifest.calls
        made = [
            *RecordMethods(self.records, self._actor_of).methods(),
            *(call_method(one, self.records, self._actor_of) for one in calls),
        ]
        trail = Trail(self.records, self._actor_of)
        return {one.name: trail.watched(one) for one in made}

    @cached_property
    def _dispatcher(self) -> Dispatcher:
        return Dispatcher(self.methods.values(), log=RefusalLog())

    def has(self, method: str) -> bool:
        """Whether the service has a method of this name."""
        return f"{self.manifest.name}_{method}" in self.methods

    def made(self, kind: Kind, **given: Any) -> Record:
        """Make a record with every field filled, and whatever it refers to."""
        values = {
            spec.name: given.get(spec.name, self._value(spec))
            for spec in kind.fields.values()
            if not _asks(spec)
        }
        record = self.do(MAKER, lambda work: work.create(kind, values))
        later = {
            spec.name: given.get(spec.name, self._value(spec))
            for spec in kind.fields.values()
            if _asks(spec)
        }
        if later:
            self.agree(record)
            moved = {name for move in kind.flow.moves.values() for name in move.sets}
            plain = {name: value for name, value in later.items() if name not in moved}
            record = self.do(MAKER, lambda work: work.update(kind, record.number, plain))
        return record

    def agree(self, record: Record) -> None:
        """Let every person of a record agree to everything that asks for it."""
        for spec in record.kind.fields.values():
            if spec.personal is not None and spec.personal.consent:
                person = person_of(record, spec)
                category = spec.personal.category
                self.do(MAKER, lambda work, p=person, c=category: give_consent(work, p, c, WORDING))  # type: ignore[misc]

    def bring(self, record: Record, state: str) -> Record:
        """Bring a record into a state, by moves that people make who may."""
        for move in path_to(record.kind, record.state, state):
            record = self.moved(record, move)
        return record

    def moved(self, record: Record, move: Move) -> Record:
        """Make a move, with everybody's approval. Raises `Bug` when no values let it happen."""
        for _ in range(DRAWS_MAX):
            given = {name: self._value(record.kind.fields[name]) for name in move.sets}
            try:
                asked = self.asked(record, move, given)
            except MoveRefused:
                continue
            return self.approved(asked, move) if isinstance(asked, Proposal) else asked
        raise Bug(f"no values were drawn that let {move.name} happen")

    def asked(self, record: Record, move: Move, given: Mapping[str, Any]) -> Record | Proposal:
        """Ask for a move as somebody who may."""
        asker = Actor("asker", move.roles, "test")
        return self.do(asker, lambda work: work.move(record.kind, record.number, move.name, given))

    def approved(self, proposal: Proposal, move: Move) -> Record:
        """Approve a proposal until it is done."""
        for number in range(move.approvals):
            person = Actor(f"approver-{number}", move.approving, "test")
            done = self.do(person, lambda work: work.approve(proposal.number, approve=True))
            if isinstance(done, Record):
                return done
        raise Bug(f"{move.name} is not done by {move.approvals} approvals")

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()

    def _value(self, spec: FieldSpec) -> Any:
        """Return a value of a field that is not empty."""
        if spec.ref is not None:
            target = self.kinds.get(spec.ref.kind)
            if target is None:
                return "X-1"
            known = self.look(lambda work: work.page(target, limit=1, archived=True))
            usable = [one for one in known if not one.erased]
            return (usable[0] if usable else self.made(target)).id
        for _ in range(DRAWS_MAX):
            value = self.walker.value(spec, dict[str, Seen]())
            if value not in (None, "", []) and not (isinstance(value, str) and not value.strip()):
                return value
        raise Bug(f"no value of {spec.name} was drawn that says something")

    def _tick(self) -> int:
        self.now_ms += self.tick_ms
        return self.now_ms

    def _work(self, connection: Connection, actor: Actor, now_ms: int) -> Work:
        return self.records.work(connection, actor, now_ms)

    async def _actor_of(self, context: Context) -> Actor:
        return self._callers[context.client]


def unsynced(database: Database) -> Database:
    """Let a test's database not wait for the disk: what is tested here is no loss of power."""
    if database.is_sqlite:
        # The one connection that writes; a pragma of it holds outside of transactions only.
        with closing(database._connection().connection.cursor()) as cursor:
            cursor.execute("PRAGMA synchronous=OFF")
    return database


def path_to(kind: Kind, start: str, state: str) -> list[Move]:
    """Return the fewest moves from one state to another. Raises `Bug` when there are none."""
    paths: dict[str, list[Move]] = {start: []}
    waiting = [start]
    while waiting and state not in paths:
        at = waiting.pop(0)
        for move in kind.flow.leaving(at):
            if move.target not in paths:
                paths[move.target] = [*paths[at], move]
                waiting.append(move.target)
    if state not in paths:
        raise Bug(f"{kind.name}: nothing leads from {start} to {state}")
    return paths[state]


def person_of(record: Record, spec: FieldSpec) -> str:
    """Return whom a personal field of a record is about."""
    of = spec.personal.of if spec.personal is not None else ""
    ref = record.kind.fields[of].ref if of else None
    return record.subject if ref is None else f"{ref.kind}/{record.values[of]}"


def is_forbidden(answer: Any) -> bool:
    """Whether a call was refused for lack of a role."""
    return isinstance(answer, RpcError) and answer.code == FORBIDDEN


def _asks(spec: FieldSpec) -> bool:
    return spec.personal is not None and spec.personal.consent


def rows_of(stand: Stand) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table."""

    def read(db: Connection) -> dict[str, list[tuple[Any, ...]]]:
        found = {}
        for table in stand.manifest.tables.metadata.sorted_tables:
            chosen = table.select().order_by(*table.primary_key.columns)
            found[table.name] = [tuple(row) for row in db.execute(chosen).all()]
        return found

    return stand.database.read_now(read)


def minutes(span_ms: int) -> int:
    """Return whole minutes, rounded up."""
    return math.ceil(span_ms / 60_000)
