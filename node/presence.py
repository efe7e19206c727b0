"""Who is there: the newest true vote of each authority, when it came, and by which connection.

Certificates keep the first quorum and leave late votes out, so absence from them proves nothing.
This part hears every vote that arrives, late ones too, and remembers per authority the newest
position and the last sign of life. What the machine verified counts at once; what it drops
unverified (votes for a height that is over) is verified here, at most once a second an authority.

An idle network does not vote. There, life is what the connection says that lately brought an
authority's votes: it tells regularly where it stands (`messages.Have`). That connection is
learned from true votes, never from a claim; when it ends, its authority falls silent.

Also the place in consensus and since when: rounds begin inside the machine, which has no clock.
Nothing here changes what is decided: a wrong guess costs a wrong sentence.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from statistics import median_low
from typing import Final, NamedTuple

import trio

from clawpurse.consensus.effects import Effect
from clawpurse.consensus.inputs import (
    Input,
    ProposalReceived,
    Signed,
    SignRefused,
    Validity,
    VoteReceived,
    WorkAvailable,
)
from clawpurse.consensus.machine import Machine
from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.messages import Proposal, Verify, Vote
from clawpurse.node.messages import Have

# Newest votes by which the connection is judged that carries an authority's votes; one repair
# by another peer does not change the majority.
CARRIERS_KEPT: Final = 8
# A vote that the machine dropped is verified no oftener for one authority: 100 of them cost 5 ms.
LATE_PERIOD_S: Final = 1.0
# A vote so many heights below ours is still news of its author; older ones are replays.
LATE_HEIGHTS: Final = 16
# Connections that ended and are remembered, for authorities that were reached by them.
LINKS_KEPT: Final = 256
# Proposals received and not yet verified whose time of arrival is kept; one a round is honest.
ARRIVALS_KEPT: Final = 16
# Offsets of one proposer's newest light blocks; the least of them has waited for nothing.
OFFSETS_KEPT: Final = 3
# When which height was first voted on: enough to know for how long somebody lags behind it.
PASSES_KEPT: Final = 64
PASS_PERIOD_S: Final = 0.25
# An authority that misses one height may have been a moment late; two are a beginning.
HEIGHTS_MISSED_MIN: Final = 2
# Votes of an authority whose delay counts, and steps of which the first vote's time is kept: a vote
# for an older one says something about a restart or a repair, not about the authority's pace.
DELAYS_KEPT: Final = 100
STEPS_KEPT: Final = 8
# A block that costs more than this share of the limit took its proposer time to build.
LIGHT_SHARE: Final = 20


class Voice(NamedTuple):
    """What was heard of one authority. Times are the loop's, in seconds.

    `vote_s` is when its newest vote came first, `life_s` the last sign of life: that vote, its
    repetition, or word from the connection that brings its votes. `follows` is the height at
    which that connection says it stands, `connected` whether it still stands.
    """

    height: int
    round: int
    vote_s: float
    life_s: float
    connected: bool
    follows: int | None


class Place(NamedTuple):
    """Where consensus is and since when. `busy_s` is when the height stopped waiting for work."""

    height: int
    round: int
    waiting: bool
    round_s: float
    busy_s: float


class Refusal(NamedTuple):
    """A proposed block that this node judged invalid, at the height in progress."""

    round: int
    problem: str


class _Heard:
    """One authority's newest vote."""

    __slots__ = ("carriers", "checked_s", "delays_s", "life_s", "position", "vote_s")

    def __init__(self) -> None:
        self.position = (0, -1, 0)
        self.vote_s = 0.0
        self.life_s = 0.0
        self.checked_s = float("-inf")
        self.carriers: Final[deque[bytes]] = deque(maxlen=CARRIERS_KEPT)
        self.delays_s: Final[deque[float]] = deque(maxlen=DELAYS_KEPT)

    @property
    def carrier(self) -> bytes | None:
        counted = Counter(self.carriers).most_common(1)
        return counted[0][0] if counted else None


