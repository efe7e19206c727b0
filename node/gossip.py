"""Spreading transactions: bodies from where they entered, announcements onwards.

A node that accepted a transaction from a caller pushes its body to every peer at once; a node
that got it from a peer only announces its wtx id to the others, who ask for what they lack. So
a body crosses each link once, and a missing link costs one question. What a full channel drops
comes later with the block that includes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio

from clawpurse.ledger.transition import Prepared
from clawpurse.node import messages
from clawpurse.node.messages import TransactionKind

# Gathering for a moment turns thousands of tiny messages into few; nobody feels 5 ms.
FLUSH_PERIOD_S: Final = 0.005
# Ids remembered per peer as known to it, in two generations: minutes of a busy network.
KNOWN_MAX: Final = 20_000
# Ids asked for and not answered yet.
WANTED_MAX: Final = 20_000
ANSWER_TIMEOUT_S: Final = 1.0


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


class TransactionGossip:
    """One node's spreading of transactions. `find` returns a pooled one by wtx id."""

    def __init__(
        self,
        outbox: Outbox,
        find: Callable[[bytes], Prepared | None],
        knows: Callable[[bytes], bool],
        take: Callable[[Sequence[bytes], bytes], object],
    ) -> None:
        """`knows(wtx_id)` tells what need not be asked for; `take(raws, peer)` hands received
        bodies to the intake without waiting.
        """
        self._outbox = outbox
        self._find = find
        self._knows = knows
        self._take = take
        self._known: dict[bytes, Known] = {}
        self._fresh: list[tuple[Prepared, bytes | None]] = []
        self._wanted: dict[bytes, float] = {}
        self._wake = trio.Event()

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
                self._take(messages.unpack_bodies(payload), peer)
            case TransactionKind.ANNOUNCE:
                self._ask(peer, messages.unpack_ids(payload))
            case TransactionKind.WANTED:
                self._answer(peer, messages.unpack_ids(payload))

    def _ask(self, peer: bytes, ids: list[bytes]) -> None:
        known = self._known.setdefault(peer, Known(KNOWN_MAX))
        now = trio.current_time()
        wanted = []
        for wtx_id in ids:
            known.add(wtx_id)
            if not self._knows(wtx_id) and self._wanted.get(wtx_id, 0.0) <= now:
                wanted.append(wtx_id)
                self._wanted.pop(wtx_id, None)
                self._wanted[wtx_id] = now + ANSWER_TIMEOUT_S
        while len(self._wanted) > WANTED_MAX:
            del self._wanted[next(iter(self._wanted))]
        if wanted:
            self._outbox.send(peer, TransactionKind.WANTED, messages.pack_ids(wanted))

    def _answer(self, peer: bytes, ids: list[bytes]) -> None:
        found = [item for item in map(self._find, ids) if item is not None]
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
        for start in range(0, len(ids), messages.ANNOUNCE_MAX):
            piece = ids[start : start + messages.ANNOUNCE_MAX]
            self._outbox.send(peer, TransactionKind.ANNOUNCE, messages.pack_ids(piece))
