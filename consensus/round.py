"""Algorithm 1 of "The latest gossip on BFT consensus" (arXiv 1807.04938), line by line.

`Height` is the state of one height and its rules. Each rule is one method, named after its
lines (P36 = line 36), that fires at most once per call and says whether it fired; `settle`
fires them in one fixed order until none can (R15). That order, and that nothing here depends
on anything but the inputs, is what makes replaying a log legal.

Ours, beside the paper: verdicts arrive later than proposals (execution takes time), a height may
wait before its first round (R19), and a polka of an *earlier* round also renews the valid value
(decision record 0008): without that, a lock that was hidden from others could starve liveness.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from clawpurse.consensus.effects import (
    Broadcast,
    CancelTimeouts,
    Decide,
    Effect,
    EvidenceFound,
    FetchBody,
    Halt,
    RequestBlock,
    ScheduleTimeout,
    Sign,
    Validate,
)
from clawpurse.consensus.inputs import StartHeight, Validity
from clawpurse.consensus.proposals import ProposalKeeper, Proposed
from clawpurse.consensus.timeouts import TimeoutKind
from clawpurse.consensus.votes import VoteKeeper
from clawpurse.ledger.agreement.certificates import RoundCertificate
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.agreement.messages import Proposal, SignedMessage, Vote, kind_of
from clawpurse.ledger.agreement.signbytes import NO_ROUND, Kind
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.errors import Bug

# One input enters at most two rounds (skip, then a time-out's successor is another input) and
# each round fires each of its nine rules once; far above that is a loop.
SETTLE_MAX: Final = 64

#: Every branch that a trace can name; simulations must reach all of them.
BRANCHES: Final = (
    "P16",
    "P18",
    "P21",
    "P24",
    "P26:untimely",
    "P26:locked",
    "P26:invalid",
    "P28:waits",
    "P30",
    "P32:locked",
    "P32:invalid",
    "P35",
    "P38",
    "P42:precommit",
    "P42:older",
    "P45",
    "P48",
    "P50:fetch",
    "P51",
    "P56",
    "P58:stale",
    "P59",
    "P62:stale",
    "P63",
    "P66:stale",
    "P67",
    "R19:idle",
    "R19:work",
)
#: Reached only when a quorum precommitted what this node finds invalid: more than f faults.
HALT_BRANCH: Final = "P50:invalid"

Trace = Callable[[str], None]


class Step(IntEnum):
    """Where in a round the machine stands. START and the last two frame the paper's three."""

    START = 0
    PROPOSE = 1
    PREVOTE = 2
    PRECOMMIT = 3
    DECIDED = 4
    HALTED = 5


