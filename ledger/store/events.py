"""The event log: ordered, final, the same on every node; a cursor is (height, index)."""

from __future__ import annotations

from typing import NamedTuple

from clawpurse.ledger.errors import Pruned
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.index import Position
from clawpurse.ledger.store.kv import Reads


class EventPage(NamedTuple):
    """Events with their positions, and the cursor after the last one looked at."""

    events: list[tuple[Position, bytes]]
    next_cursor: Position


def read_events(view: Reads, cursor: Position, *, limit: int, floor: int, head: int) -> EventPage:
    """Return up to `limit` events from `cursor` (inclusive) to the end of block `head`.

    Blocks without events cost nothing. Raises `Pruned` when the cursor is below `floor`, the
    lowest height whose events are kept: never a partial list; `StorageFault` on damage.
    """
    height, index = cursor
    if height < floor:
        raise Pruned("the event log", floor)
    events: list[tuple[Position, bytes]] = []
    start = schema.at_height(schema.EVENTS, height)
    stop = schema.at_height(schema.EVENTS, head + 1)
    for key, record in view.iterate(start, stop):
        at_height = schema.height_of(key)
        items = schema.unpack_items(key, schema.unseal(key, record))
        first = index if at_height == height else 0
        for position in range(first, len(items)):
            if len(events) >= limit:
                return EventPage(events, (at_height, position))
            events.append(((at_height, position), items[position]))
    return EventPage(events, max(cursor, (head + 1, 0)))
