"""How long texts are kept: at least a year, all of it at hand; leaves are kept for ever.

PCI DSS 4.0.1, 10.5.1, asks for twelve months with three at hand. Here everything that is kept is
searched alike. What was kept long enough, and is anchored, loses its text and what was looked for
in it; its leaf stays, so that every proof of everything else stays valid, and so that its source
still cannot tell it otherwise.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.modules.audit.anchoring import anchored_size
from clawpurse.modules.audit.entries import OWN, note
from clawpurse.modules.audit.marks import read_mark, write_mark
from clawpurse.modules.audit.tables import AuditTables

DAY_MS: Final = 86_400_000
KEEP_DAYS_MIN: Final = 366
"""Twelve months, in a leap year too."""

DROPPED_AT_ONCE: Final = 1_000
"""Rows of one transaction: appends wait so long, some 20 ms."""

_DROPPED: Final = "dropped"
_TOLD: Final = "told"


def drop_old(connection: Connection, tables: AuditTables, keep_days: int, now_ms: int) -> int:
    """Drop the texts of some entries that were kept longer; return how many, 0 when all is done.

    What the log says of itself is kept: keys and reviews are asked for later. That texts were
    dropped is an entry of its own, written when a run comes to its end.
    """
    if keep_days < KEEP_DAYS_MIN:
        raise ValueError(f"texts are kept for {KEEP_DAYS_MIN} days at least")
    before = read_mark(connection, tables, _DROPPED) or {_DROPPED: 0, _TOLD: 0}
    start, table = before[_DROPPED], tables.entries
    stop = min(start + DROPPED_AT_ONCE, anchored_size(connection, tables))
    limit_ms = now_ms - keep_days * DAY_MS
    old = (table.c.place >= start) & (table.c.place < stop)
    # Times at which entries were kept never fall, so the old ones are a beginning.
    first_kept = connection.execute(
        sa.select(sa.func.min(table.c.place)).where(old & (table.c.kept_ms >= limit_ms))
    ).scalar()
    stop = stop if first_kept is None else int(first_kept)
    if stop <= start:
        if before[_TOLD] < start:
            facts = {"first": before[_TOLD], "stop": start, "keepDays": keep_days}
            write_mark(connection, tables, _DROPPED, {_DROPPED: start, _TOLD: start})
            note(connection, tables, now_ms, "audit.dropped", "audit/texts", facts=facts)
        return 0
    connection.execute(
        table.update()
        .where((table.c.place >= start) & (table.c.place < stop) & (table.c.source != OWN))
        .values(text=None, who="", what="", result="", origin="", object="")
    )
    write_mark(connection, tables, _DROPPED, {_DROPPED: stop, _TOLD: before[_TOLD]})
    return int(stop - start)


def dropped_before(connection: Connection, tables: AuditTables) -> int:
    """Return the place before which texts were dropped."""
    mark = read_mark(connection, tables, _DROPPED)
    return 0 if mark is None else int(mark[_DROPPED])
