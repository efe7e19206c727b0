"""Two ends of one connection under load: priorities hold, a slow consumer hurts only itself,
memory is bounded, and who does not take part is let go."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from clawpurse.ledger.errors import ProtocolViolation
from clawpurse.p2p import channels, connection
from clawpurse.p2p.address import Endpoint
from clawpurse.p2p.channels import MESSAGE_COST, POLICIES, Channel
from clawpurse.p2p.connection import FAREWELL, GIVE_BACK, PING, Connection
from clawpurse.p2p.handshake import Handshake, Secured
from clawpurse.p2p.memory import MemoryBudget
from clawpurse.p2p.records import RecordCipher, RecordReader, frame_message
from clawpurse.p2p.transport import MemoryNetwork
from tests.p2p.peers import identity, until

BIG = 1_000_000
# A range of blocks that ends in the largest block.
LARGEST = 20_016_384
PORT = 1


def size_max(channel: int, kind: int) -> int:
    if channel not in set(Channel):
        raise ProtocolViolation(f"there is no channel {channel}")
    return LARGEST


def shake_hands() -> tuple[Secured, Secured]:
    """Both sides of a handshake."""
    one = Handshake(identity(1), initiator=True, ephemeral_secret=b"\x01" * 32)
    other = Handshake(identity(2), initiator=False, ephemeral_secret=b"\x02" * 32)
    other.feed(one.start())
    one.feed(other.advance())
    other.feed(one.advance())
    other.advance()
    assert one.secured is not None
    assert other.secured is not None
    return one.secured, other.secured


class End:
    """One end: its connection, what it consumed, and a gate that its consumers may wait at."""

    def __init__(self, link: Connection) -> None:
        self.link = link
        self.seen: list[tuple[Channel, int, bytes]] = []
        self.gates: dict[Channel, trio.Event] = {}
        self.error: BaseException | None = None
        self.ended = trio.Event()

    async def consume(self, _link: Connection, channel: Channel, kind: int, payload: bytes) -> None:
        if channel in self.gates:
            await self.gates[channel].wait()
        self.seen.append((channel, kind, payload))

    async def run(self) -> None:
        try:
            await self.link.run(self.consume)
        except* ProtocolViolation as group:
            self.error = group
        finally:
            self.ended.set()

    def count(self, channel: Channel) -> int:
        return sum(seen == channel for seen, _, _ in self.seen)


async def streams(network: MemoryNetwork) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """A pair of connected streams."""
    found: list[trio.abc.Stream] = []

    async def accept(stream: trio.abc.Stream, _endpoint: Endpoint) -> None:
        found.append(stream)

    async with trio.open_nursery() as nursery:
        network.listen("b", PORT, accept, nursery)
        near = await network.connect("a", "b", PORT)
        await until(lambda: bool(found), 5)
        network.unlisten("b", PORT)
    return near, found[0]


def linked(
    stream: trio.abc.Stream, secured: Secured, budget: MemoryBudget[Connection] | None = None
) -> Connection:
    return Connection(
        stream,
        secured,
        b"",
        Endpoint("b", PORT),
        outbound=True,
        size_max=size_max,
        budget=budget or MemoryBudget(lambda held: held.close("too much"), 10**9),
    )


@asynccontextmanager
async def connected(
    network: MemoryNetwork | None = None,
    budgets: tuple[MemoryBudget[Connection] | None, MemoryBudget[Connection] | None] = (None, None),
    before: Callable[[End, End], None] = lambda _ann, _bob: None,
) -> AsyncIterator[tuple[End, End]]:
    """Two running ends of one connection."""
    near, far = await streams(network or MemoryNetwork())
    ann_secured, bob_secured = shake_hands()
    ann = End(linked(near, ann_secured, budgets[0]))
    bob = End(linked(far, bob_secured, budgets[1]))
    before(ann, bob)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ann.run)
        nursery.start_soon(bob.run)
        yield ann, bob
        nursery.cancel_scope.cancel()


class Rogue:
    """A peer that finished the handshake and then sends what it likes."""

    def __init__(self, stream: trio.abc.Stream, secured: Secured) -> None:
        self.stream = stream
        self.seal = RecordCipher(secured.send_key)
        self.reader = RecordReader(RecordCipher(secured.receive_key))

    async def say(self, channel: int, kind: int, payload: bytes) -> None:
        for frame in frame_message(channel, kind, payload):
            await self.stream.send_all(self.seal.seal(frame))

    async def listen(self) -> list[bytes]:
        heard: list[bytes] = []
        while data := await self.stream.receive_some(1 << 20):
            heard += self.reader.feed(bytes(data))
        return heard


@asynccontextmanager
async def against_rogue() -> AsyncIterator[tuple[Rogue, End]]:
    near, far = await streams(MemoryNetwork())
    rogue_secured, bob_secured = shake_hands()
    bob = End(linked(far, bob_secured))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bob.run)
        yield Rogue(near, rogue_secured), bob
        nursery.cancel_scope.cancel()


async def test_messages_arrive_in_order_on_each_channel(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Votes, blocks and payments all come, each channel in the order it was sent."""
    async with connected() as (ann, bob):
        for number in range(200):
            for channel in (Channel.CONSENSUS, Channel.TRANSACTIONS, Channel.PROPOSALS):
                assert ann.link.send(channel, 1, b"%d" % number)
        await until(lambda: len(bob.seen) == 600, 60)
        for channel in (Channel.CONSENSUS, Channel.TRANSACTIONS, Channel.PROPOSALS):
            assert [p for c, _, p in bob.seen if c == channel] == [b"%d" % n for n in range(200)]


