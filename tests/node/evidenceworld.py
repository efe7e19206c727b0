"""A chain of four authorities, one proposer, and its pool of evidence; proofs to order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.evidence import (
    DoubleSign,
    Statement,
)
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import NO_ROUND, Kind, proposal_bytes
from clawpurse.ledger.blocks import Block
from clawpurse.ledger.crypto import list_root
from clawpurse.node.bodies import Body
from clawpurse.node.evidence import (
    EvidencePool,
)
from clawpurse.node.evidence_rules import EvidenceRules
from clawpurse.node.messages import EvidenceKind
from clawpurse.node.proposing import Proposing
from clawpurse.node.workers import InlineLane
from tests.node.test_proposing import SEEDS
from tests.node.test_proposing import Bench as ProposingBench

A, B, C = b"\x0a" * 32, b"\x0b" * 32, b"\x0c" * 32
P, Q = b"\x91" * 32, b"\x92" * 32


@dataclass
class Box:
    """Notes what is sent, and who is punished."""

    here: list[bytes] = field(default_factory=lambda: [P, Q])
    sent: list[tuple[bytes, bytes]] = field(default_factory=list)
    punished: list[tuple[bytes, str]] = field(default_factory=list)

    def peers(self) -> Sequence[bytes]:
        return self.here

    def send(self, peer: bytes, kind: EvidenceKind, payload: bytes) -> bool:
        assert kind is EvidenceKind.DOUBLE_SIGN
        self.sent.append((peer, payload))
        return True

    def punish(self, peer: bytes, reason: str) -> None:
        self.punished.append((peer, reason))


class Bench(ProposingBench):
    """A chain, one proposer, and its pool of evidence."""

    def __init__(self, **params: int) -> None:
        super().__init__(**params)
        self.box = Box()
        self.work: list[None] = []
        self.counts: dict[str, int] = {}
        self.evidence = self.opened()
        self.proposing = Proposing(self.chain, self.pool, self.clock, self.domain, self.evidence)

    def opened(self) -> EvidencePool:
        """The pool of a node that starts on this store."""
        pool = EvidencePool(
            self.chain,
            EvidenceRules(self.chain, self.domain),
            InlineLane(),
            self.box,
            on_work=lambda: self.work.append(None),
            count=self.count,
        )
        pool.load()
        return pool

    def count(self, state: str) -> None:
        self.counts[state] = self.counts.get(state, 0) + 1

    async def grow(self, count: int = 1) -> list[Body]:
        """Commit blocks of what waits, as a node does."""
        bodies = []
        for _ in range(count):
            body = await self.build()
            await self.commit(body)
            self.evidence.committed(body.block)
            bodies.append(body)
        return bodies

    async def judged(self, *proofs: DoubleSign | bytes, **header: Any) -> str:
        """Why a block with this evidence, however it came about, is refused; empty if not."""
        packed = tuple(p if isinstance(p, bytes) else p.pack() for p in proofs)
        self.evidence.select = lambda height, time_ms: tuple(  # type: ignore[method-assign]
            p for p in proofs if isinstance(p, DoubleSign)
        )
        try:
            body = await self.build()
        finally:
            del self.evidence.select
        made = replace(body.block.header, evidence_root=list_root(packed), **header)
        block = Block(made, body.block.parent_certificate, packed, body.block.transactions)
        return await self.verdict(Body(block, body.prepared))

    def hear(self, proof: DoubleSign, peer: bytes = P) -> None:
        self.evidence.on_message(peer, EvidenceKind.DOUBLE_SIGN, proof.pack())


def proof_of(
    bench: Bench | None = None,
    who: int = 3,
    height: int = 1,
    round_: int = 0,
    kind: Kind = Kind.PREVOTE,
    blocks: tuple[bytes | None, bytes | None] = (A, B),
    seed: bytes | None = None,
) -> DoubleSign:
    """Evidence against the nth authority."""
    domain = DOMAIN if bench is None else bench.domain
    seed = seed or SEEDS[who]
    key = crypto.public_key_of(seed)
    if kind is Kind.PROPOSAL:
        made = []
        for block in blocks:
            assert block is not None
            data = proposal_bytes(domain, height, round_, NO_ROUND, block)
            made.append(Statement(NO_ROUND, block, crypto.sign(seed, data)))
        return DoubleSign(kind, height, round_, key, made[0], made[1])
    votes = [Vote(kind, height, round_, block, key) for block in blocks]
    one, other = (
        vote._replace(signature=crypto.sign(seed, vote.sign_bytes(domain))) for vote in votes
    )
    return DoubleSign.of(one, other)


DOMAIN = Domain("pool-test", b"\x11" * 32, 0)
