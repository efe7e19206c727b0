"""Entries of the audit log: what a source told, read into columns, kept once, never changed.

An entry is the canonical JSON that its source hashed as a leaf of RFC 6962. Two forms are known:

    histories   service number at_ms actor origin kind record move …     (records of the kit)
    calls       service number at_ms actor origin what result object …   (whatever else is told)

Its source is called as the service, or `service/…` where one has several. A source numbers from 1
without gaps and is told to by one writer; the same number with another text is a fork, refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.rfc6962 import leaf_hash
from clawpurse.modules.audit.tables import (
    OBJECT_CHARS_MAX,
    RESULT_CHARS_MAX,
    SOURCE_CHARS_MAX,
    WHAT_CHARS_MAX,
    WHO_CHARS_MAX,
    AuditTables,
)
from clawpurse.modules.audit.tree import SIZE_MAX, Tree
from clawpurse.modules.kit.records.history import canonical
from clawpurse.modules.kit.records.model import Conflict

BATCH_MAX: Final = 500
"""Entries of one call: a page of a history."""

TEXT_BYTES_MAX: Final = 512 * 1024
"""Of one entry: a call's body holds a megabyte, with room for the escapes of JSON."""

SOURCES_MAX: Final = 256
NUMBER_MAX: Final = 2**62
TIME_MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999: later times are no dates."""

OWN: Final = "audit"
"""The log's own source: keys, forks, reviews, texts that were dropped."""

CHAIN: Final = "chain"
"""What the ledger says, taken in from its events."""

DONE: Final = "done"
REFUSED: Final = "refused"
FAILED: Final = "failed"
_SOURCE_CHARS: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-./")


class Fork(Conflict):
    """A source told another text under a number that is kept. Attributes: `source`, `number`."""

    def __init__(self, source: str, number: int) -> None:
        super().__init__(
            f"{source} told something else as number {number} before: it was changed at its source."
        )
        self.source = source
        self.number = number


class Gap(Conflict):
    """Numbers were left out. Attributes: `source`, `expected`."""

    def __init__(self, source: str, expected: int) -> None:
        super().__init__(f"{source} goes on with number {expected}.")
        self.source = source
        self.expected = expected


class OtherWriter(Conflict):
    """A source is continued by somebody else than who began it. Attributes: `source`."""

    def __init__(self, source: str) -> None:
        super().__init__(f"{source} is told by another account.")
        self.source = source


@dataclass(frozen=True, slots=True)
class Told:
    """An entry as its source told it, and what is looked for in it."""

    source: str
    number: int
    text: str
    leaf: bytes
    at_ms: int
    who: str
    what: str
    result: str
    origin: str
    object: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What came of an append: the source's highest number, the log's size, how many were new."""

    number: int
    size: int
    added: int


def read_entry(source: str, number: int, text: str) -> Told:
    """Read an entry's text. Raises `Malformed` for one that is not canonical, or another's."""
    try:
        data = text.encode()
        value = json.loads(text, parse_float=_refuse, parse_constant=_refuse)
        same = canonical(value) == text
    except (ValueError, RecursionError):
        raise Malformed("text", "is no JSON of whole numbers and characters") from None
    if len(data) > TEXT_BYTES_MAX:
        raise Malformed("text", f"is longer than {TEXT_BYTES_MAX} bytes")
    if type(value) is not dict or not same:
        raise Malformed("text", "is not the canonical JSON of an object")
    if value.get("service") != source.partition("/")[0]:
        raise Malformed("text.service", f"is not {source.partition('/')[0]}")
    if type(value.get("number")) is not int or value["number"] != number:
        raise Malformed("text.number", f"is not {number}")
    at_ms = value.get("at_ms")
    if type(at_ms) is not int or not 0 <= at_ms <= TIME_MS_MAX:
        raise Malformed("text.at_ms", "is no time in milliseconds")
    what, result, thing = _deed(value)
    return Told(
        source,
        number,
        text,
        leaf_hash(data),
        at_ms,
        _line(value.get("actor"), "actor", WHO_CHARS_MAX),
        _line(what, "what", WHAT_CHARS_MAX, least=1),
        _line(result, "result", RESULT_CHARS_MAX, least=1),
        _line(value.get("origin"), "origin", WHO_CHARS_MAX),
        _line(thing, "object", OBJECT_CHARS_MAX),
    )


def _deed(value: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """What was done, how it ended, and to what: of a history's entry, or of any other."""
    if "what" in value:
        return value["what"], value.get("result"), value.get("object")
    kind, record = value.get("kind"), value.get("record")
    if type(kind) is not str or type(record) is not int or type(value.get("move")) is not str:
        raise Malformed("text", "has neither what, result, object nor kind, record, move")
    # A history has only what was done.
    return f"{kind}.{value['move']}", DONE, f"{kind}/{record}"


def _line(value: Any, name: str, most: int, least: int = 0) -> str:
    if type(value) is not str or not least <= len(value) <= most:
        raise Malformed(f"text.{name}", f"is no text of {least} to {most} characters")
    if any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in value):
        raise Malformed(f"text.{name}", "has control characters")
    return value


def _refuse(text: str) -> Any:
    raise ValueError(text[:1])


