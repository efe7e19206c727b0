"""What may be done with records, in one transaction: create, update, move, approve, erase.

A `Work` lives as long as a transaction of the service's database. Whatever it does is written with
its entry in the history and with what it sends, or not at all. The same request key of the same
actor is the same request: it is answered with what came of it the first time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from pydantic import ValidationError, create_model
from pydantic_core import to_json
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.kit.entities.flows import Move, NotAllowed, Standing, Why, approvals_missing
from clawpurse.modules.kit.entities.kinds import Entity, Kind
from clawpurse.modules.kit.privacy.sealing import KeyRing
from clawpurse.modules.kit.records.actions import pack_actions
from clawpurse.modules.kit.records.deadlines import Deadlines, needs_renewal
from clawpurse.modules.kit.records.history import CREATED, UPDATED, History
from clawpurse.modules.kit.records.model import (
    TIME,
    Actor,
    Conflict,
    Entry,
    Erased,
    MoveRefused,
    NotPermitted,
    Proposal,
    ProposalStatus,
    Record,
    parse_id,
)
from clawpurse.modules.kit.records.proposals import Proposals
from clawpurse.modules.kit.records.values import Values
from clawpurse.modules.kit.store.tables import Tables

LIST_MAX: Final = 500
"""Of a page; one more tells whether there is another."""
TO_CHAIN: Final = "chain"
WAITING: Final = "waiting"
KIT: Final = "kit"


class Work:
    """A transaction's work for one actor. `kinds` by name; times in UTC ms."""

    def __init__(
        self,
        connection: Connection,
        service: str,
        tables: Tables,
        kinds: Mapping[str, Kind],
        keys: KeyRing,
        actor: Actor,
        now_ms: int,
    ) -> None:
        self.connection: Final = connection
        self.service: Final = service
        self.tables: Final = tables
        self.kinds: Final = kinds
        self.actor: Final = actor
        self.now_ms: Final = now_ms
        self.values: Final = Values(connection, tables, service, keys, now_ms)
        self.history: Final = History(connection, tables, service)
        self.deadlines: Final = Deadlines(connection, tables, self.history, now_ms)
        self.pending: Final = Proposals(connection, tables, self.values, now_ms)

    def mark(self, name: str) -> str | None:
        """Return how far work of the kit came that takes more than one transaction."""
        table = self.tables.marks
        found: str | None = self.connection.execute(
            sa.select(table.c.content).where(table.c.name == name)
        ).scalar_one_or_none()
        return found

    def set_mark(self, name: str, content: str) -> None:
        """Note how far it came."""
        table = self.tables.marks
        changed = self.connection.execute(
            table.update().where(table.c.name == name).values(content=content)
        )
        if not changed.rowcount:
            self.connection.execute(table.insert(), {"name": name, "content": content})

    def table(self, name: str) -> sa.Table:
        """Return a table of the service's own."""
        return self.tables.own[name]

    def create(
        self, kind: Kind, given: Mapping[str, Any], request_key: str | None = None
    ) -> Record:
        """Make a record in the flow's first state. Raises `Malformed`, `NotFound`, `Erased`."""
        before = self._answered(request_key, kind, CREATED)
        if before is not None:
            return self.get(kind, before.record)
        self.require(kind.access.create, f"Making a {kind.title.lower()}")
        values = self._checked(kind, given)
        number = self.next_number(kind.name)
        columns = {
            "number": number,
            "version": 1,
            "state": kind.flow.initial,
            "created_ms": self.now_ms,
            "changed_ms": self.now_ms,
            "since_ms": self.now_ms,
            **self.values.columns(kind, f"{kind.prefix}-{number}", values, kind.fields),
        }
        self.connection.execute(self.tables.records[kind.name].insert(), columns)
        made = self.get(kind, number)
        self._note(made, CREATED, values, list(kind.fields), request_key)
        self.deadlines.renew(made)
        return made

    def get(self, kind: Kind, number: int) -> Record:
        """Return a record. Raises `NotFound`."""
        table = self.tables.records[kind.name]
        row = self.connection.execute(table.select().where(table.c.number == number)).one_or_none()
        if row is None:
            raise NotFound(f"{kind.name} {kind.prefix}-{number}")
        return self._record(kind, row)

    def page(
        self,
        kind: Kind,
        where: Mapping[str, Any] | None = None,
        *,
        after: int = 0,
        limit: int = LIST_MAX,
        archived: bool = False,
    ) -> list[Record]:
        """Return records above a number, in order, that have these values (or state).

        Those that were archived are left out unless they are asked for.
        """
        table = self.tables.records[kind.name]
        chosen, order = table.select().where(table.c.number > after), [table.c.number]
        if not archived:
            chosen = chosen.where(table.c.archived_ms.is_(None))
            if kind.retain is not None and not set(where or ()) - {"state"}:
                # All are null: said again, so that one index gives both choice and order.
                order.insert(0, table.c.archived_ms)
        for name, value in (where or {}).items():
            spec = kind.fields.get(name)
            if name != "state" and (spec is None or not spec.indexed):
                raise Malformed(name, "cannot be looked up by")
            if name == "state" and value not in kind.flow.states:
                raise Malformed(name, f"is none of {', '.join(kind.flow.states)}")
            chosen = chosen.where(table.c[name] == value)
        rows = self.connection.execute(chosen.order_by(*order).limit(min(limit, LIST_MAX + 1)))
        return [self._record(kind, row) for row in rows.all()]

    def update(
        self,
        kind: Kind,
        number: int,
        changes: Mapping[str, Any],
        *,
        version: int | None = None,
        request_key: str | None = None,
    ) -> Record:
        """Change values. `version`: the one that was looked at; another by now is a `Conflict`.

        Fields that only a move sets cannot be changed here: `Malformed`.
        """
        before = self._answered(request_key, kind, UPDATED, number)
        if before is not None:
            return self.get(kind, number)
        self.require(kind.access.update, f"Changing a {kind.title.lower()}")
        record = self._current(kind, number, version)
        moved = {name for move in kind.flow.moves.values() for name in move.sets}
        for name in changes:
            if _field(kind, name) in moved:
                raise Malformed(name, "is set by a move alone")
        if record.state in kind.flow.ends:
            raise Conflict(f"{record.id} is {record.state}: nothing of it changes any more")
        return self._write(
            record, UPDATED, record.state, self._merged(record, changes), request_key
        )

    def move(
        self,
        kind: Kind,
        number: int,
        name: str,
        given: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        request_key: str | None = None,
    ) -> Record | Proposal:
        """Make a move, or propose it where others must approve.

        Raises `MoveRefused` with the reason, `Conflict` as `update` does.
        """
        before = self._answered(request_key, kind, name, number)
        if before is not None:
            open_one = self.pending.asked_at(kind, number, before.version)
            return self.get(kind, number) if open_one is None else open_one
        record = self._current(kind, number, version)
        plain = {_field(kind, key): value for key, value in (given or {}).items()}
        self._allowed(record, name, plain, self.actor)
        move = kind.flow.moves[name]
        values = self._merged(record, plain)
        if not move.approvals:
            return self._moved(record, move, values, request_key)
        if self.pending.open_of(record, name) is not None:
            raise Conflict(f"{name} of {record.id} waits for approval already")
        noted = self._write(record, f"{name}.asked", record.state, record.values, request_key)
        number_of_it = self.next_number("kit_proposals")
        return self.pending.open(number_of_it, noted, move, plain, self.actor.subject)

    def approve(
        self, number: int, *, approve: bool, reason: str = "", request_key: str | None = None
    ) -> Record | Proposal:
        """Approve or reject a proposed move; the last approval does it.

        Whoever asked does not approve, and everybody has one say. Raises `NotFound`,
        `MoveRefused`, `Conflict`.
        """
        proposal = self.pending.get(number)
        kind = self.kinds[proposal.kind]
        move = kind.flow.moves[proposal.move]
        step = f"{move.name}.{'approved' if approve else 'rejected'}"
        if self._answered(request_key, kind, step, proposal.record) is not None:
            return self.pending.get(number)
        if not move.approving & self.actor.roles:
            sentence = f"{move.name} is approved by {' or '.join(sorted(move.approving))}."
            raise MoveRefused(NotAllowed(Why.ROLE, sentence))
        if self.actor.subject == proposal.asked_by and approve:
            raise MoveRefused(NotAllowed(Why.ROLE, "Whoever asked for a move does not approve it."))
        record = self.get(kind, proposal.record)
        given = self.pending.given(proposal, record)
        self.pending.vote(proposal, self.actor.subject, approve=approve, reason=reason)
        record = self._write(record, step, record.state, record.values, request_key)
        now = self.pending.get(number)
        if not approve:
            return self.pending.settle(number, ProposalStatus.REJECTED)
        if approvals_missing(move, now.asked_by, now.approved_by):
            self.pending.follow(number, record.version)
            return self.pending.get(number)
        # The asker's roles were judged when the move was asked for; the rest holds now or not.
        asker = Actor(proposal.asked_by, move.roles, self.actor.origin)
        self._allowed(record, move.name, given, asker)
        self.pending.settle(number, ProposalStatus.DONE)
        return self._moved(record, move, self._merged(record, given), None)

    def require(self, roles: str, deed: str) -> None:
        """Raise `NotPermitted` unless the actor has any of these roles; `deed` is told then."""
        if not self.actor.may(roles):
            raise NotPermitted(deed, roles)

    def proposal(self, number: int) -> Proposal:
        """Return a proposal as it stands. Raises `NotFound`."""
        return self.pending.get(number)

    def asked(self, proposal: Proposal) -> dict[str, Any]:
        """Return what a proposal would set; None for what was about an erased person."""
        record = self.get(self.kinds[proposal.kind], proposal.record)
        return self.pending.asked(proposal, record)

    def proposals(self, kind: Kind, *, after: int = 0, limit: int = LIST_MAX) -> list[Proposal]:
        """Return proposals of a kind above a number that wait for others, in order."""
        return self.pending.waiting(kind, after, min(limit, LIST_MAX + 1))

    def settle(self, kind: Kind, number: int) -> int:
        """Write down which promises about a record were broken by now; return how many."""
        record = self.get(kind, number)
        settled = self._settled(record)
        self.deadlines.renew(settled)
        return settled.version - record.version

    def stepped(
        self, record: Record, step: str, actor: Actor, columns: Mapping[str, Any] | None = None
    ) -> Record:
        """Write an entry of the kit's own that changes no value, and these columns of the row."""
        table = self.tables.records[record.kind.name]
        self.pending.carry(record)
        now = {"version": record.version + 1, "changed_ms": self.now_ms, **(columns or {})}
        self.connection.execute(table.update().where(table.c.number == record.number).values(now))
        written = self.get(record.kind, record.number)
        self._note(written, step, {}, (), None, actor)
        return written

    def noted_apart(
        self, place: str, step: str, changes: Mapping[str, Any], request_key: str | None = None
    ) -> Entry:
        """Write an entry about no record: under `place`, the kit's table it belongs to."""
        entry = {
            "kind": place,
            "record": self.next_number(place),
            "version": 1,
            "at_ms": self.now_ms,
            "actor": self.actor.subject,
            "origin": self.actor.origin,
            "move": step,
            "state": step,
        }
        return self.history.append(entry, changes, request_key)

    def submit(self, actions: Sequence[RawAction], about: Record | None = None) -> int:
        """Let the service's account send actions to the ledger, all of them or none, once.

        They go when this transaction is committed; what becomes of them is told to the service's
        `settled` by the number that this returns. `about`: the record that pages show it with.
        """
        if not actions:
            raise Malformed("actions", "are none")
        _, chain = self.history.head()
        last = self.next_number(f"{KIT}_sent")
        key = hashlib.sha256(b"clawpurse/outbox/v1" + chain + last.to_bytes(8, "big")).digest()
        return self.send(TO_CHAIN, pack_actions(actions), key, about=about)

    def send(
        self,
        target: str,
        payload: bytes,
        key: bytes,
        not_before_ms: int = 0,
        about: Record | None = None,
    ) -> int:
        """Let something happen elsewhere, once, when this transaction is committed."""
        number = self.next_number("kit_outbox")
        self.connection.execute(
            self.tables.outbox.insert(),
            {
                "number": number,
                "target": target,
                "idempotency_key": key,
                "payload": payload,
                "not_before_ms": not_before_ms,
                "status": WAITING,
                "attempts": 0,
                "kind": None if about is None else about.kind.name,
                "record": None if about is None else about.number,
            },
        )
        return number

    def _moved(
        self, record: Record, move: Move, values: Mapping[str, Any], request_key: str | None
    ) -> Record:
        done = self._write(record, move.name, move.target, values, request_key)
        if move.chain is not None:
            # Whatever comes to the ledger stays there: of persons it gets commitments alone.
            self.submit(move.chain(self.values.told(done)), about=done)
        return done

    def _allowed(self, record: Record, name: str, given: Mapping[str, Any], actor: Actor) -> None:
        standing = Standing(record.state, record.since_ms, record.values)
        known = record.kind.flow.moves.get(name)
        roles = known.roles if actor.system and known is not None else actor.roles
        found = record.kind.flow.refusal(
            name, standing, roles=roles, now_ms=self.now_ms, given=given
        )
        if found is not None:
            raise MoveRefused(found)

    def _write(
        self,
        record: Record,
        move: str,
        state: str,
        values: Mapping[str, Any],
        request_key: str | None,
    ) -> Record:
        # What was late before this step is late, whatever the step does.
        record = self._settled(record)
        kind, table = record.kind, self.tables.records[record.kind.name]
        changed = [name for name in kind.fields if values[name] != record.values[name]]
        columns = {
            "version": record.version + 1,
            "changed_ms": self.now_ms,
            **self.values.columns(kind, record.id, values, changed),
        }
        if state != record.state:
            columns |= {"state": state, "since_ms": self.now_ms}
        same = (table.c.number == record.number) & (table.c.version == record.version)
        self.connection.execute(table.update().where(same).values(columns))
        written = self.get(kind, record.number)
        self._note(written, move, values, changed, request_key)
        if needs_renewal(kind, move, moved=state != record.state):
            self.deadlines.renew(written)
        return written

    def _settled(self, record: Record) -> Record:
        """Write down which promises were broken by now; return the record as that leaves it."""
        for clock in self.deadlines.over(record):
            record = self.stepped(record, clock.breach, TIME)
            self.deadlines.count(record.kind, clock)
        return record

    def _note(
        self,
        record: Record,
        move: str,
        values: Mapping[str, Any],
        names: Sequence[str],
        request_key: str | None,
        actor: Actor | None = None,
    ) -> Entry:
        actor = actor or self.actor
        entry = {
            "kind": record.kind.name,
            "record": record.number,
            "version": record.version,
            "at_ms": self.now_ms,
            "actor": actor.subject,
            "origin": actor.origin,
            "move": move,
            "state": record.state,
        }
        said = self.values.committed(record.kind, record.number, record.version, values, names)
        return self.history.append(entry, said, request_key)

    def _answered(
        self, request_key: str | None, kind: Kind, move: str, number: int | None = None
    ) -> Entry | None:
        if request_key is None:
            return None
        before = self.history.answered(self.actor.subject, request_key)
        if before is None:
            return None
        same = before.kind == kind.name and before.move in (move, f"{move}.asked")
        if not same or number not in (None, before.record):
            raise Conflict("this key was used for another request")
        return before

    def _current(self, kind: Kind, number: int, version: int | None) -> Record:
        record = self.get(kind, number)
        if version is not None and version != record.version and not self._is_same(record, version):
            raise Conflict(f"{record.id} was changed meanwhile: version {record.version}")
        return record

    def _is_same(self, record: Record, version: int) -> bool:
        """Whether nothing but time came to a record since a version."""
        since = self.history.of_record(record.kind.name, record.number, version)
        by_time = (TIME.subject, TIME.origin)
        return 0 < version < record.version and all(
            (one.actor, one.origin) == by_time for one in since
        )

    def _merged(self, record: Record, changes: Mapping[str, Any]) -> dict[str, Any]:
        kind = record.kind
        plain = {_field(kind, name): value for name, value in changes.items()}
        if record.erased & set(plain):
            raise Erased(record.subject)
        naming = {spec.personal.of for spec in kind.fields.values() if spec.personal}
        for name in plain.keys() & naming:
            if plain[name] != record.values[name]:
                raise Malformed(name, "names the person whom other fields are about; it stays")
        if not record.erased:
            return self._checked(kind, {**record.values, **plain})
        # What is left of an erased person's record may still be moved on, and ended.
        return {**record.values, **_checked_parts(kind, plain)}

    def _checked(self, kind: Kind, given: Mapping[str, Any]) -> dict[str, Any]:
        try:
            entity = kind.parse(given)
        except ValidationError as error:
            raise _malformed(error) from None
        values: dict[str, Any] = entity.model_dump(mode="json")
        for name, spec in kind.fields.items():
            target = self.kinds.get(spec.ref.kind) if spec.ref is not None else None
            if target is not None and values[name] is not None:
                self.get(target, parse_id(target, values[name]))
        return values

    def _record(self, kind: Kind, row: Any) -> Record:
        values, erased = self.values.read(kind, row)
        return Record(
            kind,
            row.number,
            row.version,
            row.state,
            row.created_ms,
            row.changed_ms,
            row.since_ms,
            row.archived_ms,
            values,
            erased,
        )

    def next_number(self, counter: str) -> int:
        """Return the next number of a counter, above every one that was ever given."""
        return next_number(self.connection, self.tables, counter)


