"""Takes the chain's final events into a service: each once, in order, with what it caused.

The place in the log, the effects of the handlers, their history and what they send elsewhere are
committed in one transaction. Whenever the process dies, the next one goes on behind the last event
that was committed: delivery may be repeated, its effect never is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import OperatorError, PeerError
from clawpurse.modules.kit.records.model import CHAIN
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.callers import Node
from clawpurse.modules.kit.service.declaration import ChainEvent, Head, Manifest

TOPIC: Final = "events"
BATCH: Final = 200
"""Events of one transaction: a commit syncs a disk, so that alone each would cost milliseconds."""

WAIT_MS: Final = 25_000


def _nothing(_events: Sequence[ChainEvent]) -> None:
    return None


class Intake:
    """The one reader of the chain for one service.

    `node` answers `events_get`; `genesis_hash` is that of the service's network; `taken` is told
    of events once they are committed.
    """

    def __init__(
        self,
        manifest: Manifest,
        records: Transactions,
        node: Node,
        genesis_hash: bytes,
        taken: Callable[[Sequence[ChainEvent]], None] = _nothing,
    ) -> None:
        self._manifest = manifest
        self._records = records
        self._node = node
        self._genesis_hash = genesis_hash
        self._taken = taken

    async def run(self) -> NoReturn:
        """Take in whatever becomes final, until cancelled. Raises as `step` does."""
        while True:
            await self.step(WAIT_MS)

    async def step(self, wait_ms: int = 0) -> str:
        """Take in the next events, waiting so long for the first; return how far that came.

        Raises `Unreachable` when no node answers, `PeerError` for an answer that is none, and
        whatever a handler raises: then nothing of its batch was done.
        """
        cursor = await self._records.database.read(self._cursor)
        answer = await self._node.call(
            "events_get",
            {"topic": TOPIC, "fromCursor": cursor, "limit": BATCH, "waitMs": wait_ms},
        )
        events, reached = _parsed(answer)
        if reached != cursor:
            await self._records.write(CHAIN, lambda work: self._take(work, cursor, events, reached))
            self._taken(events)
        return reached

    def _cursor(self, db: Connection) -> str:
        table = self._manifest.tables.cursor
        row = db.execute(sa.select(table.c.genesis_hash, table.c.cursor)).one_or_none()
        if row is None:
            return "beginning"
        if row.genesis_hash != self._genesis_hash:
            raise OperatorError(
                f"The database of {self._manifest.name} belongs to another network.",
                "What it knows happened elsewhere.",
                "use another database, or the node of its network",
            )
        return str(row.cursor)

    def _take(self, work: Work, cursor: str, events: Sequence[ChainEvent], reached: str) -> None:
        if self._cursor(work.connection) != cursor:
            # Only one process writes; a second reader in this one would be a fault of ours.
            return
        for event in events:
            for handler in self._manifest.handlers(event.kind):
                handler(work, event)
        before, after = _whole_blocks(cursor), _whole_blocks(reached)
        for blocks, beat in self._manifest.beats:
            if after // blocks > before // blocks:
                beat(work, Head(after // blocks * blocks))
        self._note(work.connection, reached, work.now_ms)

    def _note(self, db: Connection, reached: str, now_ms: int) -> None:
        table = self._manifest.tables.cursor
        now = {"cursor": reached, "taken_ms": now_ms}
        changed = db.execute(table.update().values(now))
        if not changed.rowcount:
            db.execute(table.insert(), {"genesis_hash": self._genesis_hash, **now})


def _parsed(answer: Any) -> tuple[list[ChainEvent], str]:
    try:
        return [_event(one) for one in answer["events"]], _place_text(answer["nextCursor"])
    except (KeyError, TypeError, ValueError) as error:
        raise PeerError(f"the node's events are none: {type(error).__name__}") from None


def _event(one: Any) -> ChainEvent:
    shown = one["data"]
    return ChainEvent(
        _place_text(one["cursor"]),
        int(shown["height"]),
        int(shown["index"]),
        str(shown["time"]),
        str(shown["kind"]),
        tuple(map(str, shown["accounts"])),
        dict(shown["data"]),
        None if shown["txId"] is None else str(shown["txId"]),
    )


def _place_text(cursor: Any) -> str:
    height, _, index = str(cursor).partition(".")
    return f"{int(height)}.{int(index)}"


def _whole_blocks(cursor: str) -> int:
    """Up to which block everything was taken in: the last one may have more to say."""
    if cursor == "beginning":
        return 0
    height, _, index = cursor.partition(".")
    return int(height) if int(index) == 2**32 - 1 else int(height) - 1


async def take_all(intake: Intake) -> str:
    """Take in everything that there is; return how far that came."""
    reached = await intake.step()
    while (further := await intake.step()) != reached:
        reached = further
    return reached
