"""Gossip of consensus messages: what a peer lacks is sent until it has it, and nothing forged.

If it failed, one lost vote could stop a height for ever, or a forgery passed on could make
honest nodes ban each other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import trio

from clawpurse.consensus.inputs import Input, ProposalReceived, StartHeight, VoteReceived
from clawpurse.consensus.machine import Machine
from clawpurse.consensus.timeouts import TimeoutParams
from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.envelope import pack_message, unpack_message
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.ledger.params import Params
from clawpurse.node import messages
from clawpurse.node.chain import Tip
from clawpurse.node.clock import LoopClock
from clawpurse.node.files import MemoryFiles
from clawpurse.node.messages import ConsensusKind, Have, ProposalKind
from clawpurse.node.signer import FileSigner, Signer, create_sign_state
from clawpurse.node.signing import HEIGHTS_LEFT_OUT, Signing
from clawpurse.node.votes import HAVE_PERIOD_S, REPAIR_PERIOD_S, VoteGossip
from clawpurse.node.workers import InlineLane
from tests.node.test_messages import header

GENESIS = b"\x11" * 32
DOMAIN = Domain("acme", GENESIS, 0)
SEEDS = sorted((bytes((n,)) * 32 for n in range(1, 5)), key=crypto.public_key_of)
KEYS = [crypto.public_key_of(seed) for seed in SEEDS]
AUTHORITIES = AuthoritySet(KEYS)
HEIGHT = 7
START_MS = 1_800_000_000_000
P, Q, R = (bytes((n,)) * 32 for n in (0x91, 0x92, 0x93))


def block(**changes: Any) -> Header:
    return header(
        chain_id="acme",
        genesis_hash=GENESIS,
        height=HEIGHT,
        first_round=0,
        proposer=AUTHORITIES.proposer(HEIGHT, 0),
        time_ms=START_MS,
        **changes,
    )


def vote(who: int, kind: Kind = Kind.PREVOTE, round_: int = 0, *, height: int = HEIGHT) -> Vote:
    unsigned = Vote(kind, height, round_, block().block_id, KEYS[who])
    return unsigned._replace(signature=crypto.sign(SEEDS[who], unsigned.sign_bytes(DOMAIN)))


def proposal(seed: bytes | None = None, **changes: Any) -> Proposal:
    proposed = block(**changes)
    unsigned = Proposal(0, -1, proposed, proposed.proposer)
    signing = seed or SEEDS[KEYS.index(proposed.proposer)]
    return unsigned._replace(signature=crypto.sign(signing, unsigned.sign_bytes(DOMAIN)))


@dataclass
class Box:
    """Notes what is sent on the two channels."""

    sent: list[tuple[bytes, Any, bytes]] = field(default_factory=list)
    here: list[bytes] = field(default_factory=lambda: [P, Q])

    def peers(self) -> list[bytes]:
        return self.here

    def send_consensus(self, peer: bytes, kind: ConsensusKind, payload: bytes) -> bool:
        self.sent.append((peer, kind, payload))
        return True

    def send_proposal(self, peer: bytes, kind: ProposalKind, payload: bytes) -> bool:
        self.sent.append((peer, kind, payload))
        return True

    def said(self, peer: bytes) -> list[Any]:
        return [
            unpack_message(payload)
            for to, kind, payload in self.sent
            if to == peer and kind is ConsensusKind.MESSAGE
        ]


class Engine:
    """A machine, and inputs noted."""

    def __init__(self, own: int | None) -> None:
        self.machine = Machine(DOMAIN)
        own_key = None if own is None else KEYS[own]
        self.machine.step(StartHeight(HEIGHT, AUTHORITIES, AUTHORITIES, own_key, TimeoutParams()))
        self.delivered: list[tuple[Input, bytes | None]] = []

    async def deliver(self, event: Input, peer: bytes | None) -> None:
        self.delivered.append((event, peer))
        self.machine.step(event)


class Chain:
    """As much of a chain as votes need."""

    def __init__(self) -> None:
        self.authorities = AUTHORITIES
        self.params = Params()
        certificate = Certificate.of(
            AUTHORITIES,
            {KEYS[n]: vote(n, Kind.PRECOMMIT, height=HEIGHT - 1) for n in (0, 1, 2)},
        )
        self.tip = Tip(HEIGHT - 1, b"\1" * 32, START_MS, None, certificate.pack())
        self.height = HEIGHT - 1
        self.kept = {HEIGHT - 1: certificate.pack()}
        self.blocks = self

    def certificate(self, height: int) -> bytes | None:
        return self.kept.get(height)

    def authorities_at(self, height: int) -> AuthoritySet:
        return AUTHORITIES


class Bodies:
    """Has the compact body of every block."""

    def compact(self, block_id: bytes) -> bytes | None:
        return b"compact " + block_id[:4]


class Bench:
    def __init__(self, own: int | None = 0, signed_to: int = 0) -> None:
        self.box = Box()
        signers: dict[bytes, Signer] = {}
        if own is not None:
            files = MemoryFiles()
            create_sign_state(files, GENESIS, KEYS[own])
            signer = FileSigner(SEEDS[own], GENESIS, files, InlineLane())
            if signed_to:
                signer._guard.store((signed_to, 0, 3), b"what was signed", bytes(64))
            signers[KEYS[own]] = signer
        self.engine = Engine(own)
        chain, clock = cast(Any, Chain()), LoopClock(START_MS)
        self.signing = Signing(signers, chain, DOMAIN, clock)
        self.signing.progress = self.engine.machine
        self.votes = VoteGossip(chain, cast(Any, Bodies()), DOMAIN, clock, self.box, self.signing)
        self.votes.attach(cast(Any, self.engine))

    def signs(self) -> bool:
        return self.signing.may_sign

    async def hear(self, peer: bytes, kind: ConsensusKind, payload: bytes) -> None:
        await self.votes.on_message(peer, kind, payload)

    async def have(self, peer: bytes, **changes: Any) -> None:
        fields: dict[str, Any] = {
            "height": HEIGHT,
            "round": 0,
            "has_proposal": False,
            "prevotes": AUTHORITIES.bitmap([]),
            "precommits": AUTHORITIES.bitmap([]),
            **changes,
        }
        await self.hear(peer, ConsensusKind.HAVE, Have(**fields).pack())


async def test_messages_go_to_those_who_take_part_and_to_no_follower(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Followers get blocks; votes to hundreds of them would drown the network."""
    bench = Bench()
    await bench.have(P)
    bench.votes.broadcast(vote(0))
    bench.votes.broadcast(proposal())
    assert bench.box.said(P) == [vote(0), proposal()]
    assert bench.box.said(Q) == []
    # A proposal goes with the compact form of its body.
    assert (P, ProposalKind.COMPACT, b"compact " + block().block_id[:4]) in bench.box.sent
    bench.votes.forget_peer(P)
    bench.box.sent.clear()
    bench.votes.broadcast(vote(0))
    assert bench.box.sent == []


