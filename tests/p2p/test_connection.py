"""One connection: what a peer may do to us with every byte it sends, or does not read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from clawpurse.ledger.errors import Malformed, ProtocolViolation
from clawpurse.p2p.address import Endpoint
from clawpurse.p2p.channels import POLICIES, Channel
from clawpurse.p2p.connection import (
    ANSWER_TIMEOUT_S,
    IDLE_S,
    PING,
    PONG,
    WATCH_PERIOD_S,
    WRITE_TIMEOUT_S,
    Connection,
    fault_of,
)
from clawpurse.p2p.handshake import Secured
from clawpurse.p2p.memory import MemoryBudget
from clawpurse.p2p.records import (
    PLAIN_BYTES_MAX,
    Message,
    MessageReader,
    RecordCipher,
    RecordReader,
    frame_message,
)

OURS, THEIRS = b"\x01" * 32, b"\x02" * 32
SIZE_MAX = 5_000_000


def size_max(channel: int, kind: int) -> int:
    if channel not in list(Channel):
        raise ProtocolViolation(f"there is no channel {channel}")
    return SIZE_MAX


@dataclass
class Far:
    """The other end, which speaks the record layer by hand."""

    stream: trio.abc.Stream
    seal: RecordCipher = field(default_factory=lambda: RecordCipher(THEIRS))
    opener: RecordReader = field(default_factory=lambda: RecordReader(RecordCipher(OURS)))
    reader: MessageReader = field(default_factory=lambda: MessageReader(lambda c, k: 10**8))
    got: list[Message] = field(default_factory=list)
    closed: bool = False

    async def say(self, channel: int, kind: int, payload: bytes = b"", times: int = 1) -> None:
        await self.frames(frame_message(channel, kind, payload) * times)

    async def frames(self, frames: list[bytes]) -> None:
        wire, plain = bytearray(), b""
        for frame in frames:
            if len(plain) + len(frame) > PLAIN_BYTES_MAX:
                wire += self.seal.seal(plain)
                plain = b""
            plain += frame
        wire += self.seal.seal(plain)
        await self.stream.send_all(bytes(wire))

    async def read(self) -> None:
        """Read to the end, noting messages."""
        while True:
            try:
                data = await self.stream.receive_some(65_536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                self.closed = True
                return
            for plain in self.opener.feed(bytes(data)):
                self.got += self.reader.feed(plain)


class Bench:
    """A connection under test, and how it ended."""

    def __init__(
        self,
        consume: Callable[[Connection, Channel, int, bytes], Awaitable[None]] | None = None,
        window: int | None = None,
    ) -> None:
        near: trio.abc.Stream
        far: trio.abc.Stream
        if window is None:
            near, far = trio.testing.memory_stream_pair()
        else:
            near, far = trio.testing.lockstep_stream_pair()
        self.far = Far(far)
        self.got: list[tuple[Channel, int, bytes]] = []
        self.connection = Connection(
            near,
            Secured(b"\x09" * 32, "agent", OURS, THEIRS),
            b"",
            Endpoint("10.0.0.1", 1),
            outbound=False,
            size_max=size_max,
            budget=MemoryBudget(lambda held: held.close("too much memory")),
        )
        self.consume = consume
        self.ended = trio.Event()
        self.fault: str | None = None

    async def _consume(
        self, connection: Connection, channel: Channel, kind: int, payload: bytes
    ) -> None:
        self.got.append((channel, kind, payload))
        if self.consume is not None:
            await self.consume(connection, channel, kind, payload)

    async def run(self) -> None:
        try:
            await self.connection.run(self._consume)
        except* (ProtocolViolation, Malformed) as group:
            self.fault = fault_of(group)
        self.ended.set()


async def test_messages_arrive_by_channel_and_in_order(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench()
    nursery.start_soon(bench.run)
    for number in range(5):
        await bench.far.say(Channel.CONSENSUS, number)
    await bench.far.say(Channel.SYNC, 1, bytes(1_000_000))
    await trio.testing.wait_all_tasks_blocked()
    assert [kind for channel, kind, _ in bench.got if channel is Channel.CONSENSUS] == [
        0, 1, 2, 3, 4,
    ]  # fmt: skip
    assert (Channel.SYNC, 1, bytes(1_000_000)) in bench.got
    bench.connection.close("done")
    await bench.ended.wait()
    assert bench.connection.closed_because == "done"


async def test_everything_queued_leaves_together(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """System calls are the cost: a hundred votes must not be a hundred packets."""
    bench = Bench()
    sends: list[int] = []
    whole = bench.connection._stream.send_all

    async def counted(data: bytes) -> None:
        sends.append(len(data))
        await whole(data)

    bench.connection._stream.send_all = counted  # type: ignore[method-assign, assignment]
    nursery.start_soon(bench.run)
    nursery.start_soon(bench.far.read)
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(100):
        bench.connection.send(Channel.CONSENSUS, 1, bytes(130))
    await trio.testing.wait_all_tasks_blocked()
    assert len(bench.far.got) == 100
    assert len(sends) <= 2
    bench.connection.close("done")


async def test_a_slow_consumer_of_one_channel_never_stops_the_others(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Votes must be heard while a block is being looked at."""
    never = trio.Event()

    async def consume(_: Connection, channel: Channel, kind: int, payload: bytes) -> None:
        if channel is Channel.TRANSACTIONS:
            await never.wait()

    bench = Bench(consume)
    nursery.start_soon(bench.run)
    await bench.far.say(Channel.TRANSACTIONS, 1, b"x", times=2_000)
    await bench.far.say(Channel.CONSENSUS, 1, b"vote")
    await trio.testing.wait_all_tasks_blocked()
    assert (Channel.CONSENSUS, 1, b"vote") in bench.got
    # What waits is kept, and it is no more than the channel's window.
    assert bench.connection.held_bytes == 2_000
    bench.connection.close("done")


