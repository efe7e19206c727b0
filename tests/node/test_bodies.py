"""Bodies of blocks under decision: rebuilt from the pool, fetched, served, whoever lies.

If this failed, one liar could keep a block's body from a node, and with it the network's pace;
or a block could be voted for whose body nobody can show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trio
import trio.testing

from clawpurse.ledger.blocks import Block, Header
from clawpurse.ledger.crypto import ZERO_HASH, certificate_hash_of, list_root
from clawpurse.ledger.errors import Malformed, PeerError
from clawpurse.ledger.transition import Prepared, prepare
from clawpurse.node import bodies as bodies_file
from clawpurse.node import messages
from clawpurse.node.bodies import (
    ANSWER_TIMEOUT_S,
    BODIES_MAX,
    COMPACTS_PER_PEER_MAX,
    SERVED_BURST_BYTES,
    Bodies,
    Body,
    transactions_root,
)
from clawpurse.node.messages import PREFIX_BYTES, Compact, ProposalKind
from clawpurse.node.verifier import InlineVerifier
from tests.node.poolworld import REGISTRY, START_MS, PoolWorld

A, B, C = (bytes((n,)) * 32 for n in (1, 2, 3))
WORLD = PoolWorld()
RAWS = [WORLD.pay(n % 4, n // 4, signed=True) for n in range(12)]
PREPARED = tuple(prepare(raw, REGISTRY) for raw in RAWS)


def made(raws: Sequence[bytes] = RAWS, **changes: Any) -> Block:
    """A block whose header fits its lists, unless `changes` says otherwise."""
    wtx_ids = [prepare(raw, REGISTRY).transaction.wtx_id for raw in raws]
    certificate = changes.pop("certificate", b"a certificate")
    fields: dict[str, Any] = {
        "version": 1,
        "chain_id": "pool-test",
        "genesis_hash": WORLD.genesis.hash,
        "recovery_epoch": 0,
        "height": 5,
        "time_ms": START_MS,
        "first_round": 0,
        "proposer": A,
        "parent_id": A,
        "parent_certificate_hash": ZERO_HASH
        if certificate is None
        else certificate_hash_of(certificate),
        "transactions_root": transactions_root(wtx_ids),
        "receipts_root": A,
        "events_root": A,
        "evidence_root": list_root(()),
        "state_root": A,
        "authorities_hash": A,
        "next_authorities_hash": A,
        "params_hash": A,
        "cost_used": 0,
        **changes,
    }
    return Block(Header(**fields), certificate, (), tuple(raws))


BLOCK = made()
BLOCK_ID = BLOCK.header.block_id
BODY = Body(BLOCK, PREPARED)


class Pool:
    """Holds some transactions, found by prefix."""

    def __init__(self, held: Sequence[Prepared] = ()) -> None:
        self.by_prefix = {item.transaction.wtx_id[:PREFIX_BYTES]: item for item in held}

    def prefix_lookup(self, prefix: bytes) -> Prepared | None:
        return self.by_prefix.get(prefix)


@dataclass
class Box:
    """An outbox; peers answer by functions of (kind, payload)."""

    sent: list[tuple[bytes, ProposalKind, bytes]] = field(default_factory=list)
    answers: dict[bytes, Callable[[ProposalKind, bytes], Any]] = field(default_factory=dict)
    here: list[bytes] = field(default_factory=list)

    def peers(self) -> list[bytes]:
        return self.here or list(self.answers)

    def send(self, peer: bytes, kind: ProposalKind, payload: bytes) -> bool:
        self.sent.append((peer, kind, payload))
        if peer in self.answers:
            self.answers[peer](kind, payload)
        return True

    def asked(self, peer: bytes) -> list[ProposalKind]:
        return [kind for to, kind, _ in self.sent if to == peer]


class Bench:
    """Bodies of one node, its pool, and peers that behave as told."""

    def __init__(self, held: Sequence[Prepared] = ()) -> None:
        self.box = Box()
        self.bodies = Bodies(REGISTRY, Pool(held), InlineVerifier(), self.box)
        self.bodies.start_height(5)

    def peer(self, name: bytes, *bodies: Body, delay_s: float | None = 0.01) -> Bodies:
        """A peer with these bodies; it answers after a while, or never."""
        other = Box()
        theirs = Bodies(REGISTRY, Pool(), InlineVerifier(), other)
        theirs.start_height(5)
        for body in bodies:
            theirs.put(body)

        def answer(kind: ProposalKind, payload: bytes) -> None:
            if delay_s is None:
                return
            theirs.on_message(A, kind, payload)
            for _, back, data in other.sent:
                self.later(delay_s, name, back, data)
            other.sent.clear()

        self.box.answers[name] = answer
        return theirs

    def later(self, delay_s: float, name: bytes, kind: ProposalKind, data: bytes) -> None:
        async def deliver() -> None:
            await trio.sleep(delay_s)
            self.bodies.on_message(name, kind, data)

        trio.lowlevel.spawn_system_task(deliver)

    def announce(self, name: bytes, body: Body = BODY) -> None:
        wtx_ids = [item.transaction.wtx_id for item in body.prepared]
        compact = Compact.of(body.block, wtx_ids).pack()
        self.bodies.on_message(name, ProposalKind.COMPACT, compact)

    async def obtain(self, seconds: float = 30) -> Body:
        with trio.fail_after(seconds):
            return await self.bodies.obtain(BLOCK_ID)


async def test_a_block_of_pooled_transactions_needs_no_question(
    autojump_clock: trio.abc.Clock,
) -> None:
    """16 bytes a transaction are enough: the network does not carry blocks twice."""
    bench = Bench(PREPARED)
    bench.announce(B)
    assert (await bench.obtain()).block == BLOCK
    assert bench.box.sent == []


async def test_what_is_missing_is_asked_for_once_from_the_announcer(
    autojump_clock: trio.abc.Clock,
) -> None:
    bench = Bench(PREPARED[:7])
    bench.peer(B, BODY)
    bench.peer(C, BODY)
    bench.announce(B)
    body = await bench.obtain()
    assert body.block == BLOCK and body.prepared == PREPARED
    assert bench.box.asked(B) == [ProposalKind.MISSING_WANTED]
    assert bench.box.asked(C) == []
    wanted = messages.unpack_missing_wanted(bench.box.sent[0][2])
    assert wanted == (BLOCK_ID, [7, 8, 9, 10, 11])


async def test_without_an_announcement_the_whole_body_is_fetched_from_anybody(
    autojump_clock: trio.abc.Clock,
) -> None:
    bench = Bench()
    bench.peer(B)
    bench.peer(C, BODY)
    assert (await bench.obtain()).block == BLOCK
    assert set(bench.box.asked(C)) == {ProposalKind.FULL_WANTED}


@pytest.mark.parametrize(
    "lie",
    [
        lambda: messages.pack_missing(BLOCK_ID, RAWS[:3]),
        lambda: messages.pack_missing(BLOCK_ID, RAWS[::-1][:5]),
        lambda: messages.pack_missing(BLOCK_ID, [b"rubbish"] * 5),
        lambda: messages.pack_missing(BLOCK_ID, [WORLD.pay(0, 9)] * 5),
    ],
)
async def test_a_lying_announcer_is_followed_by_an_honest_one(
    lie: Callable[[], bytes], autojump_clock: trio.abc.Clock
) -> None:
    """A good header may come with bad bytes; they never condemn the block."""
    bench = Bench(PREPARED[:7])
    bench.box.answers[B] = lambda kind, payload: (
        bench.later(0.01, B, ProposalKind.MISSING, lie())
        if kind is ProposalKind.MISSING_WANTED
        else None
    )
    bench.peer(C, BODY)
    bench.announce(B)
    bench.announce(C)
    assert (await bench.obtain()).block == BLOCK


@pytest.mark.parametrize(
    "other",
    [
        Block(BLOCK.header, BLOCK.parent_certificate, (), BLOCK.transactions[:-1]),
        Block(BLOCK.header, BLOCK.parent_certificate, (), BLOCK.transactions[::-1]),
        Block(BLOCK.header, b"another", (), BLOCK.transactions),
        Block(BLOCK.header, None, (), BLOCK.transactions),
        Block(BLOCK.header, BLOCK.parent_certificate, (b"evidence",), BLOCK.transactions),
    ],
)
async def test_a_full_body_that_does_not_fit_its_header_is_dropped(
    other: Block, autojump_clock: trio.abc.Clock
) -> None:
    bench = Bench()
    bench.box.answers[B] = lambda kind, payload: bench.later(
        0.01, B, ProposalKind.FULL, other.pack()
    )
    bench.peer(C, BODY)
    assert (await bench.obtain()).block == BLOCK


async def test_prefixes_of_other_transactions_lead_to_the_full_body(
    autojump_clock: trio.abc.Clock,
) -> None:
    """The announcer names wrong prefixes that happen to be in the pool."""
    bench = Bench(PREPARED)
    bench.peer(B, BODY)
    wrong = Compact(
        BLOCK.header,
        BLOCK.parent_certificate,
        (),
        tuple(item.transaction.wtx_id[:PREFIX_BYTES] for item in PREPARED[::-1]),
    )
    bench.bodies.on_message(B, ProposalKind.COMPACT, wrong.pack())
    assert (await bench.obtain()).block == BLOCK


async def test_a_bad_signature_in_a_body_is_the_sender_s_lie(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Another witness makes another wtx id, so the header's root says which one is meant."""
    unsigned = made([WORLD.pay(0, 0)])
    bench = Bench()
    with pytest.raises(PeerError, match="signature"):
        await bench.bodies.complete(unsigned)


