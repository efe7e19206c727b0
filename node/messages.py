"""What nodes say to each other, above the transport: kinds, formats and caps (docs/protocol.md).

Every payload is one canonical array; caps are checked before anything is decoded.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple, Self

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.authorities import AUTHORITIES_MAX
from clawpurse.ledger.agreement.envelope import MESSAGE_BYTES_MAX
from clawpurse.ledger.agreement.messages import VOTE_BYTES_MAX, Vote
from clawpurse.ledger.agreement.signbytes import ROUND_MAX
from clawpurse.ledger.blocks import (
    BLOCK_BYTES_MAX,
    BLOCK_TRANSACTIONS_MAX,
    CERTIFICATE_BYTES_MAX,
    EVIDENCE_BYTES_MAX,
    EVIDENCE_MAX,
    HEADER_BYTES_MAX,
    Block,
    Header,
)
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.transactions import TX_BYTES_MAX

PREFIX_BYTES: Final = 16
# One announcement covers 50 ms of a busy network; one batch of bodies stays below a frame burst.
ANNOUNCE_MAX: Final = 2_000
BODIES_MAX: Final = 1_000
BODIES_BYTES_MAX: Final = 1_000_000
# A range answer is cut at either bound, so that one request never holds a channel for long.
RANGE_BLOCKS_MAX: Final = 64
RANGE_BYTES_MAX: Final = 4_000_000
# The newest certified vote, and prevote and precommit of the highest round seen.
OWN_VOTES_MAX: Final = 4
BITMAP_BYTES_MAX: Final = (AUTHORITIES_MAX + 7) // 8


class ConsensusKind(IntEnum):
    """Kinds on the consensus channel."""

    MESSAGE = 1
    HAVE = 2
    OWN_VOTES_WANTED = 3
    OWN_VOTES = 4


class ProposalKind(IntEnum):
    """Kinds on the proposals channel."""

    COMPACT = 1
    COMPACT_WANTED = 2
    MISSING_WANTED = 3
    MISSING = 4
    FULL_WANTED = 5
    FULL = 6
    UNKNOWN = 7


class EvidenceKind(IntEnum):
    """Kinds on the evidence channel."""

    DOUBLE_SIGN = 1


class TransactionKind(IntEnum):
    """Kinds on the transactions channel."""

    BODIES = 1
    ANNOUNCE = 2
    WANTED = 3


class SyncKind(IntEnum):
    """Kinds on the sync channel."""

    TIP = 1
    RANGE_WANTED = 2
    RANGE = 3


# Largest payloads by kind: checked before anything is decoded.
CONSENSUS_SIZE_MAX: Final[dict[ConsensusKind, int]] = {
    ConsensusKind.MESSAGE: MESSAGE_BYTES_MAX,
    ConsensusKind.HAVE: 256,
    ConsensusKind.OWN_VOTES_WANTED: 64,
    ConsensusKind.OWN_VOTES: OWN_VOTES_MAX * (VOTE_BYTES_MAX + 4) + 48,
}
PROPOSAL_SIZE_MAX: Final[dict[ProposalKind, int]] = {
    ProposalKind.COMPACT: HEADER_BYTES_MAX
    + CERTIFICATE_BYTES_MAX
    + EVIDENCE_MAX * EVIDENCE_BYTES_MAX
    + PREFIX_BYTES * BLOCK_TRANSACTIONS_MAX
    + 256,
    ProposalKind.COMPACT_WANTED: 64,
    ProposalKind.MISSING_WANTED: 64 + 5 * BLOCK_TRANSACTIONS_MAX,
    ProposalKind.MISSING: BLOCK_BYTES_MAX,
    ProposalKind.FULL_WANTED: 64,
    ProposalKind.FULL: BLOCK_BYTES_MAX + 64,
    ProposalKind.UNKNOWN: 64,
}
EVIDENCE_SIZE_MAX: Final[dict[EvidenceKind, int]] = {
    EvidenceKind.DOUBLE_SIGN: EVIDENCE_BYTES_MAX,
}
TRANSACTION_SIZE_MAX: Final[dict[TransactionKind, int]] = {
    TransactionKind.BODIES: BODIES_BYTES_MAX + TX_BYTES_MAX + 4_096,
    TransactionKind.ANNOUNCE: 34 * ANNOUNCE_MAX + 16,
    TransactionKind.WANTED: 34 * ANNOUNCE_MAX + 16,
}
SYNC_SIZE_MAX: Final[dict[SyncKind, int]] = {
    SyncKind.TIP: 128,
    SyncKind.RANGE_WANTED: 64,
    SyncKind.RANGE: RANGE_BYTES_MAX + BLOCK_BYTES_MAX + CERTIFICATE_BYTES_MAX,
}


class Have(NamedTuple):
    """Where a node stands in consensus and which votes of its round it holds (R16).

    Bitmaps are `AuthoritySet.bitmap`s of the votes held for `round`; `has_body` tells whether it
    holds the proposal of the round together with its body.
    """

    height: int
    round: int
    has_proposal: bool
    prevotes: bytes
    precommits: bytes

    def pack(self) -> bytes:
        """Return the payload."""
        return codec.pack(self)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read a payload. Raises `Malformed`."""
        size = CONSENSUS_SIZE_MAX[ConsensusKind.HAVE]
        wire = codec.array(codec.unpack_typed(data, size_max=size, field="have"), "have", 5)
        if type(wire[2]) is not bool:
            raise Malformed("have.hasProposal", "is not a boolean")
        return cls(
            codec.integer(wire[0], "have.height", 1),
            codec.integer(wire[1], "have.round", 0, ROUND_MAX),
            wire[2],
            codec.binary(wire[3], "have.prevotes", BITMAP_BYTES_MAX),
            codec.binary(wire[4], "have.precommits", BITMAP_BYTES_MAX),
        )


