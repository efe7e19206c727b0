"""Proof that one authority signed two different things for one position (R27).

No wall time and no local judgement enters: the same two signatures convict everywhere, and
nobody whose key signed once per position can ever be convicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, Self

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.messages import SignedMessage, Verify, Vote
from clawpurse.ledger.agreement.signbytes import (
    NO_ROUND,
    ROUND_MAX,
    Kind,
    proposal_bytes,
    vote_bytes,
)
from clawpurse.ledger.blocks import EVIDENCE_BYTES_MAX
from clawpurse.ledger.crypto import KEY_BYTES, SIGNATURE_BYTES
from clawpurse.ledger.errors import Bug, InvalidBlock, InvalidCertificate, Malformed

# Two statements of a valid round, a block id and a signature under one position and key.
DOUBLE_SIGN_BYTES_MAX: Final = EVIDENCE_BYTES_MAX
# A block verifies so many at most: 32 signatures, about 3 ms, and 6 kB beside its transactions.
# One suffices to convict a key, so more at once is either an attack or a broken network.
EVIDENCE_PER_BLOCK_MAX: Final = 16
# Height 8 ‖ round 4 ‖ kind 1 ‖ authority 32, big-endian: byte order is the order in a block.
SLOT_BYTES: Final = 8 + 4 + 1 + KEY_BYTES


class Statement(NamedTuple):
    """What differs between two signings of one position. `valid_round` is −1 for votes."""

    valid_round: int
    block_id: bytes | None
    signature: bytes


class DoubleSign(NamedTuple):
    """Two statements of `authority` for one (height, round, kind), in ascending order.

    One per position, authority and pair of contents: the order and the absence of anything else
    make the bytes canonical, so that two reporters report the same evidence.
    """

    kind: Kind
    height: int
    round: int
    authority: bytes
    first: Statement
    second: Statement

    @classmethod
    def of(cls, one: SignedMessage, other: SignedMessage) -> Self:
        """Pair two messages of one position. Raises `Bug` when they do not conflict."""
        left, right = _statement(one), _statement(other)
        position = _position(one)
        if position != _position(other) or left[:2] == right[:2]:
            raise Bug("these two messages do not contradict each other")
        first, second = sorted((left, right), key=_order)
        return cls(*position, first, second)

    @property
    def slot(self) -> bytes:
        """What it is evidence about: there is one record per (height, round, kind, authority)."""
        place = self.height.to_bytes(8, "big") + self.round.to_bytes(4, "big")
        return place + bytes((self.kind,)) + self.authority

    def sign_bytes(self, domain: Domain, statement: Statement) -> bytes:
        """Return what the authority signed when it made `statement`."""
        if self.kind is Kind.PROPOSAL:
            if statement.block_id is None:
                raise Malformed("evidence.blockId", "is nil, and a proposal names a block")
            return proposal_bytes(
                domain, self.height, self.round, statement.valid_round, statement.block_id
            )
        return vote_bytes(domain, self.kind, self.height, self.round, statement.block_id)

    def verify(self, domain: Domain, authorities: AuthoritySet, verify: Verify) -> None:
        """Raise `InvalidCertificate` unless this convicts a member of the set of its height."""
        if self.authority not in authorities:
            raise InvalidCertificate(f"0x{self.authority.hex()} is no authority of its height")
        for statement in (self.first, self.second):
            message = self.sign_bytes(domain, statement)
            if not verify(self.authority, message, statement.signature):
                raise InvalidCertificate("a signature of the evidence does not verify")

    def pack(self) -> bytes:
        """Return the canonical bytes: [kind, height, round, authority, first, second]."""
        return codec.pack(self)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical bytes. Raises `Malformed`, also when the statements do not conflict."""
        wire = codec.unpack_typed(data, size_max=DOUBLE_SIGN_BYTES_MAX, field="evidence")
        kind, height, round_, authority, first, second = codec.array(wire, "evidence", 6)
        evidence = cls(
            Kind(codec.integer(kind, "evidence.kind", Kind.PROPOSAL, Kind.PRECOMMIT)),
            codec.integer(height, "evidence.height", 1),
            codec.integer(round_, "evidence.round", 0, ROUND_MAX),
            codec.digest(authority, "evidence.authority"),
            _read_statement(first, "evidence.first"),
            _read_statement(second, "evidence.second"),
        )
        if _order(evidence.first) >= _order(evidence.second):
            raise Malformed("evidence", "does not hold two statements in ascending order")
        for statement in (evidence.first, evidence.second):
            if evidence.kind is Kind.PROPOSAL:
                if statement.block_id is None or statement.valid_round >= evidence.round:
                    raise Malformed("evidence", "states what no proposal can")
            elif statement.valid_round != NO_ROUND:
                raise Malformed("evidence", "gives a vote a valid round")
        return evidence


