"""Which network a signature belongs to: the values that open every signed message.

A second network of the same name has another genesis hash and can replay nothing (R1); a
recovered network has a higher epoch, so nothing signed before the recovery counts after it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from clawpurse.ledger.codec import U32_MAX, ascii_text, digest, integer
from clawpurse.ledger.transactions import CHAIN_ID_CHARS_MAX

TAG_BYTES: Final = 16
VOTE_TAG: Final = b"clawpurse/vote".ljust(TAG_BYTES, b"\0")
PROPOSAL_TAG: Final = b"clawpurse/prop".ljust(TAG_BYTES, b"\0")

_PREFIX: Final = struct.Struct(f">{TAG_BYTES}s{CHAIN_ID_CHARS_MAX}s32sI")
PREFIX_BYTES: Final = _PREFIX.size


@dataclass(frozen=True)
class Domain:
    """The network in which a message is meant.

    `chain_id` is printable ASCII of 1…32 characters, `genesis_hash` 32 bytes, `recovery_epoch`
    counts recoveries of this network from 0. Raises `Malformed` on other values.
    """

    chain_id: str
    genesis_hash: bytes
    recovery_epoch: int = 0

    def __post_init__(self) -> None:
        """Refuse values that have no fixed-width form."""
        ascii_text(self.chain_id, "domain.chainId", CHAIN_ID_CHARS_MAX)
        digest(self.genesis_hash, "domain.genesisHash")
        integer(self.recovery_epoch, "domain.recoveryEpoch", 0, U32_MAX)

    @cached_property
    def vote_prefix(self) -> bytes:
        """The bytes that open the sign bytes of every vote of this network."""
        return self._prefix(VOTE_TAG)

    @cached_property
    def proposal_prefix(self) -> bytes:
        """The bytes that open the sign bytes of every proposal of this network."""
        return self._prefix(PROPOSAL_TAG)

    def _prefix(self, tag: bytes) -> bytes:
        chain = self.chain_id.encode("ascii").ljust(CHAIN_ID_CHARS_MAX, b"\0")
        return _PREFIX.pack(tag, chain, self.genesis_hash, self.recovery_epoch)


def parse_prefix(data: bytes) -> tuple[bytes, Domain]:
    """Split the first `PREFIX_BYTES` of sign bytes into tag and domain. Raises `Malformed`."""
    tag, chain, genesis_hash, epoch = _PREFIX.unpack(data)
    name = chain.rstrip(b"\0").decode("ascii", errors="replace")
    domain = Domain(ascii_text(name, "signBytes.chainId", CHAIN_ID_CHARS_MAX), genesis_hash, epoch)
    return tag, domain