def pack_own_votes(authority: bytes, is_mine: bool, votes: list[Vote]) -> bytes:
    """Answer with votes that an authority was seen to sign, the highest positions.

    `is_mine`: this node signs under that key itself, so the asker is a second one.
    """
    return codec.pack([authority, is_mine, [vote.pack() for vote in votes[-OWN_VOTES_MAX:]]])


def unpack_own_votes(data: bytes) -> tuple[bytes, bool, list[Vote]]:
    """Read an answer: the authority asked about, whether the peer claims its key, and votes.

    Each vote still has to verify. Raises `Malformed`.
    """
    size = CONSENSUS_SIZE_MAX[ConsensusKind.OWN_VOTES]
    wire = codec.unpack_typed(data, size_max=size, field="ownVotes")
    authority, is_mine, items = codec.array(wire, "ownVotes", 3)
    if type(is_mine) is not bool:
        raise Malformed("ownVotes.isMine", "is not a boolean")
    found = codec.items(items, "ownVotes.votes", OWN_VOTES_MAX)
    votes = [Vote.unpack(codec.binary(item, "ownVotes.votes[]", VOTE_BYTES_MAX)) for item in found]
    return codec.digest(authority, "ownVotes.authority"), is_mine, votes


class Compact(NamedTuple):
    """A block with 16 bytes of each transaction's wtx id instead of the transaction."""

    header: Header
    parent_certificate: bytes | None
    evidence: tuple[bytes, ...]
    prefixes: tuple[bytes, ...]

    @classmethod
    def of(cls, block: Block, wtx_ids: list[bytes]) -> Self:
        """Build from a block and its transactions' wtx ids, in order."""
        prefixes = tuple([wtx_id[:PREFIX_BYTES] for wtx_id in wtx_ids])
        return cls(block.header, block.parent_certificate, block.evidence, prefixes)

    def pack(self) -> bytes:
        """Return the payload."""
        return codec.pack(
            [
                self.header.pack(),
                self.parent_certificate,
                self.evidence,
                b"".join(self.prefixes),
            ]
        )

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read a payload. Raises `Malformed`."""
        size = PROPOSAL_SIZE_MAX[ProposalKind.COMPACT]
        wire = codec.unpack_typed(data, size_max=size, field="compact")
        header, certificate, evidence, joined = codec.array(wire, "compact", 4)
        size = PREFIX_BYTES * BLOCK_TRANSACTIONS_MAX
        prefixes = codec.binary(joined, "compact.prefixes", size)
        if len(prefixes) % PREFIX_BYTES:
            raise Malformed("compact.prefixes", f"is no multiple of {PREFIX_BYTES} bytes")
        return cls(
            Header.unpack(codec.binary(header, "compact.header", HEADER_BYTES_MAX)),
            None
            if certificate is None
            else codec.binary(certificate, "compact.parentCertificate", CERTIFICATE_BYTES_MAX, 1),
            tuple(
                codec.binary(item, "compact.evidence[]", EVIDENCE_BYTES_MAX, 1)
                for item in codec.items(evidence, "compact.evidence", EVIDENCE_MAX)
            ),
            tuple(
                prefixes[place : place + PREFIX_BYTES]
                for place in range(0, len(prefixes), PREFIX_BYTES)
            ),
        )


def pack_id(block_id: bytes) -> bytes:
    """Return a payload that holds one 32-byte id."""
    return codec.pack([block_id])


def unpack_id(data: bytes) -> bytes:
    """Read a payload that holds one 32-byte id. Raises `Malformed`."""
    (value,) = codec.array(codec.unpack_typed(data, size_max=64, field="id"), "id", 1)
    return codec.digest(value, "id")


def pack_missing_wanted(block_id: bytes, places: list[int]) -> bytes:
    """Ask for the transactions at these places of a block."""
    return codec.pack([block_id, places])


def unpack_missing_wanted(data: bytes) -> tuple[bytes, list[int]]:
    """Read a request for transactions of a block. Raises `Malformed`."""
    size = PROPOSAL_SIZE_MAX[ProposalKind.MISSING_WANTED]
    wire = codec.unpack_typed(
        data, size_max=size, field="missingWanted", count_max=BLOCK_TRANSACTIONS_MAX
    )
    block_id, places = codec.array(wire, "missingWanted", 2)
    found = codec.items(places, "missingWanted.places", BLOCK_TRANSACTIONS_MAX)
    low, high = 0, BLOCK_TRANSACTIONS_MAX - 1
    wanted = []
    for item in found:
        # Ascending, or one small request could ask for the largest transaction 20,000 times.
        place = codec.integer(item, "missingWanted.places[]", low, high)
        wanted.append(place)
        low = place + 1
    return codec.digest(block_id, "missingWanted.blockId"), wanted


def pack_missing(block_id: bytes, raws: list[bytes]) -> bytes:
    """Answer with transactions, in the order in which they were asked for."""
    return codec.pack([block_id, raws])


def unpack_missing(data: bytes) -> tuple[bytes, list[bytes]]:
    """Read an answer with transactions of a block. Raises `Malformed`."""
    size = PROPOSAL_SIZE_MAX[ProposalKind.MISSING]
    wire = codec.unpack_typed(
        data, size_max=size, field="missing", count_max=BLOCK_TRANSACTIONS_MAX
    )
    block_id, raws = codec.array(wire, "missing", 2)
    found = codec.items(raws, "missing.transactions", BLOCK_TRANSACTIONS_MAX)
    return codec.digest(block_id, "missing.blockId"), [
        codec.binary(item, "missing.transactions[]", TX_BYTES_MAX, 1) for item in found
    ]


def pack_bodies(raws: list[bytes]) -> bytes:
    """Send transactions."""
    return codec.pack(raws)


def unpack_bodies(data: bytes) -> list[bytes]:
    """Read transactions. Raises `Malformed`."""
    size = TRANSACTION_SIZE_MAX[TransactionKind.BODIES]
    wire = codec.unpack_typed(data, size_max=size, field="bodies")
    found = codec.items(wire, "bodies", BODIES_MAX)
    return [codec.binary(item, "bodies[]", TX_BYTES_MAX, 1) for item in found]


def pack_ids(ids: list[bytes]) -> bytes:
    """Announce or ask for transactions by wtx id."""
    return codec.pack(ids)


def unpack_ids(data: bytes) -> list[bytes]:
    """Read wtx ids. Raises `Malformed`."""
    size = TRANSACTION_SIZE_MAX[TransactionKind.ANNOUNCE]
    wire = codec.unpack_typed(data, size_max=size, field="ids")
    return [codec.digest(item, "ids[]") for item in codec.items(wire, "ids", ANNOUNCE_MAX)]


class Tip(NamedTuple):
    """The newest final block that a node says it has: a hint, never a fact (R28)."""

    height: int
    floor: int
    block_id: bytes

    def pack(self) -> bytes:
        """Return the payload."""
        return codec.pack(self)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read a payload. Raises `Malformed`."""
        wire = codec.unpack_typed(data, size_max=SYNC_SIZE_MAX[SyncKind.TIP], field="tip")
        height, floor, block_id = codec.array(wire, "tip", 3)
        return cls(
            codec.integer(height, "tip.height"),
            codec.integer(floor, "tip.floor"),
            codec.digest(block_id, "tip.blockId"),
        )


