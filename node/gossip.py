"""Spreading transactions: bodies from where they entered, announcements onwards.

A node that accepted a transaction from a caller pushes its body to every peer at once; a node
that got it from a peer only announces its wtx id to the others, who ask for what they lack;
when an announcer does not answer, the next one is asked. So a body crosses each link once, and
a missing link costs one question. What a full channel drops comes later with its block; and what
waits for long is announced again, because nobody who proposes may have heard of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import trio

from clawpurse.ledger.crypto import wtx_id_of
from clawpurse.ledger.transition import Prepared
from clawpurse.node import messages
from clawpurse.node.messages import TransactionKind

# Gathering for a moment turns thousands of tiny messages into few; nobody feels 5 ms.
FLUSH_PERIOD_S: Final = 0.005
# Ids remembered per peer as known to it, in two generations: minutes of a busy network.
KNOWN_MAX: Final = 20_000
# Ids asked for and not answered yet.
WANTED_MAX: Final = 20_000
# Others that announced the same id, asked in turn when the first does not answer.
ANNOUNCERS_MAX: Final = 4
ANSWER_TIMEOUT_S: Final = 1.0
RETRY_PERIOD_S: Final = 0.25
# Pooled transactions that a new peer is told of; what is behind them comes with blocks.
GREETING_MAX: Final = 4 * messages.ANNOUNCE_MAX
# A transaction that has waited so long may be known to nobody else: it is announced again. In a
# network that decides, nothing waits that long; in one that stands still with a full pool this is
# 2 kB a second for each peer.
REMIND_PERIOD_S: Final = 15.0
REMINDED_MAX: Final = 1_000
# Ids of bodies that were handed in and may still be on their way into the pool.
TAKEN_MAX: Final = 20_000


class Outbox(Protocol):
    """How this file reaches peers."""

    def peers(self) -> Sequence[bytes]:
        """Return the ids of connected peers."""

    def send(self, peer: bytes, kind: TransactionKind, payload: bytes) -> bool:
        """Queue a message; False when the channel is full."""


class Known:
    """A bounded set of ids: when full, the older half is forgotten."""

    def __init__(self, size_max: int) -> None:
        self._half = size_max // 2
        self._new: dict[bytes, None] = {}
        self._old: dict[bytes, None] = {}

    def add(self, item: bytes) -> None:
        """Remember an id."""
        self._new[item] = None
        if len(self._new) >= self._half:
            self._old, self._new = self._new, {}

    def __contains__(self, item: bytes) -> bool:
        return item in self._new or item in self._old


class _Want(NamedTuple):
    """An id that a peer was asked for, and who else announced it."""

    deadline_s: float
    others: list[bytes]


class TransactionGossip:
    """One node's spreading of transactions. `find` returns a pooled one by wtx id."""

    def __init__(
        self,
        outbox: Outbox,
        find: Callable[[bytes], Prepared | None],
        knows: Callable[[bytes], bool],
        take: Callable[[Sequence[bytes], bytes], int],
        pooled: Callable[[int], Sequence[Prepared]],
    ) -> None:
        """`knows(wtx_id)` tells what need not be asked for; `take(raws, peer)` hands received
        bodies to the intake without waiting and returns how many it took; `pooled(count)`
        returns at most so many pooled transactions, also those that cannot be proposed yet.
        """
        self._outbox = outbox
        self._find = find
        self._knows = knows
        self._take = take
        self._pooled = pooled
        self._known: dict[bytes, Known] = {}
        self._fresh: list[tuple[Prepared, bytes | None]] = []
        # In order of their deadlines, because each gets the same time from its question on.
        self._wanted: dict[bytes, _Want] = {}
        self._taken = Known(TAKEN_MAX)
        self._wake = trio.Event()

    def connected(self, peer: bytes) -> None:
        """Announce to a new peer what waits here: it may be the next to propose."""
        known = self._known.setdefault(peer, Known(KNOWN_MAX))
        ids = [item.transaction.wtx_id for item in self._pooled(GREETING_MAX)]
        for wtx_id in ids:
            known.add(wtx_id)
        self._announce(peer, ids)

    def forget_peer(self, peer: bytes) -> None:
        """A peer is gone."""
        self._known.pop(peer, None)

    def accepted(self, prepared: Sequence[Prepared], source: bytes | None) -> None:
        """Spread what was accepted, from a peer or (None) from a caller of this node."""
        self._fresh.extend([(item, source) for item in prepared])
        self._wake.set()

    def on_message(self, peer: bytes, kind: TransactionKind, payload: bytes) -> None:
        """Take or answer a message of the transactions channel. Raises `Malformed`."""
        match kind:
            case TransactionKind.BODIES:
                self._take_bodies(peer, messages.unpack_bodies(payload))
            case TransactionKind.ANNOUNCE:
                self._hear(peer, messages.unpack_ids(payload))
            case TransactionKind.WANTED:
                self._answer(peer, messages.unpack_ids(payload))

    def _take_bodies(self, peer: bytes, raws: list[bytes]) -> None:
        wtx_ids = [wtx_id_of(raw) for raw in raws]
        for wtx_id in wtx_ids:
            self._wanted.pop(wtx_id, None)
        if self._take(raws, peer) == len(raws):
            for wtx_id in wtx_ids:
                self._taken.add(wtx_id)

    def _lacks(self, wtx_id: bytes) -> bool:
        return wtx_id not in self._taken and not self._knows(wtx_id)

    def _hear(self, peer: bytes, ids: list[bytes]) -> None:
        """Ask for what is announced and lacking, unless another peer is being asked for it."""
        known = self._known.setdefault(peer, Known(KNOWN_MAX))
        fresh: list[tuple[bytes, list[bytes]]] = []
        for wtx_id in ids:
            known.add(wtx_id)
            want = self._wanted.get(wtx_id)
            if want is not None:
                if len(want.others) < ANNOUNCERS_MAX and peer not in want.others:
                    want.others.append(peer)
            elif self._lacks(wtx_id):
                fresh.append((wtx_id, []))
        self._ask(peer, fresh)

    def _ask(self, peer: bytes, wanted: Sequence[tuple[bytes, list[bytes]]]) -> None:
        """Ask a peer for ids; each comes with the others that announced it."""
        if not wanted:
            return
        deadline_s = trio.current_time() + ANSWER_TIMEOUT_S
        for wtx_id, others in wanted:
            self._wanted[wtx_id] = _Want(deadline_s, others)
        while len(self._wanted) > WANTED_MAX:
            del self._wanted[next(iter(self._wanted))]
        ids = [wtx_id for wtx_id, _ in wanted]
        for start in range(0, len(ids), messages.ANNOUNCE_MAX):
            piece = ids[start : start + messages.ANNOUNCE_MAX]
            self._outbox.send(peer, TransactionKind.WANTED, messages.pack_ids(piece))

    async def _ask_others(self) -> None:
        """Ask the next announcer for what the one before did not send, until cancelled."""
        while True:
            await trio.sleep(RETRY_PERIOD_S)
            now_s, peers = trio.current_time(), frozenset(self._outbox.peers())
            again: dict[bytes, list[tuple[bytes, list[bytes]]]] = {}
            while self._wanted:
                wtx_id, want = next(iter(self._wanted.items()))
                if want.deadline_s > now_s:
                    break
                del self._wanted[wtx_id]
                able = [other for other in want.others if other in peers]
                if able and self._lacks(wtx_id):
                    again.setdefault(able[0], []).append((wtx_id, able[1:]))
            for peer, wanted in again.items():
                self._ask(peer, wanted)

    def _answer(self, peer: bytes, ids: list[bytes]) -> None:
        found = [item for item in map(self._find, dict.fromkeys(ids)) if item is not None]
        self._send_bodies(peer, found)

    def _send_bodies(self, peer: bytes, items: Sequence[Prepared]) -> None:
        batch: list[bytes] = []
        size = 0
        for item in items:
            raw = item.transaction.raw
            if batch and (
                size + len(raw) > messages.BODIES_BYTES_MAX or len(batch) == messages.BODIES_MAX
            ):
                self._outbox.send(peer, TransactionKind.BODIES, messages.pack_bodies(batch))
                batch, size = [], 0
            batch.append(raw)
            size += len(raw)
        if batch:
            self._outbox.send(peer, TransactionKind.BODIES, messages.pack_bodies(batch))

    async def run(self) -> None:
        """Spread until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask_others)
            nursery.start_soon(self._remind)
            await self._spread_all()

    async def _remind(self) -> None:
        """Announce again what has waited for long, the oldest first, until cancelled."""
        waited: frozenset[bytes] = frozenset()
        while True:
            await trio.sleep(REMIND_PERIOD_S)
            ids = [item.transaction.wtx_id for item in self._pooled(REMINDED_MAX)]
            again = [wtx_id for wtx_id in ids if wtx_id in waited]
            waited = frozenset(ids)
            for peer in self._outbox.peers():
                self._announce(peer, again)

    async def _spread_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            fresh, self._fresh = self._fresh, []
            for peer in self._outbox.peers():
                self._spread(peer, fresh)
                await trio.lowlevel.checkpoint()
            await trio.sleep(FLUSH_PERIOD_S)

    def _spread(self, peer: bytes, fresh: Sequence[tuple[Prepared, bytes | None]]) -> None:
        known = self._known.setdefault(peer, Known(KNOWN_MAX))
        bodies: list[Prepared] = []
        ids: list[bytes] = []
        for item, source in fresh:
            wtx_id = item.transaction.wtx_id
            if source == peer:
                known.add(wtx_id)
            elif source is None:
                known.add(wtx_id)
                bodies.append(item)
            elif wtx_id not in known:
                known.add(wtx_id)
                ids.append(wtx_id)
        if bodies:
            self._send_bodies(peer, bodies)
        self._announce(peer, ids)

    def _announce(self, peer: bytes, ids: Sequence[bytes]) -> None:
        for start in range(0, len(ids), messages.ANNOUNCE_MAX):
            piece = list(ids[start : start + messages.ANNOUNCE_MAX])
            self._outbox.send(peer, TransactionKind.ANNOUNCE, messages.pack_ids(piece))