def double_signs(
    one: Certificate, other: Certificate, authorities: AuthoritySet
) -> tuple[DoubleSign, ...]:
    """Convict whoever signed two certificates of one height and round for different blocks.

    Both were verified against `authorities`. Of different rounds nobody is convicted by them
    alone: a lock may have been released in between, or forgotten, and they do not tell.
    """
    place = one.height, one.round
    if place != (other.height, other.round) or one.block_id == other.block_id:
        return ()
    theirs = _precommits(other, authorities)
    return tuple(
        DoubleSign.of(vote, theirs[key])
        for key, vote in _precommits(one, authorities).items()
        if key in theirs
    )


def _precommits(certificate: Certificate, authorities: AuthoritySet) -> dict[bytes, Vote]:
    place = (Kind.PRECOMMIT, certificate.height, certificate.round, certificate.block_id)
    members = authorities.signers(certificate.signers) or ()
    return {
        key: Vote(*place, key, signature)
        for key, signature in zip(members, certificate.signatures, strict=True)
    }


def read_block_evidence(packed: Sequence[bytes], height: int) -> tuple[DoubleSign, ...]:
    """Read the evidence of the block of a height and judge all that needs no state.

    At most `EVIDENCE_PER_BLOCK_MAX` records, strictly ascending by slot, none of a later
    height. Raises `InvalidBlock`, also for bytes that are no evidence.
    """
    if len(packed) > EVIDENCE_PER_BLOCK_MAX:
        raise InvalidBlock("evidence", f"{len(packed)} records, {EVIDENCE_PER_BLOCK_MAX} allowed")
    try:
        found = tuple([DoubleSign.unpack(data) for data in packed])
    except Malformed as err:
        raise InvalidBlock("evidence", str(err)) from err
    before = b""
    for proof in found:
        if proof.height > height:
            raise InvalidBlock("evidence", f"is of height {proof.height}, after {height}")
        if proof.slot <= before:
            raise InvalidBlock("evidence", "is not strictly ascending by what it is about")
        before = proof.slot
    return found


def _position(message: SignedMessage) -> tuple[Kind, int, int, bytes]:
    kind = message.kind if isinstance(message, Vote) else Kind.PROPOSAL
    return kind, message.height, message.round, message.authority


def _statement(message: SignedMessage) -> Statement:
    valid_round = NO_ROUND if isinstance(message, Vote) else message.valid_round
    return Statement(valid_round, message.block_id, message.signature)


def _order(statement: Statement) -> tuple[int, bool, bytes]:
    return statement.valid_round, statement.block_id is not None, statement.block_id or b""


def _read_statement(value: object, field: str) -> Statement:
    valid_round, block_id, signature = codec.array(value, field, 3)
    return Statement(
        codec.integer(valid_round, f"{field}.validRound", NO_ROUND, ROUND_MAX),
        codec.optional_digest(block_id, f"{field}.blockId"),
        codec.binary(signature, f"{field}.signature", SIGNATURE_BYTES, SIGNATURE_BYTES),
    )