async def test_a_peer_is_sent_exactly_what_it_lacks_also_of_others(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A missing link between two authorities is no fault while a third hears both."""
    bench = Bench()
    for message in (vote(1), vote(2), vote(3, Kind.PRECOMMIT)):
        await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(message))
    await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(proposal()))
    await bench.have(P, prevotes=AUTHORITIES.bitmap([KEYS[1]]))
    assert bench.box.said(P) == [proposal(), vote(2), vote(3, Kind.PRECOMMIT)]
    bench.box.sent.clear()
    await trio.sleep(1)
    await bench.have(
        P,
        has_proposal=True,
        prevotes=AUTHORITIES.bitmap([KEYS[1], KEYS[2]]),
        precommits=AUTHORITIES.bitmap([KEYS[3]]),
    )
    assert bench.box.said(P) == []


async def test_what_is_lacking_is_sent_again_but_within_a_ration(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Lost bytes are repeated; a peer that says "nothing yet" a thousand times a second is not
    answered with a thousand times all votes."""
    bench = Bench()
    await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(vote(1)))
    for _ in range(1_000):
        await bench.have(P)
    assert bench.box.said(P) == [vote(1)]
    await trio.sleep(REPAIR_PERIOD_S + 0.01)
    await bench.have(P)
    assert bench.box.said(P) == [vote(1), vote(1)]


@pytest.mark.parametrize(
    "forged",
    [
        proposal(b"\x66" * 32),
        proposal(state_root=b"\x77" * 32)._replace(signature=bytes(64)),
        proposal(SEEDS[(KEYS.index(block().proposer) + 1) % 4]),
    ],
)
async def test_a_forged_proposal_is_never_passed_on(
    forged: Proposal, autojump_clock: trio.abc.Clock
) -> None:
    """Whoever relays a forgery is banned for it: one liar could make honest nodes cut each
    other off. It must not hide the true one either."""
    bench = Bench()
    await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(proposal()))
    await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(forged))
    await bench.have(P)
    assert bench.box.said(P) == [proposal()]
    other = Bench()
    await other.hear(Q, ConsensusKind.MESSAGE, pack_message(forged))
    await other.have(P)
    assert other.box.said(P) == []
    assert not other.votes._have().has_proposal


