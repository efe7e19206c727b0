"""Strangers at the peer port of real sockets, while two honest nodes keep talking.

Whatever they send or fail to send: the honest pair is not disturbed, every stranger is closed
within his deadline, memory stays bounded, and the log says who he was.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from clawpurse.p2p.address import Endpoint, PeerAddress
from clawpurse.p2p.channels import POLICIES, Channel
from clawpurse.p2p.gate import UNAUTHENTICATED_MAX
from clawpurse.p2p.handshake import Handshake
from clawpurse.p2p.pool import HANDSHAKE_TIMEOUT_S
from clawpurse.p2p.records import PLAIN_BYTES_MAX, RecordCipher, frame_message
from clawpurse.p2p.transport import TcpTransport
from tests.p2p.peers import GENESIS, Peer, identity, linked, until

pytestmark = pytest.mark.real

HOST = "127.0.0.1"
#: A loaded machine wakes us late; deadlines themselves are the node's.
SLACK_S = 3.0
#: What the attacks below may add to this process, the attackers' own buffers included.
GROWTH_MB_MAX = 150


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def start(nursery: trio.Nursery, number: int, *known: Peer) -> Peer:
    peer = Peer(
        number,
        TcpTransport(),
        host=HOST,
        port=0,
        persistent=tuple(other.address for other in known),
    )
    await nursery.start(peer.run)
    return peer


class Pair:
    """Two honest nodes that send each other a numbered message every 20 ms."""

    def __init__(self, a: Peer, b: Peer) -> None:
        self.a, self.b = a, b
        self.sent = 0

    async def talk(self) -> None:
        while True:
            payload = self.sent.to_bytes(4, "big") + bytes(200)
            for one, other in ((self.a, self.b), (self.b, self.a)):
                assert one.pool.send(other.id, Channel.CONSENSUS, 1, payload)
            self.sent += 1
            await trio.sleep(0.02)

    async def all_arrived(self) -> None:
        for peer in (self.a, self.b):
            await until(lambda p=peer: self._count(p) >= self.sent - 1, 5)  # type: ignore[misc]
            numbers = [int.from_bytes(m[3][:4], "big") for m in peer.heard.messages if m[2] == 1]
            assert numbers == list(range(len(numbers)))

    def _count(self, peer: Peer) -> int:
        return sum(m[2] == 1 for m in peer.heard.messages)


async def closed_after(stream: trio.SocketStream) -> float:
    """Read until the other side closes; returns how long that took."""
    began = trio.current_time()
    try:
        while await stream.receive_some(65_536):
            pass
    except trio.BrokenResourceError:
        pass  # Being cut off is what this stranger asked for.
    return trio.current_time() - began


async def silence(stream: trio.SocketStream) -> float:
    return await closed_after(stream)


async def garbage(stream: trio.SocketStream) -> float:
    try:
        await stream.send_all(random.Random(1).randbytes(200_000))
    except trio.BrokenResourceError:
        pass  # Being cut off is what this stranger asked for.
    return await closed_after(stream)


async def web_request(stream: trio.SocketStream) -> float:
    await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return await closed_after(stream)


async def drip(stream: trio.SocketStream) -> float:
    """A true beginning, one byte every 100 ms."""
    shake = Handshake(identity(66), initiator=True, ephemeral_secret=b"\x01" * 32)
    began = trio.current_time()
    try:
        for byte in shake.start():
            await stream.send_all(bytes((byte,)))
            await trio.sleep(0.2)
    except trio.BrokenResourceError:
        pass  # Being cut off is what this stranger asked for.
    await closed_after(stream)
    return trio.current_time() - began


async def oversize_claim(stream: trio.SocketStream) -> float:
    await stream.send_all(identity(66).preface + b"\xff\xff" + bytes(100))
    return await closed_after(stream)


Attack = Callable[[trio.SocketStream], Awaitable[float]]
# Each with how long it may go on.
STRANGERS: dict[Attack, float] = {
    silence: HANDSHAKE_TIMEOUT_S + SLACK_S,
    drip: HANDSHAKE_TIMEOUT_S + SLACK_S,
    garbage: SLACK_S,
    web_request: SLACK_S,
    oversize_claim: SLACK_S,
}


async def authenticated(target: Peer, number: int) -> tuple[trio.SocketStream, RecordCipher]:
    """A stranger with a node key of its own: past the handshake, free to misbehave."""
    stream = await trio.open_tcp_stream(HOST, target.pool.port)
    shake = Handshake(identity(number), initiator=True, ephemeral_secret=bytes((number, 7)) * 16)
    await stream.send_all(shake.start())
    while shake.secured is None:
        if not shake.ready:
            data = await stream.receive_some(4_096)
            assert data
            shake.feed(bytes(data))
            continue
        answer = shake.advance()
        await stream.send_all(answer)
    return stream, RecordCipher(shake.secured.send_key)


def sealed(cipher: RecordCipher, frames: list[bytes]) -> bytes:
    wire, plain = [], b""
    for frame in frames:
        if len(plain) + len(frame) > PLAIN_BYTES_MAX:
            wire.append(cipher.seal(plain))
            plain = b""
        plain += frame
    wire.append(cipher.seal(plain))
    return b"".join(wire)


async def flood(target: Peer, number: int, channel: Channel) -> None:
    """Messages far beyond the channel's window, until we are thrown out."""
    stream, cipher = await authenticated(target, number)
    batch = frame_message(channel, 2, bytes(30_000)) * 20
    async with stream:
        with trio.fail_after(30):
            try:
                for _ in range(0, 20 * POLICIES[channel].window_bytes, 600_000):
                    await stream.send_all(sealed(cipher, batch))
            except trio.BrokenResourceError:
                return
            await closed_after(stream)


