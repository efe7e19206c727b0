"""The exact bytes that an authority signs: fixed width, tagged, big-endian, no msgpack (R1).

    tag 16 ‖ chain id 32, zero-padded ‖ genesis hash 32 ‖ recovery epoch u32
    ‖ kind u8 ‖ height u64 ‖ round u32 ‖ [valid round i32, proposals only]
    ‖ present u8 ‖ block id 32, zeros when nil

There is no time in votes: signing the same position again gives the same bytes. A signer that
is handed nothing but these bytes can read every position out of them (`parse`, R24, R25).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from clawpurse.ledger.agreement.domain import (
    PREFIX_BYTES,
    PROPOSAL_TAG,
    VOTE_TAG,
    Domain,
    parse_prefix,
)
from clawpurse.ledger.crypto import ZERO_HASH
from clawpurse.ledger.errors import Malformed

# A valid round travels as i32, so no round may be higher. At a second a round: 68 years.
ROUND_MAX: Final = 2**31 - 1
NO_ROUND: Final = -1


class Kind(IntEnum):
    """What is signed. The numbers rise in the order in which an authority signs in a round."""

    PROPOSAL = 1
    PREVOTE = 2
    PRECOMMIT = 3


_VOTE: Final = struct.Struct(">BQIB32s")
_PROPOSAL: Final = struct.Struct(">BQIiB32s")
VOTE_SIGN_BYTES: Final = PREFIX_BYTES + _VOTE.size
PROPOSAL_SIGN_BYTES: Final = PREFIX_BYTES + _PROPOSAL.size


def vote_bytes(
    domain: Domain, kind: int, height: int, round_: int, block_id: bytes | None
) -> bytes:
    """Return what a prevote or precommit for `block_id` (None: nil) is signed over."""
    present = block_id is not None
    return domain.vote_prefix + _VOTE.pack(kind, height, round_, present, block_id or ZERO_HASH)


def proposal_bytes(
    domain: Domain, height: int, round_: int, valid_round: int, block_id: bytes
) -> bytes:
    """Return what a proposal of `block_id` with `valid_round` (−1: none) is signed over."""
    return domain.proposal_prefix + _PROPOSAL.pack(
        Kind.PROPOSAL, height, round_, valid_round, True, block_id
    )


class Position(NamedTuple):
    """What sign bytes say: where in the protocol they stand and what they name there.

    `valid_round` is −1 for votes; `block_id` None means nil.
    """

    domain: Domain
    kind: Kind
    height: int
    round: int
    valid_round: int
    block_id: bytes | None

    @property
    def order(self) -> tuple[int, int, int]:
        """(height, round, kind): a signer signs only while this rises (R24)."""
        return self.height, self.round, int(self.kind)


def parse(data: bytes) -> Position:
    """Read sign bytes back. Raises `Malformed` on anything that this file would not build."""
    if len(data) not in (VOTE_SIGN_BYTES, PROPOSAL_SIGN_BYTES):
        raise Malformed("signBytes", f"are {len(data)} bytes, which no message has")
    tag, domain = parse_prefix(data[:PREFIX_BYTES])
    rest = data[PREFIX_BYTES:]
    if len(data) == PROPOSAL_SIGN_BYTES and tag == PROPOSAL_TAG:
        number, height, round_, valid_round, present, block_id = _PROPOSAL.unpack(rest)
        known: tuple[Kind, ...] = (Kind.PROPOSAL,)
    elif len(data) == VOTE_SIGN_BYTES and tag == VOTE_TAG:
        number, height, round_, present, block_id = _VOTE.unpack(rest)
        valid_round, known = NO_ROUND, (Kind.PREVOTE, Kind.PRECOMMIT)
    else:
        raise Malformed("signBytes", "carry a tag of another use")
    if number not in known:
        raise Malformed("signBytes.kind", f"is {number}")
    named = block_id if present else None
    position = Position(domain, Kind(number), height, round_, valid_round, named)
    if encode(position) != data:
        raise Malformed("signBytes", "are not in their one form")
    return position


def encode(position: Position) -> bytes:
    """Return the sign bytes of a position; the inverse of `parse`."""
    if position.kind is Kind.PROPOSAL:
        if position.block_id is None:
            raise Malformed("signBytes.blockId", "is nil, and a proposal names a block")
        return proposal_bytes(
            position.domain,
            position.height,
            position.round,
            position.valid_round,
            position.block_id,
        )
    return vote_bytes(
        position.domain, position.kind, position.height, position.round, position.block_id
    )