async def test_peers_at_other_heights_are_sent_nothing(autojump_clock: trio.abc.Clock) -> None:
    bench = Bench()
    await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(vote(1)))
    for height in (1, HEIGHT - 1, HEIGHT + 1, 2**60):
        await bench.have(P, height=height)
        await trio.sleep(1)
    assert bench.box.said(P) == []


@pytest.mark.parametrize("bitmap", [b"", b"\xff", b"\xff\xff\xff", b"\x10"])
async def test_a_bitmap_of_a_wrong_shape_counts_as_none(
    bitmap: bytes, autojump_clock: trio.abc.Clock
) -> None:
    bench = Bench()
    await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(vote(1)))
    await bench.have(P, prevotes=bitmap, precommits=bitmap, round=0)
    assert bench.box.said(P) == [vote(1)]


async def test_a_peer_in_an_earlier_round_is_told_why_the_round_is_over(
    autojump_clock: trio.abc.Clock,
) -> None:
    bench = Bench()
    for who in (1, 2, 3):
        nil = Vote(Kind.PRECOMMIT, HEIGHT, 4, None, KEYS[who])
        signed = nil._replace(signature=crypto.sign(SEEDS[who], nil.sign_bytes(DOMAIN)))
        await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(signed))
    assert bench.engine.machine.round == 4
    await bench.have(P, round=2)
    (entry,) = bench.box.said(P)
    entry.verify(DOMAIN, AUTHORITIES, crypto.verify)
    assert entry.round == 4


async def test_a_participant_says_regularly_where_it_stands(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench()
    nursery.start_soon(bench.votes.run)
    await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(vote(2)))
    await trio.sleep(3)
    haves = [data for to, kind, data in bench.box.sent if (to, kind) == (P, ConsensusKind.HAVE)]
    said = [Have.unpack(data) for data in haves]
    assert 3 <= len(said) <= 3 / HAVE_PERIOD_S + 1
    assert said[-1].prevotes == AUTHORITIES.bitmap([KEYS[2]])
    follower = Bench(own=None)
    nursery.start_soon(follower.votes.run)
    await trio.sleep(3)
    assert follower.box.sent == []
    nursery.cancel_scope.cancel()


async def test_proposals_are_judged_timely_once_at_receipt(autojump_clock: trio.abc.Clock) -> None:
    """Block time is the chain's only clock: a proposer an hour ahead must fail its round."""
    for shift_ms, timely in ((0, True), (-2_400, True), (-60_000, False), (60_000, False)):
        bench = Bench()
        bench.votes._clock = LoopClock(START_MS - shift_ms)
        await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(proposal()))
        (event, peer) = bench.engine.delivered[0]
        assert isinstance(event, ProposalReceived) and peer == Q
        assert event.timely is timely, shift_ms
    bench = Bench()
    await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(vote(1)))
    assert bench.engine.delivered == [(VoteReceived(vote(1)), Q)]


async def test_rubbish_is_refused_by_name(autojump_clock: trio.abc.Clock) -> None:
    bench = Bench()
    for kind in ConsensusKind:
        with pytest.raises(Malformed):
            await bench.hear(P, kind, b"rubbish")


# -- the question before signing


def told(votes: list[Vote]) -> bytes:
    """A peer's answer about the key of the first authority."""
    return messages.pack_own_votes(KEYS[0], False, votes)


async def opening(bench: Bench, nursery: trio.Nursery) -> None:
    await bench.signing.recall(HEIGHT, [])
    nursery.start_soon(bench.signing.run)
    await trio.lowlevel.checkpoint()
    for peer in (P, Q, R):
        bench.votes.connected(peer)


