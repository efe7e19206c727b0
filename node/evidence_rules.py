"""Whether evidence may stand in a block, judged from committed data alone (R21, R27).

Sets, headers and the governance tree: live, replayed and synced nodes hold the same, so they
judge alike. What this node saw or when it saw it never enters.
"""

from __future__ import annotations

from typing import Final

import trio

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.evidence import DoubleSign, read_block_evidence
from clawpurse.ledger.blocks import Block, Header
from clawpurse.ledger.errors import InvalidBlock, InvalidCertificate, NotFound
from clawpurse.modules.governance.evidence import get_evidence
from clawpurse.node.chain import Chain

# Records verified between two yields: eight signatures, under a millisecond.
SLICE: Final = 4


class EvidenceRules:
    """The rules of one chain, for the block after its tip."""

    def __init__(self, chain: Chain, domain: Domain) -> None:
        self._chain = chain
        self._domain = domain

    @property
    def records(self) -> bool:
        """Whether this network has a module that records evidence; without one none is taken."""
        return bool(self._chain.registry.evidence_hooks)

    def authorities(self, height: int) -> AuthoritySet | None:
        """Return the set of a height, None where this node does not know it (yet)."""
        try:
            return self._chain.authorities_at(height)
        except NotFound:
            return None

    def is_recorded(self, proof: DoubleSign) -> bool:
        """Tell whether the ledger has a record about the same (height, round, kind, authority)."""
        return get_evidence(self._chain.reader, proof.slot) is not None

    def age_ms(self, height: int, time_ms: int) -> int | None:
        """Return how old the block of a height is at a block time; None where it is not kept.

        Of the block after the tip, and beyond, it is 0: nothing of it is old.
        """
        if height > self._chain.height:
            return 0
        packed = self._chain.blocks.header(height)
        return None if packed is None else time_ms - Header.unpack(packed).time_ms

    def is_timely(self, proof: DoubleSign, time_ms: int) -> bool:
        """Tell whether evidence is young enough for a block of a time."""
        age_ms = self.age_ms(proof.height, time_ms)
        return age_ms is not None and age_ms <= self._chain.params.evidence_age_max_ms

    def verify(self, proof: DoubleSign) -> None:
        """Raise `InvalidCertificate` unless it convicts a member of the set of its height.

        Raises `NotFound` where this node does not know that set.
        """
        authorities = self._chain.authorities_at(proof.height)
        proof.verify(self._domain, authorities, crypto.verify)

    async def check_block(self, block: Block) -> tuple[DoubleSign, ...]:
        """Return a proposed block's evidence once all of it holds. Raises `InvalidBlock`."""
        header = block.header
        found = read_block_evidence(block.evidence, header.height)
        if found and not self.records:
            raise InvalidBlock("evidence", "no module of this network records it")
        for number, proof in enumerate(found, 1):
            try:
                self.verify(proof)
            except (InvalidCertificate, NotFound) as err:
                raise InvalidBlock("evidence", str(err)) from err
            if not self.is_timely(proof, header.time_ms):
                raise InvalidBlock("evidence", f"is of height {proof.height}, which is too old")
            if self.is_recorded(proof):
                raise InvalidBlock("evidence", f"about height {proof.height} is recorded already")
            if number % SLICE == 0:
                await trio.lowlevel.checkpoint()
        return found
