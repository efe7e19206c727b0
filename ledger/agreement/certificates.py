"""Collections of votes that prove something: a decision, a polka, or the way into a round.

Every verification is full (threshold, type, value, duplicates, membership, every signature):
in other projects each check that was left out became a way to halt or split a chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.authorities import AUTHORITIES_MAX, AuthoritySet
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.messages import VOTE_BYTES_MAX, Verify, Vote
from clawpurse.ledger.agreement.signbytes import ROUND_MAX, Kind, vote_bytes
from clawpurse.ledger.blocks import CERTIFICATE_BYTES_MAX
from clawpurse.ledger.crypto import SIGNATURE_BYTES, certificate_hash_of
from clawpurse.ledger.errors import InvalidCertificate, Malformed

BITMAP_BYTES_MAX: Final = (AUTHORITIES_MAX + 7) // 8
# A way into a round needs at most a quorum of one kind; a prevote and a precommit of each
# authority is the most that an honest sender puts together.
ROUND_VOTES_MAX: Final = 2 * AUTHORITIES_MAX
ROUND_CERTIFICATE_BYTES_MAX: Final = ROUND_VOTES_MAX * VOTE_BYTES_MAX + 64


@dataclass(frozen=True)
class _QuorumCertificate:
    """A quorum of votes of one kind for one value in one round, signatures in set order.

    `signers` is the bitmap of `AuthoritySet.bitmap`; `signatures` has one entry per set bit.
    """

    kind: ClassVar[Kind]
    field: ClassVar[str]

    height: int
    round: int
    block_id: bytes | None
    signers: bytes
    signatures: tuple[bytes, ...]

    @classmethod
    def of(cls, authorities: AuthoritySet, votes: Mapping[bytes, Vote]) -> Self:
        """Build from agreeing votes by authority; the caller knows that they are a quorum."""
        first = next(iter(votes.values()))
        return cls(
            first.height,
            first.round,
            first.block_id,
            authorities.bitmap(votes),
            tuple(votes[key].signature for key in authorities if key in votes),
        )

    def verified_votes(
        self, domain: Domain, authorities: AuthoritySet, verify: Verify
    ) -> tuple[Vote, ...]:
        """Verify everything, return the votes. Raises `InvalidCertificate` with what is wrong."""
        members = authorities.signers(self.signers)
        if members is None:
            raise InvalidCertificate("its signer bitmap does not fit the authority set")
        if len(members) != len(self.signatures):
            raise InvalidCertificate(
                f"it names {len(members)} signers and carries {len(self.signatures)} signatures"
            )
        if not authorities.quorum(len(members)):
            raise InvalidCertificate(f"{len(members)} of {len(authorities)} signers are no quorum")
        message = vote_bytes(domain, self.kind, self.height, self.round, self.block_id)
        for key, signature in zip(members, self.signatures, strict=True):
            if not verify(key, message, signature):
                raise InvalidCertificate(f"the signature of 0x{key.hex()} does not verify")
        return tuple(
            Vote(self.kind, self.height, self.round, self.block_id, key, signature)
            for key, signature in zip(members, self.signatures, strict=True)
        )

    def verify(self, domain: Domain, authorities: AuthoritySet, verify: Verify) -> None:
        """Raise `InvalidCertificate` unless this certificate proves what it says."""
        self.verified_votes(domain, authorities, verify)

    def pack(self) -> bytes:
        """Return the canonical bytes: [height, round, block id, signers, signatures]."""
        return codec.pack([self.height, self.round, self.block_id, self.signers, self.signatures])

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical bytes. Raises `Malformed`; checks form, not signatures."""
        wire = codec.unpack_typed(data, size_max=CERTIFICATE_BYTES_MAX, field=cls.field)
        height, round_, block_id, signers, signatures = codec.array(wire, cls.field, 5)
        return cls(
            codec.integer(height, f"{cls.field}.height", 1),
            codec.integer(round_, f"{cls.field}.round", 0, ROUND_MAX),
            cls._value(block_id),
            codec.binary(signers, f"{cls.field}.signers", BITMAP_BYTES_MAX, 1),
            tuple(
                codec.binary(item, f"{cls.field}.signatures[]", SIGNATURE_BYTES, SIGNATURE_BYTES)
                for item in codec.items(signatures, f"{cls.field}.signatures", AUTHORITIES_MAX)
            ),
        )

    @classmethod
    def _value(cls, block_id: object) -> bytes | None:
        return codec.optional_digest(block_id, f"{cls.field}.blockId")


