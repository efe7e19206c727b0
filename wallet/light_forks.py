"""What a fork leaves behind: two decided blocks of one height, and who signed both.

The document convinces somebody who has nothing but the network's keys: each block comes whole,
and each entry of `doubleSigns` convicts one authority by itself (`ledger/agreement/evidence.py`).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from clawpurse.ledger.address import authority_text
from clawpurse.ledger.agreement.light import (
    LightBlock,
    Trusted,
    check_alone,
    contradiction,
    domain_of,
    signers_of,
)
from clawpurse.ledger.rules import time_text

EVIDENCE_VERSION: Final = 1


class ForkedBlock(NamedTuple):
    """One of the two blocks, and who served it."""

    url: str
    block: LightBlock


class Fork(NamedTuple):
    """Two verified blocks of one height with different ids.

    `common` is the newest block that both sides are known to share, None if they share none that
    is known; `is_exact` whether it is the parent of both, so that no earlier difference exists.
    """

    primary: ForkedBlock
    witness: ForkedBlock
    common: Trusted | None
    is_exact: bool

    @property
    def height(self) -> int:
        """The height of the two blocks."""
        return self.primary.block.height

    @property
    def signed_both(self) -> tuple[bytes, ...]:
        """The keys of the authorities whose signatures decided both blocks."""
        return contradiction(self.primary.block, self.witness.block).signed_both

    def evidence(self) -> dict[str, Any]:
        """Return the document, as it is printed and kept."""
        header = self.primary.block.header
        blame = contradiction(self.primary.block, self.witness.block)
        return {
            "version": EVIDENCE_VERSION,
            "kind": "fork",
            "chainId": header.chain_id,
            "genesisHash": _hex(header.genesis_hash),
            "recoveryEpoch": header.recovery_epoch,
            "height": header.height,
            "common": None
            if self.common is None
            else {"height": self.common.height, "hash": _hex(self.common.block_id)},
            "exact": self.is_exact,
            "blocks": [_block_json(self.primary), _block_json(self.witness)],
            "signedBoth": [authority_text(key) for key in blame.signed_both],
            "doubleSigns": [_hex(proof.pack()) for proof in blame.double_signs],
        }


def clash(one: ForkedBlock, other: ForkedBlock) -> Fork | None:
    """Return the fork that two blocks of one height are by themselves, without a common block.

    They are one only if the same set decided both: anybody can make a chain of a set of its own.
    `one` must be verified; `other` is judged here.
    """
    ours, theirs = one.block, other.block
    is_same_set = ours.authorities == theirs.authorities and domain_of(ours.header) == domain_of(
        theirs.header
    )
    if not is_same_set or check_alone(theirs) is not None:
        return None
    return Fork(one, other, None, False)


def _block_json(side: ForkedBlock) -> dict[str, Any]:
    block = side.block
    return {
        "source": side.url,
        "hash": _hex(block.block_id),
        "time": time_text(block.header.time_ms),
        "round": block.certificate.round,
        "signers": [authority_text(key) for key in signers_of(block)],
        "header": _hex(block.header.pack()),
        "certificate": _hex(block.certificate.pack()),
        "authorities": _hex(block.authorities.pack()),
        "nextAuthorities": _hex(block.next_authorities.pack()),
    }


def _hex(octets: bytes) -> str:
    return "0x" + octets.hex()
