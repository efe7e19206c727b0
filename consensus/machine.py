"""The consensus machine: one synchronous door, `step(input) -> effects`.

It admits inputs (right height, new, right sender, true signature), keeps what is early, asks for
each input that changed something to be logged, and lets `round.Height` fire the rules. It reads
no clock, draws no chance and performs nothing: equal inputs give equal outputs.

    machine = Machine(domain)
    for effect in machine.step(StartHeight(1, authorities, authorities, own_key, timeouts)):
        ...   # perform in order; answers come back as inputs

After a restart: a fresh machine, `step` for each logged input with its effects ignored, then
perform `outstanding()` once and go on live.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Final, NamedTuple

from clawpurse.consensus.effects import (
    AppendWal,
    Broadcast,
    Effect,
    EvidenceFound,
    FetchBody,
    Halt,
    Rejected,
    RequestBlock,
    ScheduleTimeout,
    Sign,
    Validate,
)
from clawpurse.consensus.inputs import (
    BlockReady,
    CertificateReceived,
    HeaderFetched,
    Input,
    ProposalReceived,
    Signed,
    SignRefused,
    StartHeight,
    SyncedBlock,
    TimeoutElapsed,
    Validity,
    VoteReceived,
    WorkAvailable,
)
from clawpurse.consensus.proposals import ProposalKeeper, Proposed, is_well_formed
from clawpurse.consensus.round import Height, Step, Trace
from clawpurse.consensus.timeouts import TimeoutKind
from clawpurse.consensus.votes import VoteKeeper
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import (
    Certificate,
    PolkaCertificate,
    RoundCertificate,
)
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.agreement.messages import (
    Proposal,
    SignedMessage,
    Verify,
    Vote,
    kind_of,
)
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.crypto import verify as verify_ed25519
from clawpurse.ledger.errors import Bug, InvalidCertificate


class MachineState(NamedTuple):
    """A picture of where the machine stands, for people and for comparing two machines.

    `step_name` is start, propose, prevote, precommit, decided or halted. Locked and valid values
    are block ids; their rounds are −1 while there is none. The votes are, per round, the
    bitmaps of known prevotes and precommits.
    """

    height: int
    round: int
    step_name: str
    waiting: bool
    proposer: bytes | None
    locked_value: bytes | None
    locked_round: int
    valid_value: bytes | None
    valid_round: int
    votes: tuple[tuple[int, bytes, bytes], ...]


class _Early:
    """What arrived for the next height, verified against its authorities (R14)."""

    def __init__(self, start: StartHeight) -> None:
        self.height: Final = start.height + 1
        self.authorities: Final = start.next_authorities
        self.votes: Final = VoteKeeper(start.next_authorities)
        self.proposals: Final = ProposalKeeper()

    def inputs(self) -> list[Input]:
        """Return what is kept as inputs, in an order that depends only on what is kept."""
        proposals: list[Input] = [
            ProposalReceived(kept.proposal, kept.timely) for kept in self.proposals.kept()
        ]
        return [*proposals, *(VoteReceived(vote) for vote in self.votes)]


class Machine:
    """Agreement on one block per height, for an authority set of any size from 1 to 100.

    Every attribute that is not a method is for reading. A machine lives over many heights; after
    `effects.Decide` it waits for `StartHeight` of the next one, after `effects.Halt` for ever.
    """

    #: The rules; simulations put broken ones in their place to see that they are noticed.
    rules: ClassVar[type[Height]] = Height

    def __init__(
        self, domain: Domain, *, verify: Verify = verify_ed25519, trace: Trace | None = None
    ) -> None:
        """Make a machine that knows no height yet.

        `verify` judges (public key, message, signature) and must be pure: the same answer in
        replay as live. A node passes one that answers from its cache of verified signatures.
        `trace` is told the name of each branch taken (`round.BRANCHES`).
        """
        self._domain = domain
        self._verify = verify
        self._trace = trace
        self._current: Height | None = None
        self._early: _Early | None = None
        self._out: list[Effect] = []

    # ── the door ────────────────────────────────────────────────────────────────────────────

    def step(self, event: Input) -> tuple[Effect, ...]:
        """Take one input and return what to do, in order. Empty when the input changes nothing.

        Raises `Bug` when the host breaks the contract of an input (a height out of order, a
        block of its own that is not for its turn); never because of what a peer sent.
        """
        if isinstance(event, StartHeight):
            return self._start(event)
        return tuple(self._take(event, verified=False))

    def outstanding(self) -> tuple[Effect, ...]:
        """Return what is still to be performed or answered; for after a replay.

        Own messages are sent again, unanswered requests made again, timers armed anew at full
        length: whatever the crash interrupted goes on, and nothing is decided twice.
        """
        at = self._current
        if at is None:
            return ()
        if at.halt is not None:
            return (at.halt,)
        if at.decision is not None:
            return (at.decision,)
        effects: list[Effect] = [Broadcast(message) for message in at.own_messages]
        if at.being_signed is not None:
            effects.append(Sign(at.being_signed))
        in_turn = at.requested_round == at.round and at.step is Step.PROPOSE
        if at.awaits_block and in_turn:
            effects.append(RequestBlock(at.height, at.requested_round))
        for block_id, header in at.asked.items():
            if block_id not in at.verdicts:
                effects.append(Validate(header))
        decided = at.votes.decided
        fetching = at.fetching
        if fetching is not None and decided is not None and fetching not in at.proposals.headers:
            effects.append(FetchBody(at.height, decided.round, fetching))
        effects += at.timers.values()
        return tuple(effects)

    # ── reading ─────────────────────────────────────────────────────────────────────────────

    @property
    def height(self) -> int:
        """The height in progress, 0 before the first."""
        return 0 if self._current is None else self._current.height

    @property
    def round(self) -> int:
        """The round in progress."""
        return 0 if self._current is None else self._current.round

    @property
    def step_name(self) -> str:
        """Where in the round: start, propose, prevote, precommit, decided or halted."""
        return (Step.START if self._current is None else self._current.step).name.lower()

    @property
    def waiting(self) -> bool:
        """Whether the height waits for its interval or for work (R19)."""
        at = self._current
        return at is not None and (at.step is Step.START or at.idle)

    @property
    def timers(self) -> tuple[ScheduleTimeout, ...]:
        """The timers that still matter; others that were asked for do nothing when they elapse."""
        return () if self._current is None else tuple(self._current.timers.values())

    @property
    def halt(self) -> Halt | None:
        """Why this machine stands still for ever, None while it does not."""
        return None if self._current is None else self._current.halt

    @property
    def locked_value(self) -> bytes | None:
        """The id of the block that this node is locked on."""
        return _id_of(None if self._current is None else self._current.locked)

    @property
    def locked_round(self) -> int:
        """The round of the lock, −1 for none."""
        return -1 if self._current is None else self._current.locked_round

    @property
    def valid_value(self) -> bytes | None:
        """The id of the newest block that is known to have a polka: what we would propose."""
        return _id_of(None if self._current is None else self._current.valid)

    @property
    def valid_round(self) -> int:
        """The round of that polka, −1 for none."""
        return -1 if self._current is None else self._current.valid_round

    @property
    def authorities(self) -> AuthoritySet | None:
        """The authorities of the height in progress."""
        return None if self._current is None else self._current.authorities

    @property
    def own_messages(self) -> tuple[SignedMessage, ...]:
        """What this node signed at this height: send it to a peer that connects anew (R16)."""
        return () if self._current is None else tuple(self._current.own_messages)

    @property
    def votes(self) -> VoteKeeper | None:
        """The votes of the height in progress: `bitmap` and `lacking` serve gossip (R16)."""
        return None if self._current is None else self._current.votes

    def proposals(self, round_: int) -> tuple[Proposal, ...]:
        """Return the verified proposals of a round of this height, for peers that lack them."""
        kept = () if self._current is None else self._current.proposals.at(round_)
        return tuple(proposed.proposal for proposed in kept)

    def proposals_at(self, round_: int) -> tuple[Proposal, ...]:
        """The verified proposals of a round of the height in progress: what may be relayed."""
        at = self._current
        if at is None:
            return ()
        return tuple(proposed.proposal for proposed in at.proposals.at(round_))

    @property
    def live_blocks(self) -> tuple[bytes, ...]:
        """The ids of which the host should keep executed results: at most three (R17)."""
        at = self._current
        if at is None:
            return ()
        ids = [_id_of(at.locked), _id_of(at.valid)]
        ids += [proposed.proposal.block_id for proposed in at.proposals.at(at.round)[:1]]
        if at.votes.decided is not None:
            ids = [at.votes.decided.block_id]
        return tuple(dict.fromkeys(block_id for block_id in ids if block_id is not None))

    @property
    def state(self) -> MachineState:
        """Return a picture of where the machine stands."""
        at = self._current
        votes = () if at is None else at.votes.rounds()
        return MachineState(
            self.height,
            self.round,
            self.step_name,
            self.waiting,
            None if at is None else at.authorities.proposer(at.height, at.round),
            self.locked_value,
            self.locked_round,
            self.valid_value,
            self.valid_round,
            tuple(
                (
                    round_,
                    at.votes.bitmap(Kind.PREVOTE, round_),
                    at.votes.bitmap(Kind.PRECOMMIT, round_),
                )
                for round_ in votes
                if at is not None
            ),
        )

    # ── admission ───────────────────────────────────────────────────────────────────────────

    def _start(self, event: StartHeight) -> tuple[Effect, ...]:
        at = self._current
        if at is not None and (at.step is not Step.DECIDED or event.height != at.height + 1):
            raise Bug(f"height {event.height} started while {at.height} is not decided")
        early = self._early
        self._out = [AppendWal(event)]
        self._current = self.rules(event, self._out, self._trace)
        self._early = _Early(event)
        self._current.begin(event.pause_ms)
        self._current.settle()
        effects = self._out
        # What came early is taken as if it came now, so that it stands in this height's log.
        if early is not None and early.height == event.height:
            verified = early.authorities == event.authorities
            for held in early.inputs():
                effects = effects + self._take(held, verified=verified)
        return tuple(effects)

    def _take(self, event: Input, *, verified: bool) -> list[Effect]:
        at = self._current
        if at is None:
            return []
        out: list[Effect] = []
        self._out = out
        at.out = out
        if self._admit(at, event, verified):
            out.insert(0, AppendWal(event))
            at.settle()
        return out

    def _admit(self, at: Height, event: Input, verified: bool) -> bool:
        """Take an input in, or not; tell whether it changed what the rules rest on."""
        if at.step is Step.HALTED:
            return False
        match event:
            case VoteReceived(vote):
                return self._on_vote(at, event, vote, verified)
            case ProposalReceived(proposal, timely):
                return self._on_proposal(at, event, proposal, timely, verified)
        if at.step is Step.DECIDED:
            return False
        match event:
            case TimeoutElapsed(kind, height, round_):
                return height == at.height and self._on_timeout(at, kind, round_)
            case Signed(message):
                return self._on_signed(at, message)
            case SignRefused(kind, height, round_):
                asked = at.being_signed
                if asked is None or (kind, height, round_) != _position(asked):
                    return False
                at.sign_next()
                return True
            case Validity(block_id):
                if block_id not in at.asked or block_id in at.verdicts:
                    return False
                at.verdicts[block_id] = event
                return True
            case BlockReady():
                return _on_block_ready(at, event)
            case CertificateReceived(certificate):
                return self._on_certificate(at, event, certificate)
            case SyncedBlock(header, certificate):
                return self._on_synced_block(at, event, header, certificate)
            case HeaderFetched(header):
                return self._on_header(at, event, header)
            case WorkAvailable(height):
                return _on_work(at, height)
            case _:
                raise Bug(f"{type(event).__name__} is no input of the machine")

    def _reject(self, event: Input, problem: str) -> bool:
        self._out.append(Rejected(event, problem))
        return False

    def _on_vote(self, at: Height, event: Input, vote: Vote, verified: bool) -> bool:
        """R14: deduplicate by the whole message, verify, and only then mark the slot."""
        early = self._early
        if vote.height == at.height and at.step is not Step.DECIDED:
            keeper = at.votes
        elif early is not None and vote.height == early.height:
            keeper = early.votes
        else:
            return False
        if not keeper.is_new(vote):
            return False
        if vote.authority not in keeper.authorities:
            return self._reject(event, "its sender is no authority of its height")
        if not verified and not vote.verifies(self._domain, self._verify):
            return self._reject(event, "its signature does not verify")
        contradicted = keeper.add(vote)
        if keeper is not at.votes:
            return False
        self._accuse(contradicted, vote)
        return True

    def _accuse(self, one: SignedMessage | None, other: SignedMessage) -> None:
        if one is not None:
            self._out.append(EvidenceFound(DoubleSign.of(one, other)))

    def _on_proposal(
        self, at: Height, event: Input, proposal: Proposal, timely: bool, verified: bool
    ) -> bool:
        early = self._early
        wanted = False
        if proposal.height == at.height and at.step is not Step.DECIDED:
            keeper, authorities = at.proposals, at.authorities
            decided = at.votes.decided
            wanted = at.votes.polkas.get(proposal.round) == proposal.block_id or (
                decided is not None and decided.block_id == proposal.block_id
            )
        elif early is not None and proposal.height == early.height:
            keeper, authorities = early.proposals, early.authorities
        else:
            return False
        if not keeper.is_new(proposal, wanted=wanted):
            return False
        if proposal.authority != authorities.proposer(proposal.height, proposal.round):
            return self._reject(event, "its sender is not its round's proposer")
        if not verified and not proposal.verifies(self._domain, self._verify):
            return self._reject(event, "its signature does not verify")
        well_formed = is_well_formed(proposal, authorities)
        contradicted = keeper.add(Proposed(proposal, timely, well_formed))
        if keeper is not at.proposals:
            return False
        self._accuse(contradicted, proposal)
        return True

    def _on_timeout(self, at: Height, kind: TimeoutKind, round_: int) -> bool:
        if kind is TimeoutKind.REBROADCAST:
            # Repeats what was said and changes nothing, so it needs no place in the log.
            if round_ == at.round:
                at.rebroadcast()
            return False
        return at.elapse(kind, round_)

    def _on_signed(self, at: Height, message: SignedMessage) -> bool:
        """R22 steps 3–5: the own message is logged, fed to the own keepers, and sent."""
        asked = at.being_signed
        if asked is None or asked != message._replace(signature=asked.signature):
            return False
        at.own_messages.append(message)
        contradicted: SignedMessage | None = None
        if isinstance(message, Vote):
            contradicted = at.votes.add(message)
        elif at.proposals.is_new(message, wanted=False):
            contradicted = at.proposals.add(Proposed(message, timely=True, well_formed=True))
        # Two hosts under one key: the signer of each lets it speak once, and both may be heard.
        self._accuse(contradicted, message)
        self._out.append(Broadcast(message))
        at.sign_next()
        return True

    def _on_certificate(
        self,
        at: Height,
        event: Input,
        certificate: Certificate | PolkaCertificate | RoundCertificate,
    ) -> bool:
        if certificate.height != at.height:
            return False
        if isinstance(certificate, RoundCertificate):
            if certificate.round <= at.round:
                return False
            if not any(at.votes.is_new(vote) for vote in certificate.votes):
                return False
        elif at.votes.has_quorum(certificate.kind, certificate.round, certificate.block_id):
            return False
        return self._take_certificate(at, event, certificate)

    def _take_certificate(
        self,
        at: Height,
        event: Input,
        certificate: Certificate | PolkaCertificate | RoundCertificate,
    ) -> bool:
        try:
            votes = certificate.verified_votes(self._domain, at.authorities, self._verify)
        except InvalidCertificate as error:
            return self._reject(event, str(error))
        proven = not isinstance(certificate, RoundCertificate)
        for vote in votes:
            self._accuse(at.votes.add(vote, proven=proven), vote)
        decided = at.votes.decided
        if not isinstance(certificate, Certificate) or decided is None:
            return True
        if decided.block_id != certificate.decided_id:
            problem = f"also 0x{decided.block_id.hex()} has a quorum of precommits"
            halt = Halt(at.height, certificate.round, certificate.decided_id, problem, is_fork=True)
            at.stop(halt)
        return True

    def _on_synced_block(
        self, at: Height, event: Input, header: Header, certificate: Certificate
    ) -> bool:
        """R28: sync decides where consensus decides, by the same rule (P49)."""
        if header.height != at.height or certificate.height != at.height:
            return False
        if certificate.decided_id != header.block_id:
            return self._reject(event, "its certificate is for another block")
        known = header.block_id in at.proposals.headers
        if at.votes.has_quorum(Kind.PRECOMMIT, certificate.round, header.block_id):
            if known:
                return False
        elif not self._take_certificate(at, event, certificate):
            return False
        at.proposals.headers.setdefault(header.block_id, header)
        return True

    def _on_header(self, at: Height, event: Input, header: Header) -> bool:
        if at.fetching is None or at.fetching in at.proposals.headers:
            return False
        if header.block_id != at.fetching or header.height != at.height:
            return self._reject(event, "it is not the block that was asked for")
        at.proposals.headers[header.block_id] = header
        return True


def _position(message: SignedMessage) -> tuple[Kind, int, int]:
    return kind_of(message), message.height, message.round


def _on_block_ready(at: Height, event: BlockReady) -> bool:
    expected = (at.height, at.requested_round)
    if not at.awaits_block or (event.height, event.round) != expected:
        return False
    if at.step is not Step.PROPOSE or at.round != event.round:
        return False
    header = event.header
    if header is not None:
        rightly = (at.height, at.round, at.own_key)
        if (header.height, header.first_round, header.proposer) != rightly:
            raise Bug(f"the host built a block that is not for its turn at height {at.height}")
    at.own_block(header)
    return True


def _on_work(at: Height, height: int) -> bool:
    if height != at.height or at.has_work or at.round > 0:
        return False
    if at.step is not Step.START and not at.idle:
        return False
    at.has_work = True
    return True


def _id_of(header: Header | None) -> bytes | None:
    return None if header is None else header.block_id


def replay(machine: Machine, records: Iterable[Input]) -> list[tuple[Effect, ...]]:
    """Feed logged inputs to a fresh machine; return the effects of each, not to be performed."""
    return [machine.step(record) for record in records]
