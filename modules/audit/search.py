"""Looking for entries: by who, what, result, origin, object, source and time, the newest first.

One condition leads: its index is walked backwards in time, and the others are compared on the
way. How far one call walks is bounded, so that a rare combination costs many small calls and
never a long one; a page tells how far it looked, also when it found little.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.modules.audit.tables import AuditTables
from clawpurse.modules.audit.tree import SIZE_MAX

WALKED_MAX: Final = 2_000
"""Rows that one call compares: about 6 ms."""

LIMIT_MAX: Final = 500
LEADING: Final = ("object", "who", "origin", "what", "source", "result")
"""The most telling first: an object has a few entries, a result nearly all."""


class Place(NamedTuple):
    """Where a page begins: behind the entry of this time and place."""

    at_ms: int
    place: int

    def text(self) -> str:
        """Return it as a cursor."""
        return f"{self.at_ms}.{self.place}"


@dataclass(frozen=True, slots=True)
class Found:
    """An entry as it is kept. `text` is None where it was kept long enough and dropped."""

    place: int
    source: str
    number: int
    at_ms: int
    kept_ms: int
    who: str
    what: str
    result: str
    origin: str
    object: str
    text: str | None
    leaf: bytes


def parse_cursor(text: str) -> Place:
    """Read a cursor. Raises `Malformed`."""
    first, dot, second = text.partition(".")
    plain = all(part.isascii() and part.isdigit() and len(part) < 20 for part in (first, second))
    if not dot or not plain or max(int(first), int(second)) >= 2**63:
        raise Malformed("cursor", "is none of this list")
    return Place(int(first), int(second))


def search(
    connection: Connection,
    tables: AuditTables,
    where: Mapping[str, str],
    *,
    from_ms: int | None = None,
    to_ms: int | None = None,
    after: Place | None = None,
    limit: int = LIMIT_MAX,
) -> tuple[list[Found], Place | None]:
    """Return entries of times [from_ms, to_ms) that are so, the newest first, and where to go on.

    `where`: column to value. None to go on from: there are no more.
    """
    table = tables.entries
    lead = next((name for name in LEADING if name in where), None)
    walked = 1 + (limit if len(where) <= 1 else WALKED_MAX)
    walk = table.select().order_by(table.c.at_ms.desc(), table.c.place.desc())
    if lead is not None:
        walk = walk.where(table.c[lead] == where[lead])
    if from_ms is not None:
        walk = walk.where(table.c.at_ms >= from_ms)
    if to_ms is not None:
        walk = walk.where(table.c.at_ms < to_ms)
    if after is not None:
        later = (table.c.at_ms < after.at_ms) | (table.c.place < after.place)
        # The first says the same as the second, in the form that seeks.
        walk = walk.where(table.c.at_ms <= after.at_ms, later)
    inner = walk.limit(walked).subquery()
    rest = [inner.c[name] == value for name, value in where.items() if name != lead]
    outer = sa.select(inner).where(*rest).order_by(inner.c.at_ms.desc(), inner.c.place.desc())
    found = [_found(row) for row in connection.execute(outer.limit(limit + 1))]
    if len(found) > limit:
        last = found[limit - 1]
        return found[:limit], Place(last.at_ms, last.place)
    # The last row of the walk is only looked at to know that there is one; it comes next time.
    ends = sa.select(walk.with_only_columns(table.c.at_ms, table.c.place).limit(walked).subquery())
    edge = connection.execute(ends.offset(walked - 2).limit(2)).all()
    going_on = Place(edge[0].at_ms, edge[0].place) if len(edge) == 2 else None
    if going_on is not None:
        found = [one for one in found if (one.at_ms, one.place) >= going_on]
    return found, going_on


def at_places(connection: Connection, tables: AuditTables, first: int, stop: int) -> list[Found]:
    """Return the entries of places [first, stop), in order; those that there are."""
    table = tables.entries
    inside = (table.c.place >= first) & (table.c.place < stop)
    rows = connection.execute(table.select().where(inside).order_by(table.c.place))
    return [_found(row) for row in rows]


def at_place(connection: Connection, tables: AuditTables, place: int) -> Found:
    """Return the entry of a place. Raises `NotFound`."""
    if not 0 <= place < SIZE_MAX:
        raise NotFound(f"entry {place}")
    found = at_places(connection, tables, place, place + 1)
    if not found:
        raise NotFound(f"entry {place}")
    return found[0]


def place_of(connection: Connection, tables: AuditTables, source: str, number: int) -> int:
    """Return the place of what a source told under a number. Raises `NotFound`."""
    table = tables.entries
    same = (table.c.source == source) & (table.c.number == number)
    place = connection.execute(sa.select(table.c.place).where(same)).scalar()
    if place is None:
        raise NotFound(f"number {number} of {source}")
    return int(place)


def _found(row: Row[Any]) -> Found:
    return Found(**{name: getattr(row, name) for name in Found.__dataclass_fields__})