def pack_range_wanted(first: int, count: int) -> bytes:
    """Ask for `count` blocks from height `first`."""
    return codec.pack([first, count])


def unpack_range_wanted(data: bytes) -> tuple[int, int]:
    """Read a request for blocks. Raises `Malformed`."""
    wire = codec.unpack_typed(data, size_max=64, field="rangeWanted")
    first, count = codec.array(wire, "rangeWanted", 2)
    return codec.integer(first, "rangeWanted.first", 1), codec.integer(
        count, "rangeWanted.count", 1, RANGE_BLOCKS_MAX
    )


def pack_range(first: int, blocks: list[tuple[bytes, bytes]]) -> bytes:
    """Answer with (block, certificate) pairs from height `first`; empty: not here."""
    return codec.pack([first, [list(pair) for pair in blocks]])


def unpack_range(data: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Read blocks with their certificates. Raises `Malformed`."""
    wire = codec.unpack_typed(data, size_max=SYNC_SIZE_MAX[SyncKind.RANGE], field="range")
    first, blocks = codec.array(wire, "range", 2)
    pairs = []
    for item in codec.items(blocks, "range.blocks", RANGE_BLOCKS_MAX):
        block, certificate = codec.array(item, "range.blocks[]", 2)
        pairs.append(
            (
                codec.binary(block, "range.blocks[].block", BLOCK_BYTES_MAX, 1),
                codec.binary(certificate, "range.blocks[].certificate", CERTIFICATE_BYTES_MAX, 1),
            )
        )
    return codec.integer(first, "range.first", 1), pairs
