"""Block sync: catching up from peers beside consensus (R28).

Peers say how far they are (a hint, never a fact). The next blocks are asked for in windows from
several peers at once; each goes with its certificate through the same rule that decides, so one
place decides. A wrong block costs its sender; who does not deliver what it says it has is asked
less and less, and until it delivers its word on how far the chain is does not count.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import trio

from clawpurse.consensus.inputs import SyncedBlock
from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.blocks import Block
from clawpurse.ledger.errors import CallerError, InvalidCertificate, PeerError
from clawpurse.node import messages
from clawpurse.node.bodies import Bodies
from clawpurse.node.chain import Chain
from clawpurse.node.engine import Engine
from clawpurse.node.messages import SyncKind, Tip

WINDOW_BLOCKS: Final = 32
# Blocks fetched ahead of the one being applied: 128 MB if all are full.
AHEAD_BLOCKS_MAX: Final = 64
AHEAD_BYTES_MAX: Final = 64_000_000
REQUESTS_MAX: Final = 3
# Doubled each time for who missed it, so that a slow link has time for the largest block.
ANSWER_TIMEOUT_S: Final = 5.0
DOUBLINGS_MAX: Final = 5
DOUBT_FIRST_S: Final = 2.0
# A peer whose tip contradicts a final block here is asked for its proof no oftener than this,
# and each time half as often.
COMPARE_PERIOD_S: Final = 10.0
# Ranges that peers wait for; each peer has at most `REQUESTS_MAX` open if it is like us.
SERVING_MAX: Final = 256
SERVING_PER_PEER_MAX: Final = 4
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


class Past(Protocol):
    """What this file asks about heights that are final here."""

    def contradicts(self, height: int, block_id: bytes) -> bool:
        """Tell whether a block would contradict a height that is final here."""

    def check(self, certificate: Certificate) -> None:
        """Stop the node at a proof of a fork. Raises `InvalidCertificate` for a forged one."""


class Progress(NamedTuple):
    """How far behind this node believes it is. `rate` in blocks a second, 0 when unknown."""

    height: int
    best: int
    rate: float

    @property
    def behind(self) -> int:
        """How many blocks are missing."""
        return max(0, self.best - self.height)


class _Standing:
    """What is thought of one peer's word: its tip, and whether it delivers."""

    def __init__(self) -> None:
        self.tip: Tip | None = None
        self.failures = 0
        self.doubted_until_s = float("-inf")


class _Compared(NamedTuple):
    """A peer was asked how a final height was decided (0: it has answered)."""

    height: int
    again_s: float
    times: int


