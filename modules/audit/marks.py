"""Small values that outlive a process: how far a job came, what is wrong, what is on its way."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.engine import Connection

from clawpurse.modules.audit.tables import AuditTables
from clawpurse.modules.kit.records.history import canonical


def read_mark(connection: Connection, tables: AuditTables, name: str) -> Any:
    """Return what was written under a name, None for nothing."""
    table = tables.marks
    row = connection.execute(table.select().where(table.c.name == name)).one_or_none()
    return None if row is None else json.loads(row.content)


def write_mark(connection: Connection, tables: AuditTables, name: str, value: Any) -> None:
    """Write a JSON value under a name, in place of what was there."""
    table, content = tables.marks, canonical(value)
    changed = connection.execute(table.update().where(table.c.name == name).values(content=content))
    if not changed.rowcount:
        connection.execute(table.insert(), {"name": name, "content": content})