@dataclass(frozen=True)
class Certificate(_QuorumCertificate):
    """A quorum of precommits for one block: the proof that its height is decided."""

    kind: ClassVar[Kind] = Kind.PRECOMMIT
    field: ClassVar[str] = "certificate"

    def __post_init__(self) -> None:
        """Refuse nil: a quorum for nothing decides nothing."""
        codec.digest(self.block_id, "certificate.blockId")

    @property
    def decided_id(self) -> bytes:
        """The id of the decided block."""
        return codec.digest(self.block_id, "certificate.blockId")

    @property
    def hash(self) -> bytes:
        """The 32-byte hash that the next header carries."""
        return certificate_hash_of(self.pack())


@dataclass(frozen=True)
class PolkaCertificate(_QuorumCertificate):
    """A quorum of prevotes for one block, or for nil, in one round."""

    kind: ClassVar[Kind] = Kind.PREVOTE
    field: ClassVar[str] = "polka"


@dataclass(frozen=True)
class RoundCertificate:
    """The votes that allow one to enter `round` of `height` (R16).

    Either a quorum of precommits of any value in round − 1, or votes of at least one honest
    member's worth of distinct authorities in `round` or above (R12).
    """

    height: int
    round: int
    votes: tuple[Vote, ...]

    def verified_votes(
        self, domain: Domain, authorities: AuthoritySet, verify: Verify
    ) -> tuple[Vote, ...]:
        """Verify everything, return the votes. Raises `InvalidCertificate` with what is wrong."""
        seen: dict[tuple[int, int, bytes], Vote] = {}
        for vote in self.votes:
            if vote.height != self.height:
                raise InvalidCertificate("it mixes votes of several heights")
            if vote.authority not in authorities:
                raise InvalidCertificate(f"0x{vote.authority.hex()} is no authority of its height")
            slot = (vote.round, int(vote.kind), vote.authority)
            if slot in seen:
                raise InvalidCertificate(f"0x{vote.authority.hex()} votes twice in one place")
            seen[slot] = vote
        if not self._allows_entry(authorities):
            raise InvalidCertificate(f"its votes do not allow round {self.round}")
        for vote in self.votes:
            if not vote.verifies(domain, verify):
                raise InvalidCertificate(
                    f"the signature of 0x{vote.authority.hex()} does not verify"
                )
        return self.votes

    def _allows_entry(self, authorities: AuthoritySet) -> bool:
        if all(v.kind is Kind.PRECOMMIT and v.round == self.round - 1 for v in self.votes):
            return authorities.quorum(len(self.votes))
        if any(vote.round < self.round for vote in self.votes):
            return False
        return authorities.honest(len(dict.fromkeys(vote.authority for vote in self.votes)))

    def verify(self, domain: Domain, authorities: AuthoritySet, verify: Verify) -> None:
        """Raise `InvalidCertificate` unless these votes allow one to enter `round`."""
        self.verified_votes(domain, authorities, verify)

    def pack(self) -> bytes:
        """Return the canonical bytes: [height, round, votes]."""
        return codec.pack([self.height, self.round, self.votes])

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical bytes. Raises `Malformed`; checks form, not signatures."""
        size_max = ROUND_CERTIFICATE_BYTES_MAX
        wire = codec.unpack_typed(data, size_max=size_max, field="roundCertificate")
        height, round_, votes = codec.array(wire, "roundCertificate", 3)
        certificate = cls(
            codec.integer(height, "roundCertificate.height", 1),
            codec.integer(round_, "roundCertificate.round", 1, ROUND_MAX),
            tuple(
                Vote.from_wire(item)
                for item in codec.items(votes, "roundCertificate.votes", ROUND_VOTES_MAX)
            ),
        )
        if not certificate.votes:
            raise Malformed("roundCertificate.votes", "is empty")
        return certificate
