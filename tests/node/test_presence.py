"""Who is heard: late votes count, forged ones do not, and clocks are compared by the median.

If it failed, an operator would be sent to a machine that works, or a dead one would look alive.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from clawpurse.consensus.inputs import (
    Input,
    ProposalReceived,
    SignRefused,
    StartHeight,
    Validity,
    VoteReceived,
    WorkAvailable,
)
from clawpurse.consensus.machine import Machine
from clawpurse.consensus.timeouts import TimeoutParams
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.messages import Proposal
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.node.messages import Have
from clawpurse.node.presence import (
    CARRIERS_KEPT,
    LATE_PERIOD_S,
    LINKS_KEPT,
    OFFSETS_KEPT,
    ClockWatch,
    Presence,
)
from tests.node.test_votes import (
    AUTHORITIES,
    DOMAIN,
    HEIGHT,
    KEYS,
    START_MS,
    block,
    proposal,
    vote,
)

P, Q, R = (bytes((n,)) * 32 for n in (0x91, 0x92, 0x93))


class Bench:
    """A machine at `HEIGHT` whose own key is the first, and its presence."""

    def __init__(self, own: int | None = 0) -> None:
        self.machine = Machine(DOMAIN)
        own_key = None if own is None else KEYS[own]
        pace = TimeoutParams()
        self.machine.step(StartHeight(HEIGHT, AUTHORITIES, AUTHORITIES, own_key, pace))
        self.forged: list[tuple[bytes, str]] = []
        self.presence = Presence(
            self.machine, DOMAIN, lambda peer, why: self.forged.append((peer, why))
        )
        self.presence.stepped(None, None, ())

    def hear(self, event: Input, peer: bytes | None = P) -> None:
        self.presence.stepped(event, peer, self.machine.step(event))

    def have(self, peer: bytes, height: int = HEIGHT) -> None:
        self.presence.have(peer, Have(height, 0, False, b"", b""))

    def age(self, who: int) -> float | None:
        voice = self.presence.voice(KEYS[who])
        return None if voice is None else trio.current_time() - voice.life_s


async def test_a_vote_counts_from_its_first_coming(autojump_clock: trio.abc.Clock) -> None:
    bench = Bench()
    assert bench.presence.voice(KEYS[1]) is None
    await trio.sleep(1)
    bench.hear(VoteReceived(vote(1)))
    await trio.sleep(2)
    bench.hear(VoteReceived(vote(1)))
    voice = bench.presence.voice(KEYS[1])
    assert voice is not None
    assert (voice.height, voice.round, voice.vote_s, voice.life_s) == (HEIGHT, 0, 1, 3)


async def test_a_vote_that_comes_too_late_for_its_certificate_counts(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A slow line to a healthy authority: the machine has no use for its votes any more."""
    bench = Bench()
    await trio.sleep(5)
    bench.hear(VoteReceived(vote(3, Kind.PRECOMMIT, height=HEIGHT - 1)))
    assert bench.age(3) == 0
    assert bench.forged == []
    # The same vote again is no news: anybody could repeat it for somebody who is dead.
    await trio.sleep(5)
    bench.hear(VoteReceived(vote(3, Kind.PRECOMMIT, height=HEIGHT - 1)), Q)
    assert bench.age(3) == 5
    bench.hear(VoteReceived(vote(3, height=HEIGHT - 2)), Q)
    assert bench.age(3) == 5


