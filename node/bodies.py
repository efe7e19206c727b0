"""Bodies of the blocks under decision: kept, rebuilt from the pool, fetched, served.

A proposal travels as its header and 16 bytes of each transaction's wtx id; most transactions
are in the pool already, verified. What is missing is asked for once from the announcer, then
the whole body from any peer. Bytes that do not match the header's roots are dropped and never
held against the block id: a good header may reach us with a bad body from a bad peer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from typing import Final, NamedTuple, Protocol

import trio

from clawpurse.ledger.blocks import Block
from clawpurse.ledger.crypto import ZERO_HASH, certificate_hash_of, list_root, wtx_id_of
from clawpurse.ledger.errors import CallerError, PeerError
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.transition import Prepared, prepare
from clawpurse.node import messages
from clawpurse.node.messages import Compact, ProposalKind
from clawpurse.node.precedence import Precedence
from clawpurse.node.verifier import Triple, Verifier
from clawpurse.p2p.channels import TokenBucket

# Two bodies per round and one of the round before; more within one height means an attack. What
# consensus still rests on is kept beyond that.
BODIES_MAX: Final = 16
# One peer's announcements: this height and the next, a few rounds each.
COMPACTS_PER_PEER_MAX: Final = 8
ANSWER_TIMEOUT_S: Final = 0.4
# Between failed attempts, so that a peer that answers "unknown" at once is not asked in a spin.
RETRY_PAUSE_S: Final = 0.05
# Time-outs and pauses double each time the same peer is asked again, so that a slow link has
# time for the largest body: 12.8 s in the end.
DOUBLINGS_MAX: Final = 5
# What one peer is served, in bytes: each of the bodies that it may need, once in a while.
SERVED_BYTES_PER_S: Final = 8_000_000
SERVED_BURST_BYTES: Final = 64_000_000
# Decoding is cut into pieces of about a millisecond.
DECODE_SLICE: Final = 32
log = logging.getLogger("clawpurse.bodies")


class Body(NamedTuple):
    """A block whose bytes match its header, with its transactions prepared and verified."""

    block: Block
    prepared: tuple[Prepared, ...]


class Outbox(Protocol):
    """How this file reaches peers. Node ids are 32 bytes."""

    def peers(self) -> Sequence[bytes]:
        """Return the ids of connected peers."""

    def send(self, peer: bytes, kind: ProposalKind, payload: bytes) -> bool:
        """Queue a message; False when it could not be queued."""


class PoolView(Protocol):
    """What this file needs of the mempool."""

    def prefix_lookup(self, prefix: bytes) -> Prepared | None:
        """Return the one pooled transaction whose wtx id begins so, else None."""


class _Question:
    """What one peer was asked about one block, and what it answered."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: list[bytes] | Block | None = None


class BadBody(PeerError):
    """A peer's bytes do not make the block that its header names."""


