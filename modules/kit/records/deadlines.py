"""What comes due, and when: clocks that run, and records that are kept for a time only.

A clock is read from the history of its record. So that whatever is due can be found by one seek, a
table beside the records says when each clock would breach; it is brought up to date in the
transaction of each step. The table is a hint: before a breach is written down, the history is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.entities.calendars import (
    DAY_MS,
    DAYS_MAX,
    Calendar,
    always,
    calendar_of,
    content_of,
)
from clawpurse.modules.kit.entities.clocks import Clock, Reading, Running
from clawpurse.modules.kit.entities.kinds import Kind
from clawpurse.modules.kit.records.history import History, canonical
from clawpurse.modules.kit.records.model import Record
from clawpurse.modules.kit.store.tables import Tables

PROMISE: Final = "promise"
RETENTION: Final = "retention"
ALWAYS: Final = "always"
_MARK: Final = "deadlines"
_DONE: Final = None


class Deadlines:
    """The deadlines of one service, within a transaction at `now_ms`."""

    def __init__(
        self, connection: Connection, tables: Tables, history: History, now_ms: int
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._table = tables.deadlines
        self._history = history
        self._now_ms = now_ms
        self._calendars: dict[str, Calendar] = {}

    def readings(self, record: Record) -> list[Reading]:
        """Return how each clock of a record stands, in the order of their declaration.

        Where a record came to an end, its clocks stand as they did then: nobody can keep a promise
        any more by a move. Raises `OperatorError` for a calendar that is not configured.
        """
        kind = record.kind
        if not kind.clocks:
            return []
        ended = record.state in kind.flow.ends
        at_ms = min(record.since_ms, self._now_ms) if ended else self._now_ms
        changes = self._history.changes(kind.name, record.number)
        return [
            clock.read(changes, record.values, self.calendar(clock.calendar), at_ms)
            for clock in kind.clocks
        ]

    def over(self, record: Record) -> list[Clock]:
        """Return the clocks of a record that were breached and whose history does not say so."""
        table = self._table
        due = self._connection.execute(
            sa.select(table.c.clock).where(
                (table.c.kind == record.kind.name)
                & (table.c.record == record.number)
                & (table.c.purpose == PROMISE)
                & (table.c.due_ms < self._now_ms)
            )
        ).scalars()
        names = set(due)
        if not names:
            return []
        read = {one.name: one for one in self.readings(record) if one.name in names}
        return [clock for clock in record.kind.clocks if _is_news(read.get(clock.name))]

    def renew(self, record: Record) -> None:
        """Write down what of a record comes due from here on."""
        wanted = dict(self._coming(record))
        table = self._table
        mine = (table.c.kind == record.kind.name) & (table.c.record == record.number)
        rows = self._connection.execute(sa.select(table.c.clock, table.c.due_ms).where(mine))
        held = {row.clock: row.due_ms for row in rows}
        for clock in held.keys() - wanted.keys():
            self._connection.execute(table.delete().where(mine & (table.c.clock == clock)))
        for clock, (purpose, due_ms) in wanted.items():
            if clock not in held:
                place = {"kind": record.kind.name, "record": record.number, "clock": clock}
                self._connection.execute(
                    table.insert(), {**place, "purpose": purpose, "due_ms": due_ms}
                )
            elif held[clock] != due_ms:
                self._connection.execute(
                    table.update().where(mine & (table.c.clock == clock)).values(due_ms=due_ms)
                )

    def due(self, purpose: str, limit: int) -> list[tuple[str, int]]:
        """Return records of which something is due, by kind's name and number, the oldest first."""
        table = self._table
        rows = self._connection.execute(
            sa.select(table.c.kind, table.c.record)
            .where((table.c.purpose == purpose) & (table.c.due_ms < self._now_ms))
            .order_by(table.c.due_ms, table.c.kind, table.c.record)
            .limit(limit)
        )
        return list(dict.fromkeys((row.kind, row.record) for row in rows))

    def count(self, kind: Kind, clock: Clock) -> None:
        """Count one more breach."""
        table = self._tables.breaches
        mine = (table.c.kind == kind.name) & (table.c.clock == clock.name)
        changed = self._connection.execute(
            table.update().where(mine).values(total=table.c.total + 1)
        )
        if not changed.rowcount:
            self._connection.execute(
                table.insert(), {"kind": kind.name, "clock": clock.name, "total": 1}
            )

    def breaches(self) -> dict[tuple[str, str], int]:
        """Return how often each clock was breached, by kind's and clock's name: for metrics."""
        rows = self._connection.execute(self._tables.breaches.select())
        return {(row.kind, row.clock): row.total for row in rows}

    def calendar(self, name: str) -> Calendar:
        """Return a calendar as it is configured. Raises `OperatorError` when it is not."""
        found = self._calendars.get(name)
        if found is None:
            table = self._tables.calendars
            content = self._connection.execute(
                sa.select(table.c.content).where(table.c.name == name)
            ).scalar_one_or_none()
            if content is not None:
                found = calendar_of(json.loads(content))
            elif name == ALWAYS:
                found = always()
            else:
                raise _unconfigured(name)
            self._calendars[name] = found
        return found

    def declare(self, kinds: Mapping[str, Kind], calendars: Mapping[str, Calendar]) -> bool:
        """Take in declarations and calendars as they are now; whether `rebuild` has work to do.

        Called at the start and when calendars are configured anew. Raises `OperatorError` for a
        clock by a calendar that is not there: nothing changed then.
        """
        for kind in kinds.values():
            for clock in kind.clocks:
                if clock.calendar != ALWAYS and clock.calendar not in calendars:
                    raise _unconfigured(clock.calendar, f"{kind.name}.{clock.name}")
        contents = {name: canonical(content_of(one)) for name, one in calendars.items()}
        self._keep_calendars(contents)
        print_now = _print_of(kinds, contents)
        mark = self._mark()
        if mark is not None and mark["print"] == print_now:
            return mark["at"] is not _DONE
        self._drop_undeclared(kinds)
        self._set_mark({"print": print_now, "at": ["", 0]})
        return True

    def rebuild_place(self) -> tuple[str, int] | None:
        """Return behind which record the rebuilding goes on; None when there is nothing to do."""
        mark = self._mark()
        if mark is None or mark["at"] is _DONE:
            return None
        kind, number = mark["at"]
        return str(kind), int(number)

    def rebuilt(self, place: tuple[str, int] | None) -> None:
        """Note how far the rebuilding came; None: it is done."""
        mark = self._mark()
        if mark is not None:
            self._set_mark({**mark, "at": _DONE if place is None else list(place)})

    def _coming(self, record: Record) -> Iterator[tuple[str, tuple[str, int]]]:
        kind = record.kind
        if record.state in kind.flow.ends:
            if kind.retain is not None and record.archived_ms is None:
                yield "", (RETENTION, record.since_ms + kind.retain.after_ms)
            return
        for one in self.readings(record):
            if one.standing is Running.RUNNING:
                # What is too far away to tell is looked at again on the way.
                late = self._now_ms + DAYS_MAX * DAY_MS
                yield one.name, (PROMISE, late if one.due_ms is None else one.due_ms)
            elif _is_news(one):
                yield one.name, (PROMISE, self._now_ms)

    def _keep_calendars(self, contents: Mapping[str, str]) -> None:
        table = self._tables.calendars
        self._connection.execute(table.delete().where(table.c.name.not_in(list(contents))))
        rows = self._connection.execute(sa.select(table.c.name, table.c.content))
        held = {row.name: row.content for row in rows}
        for name, content in contents.items():
            if held.get(name) != content:
                self._connection.execute(table.delete().where(table.c.name == name))
                row = {"name": name, "content": content, "at_ms": self._now_ms}
                self._connection.execute(table.insert(), row)
        self._calendars.clear()

    def _drop_undeclared(self, kinds: Mapping[str, Kind]) -> None:
        table = self._table
        self._connection.execute(table.delete().where(table.c.kind.not_in(list(kinds))))
        for kind in kinds.values():
            names = [clock.name for clock in kind.clocks] + [""] * (kind.retain is not None)
            gone = (table.c.kind == kind.name) & table.c.clock.not_in(names)
            self._connection.execute(table.delete().where(gone))

    def _mark(self) -> dict[str, Any] | None:
        table = self._tables.marks
        content = self._connection.execute(
            sa.select(table.c.content).where(table.c.name == _MARK)
        ).scalar_one_or_none()
        return None if content is None else json.loads(content)

    def _set_mark(self, mark: Mapping[str, Any]) -> None:
        table, content = self._tables.marks, canonical(mark)
        changed = self._connection.execute(
            table.update().where(table.c.name == _MARK).values(content=content)
        )
        if not changed.rowcount:
            self._connection.execute(table.insert(), {"name": _MARK, "content": content})


