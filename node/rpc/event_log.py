"""Final blocks as the logs that subscriptions, `events_get` and webhooks read.

A cursor is a place in the log, `height.index`, the same on every node.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final

import trio

from clawpurse.ledger.errors import Pruned
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.subscriptions import Batch, Event
from clawpurse.node.rpc.event_cache import Reader
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import parse_position, position_text

# Blocks looked at in one go: a bounded piece of work whatever the filter matches.
BLOCKS_PER_READ_MAX: Final = 64
INDEX_MAX: Final = 2**32 - 1


class BlockLog:
    """A topic's log read from final blocks; `subscriptions.LogSource`."""

    def __init__(self, services: Services, family: str, read_block: Reader) -> None:
        self._services = services
        self._family = family
        self._read_block = read_block

    def head(self) -> str:
        """Return the cursor after the newest event."""
        return position_text((self._services.finality.height, INDEX_MAX))

    def beginning(self) -> str:
        """Return the cursor before the oldest event that is kept."""
        return position_text((max(self._services.chain.blocks.floor(), 1) - 1, INDEX_MAX))

    def status(self) -> Mapping[str, Any]:
        """Return how far the log has come, and this node's clock."""
        services = self._services
        return {
            "height": services.finality.height,
            "time": time_text(services.clock.now_ms()),
        }

    async def read(self, after: str, matching: Any, limit: int) -> Batch:
        """Return up to `limit` events after a cursor; see `LogSource.read`."""
        first, start = _following(parse_position(after))
        floor = self._services.chain.blocks.floor()
        if first < floor:
            raise Pruned("the event log", floor)
        last = min(self._services.finality.height, first + BLOCKS_PER_READ_MAX)
        found: list[Event] = []
        reached = after
        if first != last:
            # Of one new block a thousand readers at once take what one of them made.
            await trio.lowlevel.checkpoint()
        for height in range(max(first, 1), last + 1):
            kept = await self._services.events.select(
                self._family, height, matching, self._read_block
            )
            events = kept.events
            if height == first and start:
                events = events[bisect_left(kept.places, start) :]
            room = limit - len(found)
            if len(events) > room:
                found += events[:room]
                return Batch(found, found[-1].cursor)
            found += events
            reached = position_text((height, INDEX_MAX))
            if len(found) == limit:
                break
            if height != last:
                await trio.lowlevel.checkpoint()
        return Batch(found, reached)

    async def wait_beyond(self, cursor: str) -> None:
        """Return when there may be events after a cursor."""
        height, _ = _following(parse_position(cursor))
        await self._services.finality.wait_block(height)


def _following(place: tuple[int, int]) -> tuple[int, int]:
    """Return the first place after one; the last of a block is followed by the next block."""
    height, index = place
    return (height + 1, 0) if index == INDEX_MAX else (height, index + 1)
