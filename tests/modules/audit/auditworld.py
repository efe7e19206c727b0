"""An audit log on a database of a test's own, told by made-up services."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.modules.audit.entries import Kept, append
from clawpurse.modules.audit.tables import AuditTables, declare
from clawpurse.modules.audit.tree import Tree
from clawpurse.modules.kit.privacy.sealing import KeyRing, MasterKey
from clawpurse.modules.kit.records.history import canonical
from clawpurse.modules.kit.store.database import Database
from clawpurse.modules.kit.store.migrations import migrate
from clawpurse.modules.kit.store.tables import tables_of

START_MS = 1_800_000_000_000
DAY_MS = 86_400_000
ORIGIN = "clawpurse/test/log"
T = TypeVar("T")


def call_text(source: str, number: int, **changed: Any) -> str:
    """What a service tells of a privileged call."""
    entry = {
        "service": source.partition("/")[0],
        "number": number,
        "at_ms": START_MS + number,
        "actor": "claw1alice",
        "origin": "token:desk",
        "what": "auth.unlock",
        "result": "done",
        "object": f"user/{number}",
        **changed,
    }
    return canonical(entry)


class Log:
    """A log, and its clock."""

    def __init__(self, url: str | Path) -> None:
        self.database = Database(url, "audit")
        kit = tables_of(())
        self.tables: AuditTables = declare(kit.metadata)
        self.now_ms = START_MS
        self.ring = KeyRing(MasterKey(b"m" * 32))
        self.database.write_now(lambda db: migrate(db, kit, (), START_MS))
        self._metadata = kit.metadata

    def do(self, work: Callable[[Connection], T]) -> T:
        return self.database.write_now(work)

    def look(self, work: Callable[[Connection], T]) -> T:
        return self.database.read_now(work)

    def tell(self, source: str, first: int, count: int, **changed: Any) -> Kept:
        """Append entries that a source numbers from `first`."""
        texts = [(n, call_text(source, n, **changed)) for n in range(first, first + count)]
        return self.append(source, texts)

    def append(
        self, source: str, texts: Sequence[tuple[int, str]], writer: str = "claw1desk"
    ) -> Kept:
        return self.do(lambda db: append(db, self.tables, source, writer, texts, self.now_ms))

    @property
    def size(self) -> int:
        return self.look(lambda db: Tree(db, self.tables).size())

    def leaves(self) -> list[bytes]:
        table = self.tables.entries
        return self.look(
            lambda db: list(db.execute(sa.select(table.c.leaf).order_by(table.c.place)).scalars())
        )

    def empty(self) -> None:
        """Drop everything: the next test begins anew on the same server."""
        self.do(self._metadata.drop_all)
        self.do(lambda db: db.exec_driver_sql("DROP TABLE IF EXISTS kit_migrations"))