class Bodies:
    """Bodies of the height under decision and of the one before. One owner: the engine."""

    def __init__(
        self, registry: Registry, pool: PoolView, verifier: Verifier, outbox: Outbox
    ) -> None:
        self._registry = registry
        self._pool = pool
        self._verifier = verifier
        self._outbox = outbox
        self._height = 0
        self._bodies: dict[bytes, Body] = {}
        # Announcements by peer, then block id, so that nobody can push out another's.
        self._compacts: dict[bytes, dict[bytes, Compact]] = {}
        self._questions: dict[tuple[bytes, bytes], list[_Question]] = {}
        self._served: dict[bytes, TokenBucket] = {}
        self._arrival = trio.Event()
        # Ids of blocks that consensus may still decide; set by the owner of the engine.
        self.needed: Callable[[], Container[bytes]] = tuple
        # Looks up a committed block's bytes by id; set by the owner of the chain.
        self.committed_block: Callable[[bytes], bytes | None] = lambda _block_id: None
        # Held while a body is made ready: intake waits.
        self.precedence = Precedence()

    def start_height(self, height: int) -> None:
        """Forget everything below the height before `height`."""
        self._height = height
        for block_id in [i for i, b in self._bodies.items() if b.block.header.height < height - 1]:
            del self._bodies[block_id]
        for peer, compacts in list(self._compacts.items()):
            kept = {i: c for i, c in compacts.items() if c.header.height >= height}
            self._compacts[peer] = kept
            if not kept:
                del self._compacts[peer]

    def forget_peer(self, peer: bytes) -> None:
        """A peer is gone: nothing that it announced can be asked of it."""
        self._compacts.pop(peer, None)
        self._served.pop(peer, None)

    def put(self, body: Body) -> None:
        """Keep a body that matches its header: own, restored from the log, or synced."""
        self._bodies[body.block.header.block_id] = body
        if len(self._bodies) > BODIES_MAX:
            needed = self.needed()
            newest = body.block.header.block_id
            spare = (i for i in self._bodies if i != newest and i not in needed)
            oldest = next(spare, None)
            if oldest is not None:
                del self._bodies[oldest]
        self._arrived()

    def get(self, block_id: bytes) -> Body | None:
        """Return a kept body."""
        return self._bodies.get(block_id)

    def compact(self, block_id: bytes) -> bytes | None:
        """Return the compact message for a kept body."""
        body = self._bodies.get(block_id)
        if body is None:
            return None
        wtx_ids = [item.transaction.wtx_id for item in body.prepared]
        return Compact.of(body.block, wtx_ids).pack()

    def _arrived(self) -> None:
        self._arrival.set()
        self._arrival = trio.Event()

    # -- what peers say

    def on_message(self, peer: bytes, kind: ProposalKind, payload: bytes) -> None:
        """Take or answer a message of the proposals channel. Raises `Malformed`."""
        match kind:
            case ProposalKind.COMPACT:
                self._take_compact(peer, Compact.unpack(payload))
            case ProposalKind.COMPACT_WANTED:
                self._answer_compact(peer, messages.unpack_id(payload))
            case ProposalKind.MISSING_WANTED:
                self._answer_missing(peer, *messages.unpack_missing_wanted(payload))
            case ProposalKind.MISSING:
                block_id, raws = messages.unpack_missing(payload)
                self._take_answer(peer, block_id, raws)
            case ProposalKind.FULL_WANTED:
                self._answer_full(peer, messages.unpack_id(payload))
            case ProposalKind.FULL:
                block = Block.unpack(payload)
                self._take_answer(peer, block.header.block_id, block)
            case ProposalKind.UNKNOWN:
                self._take_answer(peer, messages.unpack_id(payload), None)

    def _take_compact(self, peer: bytes, compact: Compact) -> None:
        if not self._height <= compact.header.height <= self._height + 1:
            return
        compacts = self._compacts.setdefault(peer, {})
        compacts.pop(compact.header.block_id, None)
        compacts[compact.header.block_id] = compact
        if len(compacts) > COMPACTS_PER_PEER_MAX:
            del compacts[next(iter(compacts))]
        self._arrived()

    def _may_serve(self, peer: bytes, size_bytes: int) -> bool:
        """Tell whether a peer may have so much more; one that asks on and on gets no answer."""
        now_s = trio.current_time()
        bucket = self._served.get(peer)
        if bucket is None:
            bucket = self._served[peer] = TokenBucket(SERVED_BYTES_PER_S, SERVED_BURST_BYTES, now_s)
        return bucket.allows(size_bytes, now_s)

    def _answer_compact(self, peer: bytes, block_id: bytes) -> None:
        compact = self.compact(block_id)
        if compact is None:
            self._outbox.send(peer, ProposalKind.UNKNOWN, messages.pack_id(block_id))
        else:
            self._outbox.send(peer, ProposalKind.COMPACT, compact)

    def _answer_missing(self, peer: bytes, block_id: bytes, places: list[int]) -> None:
        body = self._bodies.get(block_id)
        if body is None or any(place >= len(body.prepared) for place in places):
            self._outbox.send(peer, ProposalKind.UNKNOWN, messages.pack_id(block_id))
            return
        raws = [body.block.transactions[place] for place in places]
        if self._may_serve(peer, sum(map(len, raws))):
            self._outbox.send(peer, ProposalKind.MISSING, messages.pack_missing(block_id, raws))

    def _answer_full(self, peer: bytes, block_id: bytes) -> None:
        body = self._bodies.get(block_id)
        data = self.committed_block(block_id) if body is None else None
        if body is None and data is None:
            self._outbox.send(peer, ProposalKind.UNKNOWN, messages.pack_id(block_id))
            return
        size = len(data) if data is not None else 0
        if body is not None:
            size = sum(map(len, body.block.transactions))
        if self._may_serve(peer, size):
            packed = body.block.pack() if body is not None else data
            assert packed is not None
            self._outbox.send(peer, ProposalKind.FULL, packed)

    def _take_answer(
        self, peer: bytes, block_id: bytes, answer: list[bytes] | Block | None
    ) -> None:
        # Only what is being waited for is kept, so that nobody can fill memory with answers.
        for question in self._questions.pop((peer, block_id), ()):
            question.answer = answer
            question.answered.set()

    # -- getting a body

    async def obtain(self, block_id: bytes) -> Body:
        """Return the body of a block, from wherever it comes; waits until somebody has it.

        Cancellable at any time; the caller cancels when the height is over.
        """
        tried: dict[bytes, int] = {}
        while True:
            body = self._bodies.get(block_id)
            if body is not None:
                return body
            arrival = self._arrival
            source = self._next_compact(block_id, tried)
            try:
                if source is not None:
                    tried[source] = tried.get(source, 0) + 1
                    self.put(await self._rebuild(source, block_id))
                    continue
                peer = self._next_peer(tried)
                if peer is not None:
                    tried[peer] = tried.get(peer, 0) + 1
                    self.put(await self._fetch(peer, block_id, _longer(tried[peer])))
                    continue
            except (BadBody, CallerError) as err:
                log.info("body not usable", extra={"block": block_id.hex(), "why": str(err)})
                await trio.sleep(RETRY_PAUSE_S * _longer(max(tried.values())))
                continue
            with trio.move_on_after(ANSWER_TIMEOUT_S):
                await arrival.wait()

    def _next_compact(self, block_id: bytes, tried: dict[bytes, int]) -> bytes | None:
        for peer, compacts in self._compacts.items():
            if block_id in compacts and peer not in tried:
                return peer
        return None

    def _next_peer(self, tried: dict[bytes, int]) -> bytes | None:
        """Return the connected peer that was asked least, but give compacts time to arrive."""
        if not tried:
            tried[b""] = 1
            return None
        peers = self._outbox.peers()
        return min(peers, key=lambda peer: tried.get(peer, 0), default=None)

    async def _rebuild(self, peer: bytes, block_id: bytes) -> Body:
        compact = self._compacts[peer][block_id]
        found = [self._pool.prefix_lookup(prefix) for prefix in compact.prefixes]
        places = [place for place, item in enumerate(found) if item is None]
        if places:
            wanted = messages.pack_missing_wanted(block_id, places)
            answer = await self._ask(
                peer, block_id, ProposalKind.MISSING_WANTED, wanted, ANSWER_TIMEOUT_S
            )
            if not isinstance(answer, list) or len(answer) != len(places):
                raise BadBody("the announcer did not send what is missing")
            prepared = await self._prepare(answer)
            for place, item in zip(places, prepared, strict=True):
                found[place] = item
        whole = tuple([item for item in found if item is not None])
        block = Block(
            compact.header,
            compact.parent_certificate,
            compact.evidence,
            tuple([item.transaction.raw for item in whole]),
        )
        return await _matching(Body(block, whole))

    async def _fetch(self, peer: bytes, block_id: bytes, factor: int) -> Body:
        wanted, timeout_s = messages.pack_id(block_id), ANSWER_TIMEOUT_S * factor
        answer = await self._ask(peer, block_id, ProposalKind.FULL_WANTED, wanted, timeout_s)
        if not isinstance(answer, Block):
            raise BadBody("the peer does not have it")
        return await self.complete(answer)

    async def _ask(
        self, peer: bytes, block_id: bytes, kind: ProposalKind, payload: bytes, timeout_s: float
    ) -> list[bytes] | Block | None:
        """Return a peer's answer about a block, None when it has none or none comes in time."""
        key, question = (peer, block_id), _Question()
        self._questions.setdefault(key, []).append(question)
        try:
            if self._outbox.send(peer, kind, payload):
                with trio.move_on_after(timeout_s):
                    await question.answered.wait()
            return question.answer
        finally:
            waiting = self._questions.get(key, [])
            if question in waiting:
                waiting.remove(question)
                if not waiting:
                    del self._questions[key]

    async def complete(self, block: Block) -> Body:
        """Prepare and verify all of a block's transactions and match it with its header.

        Raises `BadBody` or a `CallerError` when it is not what its header says.
        """
        return await _matching(Body(block, tuple(await self._prepare(block.transactions))))

    async def _prepare(self, raws: Sequence[bytes]) -> list[Prepared]:
        with self.precedence:
            return await self._prepare_all(raws)

    async def _prepare_all(self, raws: Sequence[bytes]) -> list[Prepared]:
        prepared: list[Prepared] = []
        triples: list[Triple] = []
        for start in range(0, len(raws), DECODE_SLICE):
            for raw in raws[start : start + DECODE_SLICE]:
                # What is pooled in these very bytes was decoded and verified when it came.
                item = self._pool.prefix_lookup(wtx_id_of(raw)[: messages.PREFIX_BYTES])
                if item is None or item.transaction.raw != raw:
                    item = prepare(raw, self._registry)
                    triples.extend(item.transaction.signatures)
                prepared.append(item)
            await trio.lowlevel.checkpoint()
        if triples and not all(await self._verifier.verify(triples)):
            raise BadBody("a transaction's signature does not verify")
        return prepared


def _longer(times: int) -> int:
    """Return by how much to be more patient when something is tried so many times."""
    return int(2 ** min(times - 1, DOUBLINGS_MAX))


async def _matching(body: Body) -> Body:
    """Return the body if its lists have the roots that the header names. Raises `BadBody`."""
    header, block = body.block.header, body.block
    wtx_ids = [item.transaction.wtx_id for item in body.prepared]
    await trio.lowlevel.checkpoint()
    if transactions_root(wtx_ids) != header.transactions_root:
        raise BadBody("its transactions are not those of the header")
    await trio.lowlevel.checkpoint()
    if list_root(block.evidence) != header.evidence_root:
        raise BadBody("its evidence is not that of the header")
    certificate = block.parent_certificate
    found = ZERO_HASH if certificate is None else certificate_hash_of(certificate)
    if found != header.parent_certificate_hash:
        raise BadBody("its parent certificate is not that of the header")
    return body


def transactions_root(wtx_ids: Sequence[bytes]) -> bytes:
    """Return the root that a header carries over the wtx ids of its transactions, in order."""
    return list_root(wtx_ids)
