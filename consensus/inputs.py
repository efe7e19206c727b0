"""Everything that can happen to the machine. All are immutable; equal inputs are the same event.

A host that logs each input of which the machine asks for it (`effects.AppendWal`) can replay
the log into a fresh machine and reaches the same state with the same outputs (R22).
"""

from __future__ import annotations

from dataclasses import dataclass

from clawpurse.consensus.timeouts import TimeoutKind, TimeoutParams
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import (
    Certificate,
    PolkaCertificate,
    RoundCertificate,
)
from clawpurse.ledger.agreement.messages import Proposal, SignedMessage, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Header


@dataclass(frozen=True, slots=True)
class StartHeight:
    """Begin `height`: the first height after start-up, or the one after a decision.

    `own_key` is the public key under which this node signs, None for a follower; a key outside
    `authorities` makes a follower too, and None is also right while catching up.
    `next_authorities` judge messages of height + 1, which may arrive early; the set is known by
    then, because changes take force at h + 2. `pause_ms` is what `timeouts.pause_ms` says: how
    long to wait so that heights keep their interval.
    """

    height: int
    authorities: AuthoritySet
    next_authorities: AuthoritySet
    own_key: bytes | None
    timeouts: TimeoutParams
    pause_ms: int = 0


@dataclass(frozen=True, slots=True)
class ProposalReceived:
    """A proposal from a peer. `timely` is `TimeoutParams.timely`, judged once, at receipt."""

    proposal: Proposal
    timely: bool


@dataclass(frozen=True, slots=True)
class VoteReceived:
    """A vote from a peer."""

    vote: Vote


@dataclass(frozen=True, slots=True)
class CertificateReceived:
    """A certificate from a peer: of a decision, a polka, or the way into a round."""

    certificate: Certificate | PolkaCertificate | RoundCertificate


@dataclass(frozen=True, slots=True)
class BlockReady:
    """The answer to `effects.RequestBlock`: a block that this node built and executed.

    Its header carries `first_round` = `round` and this node's key as `proposer`. None: the host
    could not build one, and the round goes on without a proposal. A second answer for the same
    (height, round) is ignored: two blocks for one turn would be equivocation.
    """

    height: int
    round: int
    header: Header | None


@dataclass(frozen=True, slots=True)
class Validity:
    """The answer to `effects.Validate`: what this node's own checks and execution say.

    May be true only after the body is in the log. `problem` names what differs (the module and
    the first differing key), for `effects.Halt`.
    """

    block_id: bytes
    ok: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class WorkAvailable:
    """There is something to put into a block of `height`: a transaction, due work, evidence."""

    height: int


@dataclass(frozen=True, slots=True)
class TimeoutElapsed:
    """A timer that `effects.ScheduleTimeout` asked for has run out."""

    kind: TimeoutKind
    height: int
    round: int


@dataclass(frozen=True, slots=True)
class HeaderFetched:
    """The answer to `effects.FetchBody`: the header of the wanted block, whoever sent it."""

    header: Header


@dataclass(frozen=True, slots=True)
class SyncedBlock:
    """A block of this height with the certificate that decided it, from block sync (R28)."""

    header: Header
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class Signed:
    """The answer to `effects.Sign`: the same message, signed under `own_key`."""

    message: SignedMessage


@dataclass(frozen=True, slots=True)
class SignRefused:
    """The other answer to `effects.Sign`: the guard will not sign for this position."""

    kind: Kind
    height: int
    round: int


Input = (
    StartHeight
    | ProposalReceived
    | VoteReceived
    | CertificateReceived
    | BlockReady
    | Validity
    | WorkAvailable
    | TimeoutElapsed
    | HeaderFetched
    | SyncedBlock
    | Signed
    | SignRefused
)
