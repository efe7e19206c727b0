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
from clawpurse.node.signer import FileSigner, create_sign_state
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
        self.may_sign = False

    async def deliver(self, event: Input, peer: bytes | None) -> None:
        self.delivered.append((event, peer))
        self.machine.step(event)

    async def allow_signing(self) -> None:
        self.may_sign = True


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


class Bodies:
    """Has the compact body of every block."""

    def compact(self, block_id: bytes) -> bytes | None:
        return b"compact " + block_id[:4]


class Bench:
    def __init__(self, own: int | None = 0, signed_to: int = 0) -> None:
        self.box = Box()
        signer = None
        if own is not None:
            files = MemoryFiles()
            create_sign_state(files, GENESIS, KEYS[own], signed_to)
            signer = FileSigner(SEEDS[own], GENESIS, files, InlineLane())
        self.signer = signer
        self.engine = Engine(own)
        self.votes = VoteGossip(
            cast(Any, Chain()),
            cast(Any, Bodies()),
            DOMAIN,
            LoopClock(START_MS),
            self.box,
            signer,
        )
        self.votes.attach(cast(Any, self.engine))

    def signs(self) -> bool:
        return self.engine.may_sign

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
    said = [Have.unpack(data) for to, kind, data in bench.box.sent if to == P]
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


async def opening(bench: Bench, nursery: trio.Nursery) -> None:
    nursery.start_soon(bench.votes.open_gate)
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
        await bench.hear(P, ConsensusKind.OWN_VOTES, messages.pack_own_votes([]))
    await trio.sleep(10)
    assert not bench.signs()
    await bench.hear(Q, ConsensusKind.OWN_VOTES, messages.pack_own_votes([]))
    await trio.sleep(0.1)
    assert bench.signs()
    nursery.cancel_scope.cancel()


async def test_after_a_restart_it_listens_for_a_round_first(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench(signed_to=HEIGHT - 1)
    await opening(bench, nursery)
    for peer in (P, Q):
        await bench.hear(peer, ConsensusKind.OWN_VOTES, messages.pack_own_votes([]))
    await trio.sleep(1.5)
    assert not bench.signs()
    await trio.sleep(1)
    assert bench.signs()
    nursery.cancel_scope.cancel()


async def test_a_vote_of_ours_that_we_do_not_remember_stops_the_node(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A machine set back to yesterday's image, or a twin: signing on would contradict it."""
    bench = Bench(own=0, signed_to=HEIGHT - 3)
    for true in (vote(0), vote(0, Kind.PRECOMMIT, 3), vote(0, height=HEIGHT + 50)):
        with pytest.raises(OperatorError, match=f"--signer-floor {true.height + 1}"):
            await bench.hear(P, ConsensusKind.OWN_VOTES, messages.pack_own_votes([true]))


async def test_a_lie_about_our_votes_stops_nobody(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Only a signature of ours counts, and only above what we remember."""
    bench = Bench(own=0, signed_to=HEIGHT - 1)
    nursery.start_soon(bench.votes.open_gate)
    lies = [
        vote(0)._replace(signature=bytes(64)),
        vote(1),
        vote(0, height=HEIGHT - 2),
        vote(0)._replace(round=9),
    ]
    for peer in (P, Q):
        for lie in lies:
            await bench.hear(peer, ConsensusKind.OWN_VOTES, messages.pack_own_votes([lie]))
    await trio.sleep(5)
    assert bench.signs()
    nursery.cancel_scope.cancel()


async def test_peers_are_told_the_highest_votes_of_theirs(autojump_clock: trio.abc.Clock) -> None:
    """From the newest certificate and from the height in progress, signatures included."""
    bench = Bench(own=3)
    await bench.hear(Q, ConsensusKind.MESSAGE, pack_message(vote(1)))
    await bench.hear(P, ConsensusKind.OWN_VOTES_WANTED, messages.pack_id(KEYS[1]))
    (answer,) = [d for to, kind, d in bench.box.sent if kind is ConsensusKind.OWN_VOTES]
    told = messages.unpack_own_votes(answer)
    assert told == [vote(1, Kind.PRECOMMIT, height=HEIGHT - 1), vote(1)]
    assert all(one.verifies(DOMAIN, crypto.verify) for one in told)
    bench.box.sent.clear()
    await bench.hear(P, ConsensusKind.OWN_VOTES_WANTED, messages.pack_id(b"\x99" * 32))
    (answer,) = [d for _, _, d in bench.box.sent]
    assert messages.unpack_own_votes(answer) == []