async def lie_about_sizes(target: Peer, number: int) -> None:
    stream, cipher = await authenticated(target, number)
    claim = b"\x05\x01\x40\x00" + b"\xff\xff\xff\xff\x02" + bytes(16_379)
    async with stream:
        await stream.send_all(sealed(cipher, [claim]))
        with trio.fail_after(SLACK_S):
            await closed_after(stream)


async def test_strangers_are_closed_in_time_and_disturb_nobody(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    a = await start(nursery, 1)
    b = await start(nursery, 2, a)
    await until(lambda: linked(a, b), 5)
    pair = Pair(a, b)
    talking = trio.CancelScope()

    async def talk() -> None:
        with talking:
            await pair.talk()

    nursery.start_soon(talk)
    before_mb = resident_mb()
    took: list[tuple[str, float, float]] = []
    places: list[str] = []

    async def attack(kind: Attack, may_take_s: float) -> None:
        stream = await trio.open_tcp_stream(HOST, a.pool.port)
        name = stream.socket.getsockname()
        places.append(str(Endpoint(str(name[0]), int(name[1]))))
        took.append((kind.__name__, await kind(stream), may_take_s))
        await stream.aclose()

    with caplog.at_level(logging.WARNING, "clawpurse.p2p"):
        async with trio.open_nursery() as attackers:
            for _ in range(4):
                for kind, may_take_s in STRANGERS.items():
                    attackers.start_soon(attack, kind, may_take_s)
        # More than may wait at once: the rest are turned away at the door.
        async with trio.open_nursery() as attackers:
            for _ in range(UNAUTHENTICATED_MAX + 30):
                attackers.start_soon(attack, silence, HANDSHAKE_TIMEOUT_S + SLACK_S)
    assert [entry for entry in took if entry[1] > entry[2]] == []
    talking.cancel()
    await pair.all_arrived()
    assert pair.sent > 50
    assert linked(a, b) and a.connection(b).since_s < trio.current_time() - 5
    assert resident_mb() - before_mb < GROWTH_MB_MAX
    named = {vars(line)["peer"] for line in warnings_of(caplog)}
    assert named <= set(places) and len(named) >= 20
    assert a.pool.refused["handshake timed out"] >= 8
    assert a.pool.refused["bad handshake"] >= 12
    assert a.pool.refused["too many unauthenticated connections"] >= 30
    # This machine's own address is never banned.
    assert a.standing.bans() == []
    nursery.cancel_scope.cancel()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What is held against somebody; that peers come and go is told at a lower level."""
    return [line for line in caplog.records if line.levelno >= logging.WARNING]


async def test_authenticated_floods_are_thrown_out_by_name(
    nursery: trio.Nursery, caplog: pytest.LogCaptureFixture
) -> None:
    a = await start(nursery, 1)
    b = await start(nursery, 2, a)
    await until(lambda: linked(a, b), 5)
    pair = Pair(a, b)
    talking = trio.CancelScope()

    async def talk() -> None:
        with talking:
            await pair.talk()

    nursery.start_soon(talk)
    before_mb = resident_mb()
    with caplog.at_level(logging.WARNING, "clawpurse.p2p"):
        for number, channel in enumerate((Channel.EVIDENCE, Channel.SYNC), 70):
            await flood(a, number, channel)
        await lie_about_sizes(a, 80)
        await until(lambda: len(a.standing.bans()) == 3, 5)
    talking.cancel()
    await pair.all_arrived()
    assert linked(a, b)
    assert resident_mb() - before_mb < GROWTH_MB_MAX
    said = {vars(line)["peer"]: vars(line)["reason"] for line in warnings_of(caplog)}
    assert said[identity(70).node_id.hex()] == "sends more on channel 3 than its window"
    assert said[identity(71).node_id.hex()] == "sends more on channel 5 than its window"
    assert "claims" in said[identity(80).node_id.hex()]
    nursery.cancel_scope.cancel()


async def test_a_name_that_resolvers_choke_on_is_a_failed_dial(nursery: trio.Nursery) -> None:
    """Peers gossip names; one that breaks the resolver must not break the node."""
    transport = TcpTransport()
    for host in ("a..b", "x" * 64 + ".example", "xn--\x80", "."):
        with pytest.raises(OSError):
            await transport.open_stream(host, 9)
    a = await start(nursery, 1)
    await a.pool._dial(PeerAddress(b"\x09" * 32, "a..b", 9))
    await a.pool._dial(PeerAddress(b"\x09" * 32, HOST, 1))
    assert a.pool.ids() == [] and GENESIS
    nursery.cancel_scope.cancel()


async def test_a_taken_port_is_an_os_error_at_start(nursery: trio.Nursery) -> None:
    a = await start(nursery, 1)
    other = Peer(2, TcpTransport(), host=HOST, port=a.pool.port)
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        async with trio.open_nursery() as inner:
            await inner.start(other.run)
    nursery.cancel_scope.cancel()