async def test_an_overfull_vote_inbox_slows_the_peer_and_drops_nothing(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    gate = trio.Event()

    async def consume(_: Connection, channel: Channel, kind: int, payload: bytes) -> None:
        await gate.wait()

    bench = Bench(consume)
    nursery.start_soon(bench.run)
    await bench.far.say(Channel.CONSENSUS, 1, b"v", times=1_000)
    await trio.testing.wait_all_tasks_blocked()
    assert len(bench.got) == 1
    gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert len(bench.got) == 1_000
    bench.connection.close("done")


@pytest.mark.parametrize("channel", [c for c in Channel if c is not Channel.CONTROL])
async def test_a_flood_on_any_channel_ends_the_connection(
    channel: Channel, autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Honest peers wait for their window; who does not is stopped before memory fills."""

    async def consume(_: Connection, channel: Channel, kind: int, payload: bytes) -> None:
        await trio.sleep_forever()

    bench = Bench(consume)
    nursery.start_soon(bench.run)
    window = POLICIES[channel].window_bytes
    for _ in range(0, 2 * window, 10 * 60_000):
        if not bench.ended.is_set():
            await bench.far.say(channel, 1, bytes(60_000), times=10)
            assert bench.connection.held_bytes <= window
        await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(1):
        await bench.ended.wait()
    assert bench.fault == f"sends more on channel {int(channel)} than its window"


async def test_bytes_are_rationed_like_messages(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Whoever sends faster than the channel's rate is taken at the rate, and not blamed."""
    bench = Bench()
    nursery.start_soon(bench.run)
    began = trio.current_time()
    policy = POLICIES[Channel.EVIDENCE]
    for _ in range(25):
        await bench.far.say(Channel.EVIDENCE, 1, bytes(policy.bytes_per_s // 10))
        await trio.sleep(0.01)
    while len(bench.got) < 25:
        await trio.sleep(0.01)
    assert trio.current_time() - began >= 0.4
    assert not bench.ended.is_set()
    bench.connection.close("done")


async def test_a_peer_within_its_rate_is_never_blamed(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench()
    nursery.start_soon(bench.run)
    nursery.start_soon(bench.far.read)
    for _ in range(120):
        await bench.far.say(Channel.PEERS, 1, b"", times=4)
        await trio.sleep(1)
    assert not bench.ended.is_set() and len(bench.got) == 480
    bench.connection.close("done")


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ([b"\x07\x03\x00\x05\x00\x00\x00\x01\x01"], "no channel 7"),
        ([b"\x01\x02\x00\x01x"], "continues nothing"),
        ([b"\x01\x03\x00\x05\xff\xff\xff\xff\x01"], "claims"),
        ([b"\x01\x01\x00\x05\x00\x00\x00\x09\x01"], "crumbs"),
        (frame_message(Channel.CONTROL, 9, b""), "no control message 9"),
    ],
)
async def test_bytes_that_no_honest_node_sends_end_it_with_their_name(
    frames: list[bytes],
    problem: str,
    autojump_clock: trio.abc.Clock,
    nursery: trio.Nursery,
) -> None:
    bench = Bench()
    nursery.start_soon(bench.run)
    await bench.far.frames(frames)
    with trio.fail_after(1):
        await bench.ended.wait()
    assert bench.fault is not None and problem in bench.fault


async def test_garbage_after_the_handshake_ends_it(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench()
    nursery.start_soon(bench.run)
    await bench.far.stream.send_all(bytes(range(256)) * 300)
    with trio.fail_after(1):
        await bench.ended.wait()
    # Whoever is on the path can cause this, so it is no reason for a ban.
    assert bench.fault is None and bench.connection.closed_because == "a record is empty"


async def test_what_a_consumer_refuses_is_the_peer_s_fault(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    async def consume(_: Connection, channel: Channel, kind: int, payload: bytes) -> None:
        raise Malformed("vote.height", "is not an integer")

    bench = Bench(consume)
    nursery.start_soon(bench.run)
    await bench.far.say(Channel.CONSENSUS, 1)
    with trio.fail_after(1):
        await bench.ended.wait()
    assert bench.fault == "vote.height: is not an integer"


async def test_our_own_errors_are_not_blamed_on_the_peer(
    autojump_clock: trio.abc.Clock,
) -> None:
    """A bug that bans peers would hide itself, and cut the node off."""

    async def consume(_: Connection, channel: Channel, kind: int, payload: bytes) -> None:
        raise ZeroDivisionError

    bench = Bench(consume)
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.run)
            await bench.far.say(Channel.CONSENSUS, 1)


async def test_a_peer_that_hangs_up_ends_it_without_blame(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench()
    nursery.start_soon(bench.run)
    await bench.far.stream.aclose()
    with trio.fail_after(1):
        await bench.ended.wait()
    assert bench.fault is None and bench.connection.closed_because


async def test_a_half_open_connection_is_given_up(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """A peer whose power failed says nothing, not even goodbye."""
    bench = Bench()
    began = trio.current_time()
    nursery.start_soon(bench.run)
    await bench.ended.wait()
    assert bench.connection.closed_because == "silent"
    assert trio.current_time() - began <= IDLE_S + ANSWER_TIMEOUT_S + 2 * WATCH_PERIOD_S


async def test_pings_are_answered_and_keep_a_quiet_connection(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench()
    nursery.start_soon(bench.run)
    nursery.start_soon(bench.far.read)
    for _ in range(20):
        await bench.far.say(Channel.CONTROL, PING)
        await trio.sleep(IDLE_S + 2 * WATCH_PERIOD_S)
    assert not bench.ended.is_set()
    kinds = [m.kind for m in bench.far.got if m.channel == Channel.CONTROL]
    assert kinds.count(PONG) == 20 and kinds.count(PING) >= 18
    bench.connection.close("done")


async def test_a_peer_that_does_not_read_is_closed_within_its_deadline(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench(window=1)
    nursery.start_soon(bench.run)
    began = trio.current_time()
    bench.connection.send(Channel.SYNC, 1, bytes(100_000))
    await bench.ended.wait()
    assert "does not read" in bench.connection.closed_because
    assert trio.current_time() - began <= WRITE_TIMEOUT_S + 1


async def test_a_full_vote_queue_disconnects_and_a_full_transaction_queue_drops(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """A dropped transaction comes with its block; a peer without votes takes no part."""
    bench = Bench(window=1)
    nursery.start_soon(bench.run)
    await trio.testing.wait_all_tasks_blocked()
    policy = POLICIES[Channel.TRANSACTIONS]
    sent = [
        bench.connection.send(Channel.TRANSACTIONS, 1, b"tx")
        for _ in range(policy.queue_messages_max + 10)
    ]
    assert sent.count(False) == 10
    while bench.connection.send(Channel.CONSENSUS, 1, b"vote"):
        pass
    assert bench.connection.closed_because == "too slow: its consensus queue is full"
    with trio.fail_after(1):
        await bench.ended.wait()


async def test_the_first_reason_is_the_one_that_is_told(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    bench = Bench()
    bench.connection.close("first")
    bench.connection.close("second")
    await bench.run()
    assert bench.connection.closed_because == "first"


def test_a_group_is_a_peer_s_fault_only_if_all_of_it_is() -> None:
    peer, ours = ProtocolViolation("p"), ValueError("o")
    assert fault_of(ExceptionGroup("g", [peer])) == "p"
    assert fault_of(ExceptionGroup("g", [peer, ExceptionGroup("h", [ours])])) is None
    assert fault_of(ours) is None