def _field(kind: Kind, name: str) -> str:
    """Return the field of a name as it comes in JSON, or as it is. Raises `Malformed`."""
    for field, spec in kind.fields.items():
        if name in (field, spec.wire_name):
            return field
    raise Malformed(name, f"is no field of {kind.name}")


def _checked_parts(kind: Kind, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return single values, validated without the record around them."""
    if not values:
        return {}
    wanted: dict[str, Any] = {
        name: (kind.model.model_fields[name].annotation, kind.model.model_fields[name])
        for name in values
    }
    part = create_model("Part", __config__=Entity.model_config, **wanted)
    try:
        found: dict[str, Any] = part.model_validate_json(to_json(dict(values))).model_dump(
            mode="json"
        )
    except ValidationError as error:
        raise _malformed(error) from None
    return found


def _malformed(error: ValidationError) -> Malformed:
    """Return the first thing that is wrong; what was given is not repeated."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "record"
    return Malformed(where, first["msg"])


def next_number(connection: Connection, tables: Tables, counter: str) -> int:
    """Return the next number of a counter, above every one that was ever given."""
    table = tables.counters
    last = connection.execute(
        sa.select(table.c.last).where(table.c.kind == counter)
    ).scalar_one_or_none()
    if last is None:
        connection.execute(table.insert(), {"kind": counter, "last": 1})
        return 1
    connection.execute(table.update().where(table.c.kind == counter).values(last=last + 1))
    return int(last) + 1
