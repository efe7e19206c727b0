"""Transactions of one service: who wants something done, and the database that does it.

Whoever holds `Transactions` needs to know neither tables nor keys: it hands over a function of a
`Work`, and gets what that returns once it is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from sqlalchemy.engine import Connection

from clawpurse.modules.kit.entities.kinds import Kind
from clawpurse.modules.kit.privacy.sealing import KeyRing
from clawpurse.modules.kit.records.model import NOBODY, Actor
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.store.database import Database
from clawpurse.modules.kit.store.tables import Tables

T = TypeVar("T")


def _nothing() -> None:
    return None


class Transactions:
    """`committed` is called on the loop after each write: whoever waits for news looks then."""

    def __init__(
        self,
        service: str,
        tables: Tables,
        kinds: Mapping[str, Kind],
        database: Database,
        keys: KeyRing,
        now_ms: Callable[[], int],
        committed: Callable[[], None] = _nothing,
    ) -> None:
        self.service: Final = service
        self.tables: Final = tables
        self.kinds: Final = kinds
        self.database: Final = database
        self.keys: Final = keys
        self.now_ms: Final = now_ms
        self._committed = committed

    async def write(self, actor: Actor, run: Callable[[Work], T]) -> T:
        """Run in the writer's turn for `actor`; committed when it returns, else nothing was done.

        Raises what `run` raises, and as `Database.write` does.
        """
        now_ms = self.now_ms()
        done = await self.database.write(lambda db: run(self.work(db, actor, now_ms)))
        self._committed()
        return done

    async def read(self, run: Callable[[Work], T], actor: Actor = NOBODY) -> T:
        """Run on one snapshot, beside others. It may not write."""
        now_ms = self.now_ms()
        return await self.database.read(lambda db: run(self.work(db, actor, now_ms)))

    def work(self, connection: Connection, actor: Actor, now_ms: int) -> Work:
        """Return the work of an actor within a transaction that was begun."""
        return Work(connection, self.service, self.tables, self.kinds, self.keys, actor, now_ms)
