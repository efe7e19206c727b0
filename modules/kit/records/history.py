"""Histories: one chain of entries for a whole service, each also a leaf of the audit log.

An entry is canonical JSON. Its leaf is hashed as RFC 6962 §2.1 has it (a zero byte before the
entry); the chain is SHA-256 over a one byte, the chain before and the leaf, so that the newest
value covers everything before it, in order, and a row that was changed or taken out is found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from clawpurse.ledger.errors import StorageFault
from clawpurse.modules.kit.entities.clocks import Change
from clawpurse.modules.kit.records.model import Entry
from clawpurse.modules.kit.store.tables import Tables

GENESIS: Final = bytes(32)
"""The chain before its first entry."""
CREATED: Final = "created"
UPDATED: Final = "updated"
PAGE: Final = 500


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted, without blanks, characters as they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def leaf_of(service: str, entry: Mapping[str, Any]) -> bytes:
    """Return the hash of an entry, given as its columns without hashes and request key."""
    text = canonical({"service": service, **entry})
    return hashlib.sha256(b"\x00" + text.encode()).digest()


def entry_text(service: str, entry: Entry) -> str:
    """Return the text that `Entry.leaf` is the hash of."""
    return canonical({"service": service, **_columns(entry)})


def chained(before: bytes, leaf: bytes) -> bytes:
    """Return the chain after one more leaf."""
    return hashlib.sha256(b"\x01" + before + leaf).digest()


class History:
    """The entries of one service, within a transaction."""

    def __init__(self, connection: Connection, tables: Tables, service: str) -> None:
        self._connection = connection
        self._table = tables.history
        self._service = service

    def append(
        self, entry: Mapping[str, Any], changes: Mapping[str, Any], request_key: str | None
    ) -> Entry:
        """Write the next entry; `entry` has its columns but for number, changes and hashes."""
        number, chain = self.head()
        columns = {**entry, "number": number + 1, "changes": canonical(changes)}
        leaf = leaf_of(self._service, columns)
        self._connection.execute(
            self._table.insert(),
            {**columns, "request_key": request_key, "leaf": leaf, "chain": chained(chain, leaf)},
        )
        return Entry(**{**columns, "changes": changes}, leaf=leaf, chain=chained(chain, leaf))

    def head(self) -> tuple[int, bytes]:
        """Return the number of the newest entry and the chain over all; (0, zeros) for none."""
        table = self._table
        newest = sa.select(table.c.number, table.c.chain).order_by(table.c.number.desc()).limit(1)
        row = self._connection.execute(newest).one_or_none()
        return (0, GENESIS) if row is None else (row.number, row.chain)

    def of_record(self, kind: str, record: int, after: int = 0, limit: int = PAGE) -> list[Entry]:
        """Return a record's entries of versions above `after`, oldest first."""
        table = self._table
        mine = (table.c.kind == kind) & (table.c.record == record) & (table.c.version > after)
        rows = self._connection.execute(
            table.select().where(mine).order_by(table.c.version).limit(limit)
        )
        return [_entry(row) for row in rows]

    def changes(self, kind: str, record: int) -> list[Change]:
        """Return what clocks read of a record, oldest first."""
        table = self._table
        rows = self._connection.execute(
            sa.select(table.c.at_ms, table.c.move, table.c.state)
            .where((table.c.kind == kind) & (table.c.record == record))
            .order_by(table.c.version)
        )
        return [Change(row.at_ms, row.move, row.state) for row in rows]

    def since(self, number: int, limit: int = PAGE) -> list[Entry]:
        """Return the entries above a number, of all records, oldest first: the event log."""
        table = self._table
        rows = self._connection.execute(
            table.select().where(table.c.number > number).order_by(table.c.number).limit(limit)
        )
        return [_entry(row) for row in rows]

    def answered(self, actor: str, request_key: str) -> Entry | None:
        """Return what came of a request, if this actor made it before under this key."""
        table = self._table
        same = (table.c.actor == actor) & (table.c.request_key == request_key)
        row = self._connection.execute(table.select().where(same)).one_or_none()
        return None if row is None else _entry(row)

    def verified(self) -> Iterator[Entry]:
        """Yield every entry, oldest first. Raises `StorageFault` at the first that was changed."""
        chain, number = GENESIS, 0
        while page := self.since(number):
            for entry in page:
                leaf = leaf_of(self._service, _columns(entry))
                chain = chained(chain, leaf)
                if (entry.number, entry.leaf, entry.chain) != (number + 1, leaf, chain):
                    raise StorageFault(
                        f"Entry {number + 1} of the history is not what was written.",
                        "A row was changed, taken out or put in.",
                        "clawpurse audit verify",
                    )
                number = entry.number
                yield entry


def replayed(entries: list[Entry]) -> tuple[str, int, dict[str, Any]]:
    """Return state, version and values (personal ones by commitment) that a history leads to."""
    state, version = "", 0
    values: dict[str, Any] = {}
    for entry in entries:
        state, version = entry.state, entry.version
        values.update(entry.changes)
    return state, version, values


def _columns(entry: Entry) -> dict[str, Any]:
    names = ("number", "kind", "record", "version", "at_ms", "actor", "origin", "move", "state")
    found: dict[str, Any] = {name: getattr(entry, name) for name in names}
    return {**found, "changes": canonical(entry.changes)}


def _entry(row: Row[Any]) -> Entry:
    found = dict(row._mapping)
    del found["request_key"]
    return Entry(**{**found, "changes": json.loads(found["changes"])})
