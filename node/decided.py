"""What arrives about heights that are decided: late votes that convict, and proofs of a fork.

The machine forgets a height when it is decided; most equivocations show only afterwards, because
agreement does not wait for the slowest vote. And a certificate for another block than ours at a
final height means that more than f authorities lie: no node can tell by itself which of the two
histories the others will go on with, so it stops and says so (R27).

Certificates count as long as evidence does. An older one proves only that keys which were given
up long ago are in somebody's hands, and must not be a way to stop a network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final

from clawpurse.consensus.effects import Decide, Effect
from clawpurse.consensus.inputs import (
    CertificateReceived,
    Input,
    ProposalReceived,
    VoteReceived,
)
from clawpurse.consensus.machine import Machine
from clawpurse.consensus.votes import DecidedValue, VoteKeeper
from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.evidence import DoubleSign, double_signs
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.errors import InvalidCertificate
from clawpurse.node.chain import Chain
from clawpurse.node.engine import decided_twice
from clawpurse.node.evidence_rules import EvidenceRules

# A slow link is seconds late, not minutes; each kept height is two votes of each authority.
HEIGHTS_KEPT: Final = 3
log = logging.getLogger("clawpurse.consensus")


class _Height:
    """What was heard of a height until it was decided, and since."""

    def __init__(self, machine: Machine, votes: VoteKeeper) -> None:
        self.votes = votes
        self.proposals = {
            (proposal.round, proposal.authority): proposal
            for round_ in range(machine.round + 2)
            for proposal in machine.proposals_at(round_)[:1]
        }


class DecidedHeights:
    """Watches one node's past. Told by the engine (`stepped`), by sync and by judging."""

    def __init__(
        self,
        chain: Chain,
        rules: EvidenceRules,
        domain: Domain,
        machine: Machine,
        *,
        on_found: Callable[[DoubleSign], None],
        on_rejected: Callable[[bytes, str], None],
    ) -> None:
        """`on_found` takes evidence; `on_rejected` hears of a peer that sent a forgery."""
        self._chain = chain
        self._rules = rules
        self._domain = domain
        self._machine = machine
        self._on_found = on_found
        self._on_rejected = on_rejected
        self._heights: dict[int, _Height] = {}

    def stepped(self, event: Input | None, peer: bytes | None, effects: Sequence[Effect]) -> None:
        """Hear of an input that the machine has taken. Raises `OperatorError` at a fork."""
        match event:
            case VoteReceived(vote) if vote.height in self._heights:
                self._hear_vote(self._heights[vote.height].votes, vote, peer)
            case ProposalReceived(proposal, _) if proposal.height in self._heights:
                self._hear_proposal(self._heights[proposal.height], proposal)
            case CertificateReceived(certificate) if isinstance(certificate, Certificate):
                self._hear_certificate(certificate, peer)
        if any(isinstance(effect, Decide) for effect in effects):
            self._remember()

    def _remember(self) -> None:
        machine = self._machine
        if machine.votes is None:
            return
        self._heights[machine.height] = _Height(machine, machine.votes)
        while len(self._heights) > HEIGHTS_KEPT:
            del self._heights[min(self._heights)]

    def _hear_vote(self, votes: VoteKeeper, vote: Vote, peer: bytes | None) -> None:
        """Keep a late vote as the machine would have, so that the next one can contradict it."""
        if vote.authority not in votes.authorities or not votes.is_new(vote):
            return
        if not vote.verifies(self._domain, crypto.verify):
            if peer is not None:
                self._on_rejected(peer, "the signature of a vote does not verify")
            return
        contradicted = votes.add(vote)
        if contradicted is not None:
            self._on_found(DoubleSign.of(contradicted, vote))
        decided = vote.kind is Kind.PRECOMMIT and vote.block_id is not None
        if decided and votes.has_quorum(vote.kind, vote.round, vote.block_id):
            assert vote.block_id is not None
            self.check(votes.certificate(DecidedValue(vote.round, vote.block_id)))

    def _hear_proposal(self, height: _Height, proposal: Proposal) -> None:
        known = height.proposals.get((proposal.round, proposal.authority))
        if known is None:
            return
        content = known.valid_round, known.block_id
        differs = content != (proposal.valid_round, proposal.block_id)
        if differs and proposal.verifies(self._domain, crypto.verify):
            self._on_found(DoubleSign.of(known, proposal))

    def _hear_certificate(self, certificate: Certificate, peer: bytes | None) -> None:
        try:
            self.check(certificate)
        except InvalidCertificate as err:
            if peer is not None:
                self._on_rejected(peer, f"bad certificate: {err}")

    # -- forks

    def is_ours(self, height: int, block_id: bytes) -> bool:
        """Tell whether a block of a final height is the one that is final here."""
        tip = self._chain.tip
        if height == tip.height:
            return block_id == tip.block_id
        return self._chain.blocks.height_of(block_id) == height

    def contradicts(self, height: int, block_id: bytes) -> bool:
        """Tell whether a block would contradict a height that is final here and still counts."""
        if not 0 < height <= self._chain.height or self.is_ours(height, block_id):
            return False
        age_ms = self._rules.age_ms(height, self._chain.tip.time_ms)
        return age_ms is not None and age_ms <= self._chain.params.evidence_age_max_ms

    def check(self, certificate: Certificate) -> None:
        """Stop the node if a certificate decides another block at a final height.

        Raises `OperatorError` then, and `InvalidCertificate` for one that proves nothing.
        """
        height, other = certificate.height, certificate.decided_id
        if not self.contradicts(height, other):
            return
        authorities = self._chain.authorities_at(height)
        certificate.verify(self._domain, authorities, crypto.verify)
        packed = self._chain.blocks.certificate(height)
        if packed is None:
            return
        own = Certificate.unpack(packed)
        proofs = double_signs(own, certificate, authorities)
        for proof in proofs:
            self._on_found(proof)
        log.critical(
            "two blocks of one height are decided",
            extra={
                "height": height,
                "ours": packed.hex(),
                "theirs": certificate.pack().hex(),
                "convicted": [proof.authority.hex() for proof in proofs],
            },
        )
        raise decided_twice(height, f"0x{own.decided_id.hex()} here, 0x{other.hex()} elsewhere")
