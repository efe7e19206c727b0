"""Everything that the machine asks its host to do. The host performs effects in order.

The order carries rule R22: what an effect rests on is appended before it. The host's duty is
to flush appended records to disk before it performs `Sign`, `Broadcast` or `Decide`, and to
have the signer's watermark on disk before a signature exists outside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from clawpurse.consensus.inputs import Input
from clawpurse.consensus.timeouts import TimeoutKind
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.envelope import Message
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.agreement.messages import SignedMessage
from clawpurse.ledger.blocks import Header


@dataclass(frozen=True, slots=True)
class AppendWal:
    """Append this input to the height's log. Always comes first among the effects of its input.

    A step that takes in several inputs has several; the host appends all before it performs any
    other effect of that step, so that the log's order is that in which they were taken in.

    The machine asks for it exactly when the input changed something, so a flood of duplicates
    or rubbish costs no disk. In replay the host ignores it.
    """

    record: Input


@dataclass(frozen=True, slots=True)
class RequestBlock:
    """Build and execute a block for (height, round) now; answer with `inputs.BlockReady`.

    Asked at most once per (height, round). Read the block's time at this moment, not before.
    """

    height: int
    round: int


@dataclass(frozen=True, slots=True)
class Validate:
    """Get the body, check and execute it, answer with `inputs.Validity`.

    The work goes on when the round does: the verdict may be needed later.
    """

    header: Header


@dataclass(frozen=True, slots=True)
class FetchBody:
    """A quorum precommitted a block that was never proposed to us: get it from anybody.

    Answer with `inputs.HeaderFetched`; `Validate` follows.
    """

    height: int
    round: int
    block_id: bytes


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign this message under the double-sign guard; answer with `inputs.Signed`.

    One at a time: the next one is asked for when the answer has been taken, so that each
    message is in the log before the signer's watermark passes it (R22). When the guard refuses,
    answer with `inputs.SignRefused`: the machine goes on without this message.
    """

    message: SignedMessage


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send to every peer that follows consensus: own messages, certificates, and repetitions."""

    message: Message


@dataclass(frozen=True, slots=True)
class ScheduleTimeout:
    """Answer with `inputs.TimeoutElapsed` of the same kind, height and round after `ms`."""

    kind: TimeoutKind
    height: int
    round: int
    ms: int


@dataclass(frozen=True, slots=True)
class CancelTimeouts:
    """Timers of `height` in rounds below `round` no longer matter (a late one does no harm)."""

    height: int
    round: int


@dataclass(frozen=True, slots=True)
class Decide:
    """The height is decided: commit this block, then give `inputs.StartHeight` of the next one."""

    header: Header
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class EvidenceFound:
    """An authority signed two different things for one position; both signatures verify."""

    evidence: DoubleSign


@dataclass(frozen=True, slots=True)
class Rejected:
    """No honest peer sends such an input. The host knows who did."""

    rejected: Input
    problem: str


@dataclass(frozen=True, slots=True)
class Halt:
    """A quorum precommitted a block that this node finds invalid. The node must stop.

    Either this node's execution differs from the others' or more than f authorities are faulty;
    going on would commit what is believed wrong, or fork. `is_fork`: another block has a quorum
    of precommits too, so they are faulty.
    """

    height: int
    round: int
    block_id: bytes
    problem: str
    is_fork: bool = False


Effect = (
    AppendWal
    | RequestBlock
    | Validate
    | FetchBody
    | Sign
    | Broadcast
    | ScheduleTimeout
    | CancelTimeouts
    | Decide
    | EvidenceFound
    | Rejected
    | Halt
)
