"""Votes and proposals: the two things that an authority says, each signed once per position."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Self

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.signbytes import (
    NO_ROUND,
    ROUND_MAX,
    Kind,
    proposal_bytes,
    vote_bytes,
)
from clawpurse.ledger.blocks import HEADER_BYTES_MAX, Header
from clawpurse.ledger.crypto import KEY_BYTES, SIGNATURE_BYTES, message_hash_of
from clawpurse.ledger.errors import Malformed

#: Judges (public key, message, signature); pure. `ledger.crypto.verify` is one.
Verify = Callable[[bytes, bytes, bytes], bool]

# Six fields: three integers of at most 9 bytes, 32 + 32 + 64 bytes, two bytes of length each.
VOTE_BYTES_MAX: Final = 192
# The header, and the same again for round, valid round, key and signature.
PROPOSAL_BYTES_MAX: Final = HEADER_BYTES_MAX + 192
#: The signature of a message that is not signed yet.
UNSIGNED: Final = b""


class Vote(NamedTuple):
    """A prevote or precommit of one authority for a block id or nil.

    `authority` is its 32-byte public key, `signature` 64 bytes, or empty before signing.
    """

    kind: Kind
    height: int
    round: int
    block_id: bytes | None
    authority: bytes
    signature: bytes = UNSIGNED

    def sign_bytes(self, domain: Domain) -> bytes:
        """Return what the signature is over."""
        return vote_bytes(domain, self.kind, self.height, self.round, self.block_id)

    def verifies(self, domain: Domain, verify: Verify) -> bool:
        """Tell whether the signature is the authority's; membership is another question."""
        return verify(self.authority, self.sign_bytes(domain), self.signature)

    def pack(self) -> bytes:
        """Return the canonical bytes: [kind, height, round, block id|nil, authority, signature]."""
        return codec.pack(self)

    @property
    def message_hash(self) -> bytes:
        """The hash of the whole message, signature included: what deduplication goes by (R14)."""
        return message_hash_of(self.pack())

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical bytes. Raises `Malformed` naming the field."""
        return cls.from_wire(codec.unpack_typed(data, size_max=VOTE_BYTES_MAX, field="vote"))

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """Read a decoded array. Raises `Malformed` naming the field."""
        kind, height, round_, block_id, authority, signature = codec.array(value, "vote", 6)
        return cls(
            Kind(codec.integer(kind, "vote.kind", Kind.PREVOTE, Kind.PRECOMMIT)),
            codec.integer(height, "vote.height", 1),
            codec.integer(round_, "vote.round", 0, ROUND_MAX),
            codec.optional_digest(block_id, "vote.blockId"),
            codec.digest(authority, "vote.authority"),
            codec.binary(signature, "vote.signature", SIGNATURE_BYTES, SIGNATURE_BYTES),
        )


class Proposal(NamedTuple):
    """The block that `authority` proposes in a round of `header.height`, the whole header in it.

    `valid_round` is the earlier round in which the proposer saw a polka for the block, or −1 for
    a new block. The header's own `proposer` and `first_round` name who proposed it first.
    """

    round: int
    valid_round: int
    header: Header
    authority: bytes
    signature: bytes = UNSIGNED

    @property
    def height(self) -> int:
        """The height for which the block is proposed."""
        return self.header.height

    @property
    def block_id(self) -> bytes:
        """The 32-byte id of the proposed block."""
        return self.header.block_id

    def sign_bytes(self, domain: Domain) -> bytes:
        """Return what the signature is over."""
        return proposal_bytes(domain, self.height, self.round, self.valid_round, self.block_id)

    def verifies(self, domain: Domain, verify: Verify) -> bool:
        """Tell whether the signature is the authority's; whose turn it is is another question."""
        return verify(self.authority, self.sign_bytes(domain), self.signature)

    def pack(self) -> bytes:
        """Return the canonical bytes: [round, valid round, header, authority, signature]."""
        header = self.header.pack()
        return codec.pack([self.round, self.valid_round, header, self.authority, self.signature])

    @property
    def message_hash(self) -> bytes:
        """The hash of the whole message, signature included: what deduplication goes by (R14)."""
        return message_hash_of(self.pack())

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical bytes. Raises `Malformed` naming the field."""
        wire = codec.unpack_typed(data, size_max=PROPOSAL_BYTES_MAX, field="proposal")
        return cls.from_wire(wire)

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """Read a decoded array. Raises `Malformed` naming the field."""
        round_, valid_round, header, authority, signature = codec.array(value, "proposal", 5)
        proposal = cls(
            codec.integer(round_, "proposal.round", 0, ROUND_MAX),
            codec.integer(valid_round, "proposal.validRound", NO_ROUND, ROUND_MAX),
            Header.unpack(codec.binary(header, "proposal.header", HEADER_BYTES_MAX)),
            codec.binary(authority, "proposal.authority", KEY_BYTES, KEY_BYTES),
            codec.binary(signature, "proposal.signature", SIGNATURE_BYTES, SIGNATURE_BYTES),
        )
        if proposal.valid_round >= proposal.round:
            raise Malformed("proposal.validRound", "is not before the proposal's round")
        if proposal.height < 1:
            raise Malformed("proposal.header.height", "is 0, and genesis is not proposed")
        return proposal


SignedMessage = Vote | Proposal


def kind_of(message: SignedMessage) -> Kind:
    """Return what kind of statement a message is."""
    return message.kind if isinstance(message, Vote) else Kind.PROPOSAL