async def test_a_silent_peer_delays_and_a_slow_one_gets_its_time(
    autojump_clock: trio.abc.Clock,
) -> None:
    """On a slow link the largest body takes seconds: patience grows until it fits."""
    bench = Bench()
    bench.peer(B, delay_s=None)
    bench.peer(C, BODY, delay_s=8 * ANSWER_TIMEOUT_S + 0.1)
    body = await bench.obtain(120)
    assert body.block == BLOCK


async def test_nobody_is_asked_in_a_spin(autojump_clock: trio.abc.Clock) -> None:
    bench = Bench()
    bench.peer(B, delay_s=0)
    with trio.move_on_after(60):
        await bench.bodies.obtain(BLOCK_ID)
    assert len(bench.box.sent) < 120


async def test_two_who_want_one_body_do_not_take_each_other_s_answers(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Validation and fetching may run at once; one's end must not break the other."""
    bench = Bench()
    bench.peer(B, BODY, delay_s=0.3)
    got: list[Body] = []

    async def want() -> None:
        got.append(await bench.obtain())

    nursery.start_soon(want)
    await trio.sleep(ANSWER_TIMEOUT_S / 2)
    nursery.start_soon(want)
    with trio.fail_after(20):
        while len(got) < 2:
            await trio.sleep(0.05)
    assert bench.bodies._questions == {}


async def test_answers_that_nobody_waits_for_are_not_kept(autojump_clock: trio.abc.Clock) -> None:
    bench = Bench()
    bench.bodies.on_message(B, ProposalKind.FULL, BLOCK.pack())
    bench.bodies.on_message(B, ProposalKind.MISSING, messages.pack_missing(BLOCK_ID, RAWS))
    assert bench.bodies.get(BLOCK_ID) is None and bench.bodies._questions == {}


async def test_one_peer_s_announcements_never_push_out_another_s(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A flood of invented headers must not cost the round of the true one."""
    bench = Bench(PREPARED)
    bench.announce(B)
    for number in range(500):
        false = made(time_ms=START_MS + number + 1)
        bench.announce(C, Body(false, PREPARED))
    assert len(bench.bodies._compacts[C]) == COMPACTS_PER_PEER_MAX
    assert (await bench.obtain()).block == BLOCK
    assert bench.box.sent == []
    bench.bodies.forget_peer(C)
    assert C not in bench.bodies._compacts


async def test_announcements_of_other_heights_are_not_kept(autojump_clock: trio.abc.Clock) -> None:
    bench = Bench()
    for height in (1, 4, 7, 2**60):
        bench.announce(B, Body(made(height=height), PREPARED))
    assert bench.bodies._compacts == {}
    bench.announce(B, Body(made(height=6), PREPARED))
    bench.announce(B)
    bench.bodies.start_height(6)
    assert list(bench.bodies._compacts[B]) == [made(height=6).header.block_id]


async def test_bodies_kept_are_bounded_but_never_lose_what_may_be_decided(
    autojump_clock: trio.abc.Clock,
) -> None:
    """After twenty failed rounds the locked block's body must still be there."""
    bench = Bench()
    bench.bodies.put(BODY)
    bench.bodies.needed = lambda: (BLOCK_ID,)
    for number in range(3 * BODIES_MAX):
        bench.bodies.put(Body(made(time_ms=START_MS + 1 + number), PREPARED))
    assert bench.bodies.get(BLOCK_ID) is BODY
    assert len(bench.bodies._bodies) == BODIES_MAX
    bench.bodies.needed = tuple
    bench.bodies.put(Body(made(time_ms=START_MS + 999), PREPARED))
    assert bench.bodies.get(BLOCK_ID) is None


async def test_the_last_height_s_body_is_served_until_the_next_is_over(
    autojump_clock: trio.abc.Clock,
) -> None:
    bench = Bench()
    bench.bodies.put(BODY)
    bench.bodies.start_height(6)
    assert bench.bodies.get(BLOCK_ID) is BODY
    bench.bodies.start_height(7)
    assert bench.bodies.get(BLOCK_ID) is None
    bench.bodies.committed_block = lambda block_id: BLOCK.pack() if block_id == BLOCK_ID else None
    bench.bodies.on_message(B, ProposalKind.FULL_WANTED, messages.pack_id(BLOCK_ID))
    assert bench.box.sent == [(B, ProposalKind.FULL, BLOCK.pack())]


async def test_what_is_not_here_is_said_not_to_be(autojump_clock: trio.abc.Clock) -> None:
    bench = Bench()
    for kind, payload in (
        (ProposalKind.FULL_WANTED, messages.pack_id(BLOCK_ID)),
        (ProposalKind.COMPACT_WANTED, messages.pack_id(BLOCK_ID)),
        (ProposalKind.MISSING_WANTED, messages.pack_missing_wanted(BLOCK_ID, [0])),
    ):
        bench.bodies.on_message(B, kind, payload)
    assert [kind for _, kind, _ in bench.box.sent] == [ProposalKind.UNKNOWN] * 3
    bench.bodies.put(BODY)
    bench.box.sent.clear()
    bench.bodies.on_message(
        B, ProposalKind.MISSING_WANTED, messages.pack_missing_wanted(BLOCK_ID, [len(RAWS)])
    )
    assert [kind for _, kind, _ in bench.box.sent] == [ProposalKind.UNKNOWN]


async def test_one_peer_is_served_within_a_ration(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for the same body on and on must not keep a node packing it."""
    size = sum(map(len, RAWS))
    monkeypatch.setattr(bodies_file, "SERVED_BURST_BYTES", 3 * size)
    monkeypatch.setattr(bodies_file, "SERVED_BYTES_PER_S", size)
    assert SERVED_BURST_BYTES >= 4 * 8_000_000
    bench = Bench()
    bench.bodies.put(BODY)
    for _ in range(50):
        bench.bodies.on_message(B, ProposalKind.FULL_WANTED, messages.pack_id(BLOCK_ID))
    assert len(bench.box.sent) == 3
    bench.bodies.on_message(C, ProposalKind.FULL_WANTED, messages.pack_id(BLOCK_ID))
    assert len(bench.box.sent) == 4
    await trio.sleep(1.1)
    bench.bodies.on_message(B, ProposalKind.FULL_WANTED, messages.pack_id(BLOCK_ID))
    assert len(bench.box.sent) == 5


def test_rubbish_is_refused_by_name() -> None:
    async def main() -> None:
        bench = Bench()
        for kind in ProposalKind:
            with pytest.raises(Malformed):
                bench.bodies.on_message(B, kind, b"rubbish")

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_the_block_of_these_tests_is_whole() -> None:
    assert replace(BLOCK.header).block_id == BLOCK_ID
    assert Block.unpack(BLOCK.pack()) == BLOCK
