"""More than f faulty authorities: they may fork or stop the others, and cannot do so unseen.

An accountable observer keeps every message. Whenever two blocks are decided at one height, it
must be able to name more than f culprits by what they signed, and no correct authority among
them: whoever signed twice for one position, and whoever voted against a lock of its own that no
later polka had lifted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from clawpurse.consensus.inputs import SyncedBlock
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.envelope import Message
from clawpurse.ledger.agreement.messages import Proposal, SignedMessage, Vote, kind_of
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Header
from tests.simulation.cluster import TIMEOUTS, Cluster, Plan, Split
from tests.simulation.liars import Liar
from tests.simulation.properties import Observer, Violation
from tests.simulation.schedules import plan_of
from tests.simulation.values import (
    DOMAIN,
    WRONG_ROOT,
    header_of,
    key_of,
    signed_proposal,
    signed_vote,
    verify,
)

Slot = tuple[bytes, int, int, Kind]


@dataclass
class Recorder(Observer):
    """An observer that keeps all that was truly signed, and notes forks instead of raising."""

    said: dict[Slot, dict[bytes, SignedMessage]] = field(default_factory=dict)
    forks: list[int] = field(default_factory=list)

    def saw(self, message: SignedMessage) -> None:
        super().saw(message)
        if message.verifies(DOMAIN, verify):
            slot = (message.authority, message.height, message.round, kind_of(message))
            self.said.setdefault(slot, {})[message.sign_bytes(DOMAIN)] = message

    def decided(self, header: Header, certificate: Certificate, parent: Header | None) -> None:
        for vote in certificate.verified_votes(DOMAIN, self.authorities, verify):
            self.saw(vote)
        try:
            super().decided(header, certificate, parent)
        except Violation as violation:
            # What a quorum of faulty ones decides was judged by nobody else either.
            if violation.number not in (1, 9):
                raise
            if violation.number == 1:
                self.forks.append(header.height)

    def culprits(self, height: int) -> dict[bytes, str]:
        """Return who broke the protocol at a height by what it signed, and how."""
        found: dict[bytes, str] = {}
        for (key, height_, round_, kind), contents in self.said.items():
            if height_ == height and len(contents) > 1:
                found[key] = f"signed two {kind.name}s for round {round_}"
        for key in self.authorities:
            broken = self._broken_lock(key, height)
            if broken is not None:
                found.setdefault(key, broken)
        return found

    def _broken_lock(self, key: bytes, height: int) -> str | None:
        locks = self._values(key, height, Kind.PRECOMMIT)
        for later, voted in self._values(key, height, Kind.PREVOTE):
            for earlier, locked in locks:
                if earlier >= later or locked == voted:
                    continue
                if not any(self._polka(height, r, voted) for r in range(earlier, later)):
                    return f"was locked in round {earlier} and voted against it in round {later}"
        return None

    def _values(self, key: bytes, height: int, kind: Kind) -> list[tuple[int, bytes]]:
        return sorted(
            (round_, message.block_id)
            for (key_, height_, round_, kind_), contents in self.said.items()
            if (key_, height_, kind_) == (key, height, kind)
            for message in contents.values()
            if message.block_id is not None
        )

    def _polka(self, height: int, round_: int, block_id: bytes) -> bool:
        return self.authorities.quorum(len(self.prevotes.get((height, round_, block_id), ())))


def faults_max(authorities: AuthoritySet) -> int:
    """Return f: how many may be faulty without anything going wrong."""
    return (len(authorities) - 1) // 3


class Gangster(Liar):
    """A liar among many: it reacts to the correct ones only, or the gang would chat for ever."""

    def receive(self, sender: int, message: Message | SyncedBlock) -> None:
        if sender not in self.cluster.plan.liars:
            super().receive(sender, message)


class Accountable(Cluster):
    """A cluster in which faults may outnumber f: its observer is a `Recorder`."""

    observer_class = Recorder
    liar_class: type[Liar] = Gangster

    @property
    def patience_ms(self) -> int:
        return 20_000

    @property
    def recorder(self) -> Recorder:
        assert isinstance(self.observer, Recorder)
        return self.observer

    def judge(self) -> None:
        """Every fork has more than f culprits, and nobody correct is one of them."""
        for height in range(1, max([0, *(len(node.chain) for node in self.correct)]) + 1):
            culprits = self.recorder.culprits(height)
            wronged = self.recorder.correct_keys.intersection(culprits)
            if wronged:
                raise Violation(12, f"a correct authority stands accused at height {height}")
            if height in self.recorder.forks and len(culprits) <= faults_max(self.authorities):
                raise Violation(12, f"the fork at height {height} has no more than f culprits")


def run_beyond(cluster: Accountable) -> str:
    """Run a cluster beyond its faults; return how it ended: decided, forked, halted or stuck."""
    outcome = "decided"
    try:
        cluster.run()
    except Violation as violation:
        if violation.number == 10:
            outcome = "stuck"
        elif violation.number == 2 and "halts" in str(violation):
            outcome = "halted"
        else:
            raise
    cluster.judge()
    return "forked" if cluster.recorder.forks else outcome


# ── drawn from seeds ────────────────────────────────────────────────────────────────────────────


def beyond_of(seed: int, count: int) -> Plan:
    """Draw a schedule with f + 1 … 2f + 1 faulty authorities: liars, or twins kept apart."""
    chance = random.Random(f"beyond {seed} {count}")
    faults = (count - 1) // 3
    faulty = tuple(sorted(chance.sample(range(count), chance.randint(faults + 1, 2 * faults + 1))))
    plan = replace(
        plan_of(seed, count),
        liars=(),
        lockers=(),
        twins=(),
        mute=(),
        forgetful=(),
        outages=(),
        skews_ms=(),
        followers=2,
        target=1,
    )
    if chance.random() < 0.5:
        return replace(plan, liars=faulty)
    # Each half of the correct ones meets one twin of each faulty key: two networks, one set.
    twins = tuple(range(count, count + len(faulty)))
    followers = (count + len(faulty), count + len(faulty) + 1)
    correct = [number for number in range(count) if number not in faulty]
    half = correct[: chance.randint(0, len(correct))]
    side = frozenset((*faulty, *half, followers[0]))
    assert not side & frozenset(twins)
    return replace(plan, twins=faulty, calm_ms=6_000, lost=0, splits=(Split(0, 6_000, side),))


# ── on purpose ──────────────────────────────────────────────────────────────────────────────────


class Puppet(Liar):
    """A faulty authority that only says what a plot makes it say."""

    def begin(self, height: int) -> None:
        """Wait for the plot."""

    def receive(self, sender: int, message: Message | SyncedBlock) -> None:
        """Hear nothing."""


class Plot(Accountable):
    """Authorities 0, 1 and 2 of four act together against number 3; 4 and 5 are followers."""

    liar_class = Puppet

    def __init__(self, seed: int) -> None:
        super().__init__(
            Plan(
                seed,
                liars=(0, 1, 2),
                followers=2,
                target=1,
                calm_ms=0,
                lost=0,
                repeated=0,
                timeouts=replace(TIMEOUTS, propose_base_ms=4_000, propose_cap_ms=8_000),
            )
        )
        for when_ms, act in self.acts():
            self.later(2_000 + when_ms, act)

    def acts(self) -> list[tuple[int, Callable[[], None]]]:
        """Return what the plotters do, and when, in ms."""
        raise NotImplementedError

    def propose(self, header: Header, round_: int, valid_round: int, to: Iterable[int]) -> None:
        proposal = Proposal(round_, valid_round, header, self.authorities.proposer(1, round_))
        self.headers[header.block_id] = header
        self._say(signed_proposal(proposal), to)

    def vote(self, kind: Kind, round_: int, block_id: bytes | None, to: Iterable[int]) -> None:
        for number in self.plan.liars:
            self._say(signed_vote(Vote(kind, 1, round_, block_id, key_of(number))), to)

    def _say(self, message: SignedMessage, to: Iterable[int]) -> None:
        self.observer.saw(message)
        for address in to:
            self.send(0, address, message)

    def block(self, round_: int, *, wrong: bool = False) -> Header:
        return header_of(
            1,
            first_round=round_,
            proposer=self.authorities.proposer(1, round_),
            time_ms=self.now,
            salt=self.next_salt(),
            state_root=WRONG_ROOT if wrong else bytes(32),
        )


class Amnesia(Plot):
    """One block is decided for follower 4 in round 0, another for everybody else in round 1.

    Nobody signs twice for a position: the faulty ones only forget that they were locked.
    """

    def first(self) -> None:
        """Show a decision to one follower and nothing to the others."""
        header = self.block(0)
        self.propose(header, 0, -1, (4,))
        self.vote(Kind.PREVOTE, 0, header.block_id, (4,))
        self.vote(Kind.PRECOMMIT, 0, header.block_id, (4,))

    def second(self) -> None:
        """Show another decision to the others."""
        header = self.block(1)
        self.propose(header, 1, -1, (3, 5))
        self.vote(Kind.PREVOTE, 1, header.block_id, (3, 5))
        self.vote(Kind.PRECOMMIT, 1, header.block_id, (3, 5))

    def acts(self) -> list[tuple[int, Callable[[], None]]]:
        return [(0, self.first), (100, self.second)]


class InvalidPolka(Plot):
    """A quorum prevotes for a block that execution refutes, and proposes it again on that polka."""

    bad: Header

    def polka(self) -> None:
        """Round 0: a polka for what no correct node finds valid."""
        self.bad = self.block(0, wrong=True)
        self.propose(self.bad, 0, -1, (3,))
        self.vote(Kind.PREVOTE, 0, self.bad.block_id, (3,))
        self.vote(Kind.PRECOMMIT, 0, None, (3, 4, 5))

    def again(self) -> None:
        """Round 1: the same block, by right of its polka; all others pretend to doubt it."""
        self.propose(self.bad, 1, 0, (3,))
        self.vote(Kind.PREVOTE, 1, None, (3,))
        self.vote(Kind.PRECOMMIT, 1, None, (3, 4, 5))

    def good(self) -> None:
        """Round 2: a good block after all."""
        header = self.block(2)
        self.propose(header, 2, -1, (3, 4, 5))
        self.vote(Kind.PREVOTE, 2, header.block_id, (3,))
        self.vote(Kind.PRECOMMIT, 2, header.block_id, (3, 4, 5))

    def acts(self) -> list[tuple[int, Callable[[], None]]]:
        return [(0, self.polka), (800, self.again), (1_800, self.good)]


class InvalidDecision(InvalidPolka):
    """… and then precommits it: the others must halt rather than follow."""

    def force(self) -> None:
        """A quorum of precommits for the invalid block."""
        self.vote(Kind.PRECOMMIT, 1, self.bad.block_id, (3, 4, 5))

    def acts(self) -> list[tuple[int, Callable[[], None]]]:
        return [(0, self.polka), (800, self.again), (1_200, self.force)]
