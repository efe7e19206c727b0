"""Evidence that waits for a block: found here or heard of, verified, kept over crashes, passed on.

An authority that signs two things for one position convicts itself; the two signatures are
proof to everybody. Each proof is kept on disk until the ledger has it or it is too old, told to
every peer, and wakes the proposers, so that it is final within a few blocks whoever found it
(R27). Evidence is never taken on somebody's word: what a peer sends is verified whole before it
changes anything here.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import trio

from clawpurse.ledger.address import authority_text
from clawpurse.ledger.agreement.evidence import EVIDENCE_PER_BLOCK_MAX, SLOT_BYTES, DoubleSign
from clawpurse.ledger.blocks import Block
from clawpurse.ledger.errors import InvalidCertificate, Malformed, NotFound
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Batch
from clawpurse.modules.governance.evidence import KIND_NAMES, count_evidence, list_evidence
from clawpurse.node.chain import Chain
from clawpurse.node.evidence_rules import EvidenceRules
from clawpurse.node.messages import EvidenceKind
from clawpurse.node.workers import Lane

# One record convicts a key. A key that is in a liar's hands can make millions of them, for
# rounds that never were; more than a few of one key say nothing new.
PER_AUTHORITY_MAX: Final = 8
# All keys of several sets lying at once; 200 kB.
PENDING_MAX: Final = 512
# What still waits after so long is told again: a peer may have been behind, or its channel full.
REPEAT_S: Final = 5.0
# The newest records that a start reads to know whom to warn of.
REMEMBERED_MAX: Final = 256
log = logging.getLogger("clawpurse.consensus")


class Outbox(Protocol):
    """How this file reaches peers."""

    def peers(self) -> Sequence[bytes]:
        """Return the ids of connected peers."""

    def send(self, peer: bytes, kind: EvidenceKind, payload: bytes) -> bool:
        """Queue a message; False when the channel is full."""

    def punish(self, peer: bytes, reason: str) -> None:
        """A peer sent what no honest node sends."""


class _Entry(NamedTuple):
    """A proof that waits. `own`: found by this node. `broken`: recording it breaks execution."""

    proof: DoubleSign
    packed: bytes
    own: bool
    broken: bool = False


class EvidencePool:
    """One node's pending evidence. One owner of its records on disk."""

    def __init__(
        self,
        chain: Chain,
        rules: EvidenceRules,
        lane: Lane,
        outbox: Outbox,
        *,
        on_work: Callable[[], None],
        count: Callable[[str], None] = lambda _state: None,
    ) -> None:
        """`on_work` wakes consensus; `count(state)` counts for metrics, with few states."""
        self._chain = chain
        self._rules = rules
        self._lane = lane
        self._outbox = outbox
        self._on_work = on_work
        self._count = count
        self._pending: dict[bytes, _Entry] = {}
        self._per_authority: Counter[bytes] = Counter()
        self._unwritten: dict[bytes, bytes | None] = {}
        self._turn = trio.Lock()
        self._wake = trio.Event()
        # Convicted keys, with the newest height at which they signed twice.
        self._convicted: dict[bytes, int] = {}

    # -- start

    def load(self) -> None:
        """Read back what waited when the node stopped. Blocking; at start-up only."""
        first = schema.EVIDENCE
        stop = bytes((first[0] + 1,))
        for key, record in self._chain.store.iterate(first, stop):
            body = schema.unseal(key, record)
            proof = self._readable(body[1:])
            slot = key[1:]
            if proof is None or proof.slot != slot or len(slot) != SLOT_BYTES:
                raise schema.damaged(key, "is no evidence of its slot")
            if self._is_done(proof):
                self._unwritten[slot] = None
            else:
                self._put(_Entry(proof, body[1:], body[:1] == b"\1"))
        reader, known = self._chain.reader, count_evidence(self._chain.reader)
        for recorded in list_evidence(reader, max(0, known - REMEMBERED_MAX), REMEMBERED_MAX):
            self._convict(recorded.proof)

    @staticmethod
    def _readable(data: bytes) -> DoubleSign | None:
        try:
            return DoubleSign.unpack(data)
        except Malformed:
            return None

    # -- what is found and heard

    def found(self, proof: DoubleSign) -> None:
        """Take what consensus itself saw, live or in replay; what is known changes nothing."""
        if proof.slot in self._pending or self._is_done(proof):
            return
        try:
            self._rules.verify(proof)
        except (InvalidCertificate, NotFound) as err:
            # Consensus verified it against the same set, so this is a fault of ours.
            log.critical("evidence of our own does not verify", extra={"why": str(err)})
            return
        self._count("found")
        self._take(proof, own=True, source=None)

    def on_message(self, peer: bytes, kind: EvidenceKind, payload: bytes) -> None:
        """Take what a peer found. Raises `Malformed` for what is no evidence at all."""
        assert kind is EvidenceKind.DOUBLE_SIGN
        proof = DoubleSign.unpack(payload)
        if proof.slot in self._pending or self._rules.authorities(proof.height) is None:
            # Known; or of a height that this node cannot judge yet, and it will be told again.
            return
        if self._is_done(proof) or not self._has_room(proof, own=False):
            return
        try:
            self._rules.verify(proof)
        except InvalidCertificate as err:
            self._count("refused")
            self._outbox.punish(peer, f"bad evidence: {err}")
            return
        self._count("heard")
        self._take(proof, own=False, source=peer)

    def _is_done(self, proof: DoubleSign) -> bool:
        """Tell whether there is nothing to be done about it: recorded, too old, or for nobody."""
        rules = self._rules
        if not rules.records or rules.is_recorded(proof):
            return True
        return not rules.is_timely(proof, self._chain.tip.time_ms)

    def _take(self, proof: DoubleSign, *, own: bool, source: bytes | None) -> None:
        """Keep verified evidence, tell everybody, wake consensus."""
        extra = {
            "authority": proof.authority.hex(),
            "height": proof.height,
            "round": proof.round,
            "kind": KIND_NAMES[proof.kind],
            "seenHere": own,
        }
        log.error("an authority signed twice for one position", extra=extra)
        if not self._has_room(proof, own=own):
            self._count("dropped")
            return
        self._make_room(proof)
        entry = _Entry(proof, proof.pack(), own)
        self._put(entry)
        self._unwritten[proof.slot] = bytes((own,)) + entry.packed
        self._wake_up()
        for peer in self._outbox.peers():
            if peer != source:
                self._outbox.send(peer, EvidenceKind.DOUBLE_SIGN, entry.packed)
        if self._is_urgent(proof):
            self._on_work()

    def _is_urgent(self, proof: DoubleSign) -> bool:
        """Tell whether a block is worth making for it alone: its key is not convicted yet.

        What else a convicted key signs twice rides along with the next block. A block of its own
        would be voted on twice too, and one liar would keep an idle network busy for ever.
        """
        return proof.authority not in self._convicted

    def _put(self, entry: _Entry) -> None:
        self._pending[entry.proof.slot] = entry
        self._per_authority[entry.proof.authority] += 1

    def _drop(self, slot: bytes) -> None:
        authority = self._pending.pop(slot).proof.authority
        self._per_authority[authority] -= 1
        if not self._per_authority[authority]:
            del self._per_authority[authority]
        self._unwritten[slot] = None

    def _has_room(self, proof: DoubleSign, *, own: bool) -> bool:
        """Tell whether a newcomer fits: by itself, or in place of one that says less.

        What this node saw takes the place of what it was told about the same key; a key of
        which less is known takes the place of the one of which most is.
        """
        authority = proof.authority
        if self._per_authority[authority] >= PER_AUTHORITY_MAX:
            return own and self._least(authority) is not None
        if len(self._pending) < PENDING_MAX:
            return True
        return self._heaviest()[1] > self._per_authority[authority] + 1

    def _make_room(self, proof: DoubleSign) -> None:
        authority = proof.authority
        victim = None
        if self._per_authority[authority] >= PER_AUTHORITY_MAX:
            victim = self._least(authority)
        elif len(self._pending) >= PENDING_MAX:
            heaviest = self._heaviest()[0]
            victim = self._least(heaviest) or max(self._slots_of(heaviest))
        if victim is not None:
            self._count("dropped")
            self._drop(victim)

    def _slots_of(self, authority: bytes) -> list[bytes]:
        return [slot for slot, e in self._pending.items() if e.proof.authority == authority]

    def _least(self, authority: bytes) -> bytes | None:
        """Return the last slot about a key that this node only heard of."""
        heard = [slot for slot in self._slots_of(authority) if not self._pending[slot].own]
        return max(heard, default=None)

    def _heaviest(self) -> tuple[bytes, int]:
        return max(self._per_authority.items(), key=lambda item: (item[1], item[0]))

    def _convict(self, proof: DoubleSign) -> None:
        known = self._convicted.get(proof.authority, 0)
        self._convicted[proof.authority] = max(known, proof.height)

    # -- for blocks

    def waits(self) -> bool:
        """Tell whether the next block could record something that is worth a block."""
        height, time_ms = self._chain.height + 1, self._chain.tip.time_ms
        return any(
            self._is_urgent(entry.proof) and self._fits(entry, height, time_ms)
            for entry in self._pending.values()
        )

    def select(self, height: int, time_ms: int) -> tuple[DoubleSign, ...]:
        """Return what a block should record, in its order: a few of each key, in fair turns."""
        turns: Counter[bytes] = Counter()
        ranked: list[tuple[int, bytes]] = []
        for slot in sorted(self._pending):
            entry = self._pending[slot]
            if self._fits(entry, height, time_ms):
                authority = entry.proof.authority
                ranked.append((turns[authority], slot))
                turns[authority] += 1
        chosen = sorted(slot for _, slot in sorted(ranked)[:EVIDENCE_PER_BLOCK_MAX])
        return tuple([self._pending[slot].proof for slot in chosen])

    def _fits(self, entry: _Entry, height: int, time_ms: int) -> bool:
        proof = entry.proof
        if entry.broken or proof.height > height or self._rules.is_recorded(proof):
            return False
        return self._rules.is_timely(proof, time_ms)

    def set_aside(self, proof: DoubleSign, why: str) -> None:
        """Propose it no more: recording it breaks execution here, and must not stop blocks."""
        entry = self._pending.get(proof.slot)
        if entry is not None:
            log.critical("evidence breaks execution", extra={"why": why, "slot": proof.slot.hex()})
            self._pending[proof.slot] = entry._replace(broken=True)

    def committed(self, block: Block) -> None:
        """A block is final: forget what it records, and what is too old from now on."""
        for packed in block.evidence:
            proof = DoubleSign.unpack(packed)
            self._convict(proof)
            self._count("committed")
            log.error(
                "evidence of a double signing is final",
                extra={
                    "authority": proof.authority.hex(),
                    "height": proof.height,
                    "committedHeight": block.header.height,
                },
            )
        for slot, entry in list(self._pending.items()):
            if self._is_done(entry.proof):
                if not self._rules.is_recorded(entry.proof):
                    self._count("expired")
                self._drop(slot)
                self._wake_up()

    # -- for people

    @property
    def pending(self) -> tuple[DoubleSign, ...]:
        """What waits, in the order of blocks."""
        return tuple([self._pending[slot].proof for slot in sorted(self._pending)])

    @property
    def unsaved(self) -> frozenset[bytes]:
        """Slots of what was taken and is not on disk yet; who dies now never knew of them."""
        return frozenset(slot for slot, body in self._unwritten.items() if body is not None)

    def convicted(self) -> dict[bytes, int]:
        """Return who signed twice and still decides, each with the newest height of it."""
        newest = dict(self._convicted)
        for entry in self._pending.values():
            height = max(newest.get(entry.proof.authority, 0), entry.proof.height)
            newest[entry.proof.authority] = height
        chain = self._chain
        limit_ms = chain.params.evidence_age_max_ms
        found = {}
        for authority, height in sorted(newest.items()):
            age_ms = self._rules.age_ms(height, chain.tip.time_ms)
            if age_ms is None or age_ms > limit_ms or authority not in chain.next_authorities:
                continue
            found[authority] = height
        return found

    def alarms(self) -> list[str]:
        """Return a sentence about each authority that signed twice and still decides."""
        return [
            f"{authority_text(authority)} signed twice at height {height} "
            "(clawpurse consensus evidence)"
            for authority, height in self.convicted().items()
        ]

    def accuses(self, authority: bytes) -> bool:
        """Tell whether a key that decides is known to have signed twice, not too long ago."""
        return authority in self.convicted()

    # -- keeping and telling

    def connected(self, peer: bytes) -> None:
        """Tell a new peer all that waits."""
        for entry in self._pending.values():
            self._outbox.send(peer, EvidenceKind.DOUBLE_SIGN, entry.packed)

    async def flush(self) -> None:
        """Have on disk all that was taken so far. Raises `StorageFault`, which is fatal."""
        async with self._turn:
            changes = dict(self._unwritten)
            if not changes:
                return
            batch = Batch()
            for slot, body in changes.items():
                key = schema.EVIDENCE + slot
                if body is None:
                    batch.delete(key)
                else:
                    batch.put(key, schema.seal(key, body))
            store = self._chain.store
            with trio.CancelScope(shield=True):
                await self._lane.run(lambda: store.write(batch, sync=True))
            for slot, body in changes.items():
                if slot in self._unwritten and self._unwritten[slot] is body:
                    del self._unwritten[slot]

    async def run(self) -> None:
        """Write down what changed; tell again what still waits. Until cancelled."""
        while True:
            woken = self._wake
            await self.flush()
            with trio.move_on_after(REPEAT_S if self._pending else math.inf) as pause:
                await woken.wait()
            if pause.cancelled_caught:
                for peer in self._outbox.peers():
                    self.connected(peer)

    def _wake_up(self) -> None:
        woken, self._wake = self._wake, trio.Event()
        woken.set()