async def test_what_is_queued_together_leaves_together(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """System calls are the cost of a message: a hundred votes are one of them."""
    near, _far = await streams(MemoryNetwork())
    ann_secured, _ = shake_hands()
    ann = End(linked(near, ann_secured))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ann.run)
        for number in range(100):
            ann.link.send(Channel.CONSENSUS, 1, b"vote %d" % number)
        await trio.testing.wait_all_tasks_blocked()
        chunks = near._outwards._chunks  # type: ignore[attr-defined]
        assert len(chunks) == 1
        nursery.cancel_scope.cancel()


async def test_a_slow_consumer_holds_up_nobody_else(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """While a node is busy with blocks from a peer it still hears that peer's votes."""
    gate = trio.Event()
    async with connected(before=lambda _a, bob: bob.gates.update({Channel.SYNC: gate})) as (
        ann,
        bob,
    ):
        sent = 0
        while ann.link.send(Channel.SYNC, 1, bytes(BIG)):
            sent += 1
            await trio.sleep(0.1)
            assert sent < 200
        for number in range(50):
            assert ann.link.send(Channel.CONSENSUS, 1, b"%d" % number)
        await until(lambda: bob.count(Channel.CONSENSUS) == 50, 1)
        assert bob.count(Channel.SYNC) == 0
        # What the slow channel holds here is its window, and there its queue.
        assert bob.link.held_bytes <= POLICIES[Channel.SYNC].window_bytes
        assert ann.link.held_bytes <= POLICIES[Channel.SYNC].queue_bytes_max
        assert ann.link.dropped == {"sync": 1}
        gate.set()
        await until(lambda: bob.count(Channel.SYNC) == sent, 60)
        assert bob.link.held_bytes == 0


async def test_a_flood_of_payments_does_not_delay_a_vote(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Consensus goes on under load: a vote overtakes what waits on other channels."""
    network = MemoryNetwork(lambda _source, _to: 0.01)
    async with connected(network) as (ann, bob):
        for _ in range(8):
            ann.link.send(Channel.TRANSACTIONS, 1, bytes(BIG))
        ann.link.send(Channel.SYNC, 1, bytes(BIG))
        ann.link.send(Channel.PEERS, 1, b"x")
        await trio.testing.wait_all_tasks_blocked()
        ann.link.send(Channel.CONSENSUS, 1, b"vote")
        await until(lambda: bob.count(Channel.CONSENSUS) == 1, 60)
        # At most what was under way (a turn, and what the pipe holds) came before it.
        assert bob.count(Channel.TRANSACTIONS) <= 1
        await until(lambda: len(bob.seen) == 11, 60)


async def test_too_many_messages_are_slowed_down_not_lost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A peer that sends more than its rate waits; nothing is dropped and nobody is banned."""
    async with connected() as (ann, bob):
        rate = POLICIES[Channel.EVIDENCE].messages_per_s
        for _ in range(250):
            ann.link.send(Channel.EVIDENCE, 1, b"x")
        began = trio.current_time()
        await until(lambda: bob.count(Channel.EVIDENCE) == 250, 60)
        passed = trio.current_time() - began
        assert passed == pytest.approx((250 - 2 * rate) / rate, abs=0.2)
        assert not ann.link.closed_because


async def test_a_peer_that_takes_no_votes_is_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Votes are never dropped: who cannot follow is disconnected and starts afresh."""
    gate = trio.Event()
    async with connected(before=lambda _a, bob: bob.gates.update({Channel.CONSENSUS: gate})) as (
        ann,
        _bob,
    ):
        sent = 0
        while ann.link.send(Channel.CONSENSUS, 1, bytes(1_000)):
            sent += 1
            if not sent % 100:
                await trio.sleep(0.01)
        assert "too slow" in ann.link.closed_because
        # Both ends held no more than window and queue.
        window = POLICIES[Channel.CONSENSUS].window_bytes // (1_000 + MESSAGE_COST)
        assert sent <= window + POLICIES[Channel.CONSENSUS].queue_messages_max + 100
        await ann.ended.wait()
        assert not ann.link.send(Channel.CONSENSUS, 1, b"late")


async def test_a_peer_stuck_on_votes_is_let_go_though_its_queue_is_not_full(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A hung node does not count as connected."""
    gate = trio.Event()
    async with connected(before=lambda _a, bob: bob.gates.update({Channel.CONSENSUS: gate})) as (
        ann,
        _bob,
    ):
        for number in range(450):
            assert ann.link.send(Channel.CONSENSUS, 1, bytes(20_000))
            if number % 50 == 0:
                await trio.sleep(0.01)
        await ann.ended.wait()
        assert ann.link.closed_because == "too slow: it takes no consensus messages"
        assert trio.current_time() < 60


async def test_a_peer_that_does_not_read_is_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A half-open connection costs a bounded queue for a bounded time."""
    near, _far = await streams(MemoryNetwork())
    ann_secured, _ = shake_hands()
    ann = End(linked(near, ann_secured))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ann.run)
        for _ in range(5):
            ann.link.send(Channel.TRANSACTIONS, 1, bytes(BIG))
        await ann.ended.wait()
        assert ann.link.closed_because == "too slow: it does not read"
        assert trio.current_time() <= connection.WRITE_TIMEOUT_S + 1


async def test_a_peer_that_says_nothing_is_asked_and_let_go(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Half-open connections end within a minute."""
    async with against_rogue() as (_rogue, bob):
        await bob.ended.wait()
        assert bob.link.closed_because == "silent"
        assert connection.IDLE_S <= trio.current_time() <= 60


async def test_an_idle_connection_stays(autojump_clock: trio.testing.MockClock) -> None:
    """A quiet network keeps its connections, for next to nothing."""
    async with connected() as (ann, bob):
        await trio.sleep(3_600)
        assert not ann.link.closed_because
        assert bob.link.bytes_in < 10_000


async def test_a_message_that_never_ends_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nobody keeps a node's memory busy with halves of messages."""
    async with against_rogue() as (rogue, bob):
        first = frame_message(Channel.PROPOSALS, 1, bytes(BIG))[0]
        await rogue.stream.send_all(rogue.seal.seal(first))
        with trio.move_on_after(200):
            while not bob.ended.is_set():
                await trio.sleep(10)
                try:
                    await rogue.say(Channel.CONTROL, PING, b"")
                except trio.BrokenResourceError:
                    break
        await bob.ended.wait()
        assert trio.current_time() <= 100


@pytest.mark.parametrize(
    "frames",
    [
        [(7, 1, b"")],
        [(Channel.CONTROL, 9, b"")],
        [(Channel.CONTROL, PING, b"x")],
        [(Channel.CONTROL, GIVE_BACK, b"")],
        [(Channel.CONTROL, GIVE_BACK, b"\x00\x00\x00\x00\x01")],
        [(Channel.CONTROL, GIVE_BACK, b"\x63\x00\x00\x00\x01")],
        [(Channel.CONTROL, GIVE_BACK, b"\x01\x00\x00\x00\x01")],
        [(Channel.CONTROL, PING, b"")] * 5_000,
        [(Channel.TRANSACTIONS, 1, bytes(LARGEST + 1))],
        [(Channel.TRANSACTIONS, 1, bytes(5_000_000))] * 3,
    ],
    ids=[
        "unknown channel",
        "unknown control",
        "long ping",
        "no amount",
        "control window",
        "unknown window",
        "gave more back than it got",
        "flood of pings",
        "oversize",
        "beyond the window",
    ],
)
async def test_who_breaks_the_protocol_is_found_out(
    autojump_clock: trio.testing.MockClock, frames: list[tuple[int, int, bytes]]
) -> None:
    """What no honest node sends ends the connection with a reason, whatever else it carries."""
    async with against_rogue() as (rogue, bob):
        bob.gates = {channel: trio.Event() for channel in Channel}
        try:
            for frame in frames:
                await rogue.say(*frame)
        except trio.BrokenResourceError:
            pass  # It was found out before it had said all.
        await bob.ended.wait()
        assert bob.error is not None
        assert connection.fault_of(bob.error) == bob.link.closed_because
        assert bob.link.held_bytes <= POLICIES[Channel.TRANSACTIONS].window_bytes


async def test_garbage_behind_the_handshake_is_no_reason_for_a_ban(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Who flips bits on the path must not get honest nodes banned."""
    async with against_rogue() as (rogue, bob):
        await rogue.stream.send_all(b"\x00\x40" + bytes(64))
        await bob.ended.wait()
        assert bob.error is None
        assert bob.link.closed_because == "a record does not decrypt"


async def test_the_reason_for_a_farewell_is_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Operators on both sides read why a connection ended."""
    async with connected() as (ann, bob):
        ann.link.close("the operator asked for it")
        await bob.ended.wait()
        assert bob.link.closed_because == "the peer said: the operator asked for it"
    async with against_rogue() as (rogue, bob):
        await rogue.say(Channel.CONTROL, FAREWELL, b"evil\x1b[2J\xff\n")
        await bob.ended.wait()
        assert bob.link.closed_because == "the peer said: evil?[2J??"


async def test_memory_for_all_peers_together_is_bounded(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Many peers that each stay within their bounds cannot exhaust a node together."""
    given_up: list[Connection] = []

    def give_up(held: Connection) -> None:
        given_up.append(held)
        held.close("too much is held")

    budget: MemoryBudget[Connection] = MemoryBudget(give_up, 5_000_000)
    small = (None, budget)
    async with connected(budgets=small) as (ann, bob), connected(budgets=small) as (cat, dan):
        for end in (bob, dan):
            end.gates[Channel.SYNC] = trio.Event()
        cat.link.send(Channel.SYNC, 1, bytes(BIG))
        for _ in range(10):
            ann.link.send(Channel.SYNC, 1, bytes(BIG))
        await bob.ended.wait()
        assert given_up == [bob.link]
        assert not dan.link.closed_because
        await until(lambda: budget.total == BIG, 60)
        dan.gates[Channel.SYNC].set()
        await until(lambda: budget.total == 0, 60)


async def test_the_largest_messages_pass(autojump_clock: trio.testing.MockClock) -> None:
    """The largest block that the parameters allow can be fetched from a peer, again and again."""
    async with connected() as (ann, bob):
        for number in range(4):
            assert ann.link.send(Channel.SYNC, 1, bytes(LARGEST))
            assert ann.link.send(Channel.PROPOSALS, 1, bytes(16_000_064))
            await until(lambda n=number: len(bob.seen) == 2 * n + 2, 60)  # type: ignore[misc]
        for channel in Channel:
            assert channels.largest_cost(channel) < math.inf


async def test_a_connection_can_be_closed_before_it_runs(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Two connections to one node at the same moment leave no task behind."""
    near, _ = await streams(MemoryNetwork())
    secured, _ = shake_hands()
    link = linked(near, secured)
    link.close("replaced")
    with trio.fail_after(5):
        await link.run(End(link).consume)
    assert link.closed_because == "replaced"