async def test_it_signs_once_f_plus_one_peers_have_answered(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """One answer could be a liar's; of two, one is honest."""
    bench = Bench()
    await opening(bench, nursery)
    asked = [to for to, kind, _ in bench.box.sent if kind is ConsensusKind.OWN_VOTES_WANTED]
    assert asked == [P, Q, R]
    await trio.sleep(3_600)
    assert not bench.signs()
    for _ in range(3):
        await bench.hear(P, ConsensusKind.OWN_VOTES, told([]))
    await trio.sleep(10)
    assert not bench.signs()
    await bench.hear(Q, ConsensusKind.OWN_VOTES, told([]))
    await trio.sleep(0.1)
    assert bench.signs()
    nursery.cancel_scope.cancel()


async def test_after_a_restart_it_listens_for_a_round_first(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench(signed_to=HEIGHT - 1)
    await opening(bench, nursery)
    for peer in (P, Q):
        await bench.hear(peer, ConsensusKind.OWN_VOTES, told([]))
    await trio.sleep(1.5)
    assert not bench.signs()
    await trio.sleep(1)
    assert bench.signs()
    nursery.cancel_scope.cancel()


async def test_a_vote_of_ours_that_we_do_not_remember_makes_us_observe(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """A machine set back to yesterday's image: signing on would contradict what it said since."""
    for true in (vote(0), vote(0, Kind.PRECOMMIT, 3), vote(0, height=HEIGHT + 50)):
        bench = Bench(own=0, signed_to=HEIGHT - 3)
        await opening(bench, nursery)
        for peer in (P, Q):
            await bench.hear(peer, ConsensusKind.OWN_VOTES, told([true]))
        await trio.sleep(10)
        assert bench.signing.describe()[0]["has_gap"]
        await bench.hear(R, ConsensusKind.OWN_VOTES, told([]))
        await trio.sleep(10)
        assert not bench.signs()
        (key,) = bench.signing.describe()
        assert key["state"] == "observing"
        assert key["from_height"] == max(true.height + 2, HEIGHT + HEIGHTS_LEFT_OUT)
    nursery.cancel_scope.cancel()


async def test_a_vote_of_ours_that_comes_while_we_sign_ends_the_process(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Nobody but this process could have made it, and it did not: there is a second one."""
    bench = Bench(own=0)
    await opening(bench, nursery)
    for peer in (P, Q):
        await bench.hear(peer, ConsensusKind.OWN_VOTES, told([]))
    await trio.sleep(1)
    assert bench.signs()
    forged = vote(0)._replace(signature=bytes(64))
    await bench.hear(P, ConsensusKind.MESSAGE, pack_message(forged))
    with pytest.raises(OperatorError, match="Another process has the same key"):
        await bench.hear(P, ConsensusKind.MESSAGE, pack_message(vote(0)))
    nursery.cancel_scope.cancel()


async def test_a_peer_that_claims_our_key_delays_us_for_two_heartbeats_at_most(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """True, a block shows it meanwhile; a lie must not silence an authority."""
    bench = Bench(own=0)
    await opening(bench, nursery)
    for peer in (P, Q):
        answer = messages.pack_own_votes(KEYS[0], peer == P, [])
        await bench.hear(peer, ConsensusKind.OWN_VOTES, answer)
    await trio.sleep(55)
    assert not bench.signs()
    await bench.hear(R, ConsensusKind.OWN_VOTES, messages.pack_own_votes(KEYS[0], True, []))
    await trio.sleep(10)
    assert bench.signs()
    nursery.cancel_scope.cancel()


async def test_a_lie_about_our_votes_stops_nobody(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Only a signature of ours counts, and only above what we remember."""
    bench = Bench(own=0, signed_to=HEIGHT - 1)
    await opening(bench, nursery)
    lies = [
        vote(0)._replace(signature=bytes(64)),
        vote(1),
        vote(0, height=HEIGHT - 2),
        vote(0)._replace(round=9),
    ]
    for peer in (P, Q):
        for lie in lies:
            await bench.hear(peer, ConsensusKind.OWN_VOTES, told([lie]))
    await trio.sleep(5)
    assert bench.signs()
    nursery.cancel_scope.cancel()


async def test_peers_are_told_the_highest_votes_of_theirs(autojump_clock: trio.abc.Clock) -> None:
    """From the newest certificate and from the height in progress, signatures included."""
    bench = Bench(own=3)
    await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(vote(1)))
    await bench.hear(P, ConsensusKind.OWN_VOTES_WANTED, messages.pack_id(KEYS[1]))
    (answer,) = [d for to, kind, d in bench.box.sent if kind is ConsensusKind.OWN_VOTES]
    about, is_mine, votes = messages.unpack_own_votes(answer)
    assert (about, is_mine) == (KEYS[1], False)
    assert votes == [vote(1, Kind.PRECOMMIT, height=HEIGHT - 1), vote(1)]
    assert all(one.verifies(DOMAIN, crypto.verify) for one in votes)
    bench.box.sent.clear()
    await bench.hear(P, ConsensusKind.OWN_VOTES_WANTED, messages.pack_id(b"\x99" * 32))
    (answer,) = [d for _, _, d in bench.box.sent]
    assert messages.unpack_own_votes(answer) == (b"\x99" * 32, False, [])
