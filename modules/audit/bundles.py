"""Bundles of the log for whoever trusts neither it nor a node: entries, and what they lead to.

    format, version   `clawpurse-audit-log`, 1
    first             the place of the first entry
    entries           one after the other, each with text (null: redacted or dropped), leaf, path
    keys              the entries that name the keys of checkpoints, with place
    checkpoints       signed notes, ascending; paths lead to the last one, the head
    anchors           proofs of the ledger's record of the log, with the way from there to the head

A redacted entry keeps its leaf: that nothing is left out stays provable, what it says is not told.
`wallet/audit_logs.py` checks one; it needs the hash of the genesis and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.modules.audit.anchoring import anchors_for
from clawpurse.modules.audit.checkpoints import Signed, at_least, exactly, key_places, newest
from clawpurse.modules.audit.search import Found, at_place, at_places
from clawpurse.modules.audit.tables import AuditTables
from clawpurse.modules.audit.tree import Tree

LOG_BUNDLE_FORMAT: Final = "clawpurse-audit-log"
LOG_BUNDLE_VERSION: Final = 1
EXPORT_MAX: Final = 500
"""Entries of one answer, with 18 hashes each at 200,000: a megabyte without the texts."""

EXPORT_TEXT_BYTES_MAX: Final = 4 * 1024 * 1024
"""An answer holds eight; the rest is paths and proofs."""

KEYS_MAX: Final = 64
"""Keys that are shown: one a year lasts a lifetime."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Places [first, first + count) as of a checkpoint (None: the newest).

    Texts are shown of entries that are so (`where`, by column) and not in `redact`.
    """

    first: int
    count: int
    size: int | None = None
    where: Mapping[str, str] = field(default_factory=dict)
    redact: frozenset[int] = frozenset()


def export(connection: Connection, tables: AuditTables, wanted: Wanted) -> Json:
    """Return a bundle. Raises `NotFound` before a checkpoint covers it, `Malformed` for a range.

    Fewer entries than asked for stand in it where their texts are long: go on behind them.
    """
    if not 0 < wanted.count <= EXPORT_MAX or wanted.first < 0:
        raise Malformed("count", f"is not 1 to {EXPORT_MAX} entries from a place")
    head = _head(connection, tables, wanted.size)
    stop = min(wanted.first + wanted.count, head.size)
    if wanted.first >= stop:
        raise NotFound(f"entry {wanted.first} of a checkpoint of {head.size}")
    found = _bounded(at_places(connection, tables, wanted.first, stop))
    if [one.place for one in found] != list(range(wanted.first, wanted.first + len(found))):
        raise NotFound("an entry in this range: rows were taken out of the database, and it")
    stop = wanted.first + len(found)
    tree = Tree(connection, tables)
    paths = tree.inclusion([one.place for one in found], head.size)
    return {
        "format": LOG_BUNDLE_FORMAT,
        "version": LOG_BUNDLE_VERSION,
        "first": wanted.first,
        "entries": [
            _entry(one, path, shown=_is_shown(one, wanted))
            for one, path in zip(found, paths, strict=True)
        ],
        "keys": _keys(connection, tables, tree, head.size),
        "checkpoints": _checkpoints(connection, tables, tree, head, stop),
        "anchors": _anchors(connection, tables, tree, head.size, wanted.size, stop),
    }


def prove(connection: Connection, tables: AuditTables, place: int, size: int | None) -> Json:
    """Return the bundle of one entry: what `audit_prove` answers beside leaf and path."""
    at_place(connection, tables, place)
    return export(connection, tables, Wanted(place, 1, size))


def _head(connection: Connection, tables: AuditTables, size: int | None) -> Signed:
    if size is not None:
        return exactly(connection, tables, size)
    head = newest(connection, tables)
    if head is None:
        raise NotFound("a checkpoint; the first one is made soon, and it")
    return head


def _bounded(found: list[Found]) -> list[Found]:
    """Return the first ones whose texts fit an answer together; always one."""
    total = 0
    for count, one in enumerate(found):
        total += 0 if one.text is None else len(one.text.encode())
        if count and total > EXPORT_TEXT_BYTES_MAX:
            return found[:count]
    return found


def _is_shown(one: Found, wanted: Wanted) -> bool:
    fits = all(getattr(one, name) == value for name, value in wanted.where.items())
    return fits and one.place not in wanted.redact


def _entry(one: Found, path: Sequence[bytes], *, shown: bool) -> Json:
    return {
        "text": one.text if shown else None,
        "leaf": hexed(one.leaf),
        "path": [hexed(item) for item in path],
    }


def _keys(connection: Connection, tables: AuditTables, tree: Tree, size: int) -> list[Json]:
    places = key_places(connection, tables, size)[-KEYS_MAX:]
    paths = tree.inclusion(places, size)
    return [
        {"place": place, **_entry(at_place(connection, tables, place), path, shown=True)}
        for place, path in zip(places, paths, strict=True)
    ]


def _checkpoints(
    connection: Connection, tables: AuditTables, tree: Tree, head: Signed, stop: int
) -> list[Json]:
    """The first one that covers the entries, and the head."""
    first = at_least(connection, tables, stop)
    both = [first, head] if first.size < head.size else [head]
    return [
        {
            "note": one.note,
            "path": [hexed(item) for item in tree.consistency(one.size, head.size)],
        }
        for one in both
    ]


def _anchors(
    connection: Connection,
    tables: AuditTables,
    tree: Tree,
    size: int,
    size_max: int | None,
    stop: int,
) -> list[Json]:
    """What the ledger had of the log when it covered these entries first, and what it has now.

    As of an older checkpoint, nothing newer than that.
    """
    shown: list[Json] = []
    for one in anchors_for(connection, tables, stop, size_max):
        # One that is ahead of the newest checkpoint needs no way to it: nobody can go there.
        way = tree.consistency(one.size, size) if one.size <= size else []
        shown.append({"proof": json.loads(one.proof), "path": [hexed(item) for item in way]})
    return shown


def hexed(data: bytes) -> str:
    """Return bytes as proofs show them."""
    return f"0x{data.hex()}"