class Presence:
    """See the module. Told by the engine (`stepped`) and by the votes path."""

    def __init__(
        self,
        machine: Machine,
        domain: Domain,
        on_forged: Callable[[bytes, str], None],
        verify: Verify = crypto.verify,
    ) -> None:
        """Watch `machine`; `on_forged` is told of a peer that sent a vote with a false signature.

        Must be made inside the loop's run or before it; times count from the first step.
        """
        self._machine = machine
        self._domain = domain
        self._on_forged = on_forged
        self._verify = verify
        self._heard: dict[bytes, _Heard] = {}
        self._links: dict[bytes, tuple[Have, float]] = {}
        self._open: dict[bytes, None] = {}
        self._signed_in: dict[bytes, int] = {}
        self._passes: deque[tuple[int, float]] = deque(maxlen=PASSES_KEPT)
        self._steps: dict[tuple[int, int, int], float] = {}
        self._place: Place | None = None
        self._work: tuple[int, float] | None = None
        self._refusal: tuple[int, Refusal] | None = None
        self.sign_refusals = 0
        self.clocks: Final = ClockWatch()

    # -- what others tell

    def stepped(self, event: Input | None, peer: bytes | None, _out: Sequence[Effect]) -> None:
        """Hear of an input that the machine has taken, before its effects are performed.

        None only looks where the machine stands now.
        """
        now_s = trio.current_time()
        self._note_place(now_s)
        match event:
            case VoteReceived(vote):
                self._on_vote(vote, peer, now_s)
            case Signed(message) if isinstance(message, Vote):
                self._note(message, None, now_s)
            case SignRefused():
                self.sign_refusals += 1
            case ProposalReceived(proposal, _) if proposal.height == self._machine.height:
                if proposal in self._machine.proposals_at(proposal.round):
                    self.clocks.confirm(proposal)
            case Validity(_, False, problem):
                self._refusal = self._machine.height, Refusal(self._machine.round, problem)
            case WorkAvailable(height) if self._work is None or self._work[0] < height:
                self._work = height, now_s

    def certified(self, authorities: AuthoritySet, packed: bytes) -> None:
        """Hear of a new block's certificate; followers know authorities by nothing else."""
        certificate = Certificate.unpack(packed)
        for key in authorities.signers(certificate.signers) or ():
            self._signed_in[key] = certificate.height

    def have(self, peer: bytes, have: Have) -> None:
        """Hear where a connected participant stands."""
        self._links.pop(peer, None)
        self._links[peer] = have, trio.current_time()
        self._open[peer] = None
        while len(self._links) > LINKS_KEPT:
            del self._links[next(iter(self._links))]

    def forget_peer(self, peer: bytes) -> None:
        """A connection ended."""
        self._open.pop(peer, None)

    # -- what is known

    @property
    def place(self) -> Place:
        """Where consensus is now, and since when."""
        return self._note_place(trio.current_time())

    def voice(self, authority: bytes) -> Voice | None:
        """Return what was heard of an authority since this node started, None for nothing."""
        heard = self._heard.get(authority)
        if heard is None:
            return None
        height, round_, _ = heard.position
        carrier = heard.carrier
        link = None if carrier is None else self._links.get(carrier)
        life_s = heard.life_s if link is None else max(heard.life_s, link[1])
        connected = carrier in self._open
        follows = None if link is None else link[0].height
        return Voice(height, round_, heard.vote_s, life_s, connected, follows)

    def delay_s(self, authority: bytes) -> float | None:
        """Return how long after the first vote of a step an authority's own usually comes here.

        The median over its last votes; None where none was measured. The way to this node is in
        it, and this node's own key has none. No clock but the loop's own has a part in it.
        """
        heard = self._heard.get(authority)
        if heard is None or not heard.delays_s:
            return None
        return median_low(heard.delays_s)

    def passed_age_s(self, authority: bytes) -> float | None:
        """Return for how long others have been voting two heights beyond an authority's newest.

        None while they are not. One of which nothing was heard counts from the first vote heard
        of anybody: before that this node could hear nobody.
        """
        heard = self._heard.get(authority)
        if not self._passes:
            return None
        height = self._passes[0][0] if heard is None else heard.position[0]
        for passed, when_s in self._passes:
            if passed >= height + HEIGHTS_MISSED_MIN:
                return trio.current_time() - when_s
        return None

    def certified_height(self, authority: bytes) -> int | None:
        """Return the newest height whose certificate, arrived live, names an authority."""
        return self._signed_in.get(authority)

    @property
    def refusal(self) -> Refusal | None:
        """The last block of the height in progress that this node refused."""
        found = self._refusal
        return found[1] if found is not None and found[0] == self._machine.height else None

    def work_age_s(self) -> float | None:
        """Return for how long work has waited at the height in progress, None for none."""
        if self._work is None or self._work[0] != self._machine.height:
            return None
        return trio.current_time() - self._work[1]

    # -- inside

    def _note_place(self, now_s: float) -> Place:
        machine, old = self._machine, self._place
        height, round_, waiting = machine.height, machine.round, machine.waiting
        if old is not None and (height, round_, waiting) == old[:3]:
            return old
        round_s = busy_s = now_s
        if old is not None and height == old.height and not old.waiting:
            busy_s = old.busy_s
        if old is not None and height != old.height:
            self._forget_removed()
        self._place = Place(height, round_, waiting, round_s, busy_s)
        return self._place

    def _forget_removed(self) -> None:
        """Keep voices of members only; the set changes with the height."""
        members = self._machine.authorities
        if members is not None:
            for known in (self._heard, self._signed_in):
                for key in [key for key in known if key not in members]:
                    del known[key]

    def _on_vote(self, vote: Vote, peer: bytes | None, now_s: float) -> None:
        votes = self._machine.votes
        if votes is not None and vote.height == self._machine.height:
            tally = votes.tally(vote.kind, vote.round)
            held = tally.first.get(vote.authority), tally.second.get(vote.authority)
            if vote in held:
                self._note(vote, peer, now_s)
                return
        self._on_late(vote, peer, now_s)

    def _on_late(self, vote: Vote, peer: bytes | None, now_s: float) -> None:
        """Verify what the machine had no use for: it may be the only word of a slow authority."""
        members, height = self._machine.authorities, self._machine.height
        if members is None or vote.authority not in members:
            return
        if not height - LATE_HEIGHTS <= vote.height <= height + 1:
            return
        heard = self._heard.get(vote.authority)
        if heard is not None:
            is_newer = _position(vote) > heard.position
            if not is_newer or now_s - max(heard.vote_s, heard.checked_s) < LATE_PERIOD_S:
                return
            heard.checked_s = now_s
        if vote.verifies(self._domain, self._verify):
            self._note(vote, peer, now_s)
        elif peer is not None:
            self._on_forged(peer, "a vote with a false signature")

    def _note(self, vote: Vote, peer: bytes | None, now_s: float) -> None:
        heard = self._heard.get(vote.authority)
        if heard is None:
            heard = self._heard[vote.authority] = _Heard()
        position = _position(vote)
        if position > heard.position:
            heard.position, heard.vote_s = position, now_s
            self._time(position, heard, now_s)
        # Peers pass on only what one lacks; what comes again comes from its author (R16).
        heard.life_s = now_s
        if peer is not None:
            heard.carriers.append(peer)
        newest = self._passes[-1] if self._passes else (0, float("-inf"))
        if vote.height > newest[0] and now_s - newest[1] >= PASS_PERIOD_S:
            self._passes.append((vote.height, now_s))

    def _time(self, step: tuple[int, int, int], heard: _Heard, now_s: float) -> None:
        """Note how long after the first vote of its step a vote came."""
        first_s = self._steps.get(step)
        if first_s is None:
            # What is older than all that is kept was forgotten: nobody knows who was first.
            if self._steps and step < min(self._steps):
                return
            first_s = self._steps[step] = now_s
            if len(self._steps) > STEPS_KEPT:
                del self._steps[min(self._steps)]
        heard.delays_s.append(now_s - first_s)