def checked_source(source: str) -> str:
    """Return the name of a source that others may tell as. Raises `Malformed`."""
    parts = source.split("/")
    if not (0 < len(source) <= SOURCE_CHARS_MAX and set(source) <= _SOURCE_CHARS and all(parts)):
        raise Malformed("source", f"is no name of 1 to {SOURCE_CHARS_MAX} plain characters")
    if parts[0] in (OWN, CHAIN):
        raise Malformed("source", f"{parts[0]} is what the log itself keeps")
    return source


def append(
    connection: Connection,
    tables: AuditTables,
    source: str,
    writer: str,
    texts: Sequence[tuple[int, str]],
    now_ms: int,
) -> Kept:
    """Keep what a source tells, (number, text) ascending; what is kept already is compared.

    Raises `Malformed`, `Fork`, `Gap` or `OtherWriter`; then nothing of the batch is kept.
    """
    if not 0 < len(texts) <= BATCH_MAX:
        raise Malformed("entries", f"are {len(texts)}, 1 to {BATCH_MAX} are taken at once")
    first = texts[0][0]
    if [number for number, _ in texts] != list(range(first, first + len(texts))):
        raise Malformed("entries", "are not in the order of their numbers")
    if not 0 < first <= NUMBER_MAX:
        raise Malformed("entries", f"have numbers from 1 to {NUMBER_MAX}")
    last = _standing(connection, tables, source, writer, now_ms)
    told = [read_entry(source, number, text) for number, text in texts]
    _compare(connection, tables, told, last)
    fresh = [one for one in told if one.number > last]
    if fresh and fresh[0].number != last + 1:
        raise Gap(source, last + 1)
    size = keep(connection, tables, fresh, now_ms)
    return Kept(max(last, told[-1].number), size, len(fresh))


def next_number(
    connection: Connection, tables: AuditTables, source: str, writer: str, now_ms: int
) -> int:
    """Return the number that a source goes on with. Raises `OtherWriter`."""
    return _standing(connection, tables, source, writer, now_ms) + 1


def _standing(
    connection: Connection, tables: AuditTables, source: str, writer: str, now_ms: int
) -> int:
    """Return a source's highest number; a new one is its writer's from now on."""
    table = tables.sources
    row = connection.execute(table.select().where(table.c.source == source)).one_or_none()
    if row is None:
        count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        if count >= SOURCES_MAX:
            raise Conflict(f"{count} sources tell already, the most that are kept.")
        connection.execute(
            table.insert(), {"source": source, "number": 0, "writer": writer, "kept_ms": now_ms}
        )
        return 0
    if row.writer != writer:
        raise OtherWriter(source)
    return int(row.number)


def _compare(connection: Connection, tables: AuditTables, told: Sequence[Told], last: int) -> None:
    """Refuse a text that differs from the one that is kept, by its leaf: texts may be dropped."""
    known = [one for one in told if one.number <= last]
    if not known:
        return
    table = tables.entries
    between = table.c.number.between(known[0].number, known[-1].number)
    rows = connection.execute(
        sa.select(table.c.number, table.c.leaf).where((table.c.source == known[0].source) & between)
    )
    leaves = {row.number: row.leaf for row in rows}
    for one in known:
        if leaves.get(one.number) != one.leaf:
            raise Fork(one.source, one.number)


def keep(connection: Connection, tables: AuditTables, fresh: Sequence[Told], now_ms: int) -> int:
    """Write entries of one source that are new, and the tree above them; return the log's size."""
    tree = Tree(connection, tables)
    size = tree.size()
    if not fresh:
        return size
    if size + len(fresh) > SIZE_MAX:
        raise Conflict("The log is full.")
    # A clock that was set back must not bring what came later before what came earlier.
    before = connection.execute(sa.select(sa.func.max(tables.entries.c.kept_ms))).scalar()
    kept_ms = now_ms if before is None else max(now_ms, before)
    tree.extend(size, [one.leaf for one in fresh])
    connection.execute(
        tables.entries.insert(),
        [
            {
                "place": place,
                "kept_ms": kept_ms,
                **{name: getattr(one, name) for name in Told.__dataclass_fields__},
            }
            for place, one in enumerate(fresh, size)
        ],
    )
    table = tables.sources
    connection.execute(
        table.update()
        .where(table.c.source == fresh[0].source)
        .values(number=fresh[-1].number, kept_ms=kept_ms)
    )
    return size + len(fresh)


def note(
    connection: Connection,
    tables: AuditTables,
    now_ms: int,
    what: str,
    thing: str,
    *,
    actor: str = OWN,
    result: str = DONE,
    facts: Mapping[str, Any] | None = None,
) -> int:
    """Let the log tell something of itself; return the entry's place."""
    number = next_number(connection, tables, OWN, OWN, now_ms)
    entry = {
        "service": OWN,
        "number": number,
        "at_ms": now_ms,
        "actor": actor,
        "origin": OWN,
        "what": what,
        "result": result,
        "object": thing,
        "facts": dict(facts or {}),
    }
    told = read_entry(OWN, number, canonical(entry))
    return keep(connection, tables, [told], now_ms) - 1


def note_fork(
    connection: Connection, tables: AuditTables, fork: Fork, actor: str, now_ms: int
) -> None:
    """Write down that a source was rewritten, once for each source: asking again adds nothing."""
    table = tables.sources
    changed = connection.execute(
        table.update()
        .where((table.c.source == fork.source) & table.c.forked_number.is_(None))
        .values(forked_number=fork.number)
    )
    if changed.rowcount:
        thing = f"{fork.source}/{fork.number}"
        note(connection, tables, now_ms, "audit.fork", thing, actor=actor, result=REFUSED)