class _Fetched(NamedTuple):
    """A block on its way into the chain, and who sent it."""

    peer: bytes
    block: Block
    certificate: Certificate
    size_bytes: int


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
        self._peers: dict[bytes, _Standing] = {}
        self._fetched: dict[int, _Fetched] = {}
        self._pending: dict[int, tuple[bytes, float]] = {}
        self._proven: Certificate | None = None
        self._asked_of_us: deque[tuple[bytes, int, int]] = deque()
        self._compared: dict[bytes, _Compared] = {}
        # Set by the owner of the engine.
        self.past: Past | None = None
        self._asked = trio.Event()
        self._news = trio.Event()
        self._rate = 0.0

    # -- what peers say

    def on_message(self, peer: bytes, kind: SyncKind, payload: bytes) -> None:
        """Take or answer a message of the sync channel. Raises `Malformed`."""
        match kind:
            case SyncKind.TIP:
                tip = self._standing(peer).tip = Tip.unpack(payload)
                self._compare(peer, tip)
                self._notify()
            case SyncKind.RANGE_WANTED:
                self._promise(peer, *messages.unpack_range_wanted(payload))
            case SyncKind.RANGE:
                self._take(peer, *messages.unpack_range(payload))

    def _standing(self, peer: bytes) -> _Standing:
        return self._peers.setdefault(peer, _Standing())

    def forget_peer(self, peer: bytes) -> None:
        """A peer is gone: what it was asked for is asked of others."""
        self._peers.pop(peer, None)
        self._compared.pop(peer, None)
        self._asked_of_us = deque(entry for entry in self._asked_of_us if entry[0] != peer)
        for first in [f for f, (asked, _) in self._pending.items() if asked == peer]:
            del self._pending[first]
        self._notify()

    def _compare(self, peer: bytes, tip: Tip) -> None:
        """Ask a peer that says it has another block at a final height to prove it (R27)."""
        if self.past is None or not self.past.contradicts(tip.height, tip.block_id):
            return
        now_s = trio.current_time()
        last = self._compared.get(peer, _Compared(0, now_s, 0))
        if last.again_s <= now_s:
            pause_s = COMPARE_PERIOD_S * 2 ** min(last.times, DOUBLINGS_MAX)
            self._compared[peer] = _Compared(tip.height, now_s + pause_s, last.times + 1)
            wanted = messages.pack_range_wanted(tip.height, 1)
            self._outbox.send(peer, SyncKind.RANGE_WANTED, wanted)

    def _take_proof(self, peer: bytes, first: int, pairs: list[tuple[bytes, bytes]]) -> None:
        """Look at what a peer that was asked about a final height has there."""
        asked = self._compared.get(peer)
        if asked is None or asked.height != first or self.past is None:
            return
        self._compared[peer] = asked._replace(height=0)
        try:
            for _, packed in pairs[:1]:
                certificate = Certificate.unpack(packed)
                if certificate.height == first:
                    self.past.check(certificate)
        except (CallerError, InvalidCertificate) as err:
            self._punish(peer, f"bad proof of another block {first}: {err}")

    def announce(self, peers: Sequence[bytes] | None = None) -> None:
        """Tell peers where this node is."""
        tip = self._chain.tip
        payload = Tip(tip.height, self._chain.blocks.floor(), tip.block_id).pack()
        for peer in self._outbox.peers() if peers is None else peers:
            self._outbox.send(peer, SyncKind.TIP, payload)

    def _notify(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    def _promise(self, peer: bytes, first: int, count: int) -> None:
        """Note what a peer asks for; beyond a few at once it is told nothing, and asks again."""
        open_ = sum(entry[0] == peer for entry in self._asked_of_us)
        if open_ < SERVING_PER_PEER_MAX and len(self._asked_of_us) < SERVING_MAX:
            self._asked_of_us.append((peer, first, count))
            self._asked.set()

    async def _serve(self) -> None:
        """Answer one question after the other, a block at a time."""
        while True:
            while not self._asked_of_us:
                self._asked = trio.Event()
                await self._asked.wait()
            peer, first, count = self._asked_of_us.popleft()
            blocks: list[tuple[bytes, bytes]] = []
            size = 0
            for height in range(first, min(first + count, self._chain.height + 1)):
                pair = self._pair(height)
                if pair is None:
                    break
                size += len(pair[0]) + len(pair[1])
                if blocks and size > messages.RANGE_BYTES_MAX:
                    break
                blocks.append(pair)
                await trio.lowlevel.checkpoint()
            self._outbox.send(peer, SyncKind.RANGE, messages.pack_range(first, blocks))
            await trio.lowlevel.checkpoint()

    def _pair(self, height: int) -> tuple[bytes, bytes] | None:
        """Return a block and its certificate, None where this node does not keep them."""
        try:
            block = self._chain.blocks.block(height)
            certificate = self._chain.blocks.certificate(height)
        except CallerError:
            return None
        return None if block is None or certificate is None else (block, certificate)

    def _take(self, peer: bytes, first: int, pairs: list[tuple[bytes, bytes]]) -> None:
        self._take_proof(peer, first, pairs)
        asked = self._pending.get(first)
        if asked is None or asked[0] != peer:
            return  # Late, or nobody asked.
        del self._pending[first]
        if not pairs:
            self._doubt(peer)
        try:
            for height, (raw, packed) in enumerate(pairs, first):
                block, certificate = Block.unpack(raw), Certificate.unpack(packed)
                if block.header.height != height or certificate.height != height:
                    raise PeerError(f"a range from {first} has another height at {height}")
                if certificate.block_id != block.header.block_id:
                    raise PeerError(f"block {height} came with another block's certificate")
                if height > self._chain.height:
                    fetched = _Fetched(peer, block, certificate, len(raw))
                    self._fetched.setdefault(height, fetched)
        except (CallerError, PeerError) as err:
            self._punish(peer, f"bad blocks: {err}")
        self._notify()

    def _punish(self, peer: bytes, reason: str) -> None:
        """Nothing that a liar sent is used."""
        for height in [h for h, fetched in self._fetched.items() if fetched.peer == peer]:
            del self._fetched[height]
        self._doubt(peer)
        self._outbox.punish(peer, reason)

    def _doubt(self, peer: bytes) -> None:
        """A peer did not deliver what it says it has: ask others for a while."""
        standing = self._standing(peer)
        pause_s = DOUBT_FIRST_S * 2 ** min(standing.failures, DOUBLINGS_MAX)
        standing.failures += 1
        standing.doubted_until_s = trio.current_time() + pause_s

    # -- catching up

    @property
    def progress(self) -> Progress:
        """How far this node is, and how far the best peer says it is."""
        best = max((tip.height for _, tip in self._believed()), default=0)
        return Progress(self._chain.height, max(best, self._chain.height), self._rate)

    def _believed(self) -> list[tuple[bytes, Tip]]:
        """Return the tips that count: of peers that deliver, if there are such."""
        now_s = trio.current_time()
        told = [
            (peer, standing, standing.tip)
            for peer, standing in self._peers.items()
            if standing.tip is not None and standing.doubted_until_s <= now_s
        ]
        proven = [(peer, tip) for peer, standing, tip in told if not standing.failures]
        return proven or [(peer, tip) for peer, _, tip in told]

    def knows_decided(self, height: int) -> bool:
        """Tell whether a certificate at hand proves that a height is decided already.

        At such a height there is nothing left to vote on.
        """
        fetched = self._fetched.get(height)
        if fetched is None:
            return False
        try:
            self._prove(fetched)
        except InvalidCertificate as err:
            self._punish(fetched.peer, f"bad block {height}: {err}")
            return False
        return True

    def _prove(self, fetched: _Fetched) -> None:
        """Verify a certificate, once. Raises `InvalidCertificate`."""
        if self._proven != fetched.certificate:
            fetched.certificate.verify(self._domain, self._chain.authorities, crypto.verify)
            self._proven = fetched.certificate

    @property
    def syncing(self) -> bool:
        """Whether this node is more than a moment behind."""
        return self.progress.behind > 1

    async def run(self) -> None:
        """Keep up until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announce_often)
            nursery.start_soon(self._serve)
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
            self._doubt(self._pending.pop(first)[0])
        height = self._chain.height
        for stale in [h for h in self._fetched if h <= height]:
            del self._fetched[stale]
        best = self.progress.best
        first = height + 1
        if sum([fetched.size_bytes for fetched in self._fetched.values()]) > AHEAD_BYTES_MAX:
            best = min(best, first)
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
                patience = 2 ** min(self._standing(chosen).failures, DOUBLINGS_MAX)
                self._pending[first] = (chosen, now + ANSWER_TIMEOUT_S * patience)
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
        able = [peer for peer, tip in self._believed() if tip.floor <= height <= tip.height]
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
            if not await self._apply(found):
                continue
            applied += 1
            elapsed = trio.current_time() - started
            self._rate = applied / elapsed if elapsed > 0 else 0.0
            self._on_progress()
            self._notify()

    async def _apply(self, fetched: _Fetched) -> bool:
        """Verify one block and hand it to consensus; True once it is committed."""
        peer, block, certificate = fetched.peer, fetched.block, fetched.certificate
        height = block.header.height
        try:
            self._prove(fetched)
            body = await self._bodies.complete(block)
        except (CallerError, PeerError) as err:
            self._punish(peer, f"bad block {height}: {err}")
            self._notify()
            return False
        if peer in self._peers:
            self._peers[peer].failures = 0
        if self._chain.height + 1 != height:
            return False
        self._bodies.put(body)
        await self._engine.deliver(SyncedBlock(block.header, certificate), peer)
        while self._chain.height < height:
            await self._engine.height_changed.wait()
        return True
