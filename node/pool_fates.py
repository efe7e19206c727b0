"""What became of transactions that left the mempool without a block.

"Replaced" and "expired" are facts about the chain, so they are told only when a final block
makes them certain: another transaction used the sequence, or no later block can include it.
Until then a transaction that was evicted, replaced in the pool or refused by a proposer is
remembered here, because another node may still bring it into a block.
"""

from __future__ import annotations

import heapq
from enum import IntEnum
from itertools import islice
from typing import Final, NamedTuple

from clawpurse.ledger.transactions import Transaction

# About 300 bytes each. Whoever wants to push others out of the memory has to sign as many.
REMEMBERED_MAX: Final = 65_536
# Kept so that callers who wait or come back are told; later the body itself says that it expired.
SETTLED_MAX: Final = 65_536
# Deadlines are looked up by the second; at most a day of them exists.
TIME_WIDTH_MS: Final = 1_000

_Slot = tuple[bytes, int, int]


class Fate(IntEnum):
    """How a transaction that is in no block ended."""

    REPLACED = 1
    EXPIRED = 2
    # Not known here any more; it may or may not be final one day.
    FORGOTTEN = 3


class Settlement(NamedTuple):
    """An end, known from the block at `height`; `by` is the tx id that took the place."""

    fate: Fate
    height: int
    by: bytes | None = None


class Deadlines:
    """Ids by deadline, in buckets of `width`. Adding and removing take constant time."""

    def __init__(self, width: int) -> None:
        self._width = width
        # Ids are keys of a dictionary because it keeps their order.
        self._buckets: dict[int, dict[bytes, None]] = {}
        self._heap: list[int] = []
        # Buckets that stand in the heap, filled or not, so that none stands there twice.
        self._listed: set[int] = set()

    def add(self, tx_id: bytes, deadline: int) -> None:
        """Note a deadline."""
        number = deadline // self._width
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = {}
            if number not in self._listed:
                self._listed.add(number)
                heapq.heappush(self._heap, number)
        bucket[tx_id] = None

    def remove(self, tx_id: bytes, deadline: int) -> None:
        """Strike a deadline out; one that was not noted is fine."""
        number = deadline // self._width
        bucket = self._buckets.get(number)
        if bucket is not None:
            bucket.pop(tx_id, None)
            if not bucket:
                del self._buckets[number]

    def reached(self, now: int, limit: int) -> list[bytes]:
        """Return up to `limit` ids whose whole bucket lies at or before `now`, struck out.

        So an id is returned up to `width` late, and no bucket is ever searched.
        """
        found: list[bytes] = []
        while self._heap and (self._heap[0] + 1) * self._width <= now + 1:
            number = self._heap[0]
            bucket = self._buckets.get(number, {})
            due = list(islice(bucket, limit - len(found)))
            found.extend(due)
            for tx_id in due:
                del bucket[tx_id]
            if bucket:
                break
            heapq.heappop(self._heap)
            self._listed.remove(number)
            self._buckets.pop(number, None)
        return found


class _Remembered(NamedTuple):
    slot: _Slot
    valid_until_ms: int
    height_max: int | None


class Fates:
    """Deadlines of everything pooled or remembered, and how things ended.

    `forgotten` collects what was pushed out of the memory until `PoolUpdate` reports it.
    """

    def __init__(
        self, remembered_max: int = REMEMBERED_MAX, settled_max: int = SETTLED_MAX
    ) -> None:
        self._remembered_max = remembered_max
        self._settled_max = settled_max
        self._times = Deadlines(TIME_WIDTH_MS)
        self._heights = Deadlines(1)
        self._remembered: dict[bytes, _Remembered] = {}
        self._by_slot: dict[_Slot, list[bytes]] = {}
        self._settled: dict[bytes, Settlement] = {}
        self.forgotten: list[bytes] = []

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._remembered)

    def watch(self, transaction: Transaction) -> None:
        """Note the deadlines of a transaction that is pooled or remembered."""
        body = transaction.body
        self._times.add(transaction.tx_id, body.valid_until_ms)
        if body.height_max is not None:
            self._heights.add(transaction.tx_id, body.height_max)

    def unwatch(self, transaction: Transaction) -> None:
        """Strike the deadlines out: it is in a block, or its end is known."""
        body = transaction.body
        self._drop_deadlines(transaction.tx_id, body.valid_until_ms, body.height_max)

    def _drop_deadlines(self, tx_id: bytes, valid_until_ms: int, height_max: int | None) -> None:
        self._times.remove(tx_id, valid_until_ms)
        if height_max is not None:
            self._heights.remove(tx_id, height_max)

    def remember(self, transaction: Transaction) -> None:
        """Keep track of a watched transaction that left the pool; the oldest one makes room."""
        body = transaction.body
        slot = (body.sender, body.lane, body.sequence)
        if len(self._remembered) >= self._remembered_max:
            oldest = next(iter(self._remembered))
            self._forget(oldest)
            self.forgotten.append(oldest)
        self._remembered[transaction.tx_id] = _Remembered(
            slot, body.valid_until_ms, body.height_max
        )
        self._by_slot.setdefault(slot, []).append(transaction.tx_id)

    def recall(self, transaction: Transaction) -> None:
        """Stop remembering a transaction that is pooled again; its deadlines stay."""
        found = self._remembered.pop(transaction.tx_id, None)
        if found is not None:
            self._leave_slot(found.slot, transaction.tx_id)

    def _forget(self, tx_id: bytes) -> None:
        found = self._remembered.pop(tx_id)
        self._leave_slot(found.slot, tx_id)
        self._drop_deadlines(tx_id, found.valid_until_ms, found.height_max)

    def _leave_slot(self, slot: _Slot, tx_id: bytes) -> None:
        others = self._by_slot[slot]
        others.remove(tx_id)
        if not others:
            del self._by_slot[slot]

    def is_remembered(self, tx_id: bytes) -> bool:
        """Tell whether a transaction left the pool and may still come into a block."""
        return tx_id in self._remembered

    def settle(self, tx_id: bytes, settlement: Settlement) -> None:
        """Record an end; the oldest record makes room."""
        if len(self._settled) >= self._settled_max and tx_id not in self._settled:
            del self._settled[next(iter(self._settled))]
        self._settled[tx_id] = settlement

    def settlement(self, tx_id: bytes) -> Settlement | None:
        """Return how a transaction ended, or None: it has not, is in a block, or is unknown."""
        return self._settled.get(tx_id)

    def take_slot(self, slot: _Slot, included: bytes) -> list[bytes]:
        """Stop remembering what competed for a used sequence; returns the losers' ids."""
        ids = list(self._by_slot.get(slot, ()))
        for tx_id in ids:
            self._forget(tx_id)
        return [tx_id for tx_id in ids if tx_id != included]

    def reached(self, time_ms: int, height: int, limit: int) -> list[bytes]:
        """Return up to `limit` watched ids that no block after this one can include."""
        found = self._times.reached(time_ms, limit)
        if len(found) < limit:
            found += self._heights.reached(height, limit - len(found))
        return found

    def expire_remembered(self, tx_id: bytes) -> None:
        """Stop remembering an id that `reached` returned; one that is not remembered is fine."""
        if tx_id in self._remembered:
            self._forget(tx_id)
