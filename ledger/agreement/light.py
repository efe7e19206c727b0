"""Whether a block follows from one that is trusted, for who keeps no chain (R30, R32).

A light block is a header, what decided it, and the two sets that it names by hash. `verify` is
the whole judgement, pure; its answer is one of three:

    SUCCESS            as certain as the trusted block was: trust it in its place
    NOT_ENOUGH_TRUST   nothing is wrong with it, but too few of those who are trusted signed it:
                       ask for a block between the two and try again
    Invalid(reason)    never trust it, whatever else comes

Why a third is enough for a step over many blocks: within the trusting period less than a third
of the trusted next set lies, so among more than a third of its members one is honest, and an
honest one signs only blocks of the chain. (After cometbft/cometbft, light/verifier.go; unlike
there, a block's own certificate is judged whole before anything is said of trust.)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, NamedTuple, Self

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.agreement.authorities import AUTHORITIES_BYTES_MAX, AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.agreement.messages import Verify, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import CERTIFICATE_BYTES_MAX, HEADER_BYTES_MAX, Header
from clawpurse.ledger.errors import InvalidCertificate
from clawpurse.ledger.genesis import Genesis

# R32. As long as misbehaviour stays punishable: `evidence_age_max_ms` of the parameters.
TRUSTING_PERIOD_MS: Final = 14 * 24 * 3_600_000
# R30. Honest clocks differ by less than a second; a person's machine may be worse.
CLOCK_DRIFT_MS: Final = 10_000
# Two sets, a header, a certificate, and the heads of a list of four.
LIGHT_BLOCK_BYTES_MAX: Final = (
    HEADER_BYTES_MAX + CERTIFICATE_BYTES_MAX + 2 * AUTHORITIES_BYTES_MAX + 32
)


@dataclass(frozen=True)
class LightBlock:
    """A header, its certificate, the set that decides it and the set of the next height."""

    header: Header
    certificate: Certificate
    authorities: AuthoritySet
    next_authorities: AuthoritySet

    @property
    def height(self) -> int:
        """The height of the block."""
        return self.header.height

    @property
    def block_id(self) -> bytes:
        """The 32-byte id of the block."""
        return self.header.block_id

    def pack(self) -> bytes:
        """Return the canonical bytes: [header, certificate, authorities, next authorities]."""
        parts = (self.header, self.certificate, self.authorities, self.next_authorities)
        return codec.pack([part.pack() for part in parts])

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical bytes. Raises `Malformed`; checks form, nothing that `verify` does."""
        wire = codec.unpack_typed(data, size_max=LIGHT_BLOCK_BYTES_MAX, field="lightBlock")
        header, certificate, authorities, following = codec.array(wire, "lightBlock", 4)
        return cls.of_parts(
            codec.binary(header, "lightBlock.header", HEADER_BYTES_MAX),
            codec.binary(certificate, "lightBlock.certificate", CERTIFICATE_BYTES_MAX),
            codec.binary(authorities, "lightBlock.authorities", AUTHORITIES_BYTES_MAX),
            codec.binary(following, "lightBlock.nextAuthorities", AUTHORITIES_BYTES_MAX),
        )

    @classmethod
    def of_parts(
        cls, header: bytes, certificate: bytes, authorities: bytes, next_authorities: bytes
    ) -> Self:
        """Read the four parts, each canonical bytes. Raises `Malformed` naming the part."""
        return cls(
            Header.unpack(header),
            Certificate.unpack(certificate),
            AuthoritySet.unpack(authorities),
            AuthoritySet.unpack(next_authorities),
        )


class Trusted(NamedTuple):
    """What is known of a trusted block: all that judging a later one needs.

    `next_authorities` decide height + 1. Times in ms UTC. Genesis is height 0, its hash its id.
    """

    domain: Domain
    height: int
    block_id: bytes
    time_ms: int
    next_authorities: AuthoritySet

    @classmethod
    def at_genesis(cls, genesis: Genesis) -> Self:
        """Trust a genesis whose hash is known from somebody who is trusted."""
        domain = Domain(genesis.chain_id, genesis.hash)
        following = AuthoritySet(genesis.authorities)
        return cls(domain, 0, genesis.hash, genesis.time_ms, following)

    @classmethod
    def of(cls, block: LightBlock) -> Self:
        """Trust a block: one that `verify` let pass, or whose id is known as `at_genesis`."""
        header = block.header
        return cls(
            domain_of(header), header.height, block.block_id, header.time_ms, block.next_authorities
        )

    def expired(self, now_ms: int, rules: Rules) -> bool:
        """Tell whether the trusting period is over: then only a checkpoint helps (R32)."""
        return now_ms >= self.time_ms + rules.trusting_period_ms