def needs_renewal(kind: Kind, move: str, *, moved: bool) -> bool:
    """Whether a step may change what comes due: most updates do not, and need no reading."""
    return moved or any(
        callable(clock.target) or move in clock.stops or move == clock.breach
        for clock in kind.clocks
    )


def _is_news(one: Reading | None) -> bool:
    """Breached while it still runs, and nothing says so yet."""
    if one is None or one.noted or one.stopped_ms is not None:
        return False
    return one.standing is Running.BREACHED


def _unconfigured(name: str, clock: str = "") -> OperatorError:
    return OperatorError(
        f"There is no calendar {name}.",
        f"The clock {clock} counts by it." if clock else "A clock counts by it.",
        "configure the service's calendars",
    )


def _print_of(kinds: Mapping[str, Kind], calendars: Mapping[str, str]) -> str:
    """Return a hash of all that deadlines are made from."""
    said: list[Any] = [sorted(calendars.items())]
    for kind in kinds.values():
        retain = None if kind.retain is None else kind.retain.after_ms
        said.append([kind.name, sorted(kind.flow.states), sorted(kind.flow.ends), retain])
        for clock in kind.clocks:
            target = clock.target
            counted = target if isinstance(target, int) else _code_of(target)
            said.append([clock.name, clock.stop, clock.start, clock.pause, clock.calendar, counted])
    return hashlib.sha256(canonical(said).encode()).hexdigest()


def _code_of(function: Any) -> str:
    """Return a hash of what a function does; tables that it looks things up in are not in it."""
    code = getattr(function, "__code__", None)
    digest = hashlib.sha256()
    waiting = [code] if isinstance(code, CodeType) else []
    while waiting:
        one = waiting.pop()
        plain = [
            sorted(map(repr, each)) if isinstance(each, frozenset) else each
            for each in one.co_consts
            if not isinstance(each, CodeType)
        ]
        waiting += [each for each in one.co_consts if isinstance(each, CodeType)]
        digest.update(one.co_code + repr((one.co_names, plain)).encode())
    return digest.hexdigest()
