"""One machine on a bench: a test says what its peers send, and reads what it wants to do.

Signatures asked for are given at once, so a test sees the machine as its peers do. Authority
numbers are places in the sorted set; the machine's own is `own`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from clawpurse.consensus.effects import (
    AppendWal,
    Broadcast,
    Decide,
    Effect,
    RequestBlock,
    ScheduleTimeout,
    Sign,
    Validate,
)
from clawpurse.consensus.inputs import (
    BlockReady,
    CertificateReceived,
    Input,
    ProposalReceived,
    Signed,
    StartHeight,
    TimeoutElapsed,
    Validity,
    VoteReceived,
)
from clawpurse.consensus.machine import Machine
from clawpurse.consensus.timeouts import TimeoutKind, TimeoutParams
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate, PolkaCertificate
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Header
from tests.simulation.values import (
    DOMAIN,
    authorities_of,
    header_of,
    key_of,
    signed,
    signed_proposal,
    signed_vote,
    verify,
)

E = TypeVar("E")

#: Waits for nothing between heights and for no work.
EAGER = TimeoutParams(interval_ms=0, heartbeat_ms=0)


def only(effects: Iterable[Effect], kind: type[E]) -> list[E]:
    """Return the effects of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


class Rig:
    """A machine, the network that it lives in, and everything that it ever asked for."""

    def __init__(
        self,
        count: int = 4,
        own: int | None = 1,
        *,
        timeouts: TimeoutParams = EAGER,
        height: int = 1,
        pause_ms: int = 0,
        begin: bool = True,
    ) -> None:
        self.count = count
        self.own = own
        self.lines: Counter[str] = Counter()
        self.machine = Machine(DOMAIN, verify=verify, trace=self._trace)
        self.authorities: AuthoritySet = authorities_of(count)
        self.timeouts = timeouts
        self.height = height
        self.signs = True
        self.log: list[Input] = []
        self.outputs: list[tuple[Effect, ...]] = []
        if begin:
            self.begin(pause_ms=pause_ms)

    def _trace(self, branch: str) -> None:
        self.lines[branch] += 1

    # ── feeding ─────────────────────────────────────────────────────────────────────────────

    def begin(self, *, pause_ms: int = 0) -> list[Effect]:
        """Start the rig's height."""
        key = None if self.own is None else key_of(self.own)
        return self.feed(
            StartHeight(
                self.height, self.authorities, self.authorities, key, self.timeouts, pause_ms
            )
        )

    def feed(self, event: Input) -> list[Effect]:
        """Hand an input over, sign what is asked for, return all effects but log and signing."""
        seen: list[Effect] = []
        queue = [event]
        while queue:
            effects = self.machine.step(queue.pop(0))
            for effect in effects:
                if isinstance(effect, AppendWal):
                    self.log.append(effect.record)
                    self.outputs.append(())
                if self.outputs:
                    self.outputs[-1] += (effect,)
                if isinstance(effect, Sign) and self.signs:
                    queue.append(Signed(signed(effect.message)))
                elif not isinstance(effect, AppendWal):
                    seen.append(effect)
        return seen

    def block(
        self, round_: int = 0, *, proposer: int | None = None, salt: int = 1, time_ms: int = 1
    ) -> Header:
        """Return a block first proposed in `round_`, by that round's proposer."""
        turn = (self.height - 1 + round_) % self.count if proposer is None else proposer
        return header_of(
            self.height, first_round=round_, proposer=key_of(turn), salt=salt, time_ms=time_ms
        )

    def proposal(self, header: Header, round_: int = 0, valid_round: int = -1) -> Proposal:
        """Return the round's proposer's proposal of a block."""
        key = self.authorities.proposer(self.height, round_)
        return signed_proposal(Proposal(round_, valid_round, header, key))

    def propose(
        self,
        header: Header,
        round_: int = 0,
        valid_round: int = -1,
        *,
        timely: bool = True,
        ok: bool | None = True,
    ) -> list[Effect]:
        """Receive a proposal; answer `Validate` with `ok` (None: not yet)."""
        effects = self.feed(ProposalReceived(self.proposal(header, round_, valid_round), timely))
        return effects + self.validate(effects, ok)

    def validate(self, effects: Iterable[Effect], ok: bool | None) -> list[Effect]:
        """Answer what `effects` ask to validate."""
        more: list[Effect] = []
        for effect in only(effects, Validate) if ok is not None else []:
            more += self.feed(Validity(effect.header.block_id, bool(ok)))
        return more

    def vote(self, kind: Kind, sender: int, block: Header | bytes | None, round_: int = 0) -> Vote:
        """Return a vote of an authority."""
        block_id = block.block_id if isinstance(block, Header) else block
        return signed_vote(Vote(kind, self.height, round_, block_id, key_of(sender)))

    def prevotes(
        self, senders: Iterable[int], block: Header | bytes | None, round_: int = 0
    ) -> list[Effect]:
        """Receive prevotes."""
        return [
            effect
            for sender in senders
            for effect in self.feed(VoteReceived(self.vote(Kind.PREVOTE, sender, block, round_)))
        ]

    def precommits(
        self, senders: Iterable[int], block: Header | bytes | None, round_: int = 0
    ) -> list[Effect]:
        """Receive precommits."""
        return [
            effect
            for sender in senders
            for effect in self.feed(VoteReceived(self.vote(Kind.PRECOMMIT, sender, block, round_)))
        ]

    def polka(self, senders: Iterable[int], block: Header, round_: int = 0) -> PolkaCertificate:
        """Return a certificate of prevotes."""
        votes = {key_of(s): self.vote(Kind.PREVOTE, s, block, round_) for s in senders}
        return PolkaCertificate.of(self.authorities, votes)

    def certificate(self, senders: Iterable[int], block: Header, round_: int = 0) -> Certificate:
        """Return a certificate of precommits."""
        votes = {key_of(s): self.vote(Kind.PRECOMMIT, s, block, round_) for s in senders}
        return Certificate.of(self.authorities, votes)

    def certify(self, certificate: Certificate | PolkaCertificate) -> list[Effect]:
        """Receive a certificate."""
        return self.feed(CertificateReceived(certificate))

    def elapse(self, kind: TimeoutKind, round_: int = 0) -> list[Effect]:
        """Let a timer run out."""
        return self.feed(TimeoutElapsed(kind, self.height, round_))

    def build(self, round_: int = 0, salt: int = 9) -> list[Effect]:
        """Answer a request for a block of our own."""
        assert self.own is not None
        return self.feed(
            BlockReady(self.height, round_, self.block(round_, proposer=self.own, salt=salt))
        )

    def to_round(self, round_: int) -> list[Effect]:
        """Let f + 1 others say that they are in a round."""
        others = [n for n in range(self.count) if n != self.own]
        effects: list[Effect] = []
        for sender in others[: self.authorities.honest_size]:
            vote = self.vote(Kind.PREVOTE, sender, b"\x99" * 32, round_)
            effects += self.feed(VoteReceived(vote))
        return effects

    # ── reading ─────────────────────────────────────────────────────────────────────────────

    @property
    def place(self) -> tuple[int, str]:
        """Round and step."""
        return self.machine.round, self.machine.step_name

    def lock(self) -> tuple[bytes | None, int]:
        """Locked value and round."""
        return self.machine.locked_value, self.machine.locked_round

    def valid(self) -> tuple[bytes | None, int]:
        """Valid value and round."""
        return self.machine.valid_value, self.machine.valid_round


def said(effects: Iterable[Effect], kind: Kind) -> list[bytes | None]:
    """Return what was broadcast: the block ids of own votes of a kind."""
    return [
        message.block_id
        for message in messages(effects)
        if isinstance(message, Vote) and message.kind is kind
    ]


def messages(effects: Iterable[Effect]) -> list[object]:
    """Return what was broadcast."""
    return [effect.message for effect in only(effects, Broadcast)]


def proposals(effects: Iterable[Effect]) -> list[Proposal]:
    """Return the proposals that were broadcast."""
    return [message for message in messages(effects) if isinstance(message, Proposal)]


def timers(effects: Iterable[Effect]) -> list[tuple[TimeoutKind, int, int]]:
    """Return the timers that were set: kind, round, ms."""
    return [(t.kind, t.round, t.ms) for t in only(effects, ScheduleTimeout)]


def decided(effects: Iterable[Effect]) -> list[Decide]:
    """Return the decisions."""
    return only(effects, Decide)


def requests(effects: Iterable[Effect]) -> list[tuple[int, int]]:
    """Return the heights and rounds for which a block is asked for."""
    return [(r.height, r.round) for r in only(effects, RequestBlock)]