class Rules(NamedTuple):
    """How long trust lasts and how wrong this machine's clock may be, both in ms."""

    trusting_period_ms: int = TRUSTING_PERIOD_MS
    clock_drift_ms: int = CLOCK_DRIFT_MS


class Reason(StrEnum):
    """Why a block is refused, in the order in which the rules are asked. Names are protocol."""

    EXPIRED = "expired"
    NETWORK = "network"
    EPOCH = "epoch"
    HEIGHT = "height"
    TIME = "time"
    FUTURE = "future"
    AUTHORITIES = "authorities"
    NEXT_AUTHORITIES = "nextAuthorities"
    PARENT = "parent"
    SUCCESSION = "succession"
    CERTIFICATE = "certificate"


class Accepted(Enum):
    """The two answers to a block with which nothing is wrong."""

    SUCCESS = "success"
    NOT_ENOUGH_TRUST = "notEnoughTrust"


@dataclass(frozen=True)
class Invalid:
    """A refusal: the first rule that does not hold, and a sentence of facts without full stop."""

    reason: Reason
    detail: str


SUCCESS: Final = Accepted.SUCCESS
NOT_ENOUGH_TRUST: Final = Accepted.NOT_ENOUGH_TRUST
DEFAULT_RULES: Final = Rules()
Verdict = Accepted | Invalid


def verify(
    trusted: Trusted,
    untrusted: LightBlock,
    now_ms: int,
    rules: Rules = DEFAULT_RULES,
    signature_holds: Verify = crypto.verify,
) -> Verdict:
    """Judge a block by one that is trusted. `now_ms` is the reader's own clock, in ms UTC.

    Never raises. One call verifies at most one signature of each member of the block's own set.
    """
    refused = (
        _check_trust(trusted, now_ms, rules)
        or _check_network(trusted, untrusted.header)
        or _check_place(trusted, untrusted.header, now_ms, rules)
        or check_sets(untrusted)
        or _check_adjacent(trusted, untrusted)
        or check_certificate(untrusted, signature_holds)
    )
    if refused is not None:
        return refused
    if untrusted.height == trusted.height + 1:
        return SUCCESS
    signers = signers_of(untrusted)
    known = sum(key in trusted.next_authorities for key in signers)
    # More than a third of them: at least one honest one, whoever else signed.
    return SUCCESS if trusted.next_authorities.honest(known) else NOT_ENOUGH_TRUST


def check_alone(block: LightBlock, signature_holds: Verify = crypto.verify) -> Invalid | None:
    """Judge what a block says of itself: its sets hash to its header, and a quorum decided it.

    Proves nothing about which chain it is of: anybody can make a set and a chain of it.
    """
    return check_sets(block) or check_certificate(block, signature_holds)


def check_sets(block: LightBlock) -> Invalid | None:
    """Refuse sets that are not those which the header names."""
    header = block.header
    for reason, named, given in (
        (Reason.AUTHORITIES, header.authorities_hash, block.authorities),
        (Reason.NEXT_AUTHORITIES, header.next_authorities_hash, block.next_authorities),
    ):
        if given.hash != named:
            return Invalid(
                reason,
                f"block {header.height} names the set 0x{named.hex()}, "
                f"given is 0x{given.hash.hex()}",
            )
    return None


def check_certificate(block: LightBlock, signature_holds: Verify = crypto.verify) -> Invalid | None:
    """Refuse a block that no quorum of the given set decided: every bit, every signature."""
    certificate, header = block.certificate, block.header
    if (certificate.height, certificate.decided_id) != (header.height, block.block_id):
        return Invalid(
            Reason.CERTIFICATE,
            f"the certificate decides another block than this one of height {header.height}",
        )
    try:
        certificate.verify(domain_of(header), block.authorities, signature_holds)
    except InvalidCertificate as err:
        return Invalid(Reason.CERTIFICATE, f"in the certificate of block {header.height}, {err}")
    return None