class Height:
    """The state of one height and the rules that change it.

    Effects go to `out` in the order in which they are to be performed. A follower (no own key,
    or one outside the set) decides and follows rounds, and neither signs nor waits.
    """

    def __init__(self, start: StartHeight, out: list[Effect], trace: Trace | None) -> None:
        """Stand before the height; `begin` starts it."""
        self.height: Final = start.height
        self.authorities: Final = start.authorities
        self.timeouts: Final = start.timeouts
        self.own_key: Final = start.own_key if start.own_key in start.authorities else None
        self.votes: Final = VoteKeeper(start.authorities)
        self.proposals: Final = ProposalKeeper()
        self.verdicts: Final[dict[bytes, Validity]] = {}
        self.asked: Final[dict[bytes, Header]] = {}
        self.fetching: bytes | None = None
        #: The last round for which a block was requested, and whether the host owes the answer.
        self.requested_round = NO_ROUND
        self.awaits_block = False
        self.signing: Final[dict[tuple[int, Kind], SignedMessage]] = {}
        self.own_messages: Final[list[SignedMessage]] = []
        self.timers: Final[dict[TimeoutKind, ScheduleTimeout]] = {}
        self.round = 0
        self.step = Step.START
        self.idle = False
        self.has_work = False
        self.locked: Header | None = None
        self.locked_round = NO_ROUND
        self.valid: Header | None = None
        self.valid_round = NO_ROUND
        self.decision: Decide | None = None
        self.halt: Halt | None = None
        self.entry: RoundCertificate | None = None
        self._once: Final[dict[tuple[int, str], bool]] = {}
        self.out = out
        self._trace = trace

    # ── starting ────────────────────────────────────────────────────────────────────────────

    def begin(self, pause_ms: int) -> None:
        """Start round 0, or first wait `pause_ms` so that heights keep their interval (R19)."""
        if pause_ms > 0 and self.own_key is not None:
            self._schedule(TimeoutKind.START, pause_ms)
        else:
            self.start_round(0)

    def start_round(self, round_: int) -> None:
        """P11–P13: enter a round."""
        entry = self.votes.round_certificate(self.height, round_) if round_ > 0 else None
        self.round = round_
        self.step = Step.PROPOSE
        self.idle = False
        self.entry = entry
        for pair in self.votes.advance(round_):
            self.out.append(EvidenceFound(DoubleSign.of(*pair)))
        self.proposals.advance(round_)
        if self.own_key is None:
            return
        if round_ > 0:
            self.timers.clear()
            self._drop_unasked()
            self.out.append(CancelTimeouts(self.height, round_))
            self._broadcast_entry()
        if round_ == 0 and not self.has_work and self.timeouts.heartbeat_ms > 0:
            self.idle = True
            self.trace("R19:idle")
            self._schedule(TimeoutKind.IDLE, self.timeouts.heartbeat_ms)
        else:
            self.propose()

    def propose(self) -> None:
        """P14–P21: propose when it is our turn; everyone's timer starts, the proposer's too.

        The paper's proposer never waits for itself; ours must build, sign and log first, and its
        timer is what ends the round when one of these fails.
        """
        self.idle = False
        self.timers.pop(TimeoutKind.IDLE, None)
        self._schedule(TimeoutKind.PROPOSE, self.timeouts.propose_ms(self.round))
        self._schedule(TimeoutKind.REBROADCAST, self.timeouts.rebroadcast_ms(self.round))
        if self.authorities.proposer(self.height, self.round) != self.own_key:
            self.trace("P21")
        elif self.valid is not None:
            self.trace("P16")
            self._sign(Proposal(self.round, self.valid_round, self.valid, self.own_key))
        elif self.requested_round < self.round:
            # At most once per (height, round), restarts included, since answers are logged:
            # a second block for one turn would be equivocation (M#864).
            self.trace("P18")
            self.requested_round = self.round
            self.awaits_block = True
            self.out.append(RequestBlock(self.height, self.round))

    def own_block(self, header: Header | None) -> None:
        """P18–P19: propose the block that the host built; it has been executed already."""
        self.awaits_block = False
        if header is None or self.own_key is None:
            return
        self.verdicts[header.block_id] = Validity(header.block_id, True)
        self._sign(Proposal(self.round, NO_ROUND, header, self.own_key))

    # ── the rules, in order of priority ─────────────────────────────────────────────────────

    def settle(self) -> None:
        """Fire rules until none can: decide > skip > P36 > P28, P22 > nil > timers (R15)."""
        for _ in range(SETTLE_MAX):
            if self.step >= Step.DECIDED or not self._fire():
                return
        raise Bug(f"the rules of height {self.height} do not settle")

    def _fire(self) -> bool:
        if self.p49_decide() or self.p55_skip():
            return True
        if self.own_key is None:
            return False
        return (
            self.end_wait()
            or self.p36_polka()
            or self.p36_older_polka()
            or self.p22_p28_proposal()
            or self.p44_polka_nil()
            or self.p34_any_prevotes()
            or self.p47_any_precommits()
        )

    def p49_decide(self) -> bool:
        """P49–P54: a quorum of precommits for a block, in any round of the height.

        Needs the header and one's own execution, not the proposal: a synced block has none
        (R11). Outranks all else, so that no time-out can race it.
        """
        decided = self.votes.decided
        if decided is None:
            return False
        header = self.proposals.headers.get(decided.block_id)
        if header is None:
            if self.fetching is None:
                self.trace("P50:fetch")
                self.fetching = decided.block_id
                self.out.append(FetchBody(self.height, decided.round, decided.block_id))
            return False
        verdict = self._verdict(header)
        if verdict is None:
            return False
        if not verdict.ok:
            self.trace(HALT_BRANCH)
            self.stop(Halt(self.height, decided.round, decided.block_id, verdict.problem))
            return True
        self.trace("P51")
        self.step = Step.DECIDED
        self.timers.clear()
        self.signing.clear()
        self.decision = Decide(header, self.votes.certificate(decided))
        self.out.append(CancelTimeouts(self.height, self.round + 1))
        self.out.append(self.decision)
        return True

    def stop(self, halt: Halt) -> None:
        """Do nothing ever again but say why."""
        self.step = Step.HALTED
        self.timers.clear()
        self.halt = halt
        self.out.append(halt)

    def p55_skip(self) -> bool:
        """P55–P56: f + 1 distinct authorities are in a higher round, so an honest one is."""
        target = self.votes.round_to_skip_to(self.round)
        if target is None:
            return False
        self.trace("P56")
        self.start_round(target)
        return True

    def end_wait(self) -> bool:
        """R19: stop waiting on work, on f + 1 votes, and, once the interval is over, a proposal.

        One honest authority among f + 1 voters has seen its own wait end. A proposal alone does
        not end the interval, or a faulty proposer could set the pace.
        """
        waits_for_work = self.step is Step.PROPOSE and self.idle
        if self.step is not Step.START and not waits_for_work:
            return False
        joined = self.authorities.honest(self.votes.voters(0))
        if self.step is Step.START:
            if not joined:
                return False
            self.has_work = True
            self.timers.pop(TimeoutKind.START, None)
            self.start_round(0)
            return True
        if not (joined or self.has_work or self.proposals.at(0)):
            return False
        self.trace("R19:work")
        self.propose()
        return True

    def p36_polka(self) -> bool:
        """P36–P43: a proposal with a polka of this round, once: lock it and precommit it."""
        if self.step not in (Step.PREVOTE, Step.PRECOMMIT) or self._did("P36"):
            return False
        proposed = self._polka_proposal(self.round)
        if proposed is None:
            return False
        # R8: lock only after one's own execution matched.
        verdict = self._verdict(proposed.proposal.header)
        if verdict is None or not verdict.ok:
            return False
        self._do("P36")
        header = proposed.proposal.header
        locks = self.step is Step.PREVOTE
        self.trace("P38" if locks else "P42:precommit")
        if locks:
            self.locked, self.locked_round = header, self.round
        self.valid, self.valid_round = header, self.round
        if locks:
            self._vote(Kind.PRECOMMIT, header.block_id)
            self.step = Step.PRECOMMIT
            # R16: who locks makes sure that nobody else can miss why (M#997).
            self._broadcast_polka()
        return True

    def p36_older_polka(self) -> bool:
        """Ours: P42–P43 for a polka of an earlier round of which we learn only now.

        The paper's gossip brings every polka to everyone before its round ends. Where one comes
        late, a lock on it is hidden, and only its holder's own turn would free the network
        (M#956); so everyone takes it as valid value as soon as it shows.
        """
        if self.step is Step.START:
            return False
        for round_ in sorted(self.votes.polkas, reverse=True):
            if not self.valid_round < round_ < self.round:
                continue
            header = self.proposals.headers.get(self.votes.polkas[round_])
            if header is None:
                continue
            verdict = self._verdict(header)
            if verdict is not None and verdict.ok:
                self.trace("P42:older")
                self.valid, self.valid_round = header, round_
                return True
        return False

    def p22_p28_proposal(self) -> bool:
        """P22–P33: prevote on this round's proposal."""
        if self.step is not Step.PROPOSE:
            return False
        for place, proposed in enumerate(self.proposals.at(self.round)):
            fresh = proposed.proposal.valid_round == NO_ROUND
            # R17: one execution per round; a second proposal needs a polka to earn one.
            if fresh and place > 0:
                continue
            if (self.p22_new if fresh else self.p28_reproposed)(proposed):
                return True
        return False

    def p22_new(self, proposed: Proposed) -> bool:
        """P22–P27: a new block."""
        header = proposed.proposal.header
        if not proposed.timely:
            return self._prevote(None, "P26:untimely")
        if self._locked_elsewhere(header):
            return self._prevote(None, "P26:locked")
        return self._prevote_if_valid(proposed, "P24", "P26:invalid")

    def p28_reproposed(self, proposed: Proposed) -> bool:
        """P28–P33: a block that has a polka in an earlier round of this height.

        Without that polka nothing happens and the propose timer runs on (R6, M#862).
        """
        header, valid_round = proposed.proposal.header, proposed.proposal.valid_round
        if not self.votes.has_quorum(Kind.PREVOTE, valid_round, header.block_id):
            self.trace("P28:waits")
            return False
        if self.locked_round > valid_round and self._locked_elsewhere(header):
            return self._prevote(None, "P32:locked")
        return self._prevote_if_valid(proposed, "P30", "P32:invalid")

    def _locked_elsewhere(self, header: Header) -> bool:
        return self.locked is not None and self.locked.block_id != header.block_id

    def _prevote_if_valid(self, proposed: Proposed, yes: str, no: str) -> bool:
        if not proposed.well_formed:
            return self._prevote(None, no)
        verdict = self._verdict(proposed.proposal.header)
        if verdict is None:
            return False
        if not verdict.ok:
            return self._prevote(None, no)
        return self._prevote(proposed.proposal.block_id, yes)

    def p44_polka_nil(self) -> bool:
        """P44–P46: a polka for nil, in step prevote only."""
        if self.step is not Step.PREVOTE:
            return False
        if not self.votes.has_quorum(Kind.PREVOTE, self.round, None):
            return False
        self.trace("P45")
        self._vote(Kind.PRECOMMIT, None)
        self.step = Step.PRECOMMIT
        return True

    def p34_any_prevotes(self) -> bool:
        """P34–P35: a quorum of prevotes of any kind, in step prevote only, once."""
        if self.step is not Step.PREVOTE or self._did("P34"):
            return False
        if not self.votes.has_quorum_of_any(Kind.PREVOTE, self.round):
            return False
        self._do("P34")
        self.trace("P35")
        self._schedule(TimeoutKind.PREVOTE, self.timeouts.prevote_ms(self.round))
        return True

    def p47_any_precommits(self) -> bool:
        """P47–P48: a quorum of precommits of any kind, in any step, once."""
        if self.step is Step.START or self._did("P47"):
            return False
        if not self.votes.has_quorum_of_any(Kind.PRECOMMIT, self.round):
            return False
        self._do("P47")
        self.trace("P48")
        self._schedule(TimeoutKind.PRECOMMIT, self.timeouts.precommit_ms(self.round))
        return True

    # ── timers ──────────────────────────────────────────────────────────────────────────────

    def elapse(self, kind: TimeoutKind, round_: int) -> bool:
        """P57–P67 and the timers of waiting: say whether a timer still mattered.

        Every other rule has fired before: an input is taken only when nothing can fire.
        """
        if self.step >= Step.DECIDED or round_ != self.round or self.own_key is None:
            self._trace_stale(kind)
            return False
        self.timers.pop(kind, None)
        match kind:
            case TimeoutKind.START if self.step is Step.START:
                self.start_round(0)
            case TimeoutKind.IDLE if self.step is Step.PROPOSE and self.idle:
                self.propose()
            case TimeoutKind.PROPOSE if self.step is Step.PROPOSE:
                self._prevote(None, "P59")
            case TimeoutKind.PREVOTE if self.step is Step.PREVOTE:
                self.trace("P63")
                self._vote(Kind.PRECOMMIT, None)
                self.step = Step.PRECOMMIT
            case TimeoutKind.PRECOMMIT:
                self.trace("P67")
                self.start_round(self.round + 1)
            case _:
                self._trace_stale(kind)
                return False
        return True

    def rebroadcast(self) -> None:
        """R16: a round that lasts says again what could end it (M#1032)."""
        if self.step >= Step.DECIDED or self.own_key is None:
            return
        self.timers.pop(TimeoutKind.REBROADCAST, None)
        last = {kind_of(message): message for message in self.own_messages}
        for message in last.values():
            if kind_of(message) is not Kind.PROPOSAL or message.round == self.round:
                self.out.append(Broadcast(message))
        self._broadcast_entry()
        self._schedule(TimeoutKind.REBROADCAST, self.timeouts.rebroadcast_ms(self.round))

    # ── what the rules share ────────────────────────────────────────────────────────────────

    def trace(self, branch: str) -> None:
        """Tell an observer which branch is taken."""
        if self._trace is not None:
            self._trace(branch)

    def _trace_stale(self, kind: TimeoutKind) -> None:
        line = {
            TimeoutKind.PROPOSE: "P58:stale",
            TimeoutKind.PREVOTE: "P62:stale",
            TimeoutKind.PRECOMMIT: "P66:stale",
        }.get(kind)
        if line is not None:
            self.trace(line)

    def _did(self, line: str) -> bool:
        return (self.round, line) in self._once

    def _do(self, line: str) -> None:
        self._once[self.round, line] = True

    def _verdict(self, header: Header) -> Validity | None:
        """Return the host's verdict on a block; ask for it once when there is none."""
        block_id = header.block_id
        verdict = self.verdicts.get(block_id)
        if verdict is None and block_id not in self.asked:
            self.asked[block_id] = header
            self.out.append(Validate(header))
        return verdict

    def _polka_proposal(self, round_: int) -> Proposed | None:
        block_id = self.votes.polkas.get(round_)
        return None if block_id is None else self.proposals.find(round_, block_id)

    def _prevote(self, block_id: bytes | None, branch: str) -> bool:
        self.trace(branch)
        self._vote(Kind.PREVOTE, block_id)
        self.step = Step.PREVOTE
        return True

    def _vote(self, kind: Kind, block_id: bytes | None) -> None:
        if self.own_key is not None:
            self._sign(Vote(kind, self.height, self.round, block_id, self.own_key))

    def _sign(self, message: SignedMessage) -> None:
        # R22 for each output: logged, signed, logged, sent, and only then the next one. A
        # watermark that ran ahead would refuse a message that a crash kept out of the log.
        self.signing[message.round, kind_of(message)] = message
        if len(self.signing) == 1:
            self.out.append(Sign(message))

    @property
    def being_signed(self) -> SignedMessage | None:
        """The message that the host was asked to sign and has not answered for."""
        return next(iter(self.signing.values()), None)

    def sign_next(self) -> None:
        """Strike off the message that was answered for and ask for the one behind it."""
        del self.signing[next(iter(self.signing))]
        following = self.being_signed
        if following is not None:
            self.out.append(Sign(following))

    def _drop_unasked(self) -> None:
        """A slow signer's backlog of rounds that are over helps nobody; one may be in its hands."""
        for slot in list(self.signing)[1:]:
            del self.signing[slot]

    def _schedule(self, kind: TimeoutKind, ms: int) -> None:
        timer = ScheduleTimeout(kind, self.height, self.round, ms)
        self.timers[kind] = timer
        self.out.append(timer)

    def _broadcast_entry(self) -> None:
        """R16: show what allowed this round, and the polka behind our valid value."""
        if self.entry is not None:
            self.out.append(Broadcast(self.entry))
        self._broadcast_polka()

    def _broadcast_polka(self) -> None:
        if self.valid is None:
            return
        polka = self.votes.polka_certificate(self.valid_round)
        if polka is not None:
            self.out.append(Broadcast(polka))
        proposed = self.proposals.find(self.valid_round, self.valid.block_id)
        if proposed is not None:
            self.out.append(Broadcast(proposed.proposal))