class ClockWatch:
    """How far this node's clock is from the others', by the times of verified proposals (R20).

    A proposal arrives at its block's time plus building, signing and the way, if both clocks
    agree. The least of a proposer's last few light blocks has little of that in it; the median
    over proposers bears f of them that lie. Behind is certain, ahead is at most so much.
    """

    def __init__(self) -> None:
        self._arrivals: dict[tuple[bytes, bytes], int] = {}
        self._offsets: dict[bytes, deque[int]] = {}

    def received(self, proposal: Proposal, now_ms: int, cost_max: int) -> None:
        """Note when a fresh proposal came, before anybody has verified it."""
        if proposal.valid_round == -1 and proposal.header.cost_used * LIGHT_SHARE <= cost_max:
            self._arrivals.setdefault((proposal.block_id, proposal.signature), now_ms)
            while len(self._arrivals) > ARRIVALS_KEPT:
                del self._arrivals[next(iter(self._arrivals))]

    def confirm(self, proposal: Proposal) -> None:
        """A proposal verified."""
        arrived_ms = self._arrivals.pop((proposal.block_id, proposal.signature), None)
        if arrived_ms is not None:
            offset = arrived_ms - proposal.header.time_ms
            kept = self._offsets.setdefault(proposal.authority, deque(maxlen=OFFSETS_KEPT))
            kept.append(offset)

    def offset_ms(self, authority: bytes) -> int | None:
        """Return our clock minus an authority's, by its own blocks; None while too few came."""
        kept = self._offsets.get(authority)
        if kept is None or len(kept) < OFFSETS_KEPT:
            return None
        return min(kept)

    def skew_ms(self, authorities: AuthoritySet, own_key: bytes | None) -> int | None:
        """Return our clock minus the others', None while fewer than f + 1 of them are known."""
        found = [self.offset_ms(key) for key in authorities if key != own_key]
        known = sorted(offset for offset in found if offset is not None)
        if len(known) < authorities.honest_size:
            return None
        return known[len(known) // 2]


def _position(vote: Vote) -> tuple[int, int, int]:
    return vote.height, vote.round, int(vote.kind)
