"""Who waits for what to become final: callers by transaction id, streams by height.

Told by the host after each commit, when the block is on disk and the next log is begun.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import trio

# Callers that wait at once. Each holds a connection, which is bounded too; this bounds ids
# that one connection waits for in batches.
WAITERS_MAX: Final = 100_000


class Finality:
    """Wakes those who wait. One per node."""

    def __init__(self) -> None:
        self._by_tx: dict[bytes, trio.Event] = {}
        self._block = trio.Event()
        self.height = 0

    def announce(self, height: int, tx_ids: Iterable[bytes]) -> None:
        """Say that a block is final."""
        self.height = height
        for tx_id in tx_ids:
            event = self._by_tx.pop(tx_id, None)
            if event is not None:
                event.set()
        block, self._block = self._block, trio.Event()
        block.set()

    def tell(self, tx_id: bytes) -> None:
        """Wake those who wait for a transaction that will never be final (expired, replaced)."""
        event = self._by_tx.pop(tx_id, None)
        if event is not None:
            event.set()

    async def wait_transaction(self, tx_id: bytes) -> bool:
        """Return True when something about a transaction became final. Cancellable.

        Returns False at once when too many wait already: the caller then answers "pending".
        """
        event = self._by_tx.get(tx_id)
        if event is None:
            if len(self._by_tx) >= WAITERS_MAX:
                return False
            event = self._by_tx[tx_id] = trio.Event()
        try:
            await event.wait()
            return True
        finally:
            # The last to leave an event that never came removes it.
            if not event.is_set() and event.statistics().tasks_waiting == 0:
                self._by_tx.pop(tx_id, None)

    async def wait_block(self, height: int) -> None:
        """Return when the newest final height is at least `height`. Cancellable."""
        while self.height < height:
            await self._block.wait()
