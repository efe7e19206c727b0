"""Who connects anew is told what was signed here, and who follows is told nothing (R16).

If it failed, a height could stand until its rounds are over although a quorum has voted, or a
removed authority would be sent every vote for ever.
"""

from __future__ import annotations

import trio

from clawpurse.consensus.inputs import Signed, StartHeight, WorkAvailable
from clawpurse.consensus.timeouts import TimeoutParams
from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.messages import SignedMessage, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.node.votes import GREETING_MAX, HAVE_PERIOD_S, PARTICIPANT_S
from tests.node.test_votes import (
    AUTHORITIES,
    DOMAIN,
    HEIGHT,
    KEYS,
    SEEDS,
    Bench,
    P,
    Q,
    block,
    proposal,
    vote,
)

OTHERS = b"\x77" * 32


def own(kind: Kind, round_: int, block_id: bytes | None) -> Vote:
    unsigned = Vote(kind, HEIGHT, round_, block_id, KEYS[0])
    return unsigned._replace(signature=crypto.sign(SEEDS[0], unsigned.sign_bytes(DOMAIN)))


def said_before(bench: Bench, *messages: SignedMessage) -> None:
    """Let the bench's machine have signed these at its height."""
    machine = bench.engine.machine
    current = machine._current
    assert current is not None
    current.own_messages.extend(messages)


async def test_a_peer_that_connects_is_sent_the_votes_of_every_round_that_may_decide(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A block may be decided by precommits of an earlier round, of which `Have` does not speak."""
    bench = Bench()
    decisive = own(Kind.PRECOMMIT, 0, block().block_id)
    useless = own(Kind.PREVOTE, 1, None)
    bench.engine.machine._current.start_round(2)  # type: ignore[union-attr]
    newest = own(Kind.PREVOTE, 2, None)
    said_before(bench, decisive, useless, newest)
    await bench.have(P, round=2)
    assert bench.box.said(P)[:2] == [decisive, newest]
    assert useless not in bench.box.said(P)
    # Once: from then on it is sent what it lacks.
    bench.box.sent.clear()
    await trio.sleep(HAVE_PERIOD_S)
    await bench.have(P, round=2, prevotes=AUTHORITIES.bitmap([KEYS[0]]))
    assert decisive not in bench.box.said(P)
    # Until it connects again.
    bench.votes.forget_peer(P)
    await bench.have(P, round=2)
    assert decisive in bench.box.said(P)


async def test_a_peer_that_was_behind_is_greeted_when_it_arrives(
    autojump_clock: trio.abc.Clock,
) -> None:
    bench = Bench()
    decisive = own(Kind.PRECOMMIT, 0, block().block_id)
    said_before(bench, decisive)
    await bench.have(P, height=HEIGHT - 1)
    assert bench.box.said(P) == []
    await bench.have(P)
    assert decisive in bench.box.said(P)


async def test_a_greeting_is_bounded(autojump_clock: trio.abc.Clock) -> None:
    """A height that stood for hours has thousands of own votes."""
    bench = Bench()
    said_before(bench, *(own(Kind.PREVOTE, 0, OTHERS) for _ in range(10 * GREETING_MAX)))
    await bench.have(P)
    assert len(bench.box.said(P)) == GREETING_MAX


async def test_who_says_nothing_any_more_is_sent_no_votes(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A removed authority becomes a follower; one that hangs is told everything when it is back."""
    bench = Bench()
    mine = own(Kind.PRECOMMIT, 0, block().block_id)
    said_before(bench, mine)
    await bench.have(P)
    await bench.have(Q)
    await trio.sleep(PARTICIPANT_S - 1)
    await bench.have(Q)
    await trio.sleep(2)
    bench.box.sent.clear()
    bench.votes.broadcast(vote(0))
    assert bench.box.said(P) == []
    assert bench.box.said(Q) == [vote(0)]
    await bench.have(P)
    assert mine in bench.box.said(P)


async def test_whoever_precommits_shows_the_polka_and_a_long_round_repeats_itself(
    autojump_clock: trio.abc.Clock,
) -> None:
    """R16 in the machine, and through this file to the peers: polka, proposal, repetition."""
    from clawpurse.consensus.effects import Broadcast, ScheduleTimeout, Sign
    from clawpurse.consensus.inputs import (
        ProposalReceived,
        TimeoutElapsed,
        Validity,
        VoteReceived,
    )
    from clawpurse.consensus.machine import Machine
    from clawpurse.consensus.timeouts import TimeoutKind

    machine = Machine(DOMAIN)
    pace = TimeoutParams(interval_ms=0)
    sent: list[object] = []
    timed: list[ScheduleTimeout] = []

    def feed(event: object) -> None:
        for effect in machine.step(event):  # type: ignore[arg-type]
            if isinstance(effect, Sign):
                message = effect.message
                who = KEYS.index(message.authority)
                signature = crypto.sign(SEEDS[who], message.sign_bytes(DOMAIN))
                feed(Signed(message._replace(signature=signature)))
            elif isinstance(effect, Broadcast):
                sent.append(effect.message)
            elif isinstance(effect, ScheduleTimeout):
                timed.append(effect)

    # Anybody but the proposer, so that the proposal comes from outside.
    who = next(n for n in range(4) if KEYS[n] != AUTHORITIES.proposer(HEIGHT, 0))
    feed(StartHeight(HEIGHT, AUTHORITIES, AUTHORITIES, KEYS[who], pace))
    feed(WorkAvailable(HEIGHT))
    feed(ProposalReceived(proposal(), timely=True))
    feed(Validity(block().block_id, True))
    others = [n for n in range(4) if n != who]
    for other in others[:2]:
        feed(VoteReceived(vote(other)))
    kinds = [type(message) for message in sent]
    assert [kind.__name__ for kind in kinds] == ["Vote", "Vote", "PolkaCertificate", "Proposal"]
    repeated = [timer for timer in timed if timer.kind is TimeoutKind.REBROADCAST]
    assert [timer.ms for timer in repeated] == [pace.rebroadcast_ms(0)]
    sent.clear()
    feed(TimeoutElapsed(TimeoutKind.REBROADCAST, HEIGHT, 0))
    kinds = [type(message) for message in sent]
    assert sorted(kind.__name__ for kind in kinds) == [
        "PolkaCertificate",
        "Proposal",
        "Vote",
        "Vote",
    ]
    assert len([t for t in timed if t.kind is TimeoutKind.REBROADCAST]) == 2