def domain_of(header: Header) -> Domain:
    """Return the network that a header says it is of."""
    return Domain(header.chain_id, header.genesis_hash, header.recovery_epoch)


def signers_of(block: LightBlock) -> tuple[bytes, ...]:
    """Return the keys that signed a block; none if the bitmap does not fit its set."""
    return block.authorities.signers(block.certificate.signers) or ()


def _check_trust(trusted: Trusted, now_ms: int, rules: Rules) -> Invalid | None:
    if not trusted.expired(now_ms, rules):
        return None
    return Invalid(
        Reason.EXPIRED,
        f"trust in block {trusted.height} ended {now_ms - trusted.time_ms} ms after its time",
    )


def _check_network(trusted: Trusted, header: Header) -> Invalid | None:
    domain = trusted.domain
    if (header.chain_id, header.genesis_hash) != (domain.chain_id, domain.genesis_hash):
        return Invalid(
            Reason.NETWORK,
            f"block {header.height} is of {header.chain_id}, genesis 0x{header.genesis_hash.hex()}",
        )
    if header.recovery_epoch != domain.recovery_epoch:
        # A recovery replaces who decides by a decision of people, which no signature of the old
        # set shows; what they decided is theirs to hand on, as a checkpoint of the new epoch.
        return Invalid(
            Reason.EPOCH,
            f"block {header.height} is of recovery epoch {header.recovery_epoch}, trusted is "
            f"{domain.recovery_epoch}; a checkpoint of the new epoch is required",
        )
    return None


def _check_place(trusted: Trusted, header: Header, now_ms: int, rules: Rules) -> Invalid | None:
    if header.height <= trusted.height:
        return Invalid(
            Reason.HEIGHT, f"height {header.height} is not above the trusted {trusted.height}"
        )
    if header.time_ms <= trusted.time_ms:
        return Invalid(
            Reason.TIME,
            f"block {header.height} is of {header.time_ms} ms, not after the trusted "
            f"{trusted.time_ms} ms",
        )
    if header.time_ms >= now_ms + rules.clock_drift_ms:
        return Invalid(
            Reason.FUTURE,
            f"block {header.height} is {header.time_ms - now_ms} ms ahead of this clock",
        )
    return None


def _check_adjacent(trusted: Trusted, untrusted: LightBlock) -> Invalid | None:
    """Hold the next block to what the trusted one says of it: its parent and its set."""
    if untrusted.height != trusted.height + 1:
        return None
    if untrusted.header.parent_id != trusted.block_id:
        return Invalid(
            Reason.PARENT,
            f"block {untrusted.height} follows 0x{untrusted.header.parent_id.hex()}, trusted is "
            f"0x{trusted.block_id.hex()}",
        )
    if untrusted.authorities.hash != trusted.next_authorities.hash:
        return Invalid(
            Reason.SUCCESSION,
            f"block {untrusted.height} was decided by 0x{untrusted.authorities.hash.hex()}, the "
            f"block before it names 0x{trusted.next_authorities.hash.hex()}",
        )
    return None


class Contradiction(NamedTuple):
    """Who is to blame for two decided blocks of one height.

    `signed_both` are the keys in both certificates, in the order of the first one's set; at
    least a third of a set that both blocks share. `double_signs` convicts each of them, if both
    decided in one round; else somebody forgot a lock, which two certificates alone do not tell.
    """

    signed_both: tuple[bytes, ...]
    double_signs: tuple[DoubleSign, ...]


def contradiction(one: LightBlock, other: LightBlock) -> Contradiction:
    """Blame two verified blocks of one height and network, and different ids."""
    theirs = _votes(other)
    shared = {key: vote for key, vote in _votes(one).items() if key in theirs}
    signed_both = tuple(shared)
    if one.certificate.round != other.certificate.round:
        return Contradiction(signed_both, ())
    pairs = tuple(DoubleSign.of(vote, theirs[key]) for key, vote in shared.items())
    return Contradiction(signed_both, pairs)


def _votes(block: LightBlock) -> dict[bytes, Vote]:
    certificate = block.certificate
    place = (Kind.PRECOMMIT, certificate.height, certificate.round, certificate.block_id)
    return {
        key: Vote(*place, key, signature)
        for key, signature in zip(signers_of(block), certificate.signatures, strict=True)
    }