async def test_the_delay_of_an_authority_is_that_after_the_first_vote_of_a_step(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Else a slow signer or line is found when it is gone, not while it gets slower."""
    bench = Bench()
    assert bench.presence.delay_s(KEYS[2]) is None
    for kind in (Kind.PREVOTE, Kind.PRECOMMIT):
        bench.hear(VoteReceived(vote(1, kind)))
        await trio.sleep(0.2)
        bench.hear(VoteReceived(vote(2, kind)))
        # What comes again is no second measurement.
        await trio.sleep(5)
        bench.hear(VoteReceived(vote(2, kind)))
    assert bench.presence.delay_s(KEYS[1]) == 0
    assert bench.presence.delay_s(KEYS[2]) == pytest.approx(0.2)
    # A vote of a step before all that were heard says nothing about its pace.
    bench.hear(VoteReceived(vote(3, Kind.PRECOMMIT, height=HEIGHT - 1)))
    assert bench.presence.delay_s(KEYS[3]) is None


async def test_late_votes_are_verified_once_a_second_at_most(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A peer that sends thousands must not cost this node its time."""
    asked: list[bytes] = []
    bench = Bench()

    def verify(key: bytes, _message: bytes, _signature: bytes) -> bool:
        asked.append(key)
        return True

    presence = Presence(bench.machine, DOMAIN, lambda *_: None, verify)
    for round_ in range(50):
        late = vote(2, round_=round_, height=HEIGHT - 1)
        presence.stepped(VoteReceived(late), P, ())
        await trio.sleep(0.1)
    assert len(asked) == pytest.approx(5 / LATE_PERIOD_S, abs=1)


@pytest.mark.parametrize("height", [HEIGHT - 1, HEIGHT + 5])
async def test_a_forged_vote_makes_nobody_alive(
    height: int, autojump_clock: trio.abc.Clock
) -> None:
    bench = Bench()
    bench.hear(VoteReceived(vote(1, height=height)._replace(signature=b"\1" * 64)))
    assert bench.presence.voice(KEYS[1]) is None
    # Only what could have been news is worth verifying, and whoever forged it is told on.
    assert bool(bench.forged) == (height == HEIGHT - 1)


async def test_a_stranger_is_nobody(autojump_clock: trio.abc.Clock) -> None:
    bench = Bench()
    stranger = vote(1, height=HEIGHT - 1)._replace(authority=b"\7" * 32)
    bench.hear(VoteReceived(stranger))
    assert bench.presence.voice(b"\7" * 32) is None
    assert bench.forged == []


async def test_on_an_idle_network_the_connection_speaks_for_its_authority(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Nobody votes for half a minute; who hangs or dies meanwhile is missed all the same."""
    bench = Bench()
    bench.have(P)
    bench.hear(VoteReceived(vote(1)), P)
    for _ in range(20):
        await trio.sleep(1)
        bench.have(P, HEIGHT + 1)
        bench.have(Q)
    voice = bench.presence.voice(KEYS[1])
    assert voice is not None
    assert (trio.current_time() - voice.life_s, voice.connected, voice.follows) == (
        0,
        True,
        HEIGHT + 1,
    )
    assert trio.current_time() - voice.vote_s == 20
    bench.presence.forget_peer(P)
    for _ in range(4):
        await trio.sleep(1)
        bench.have(Q)
    voice = bench.presence.voice(KEYS[1])
    assert voice is not None
    assert (trio.current_time() - voice.life_s, voice.connected) == (4, False)


async def test_one_repair_by_another_peer_changes_no_carrier(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Otherwise the end of a third node would silence an authority that is there."""
    bench = Bench()
    for round_ in range(CARRIERS_KEPT - 1):
        bench.hear(VoteReceived(vote(1, height=HEIGHT - 1, round_=round_)), P)
        await trio.sleep(LATE_PERIOD_S)
    bench.hear(VoteReceived(vote(1)), Q)
    bench.presence.forget_peer(Q)
    await trio.sleep(3)
    bench.have(P)
    assert bench.age(1) == 0


async def test_who_lags_two_heights_behind_the_others_is_noticed(
    autojump_clock: trio.abc.Clock,
) -> None:
    bench = Bench()
    assert bench.presence.passed_age_s(KEYS[3]) is None
    bench.hear(VoteReceived(vote(3, height=HEIGHT - 1)))
    await trio.sleep(1)
    bench.hear(VoteReceived(vote(1)))
    assert bench.presence.passed_age_s(KEYS[3]) is None
    await trio.sleep(1)
    bench.hear(VoteReceived(vote(1, height=HEIGHT + 1)))
    await trio.sleep(4)
    assert bench.presence.passed_age_s(KEYS[3]) == 4
    assert bench.presence.passed_age_s(KEYS[1]) is None
    # Of one who was never heard it is asked from the first vote heard of anybody.
    assert bench.presence.passed_age_s(KEYS[2]) == 4


async def test_links_are_bounded(autojump_clock: trio.abc.Clock) -> None:
    """Peers come and go for years."""
    bench = Bench()
    for number in range(3 * LINKS_KEPT):
        peer = number.to_bytes(32, "big")
        bench.have(peer)
        bench.presence.forget_peer(peer)
    assert len(bench.presence._links) == LINKS_KEPT
    assert not bench.presence._open


async def test_the_place_and_what_this_node_refused(autojump_clock: trio.abc.Clock) -> None:
    bench = Bench()
    assert bench.presence.place.waiting
    await trio.sleep(2)
    bench.hear(WorkAvailable(HEIGHT))
    bench.hear(WorkAvailable(HEIGHT))
    await trio.sleep(3)
    place = bench.presence.place
    assert (place.height, place.round, place.waiting) == (HEIGHT, 0, False)
    assert (place.round_s, place.busy_s) == (2, 2)
    assert bench.presence.work_age_s() == 3
    assert bench.presence.work_age_s() == 3
    bench.hear(ProposalReceived(proposal(), timely=True))
    bench.hear(Validity(block().block_id, False, "the state root differs"))
    assert bench.presence.refusal == (0, "the state root differs")
    bench.hear(SignRefused(Kind.PREVOTE, HEIGHT, 0))
    assert bench.presence.sign_refusals == 1


async def test_followers_learn_from_certificates(autojump_clock: trio.abc.Clock) -> None:
    bench = Bench(own=None)
    votes = {KEYS[n]: vote(n, Kind.PRECOMMIT) for n in (0, 1, 2)}
    bench.presence.certified(AUTHORITIES, Certificate.of(AUTHORITIES, votes).pack())
    found = [bench.presence.certified_height(key) for key in KEYS]
    assert found == [HEIGHT, HEIGHT, HEIGHT, None]


# -- clocks


def proposed_at(who: int, offset_ms: int, number: int) -> Proposal:
    """A fresh proposal whose block's time lies `offset_ms` before its arrival at START_MS."""
    header = replace(block(), time_ms=START_MS - offset_ms, cost_used=0)
    return Proposal(number, -1, header, KEYS[who], number.to_bytes(64, "big"))


def watched(offsets: dict[int, list[int]]) -> ClockWatch:
    clocks = ClockWatch()
    for who, listed in offsets.items():
        for number, offset_ms in enumerate(listed):
            fresh = proposed_at(who, offset_ms, 10 * who + number)
            clocks.received(fresh, START_MS, 500_000)
            clocks.confirm(fresh)
    return clocks


@pytest.mark.parametrize(
    ("offsets", "skew"),
    [
        # Delays of links and disks, and clocks that agree: the least of each counts.
        ({1: [40, 900, 30], 2: [20, 25, 700], 3: [60, 50, 55]}, 30),
        # This clock is behind: blocks come from the future.
        ({1: [-800, -790, -700], 2: [-780, -500, -600], 3: [-760, -760, -100]}, -780),
        ({1: [800, 810, 900], 2: [820, 900, 2_000], 3: [840, 850, 850]}, 820),
        # One liar of three moves nothing beyond what the honest say.
        ({1: [10, 12, 11], 2: [20, 20, 20], 3: [-60_000, -60_000, -60_000]}, 10),
        ({1: [10, 12, 11], 2: [20, 20, 20], 3: [60_000, 60_000, 60_000]}, 20),
        # One alone is not believed, nor are fewer than three blocks.
        ({1: [-800, -790, -700]}, None),
        ({1: [-800] * (OFFSETS_KEPT - 1), 2: [-800] * OFFSETS_KEPT}, None),
    ],
)
def test_the_median_of_the_others_is_believed(
    offsets: dict[int, list[int]], skew: int | None
) -> None:
    assert watched(offsets).skew_ms(AUTHORITIES, KEYS[0]) == skew


def test_only_fresh_light_verified_blocks_tell_the_time() -> None:
    """A full block took its proposer time to build, an old one carries old time."""
    clocks = ClockWatch()
    for number in range(OFFSETS_KEPT):
        heavy = proposed_at(1, -900, number)
        heavy = heavy._replace(header=replace(heavy.header, cost_used=400_000))
        again = proposed_at(1, -900, 10 + number)._replace(valid_round=0)
        claimed = proposed_at(1, -900, 20 + number)
        for proposal_ in (heavy, again):
            clocks.received(proposal_, START_MS, 500_000)
            clocks.confirm(proposal_)
        clocks.received(claimed, START_MS, 500_000)
    assert clocks.offset_ms(KEYS[1]) is None


def test_claims_that_nobody_verifies_are_bounded() -> None:
    clocks = ClockWatch()
    for number in range(1_000):
        clocks.received(proposed_at(1, 0, number), START_MS, 500_000)
    assert len(clocks._arrivals) <= 16
