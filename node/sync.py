"""Block sync: catching up from peers beside consensus (R28).

Peers say how far they are (a hint, never a fact). The next blocks are asked for in windows from
several peers at once; each goes with its certificate through the same rule that decides, so one
place decides. A wrong block costs its sender; a silent peer is asked less.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import trio

from clawpurse.consensus.inputs import SyncedBlock
from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.blocks import Block
from clawpurse.ledger.errors import CallerError, PeerError
from clawpurse.node import messages
from clawpurse.node.bodies import Bodies
from clawpurse.node.chain import Chain
from clawpurse.node.engine import Engine
from clawpurse.node.messages import SyncKind, Tip

WINDOW_BLOCKS: Final = 32
# Blocks fetched ahead of the one being applied: 128 MB if all are full.
AHEAD_BLOCKS_MAX: Final = 64
REQUESTS_MAX: Final = 3
ANSWER_TIMEOUT_S: Final = 5.0
# How often a node says where it is, beside right after each commit.
TIP_PERIOD_S: Final = 2.0
# Being one block behind is normal for a moment: consensus is about to decide it here too.
PATIENCE_S: Final = 0.3
log = logging.getLogger("clawpurse.sync")


class Outbox(Protocol):
    """How this file reaches peers."""

    def peers(self) -> Sequence[bytes]:
        """Return the ids of connected peers."""

    def send(self, peer: bytes, kind: SyncKind, payload: bytes) -> bool:
        """Queue a message."""

    def punish(self, peer: bytes, reason: str) -> None:
        """A peer sent what no honest node sends."""


class Progress(NamedTuple):
    """How far behind this node believes it is. `rate` in blocks a second, 0 when unknown."""

    height: int
    best: int
    rate: float

    @property
    def behind(self) -> int:
        """How many blocks are missing."""
        return max(0, self.best - self.height)


class BlockSync:
    """Fetches and applies missing blocks; answers those who miss some."""

    def __init__(
        self,
        chain: Chain,
        engine: Engine,
        bodies: Bodies,
        domain: Domain,
        outbox: Outbox,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._chain = chain
        self._engine = engine
        self._bodies = bodies
        self._domain = domain
        self._outbox = outbox
        self._on_progress = on_progress
        self._tips: dict[bytes, Tip] = {}
        self._fetched: dict[int, tuple[bytes, Block, Certificate]] = {}
        self._pending: dict[int, tuple[bytes, float]] = {}
        self._news = trio.Event()
        self._rate = 0.0

    # -- what peers say

    def on_message(self, peer: bytes, kind: SyncKind, payload: bytes) -> None:
        """Take or answer a message of the sync channel. Raises `Malformed`."""
        match kind:
            case SyncKind.TIP:
                self._tips[peer] = Tip.unpack(payload)
                self._notify()
            case SyncKind.RANGE_WANTED:
                self._answer(peer, *messages.unpack_range_wanted(payload))
            case SyncKind.RANGE:
                self._take(peer, *messages.unpack_range(payload))

    def forget_peer(self, peer: bytes) -> None:
        """A peer is gone: what it was asked for is asked of others."""
        self._tips.pop(peer, None)
        for first in [f for f, (asked, _) in self._pending.items() if asked == peer]:
            del self._pending[first]
        self._notify()

    def announce(self, peers: Sequence[bytes] | None = None) -> None:
        """Tell peers where this node is."""
        tip = self._chain.tip
        payload = Tip(tip.height, self._chain.blocks.floor(), tip.block_id).pack()
        for peer in self._outbox.peers() if peers is None else peers:
            self._outbox.send(peer, SyncKind.TIP, payload)

    def _notify(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    def _answer(self, peer: bytes, first: int, count: int) -> None:
        blocks: list[tuple[bytes, bytes]] = []
        size = 0
        for height in range(first, min(first + count, self._chain.height + 1)):
            try:
                block = self._chain.blocks.block(height)
            except CallerError:
                break
            certificate = self._chain.blocks.certificate(height)
            if block is None or certificate is None:
                break
            size += len(block) + len(certificate)
            if blocks and size > messages.RANGE_BYTES_MAX:
                break
            blocks.append((block, certificate))
        self._outbox.send(peer, SyncKind.RANGE, messages.pack_range(first, blocks))

    def _take(self, peer: bytes, first: int, pairs: list[tuple[bytes, bytes]]) -> None:
        asked = self._pending.get(first)
        if asked is None or asked[0] != peer:
            return  # Late, or nobody asked.
        del self._pending[first]
        try:
            for height, (raw, packed) in enumerate(pairs, first):
                block, certificate = Block.unpack(raw), Certificate.unpack(packed)
                if block.header.height != height or certificate.height != height:
                    raise PeerError(f"a range from {first} has another height at {height}")
                if certificate.block_id != block.header.block_id:
                    raise PeerError(f"block {height} came with another block's certificate")
                if height > self._chain.height:
                    self._fetched.setdefault(height, (peer, block, certificate))
        except (CallerError, PeerError) as err:
            self._outbox.punish(peer, f"bad blocks: {err}")
        if not pairs:
            self._tips.pop(peer, None)
        self._notify()

    # -- catching up

    @property
    def progress(self) -> Progress:
        """How far this node is, and how far the best peer says it is."""
        best = max((tip.height for tip in self._tips.values()), default=0)
        return Progress(self._chain.height, max(best, self._chain.height), self._rate)

    @property
    def syncing(self) -> bool:
        """Whether this node is more than a moment behind."""
        return self.progress.behind > 1

    async def run(self) -> None:
        """Keep up until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announce_often)
            nursery.start_soon(self._apply_all)
            while True:
                news = self._news
                self._request_windows()
                with trio.move_on_after(1.0):
                    await news.wait()
                await self._be_patient()

    async def _be_patient(self) -> None:
        """Give consensus a moment to decide the block that a peer is one ahead with."""
        progress = self.progress
        if progress.behind == 1:
            with trio.move_on_after(PATIENCE_S):
                await self._engine.height_changed.wait()

    async def _announce_often(self) -> None:
        while True:
            self.announce()
            with trio.move_on_after(TIP_PERIOD_S):
                await self._engine.height_changed.wait()

    def _request_windows(self) -> None:
        now = trio.current_time()
        for first in [f for f, (_, deadline) in self._pending.items() if deadline < now]:
            peer, _ = self._pending.pop(first)
            self._tips.pop(peer, None)  # It must say again where it is before it is asked.
        height = self._chain.height
        for stale in [h for h in self._fetched if h <= height]:
            del self._fetched[stale]
        best = self.progress.best
        first = height + 1
        while first <= min(best, height + AHEAD_BLOCKS_MAX):
            if len(self._pending) >= REQUESTS_MAX:
                return
            if first in self._fetched:
                first += 1
                continue
            if any(f <= first < f + WINDOW_BLOCKS for f in self._pending):
                first += 1
                continue
            count = self._gap(first, best)
            chosen = self._choose(first)
            if chosen is None:
                return
            wanted = messages.pack_range_wanted(first, count)
            if self._outbox.send(chosen, SyncKind.RANGE_WANTED, wanted):
                self._pending[first] = (chosen, now + ANSWER_TIMEOUT_S)
            first += count

    def _gap(self, first: int, best: int) -> int:
        count = 1
        while (
            count < WINDOW_BLOCKS and first + count <= best and first + count not in self._fetched
        ):
            count += 1
        return count

    def _choose(self, height: int) -> bytes | None:
        """Return the peer with the fewest open requests that says it has a height."""
        able = [peer for peer, tip in self._tips.items() if tip.floor <= height <= tip.height]
        asked = [peer for peer, _ in self._pending.values()]
        return min(able, key=asked.count, default=None)

    async def _apply_all(self) -> None:
        started, applied = trio.current_time(), 0
        while True:
            height = self._chain.height + 1
            found = self._fetched.pop(height, None)
            if found is None:
                with trio.move_on_after(1.0):
                    await self._news.wait()
                started, applied = trio.current_time(), 0
                continue
            if not await self._apply(*found):
                continue
            applied += 1
            elapsed = trio.current_time() - started
            self._rate = applied / elapsed if elapsed > 0 else 0.0
            self._on_progress()
            self._notify()

    async def _apply(self, peer: bytes, block: Block, certificate: Certificate) -> bool:
        """Verify one block and hand it to consensus; True once it is committed."""
        height = block.header.height
        try:
            certificate.verify(self._domain, self._chain.authorities, crypto.verify)
            body = await self._bodies.complete(block)
        except (CallerError, PeerError) as err:
            self._outbox.punish(peer, f"bad block {height}: {err}")
            self._tips.pop(peer, None)
            self._notify()
            return False
        if self._chain.height + 1 != height:
            return False
        self._bodies.put(body)
        await self._engine.deliver(SyncedBlock(block.header, certificate), peer)
        while self._chain.height < height:
            await self._engine.height_changed.wait()
        return True
