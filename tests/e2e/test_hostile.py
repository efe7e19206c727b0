"""Hostile input at the ports of real processes, while payments go on.

Random, malformed, oversize, slow and half-open, on the JSON-RPC and the peer port: the nodes
live, their memory stays bounded, every connection gets a typed error or an end within its
deadline, the log names who it was, and every promise to those who pay is kept.
"""

from __future__ import annotations

import json
import random
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from clawpurse.cli.network import create_network
from clawpurse.cli.processes import node_config
from clawpurse.ledger import codec
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import ProtocolViolation
from clawpurse.ledger.genesis import Genesis
from clawpurse.modules.kit.web.errors import ERROR_KINDS
from clawpurse.modules.kit.web.limits import Limits
from clawpurse.node.network import Router
from clawpurse.p2p.channels import Channel
from clawpurse.p2p.connection import PING
from clawpurse.p2p.handshake import MAGIC, Handshake, Identity
from clawpurse.p2p.pool import HANDSHAKE_TIMEOUT_S
from clawpurse.p2p.records import RecordCipher, frame_message
from tests.e2e.killing import Ledgerbook, Payer, Processes, check, free_base_port

pytestmark = pytest.mark.real

HOST = "127.0.0.1"
#: Where the attackers come from: this machine too, but told apart in logs.
THEM = "127.0.0.66"
#: A machine that runs two nodes and all attackers answers late; the deadlines are the nodes'.
SLACK_S = 10.0
#: How far the attacked process may grow. The bounds of both ports together allow more; what is
#: thrown here must not come near them.
GROWTH_MB_MAX = 300
KNOWN_ERRORS = frozenset(ERROR_KINDS)


class Target(NamedTuple):
    """Where to attack, and what the attackers need to know of it."""

    rpc: int
    p2p: int
    genesis: Genesis
    chance: random.Random


class Outcome(NamedTuple):
    """How one attack ended: what came back, and after how long the connection was over."""

    name: str
    answer: bytes
    took_s: float


async def connect(port: int) -> trio.SocketStream:
    return await trio.open_tcp_stream(HOST, port, local_address=THEM)


async def read_to_end(stream: trio.SocketStream, most: int = 400_000) -> bytes:
    """What comes back until the connection is over."""
    got = bytearray()
    try:
        while len(got) < most:
            data = await stream.receive_some(65_536)
            if not data:
                break
            got += data
    except trio.BrokenResourceError:
        got += b""  # A reset is an end as well.
    return bytes(got)


async def send(stream: trio.SocketStream, data: bytes) -> None:
    try:
        await stream.send_all(data)
    except trio.BrokenResourceError:
        return  # Cut off in the middle, as it should be.


# -- the JSON-RPC port


def http(body: bytes, head: str = "") -> bytes:
    length = "" if "ontent-" in head else f"Content-Length: {len(body)}\r\n"
    fields = f"Host: localhost\r\nContent-Type: application/json\r\n{length}{head}"
    return f"POST / HTTP/1.1\r\n{fields}\r\n".encode() + body


async def raw(target: Target, data: bytes) -> bytes:
    async with await connect(target.rpc) as stream:
        await send(stream, data)
        return await read_to_end(stream)


async def closing(target: Target, body: bytes) -> bytes:
    return await raw(target, http(body, "Connection: close\r\n"))


async def noise(target: Target) -> bytes:
    return await raw(target, target.chance.randbytes(20_000))


async def no_http(target: Target) -> bytes:
    return await raw(target, b"EHLO mail.example\r\nMAIL FROM:<x>\r\n\r\n")


async def no_json(target: Target) -> bytes:
    return await closing(target, target.chance.randbytes(500))


async def no_call(target: Target) -> bytes:
    bodies = [b"{}", b"[]", b"3", b'{"jsonrpc":"2.0","id":1,"method":5}', b'{"method":"x","id":1}']
    return await closing(target, target.chance.choice(bodies))


async def no_method(target: Target) -> bytes:
    call = {"jsonrpc": "2.0", "id": 1, "method": "x" * 5_000, "params": {"a": "\0" * 100}}
    return await closing(target, json.dumps(call).encode())


async def bad_transaction(target: Target) -> bytes:
    wire = codec.pack([target.chance.randbytes(50), [], 2**60, "x" * 40])
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tx_submit",
        "params": {"tx": "0x" + wire.hex()},
    }
    return await closing(target, json.dumps(call).encode())


async def deep(target: Target) -> bytes:
    return await closing(target, b"[" * 200_000)


async def wide(target: Target) -> bytes:
    return await closing(target, b"[" + b"[]," * 300_000 + b"[]]")


async def huge_batch(target: Target) -> bytes:
    call = {"jsonrpc": "2.0", "id": 1, "method": "chain_getStatus"}
    return await closing(target, json.dumps([call] * 5_000).encode())


async def oversize_body(target: Target) -> bytes:
    async with await connect(target.rpc) as stream:
        await send(stream, http(b"", "Content-Length: 10000000000\r\n"))
        for _ in range(40):
            await send(stream, bytes(100_000))
        return await read_to_end(stream)


async def oversize_head(target: Target) -> bytes:
    return await raw(
        target, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n"
    )


async def many_fields(target: Target) -> bytes:
    fields = b"".join(b"X-%d: y\r\n" % n for n in range(2_000))
    return await raw(target, b"GET / HTTP/1.1\r\nHost: localhost\r\n" + fields + b"\r\n")


async def bad_lengths(target: Target) -> bytes:
    lies = ["-1", "1e3", "0x10", "5, 6", "99999999999999999999999"]
    return await raw(target, http(b"{}", f"Content-Length: {target.chance.choice(lies)}\r\n"))


async def bad_chunks(target: Target) -> bytes:
    head = "Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n"
    data = f"POST / HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode()
    return await raw(target, data + b"ffffffffffffffff\r\n" + bytes(1_000))


async def pipelined(target: Target) -> bytes:
    call = b'{"jsonrpc":"2.0","id":1,"method":"chain_getStatus"}'
    async with await connect(target.rpc) as stream:
        await send(stream, http(call) * 300 + http(call, "Connection: close\r\n"))
        return await read_to_end(stream)


async def web_socket_rubbish(target: Target) -> bytes:
    upgrade = (
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    return await raw(target, upgrade + target.chance.randbytes(3_000))


async def slow_head(target: Target) -> bytes:
    """A byte now and then, for ever."""
    async with await connect(target.rpc) as stream:
        for byte in b"POST / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 1_000:
            try:
                await stream.send_all(bytes((byte,)))
            except trio.BrokenResourceError:
                break
            await trio.sleep(0.3)
        return await read_to_end(stream)


async def silent(target: Target) -> bytes:
    async with await connect(target.rpc) as stream:
        return await read_to_end(stream)


async def slow_body(target: Target) -> bytes:
    async with await connect(target.rpc) as stream:
        await send(stream, http(b"", "Content-Length: 1000000\r\n"))
        return await read_to_end(stream)


async def not_reading(target: Target) -> bytes:
    """Asks for a lot and takes nothing, with the smallest window there is."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
    await sock.bind((THEM, 0))
    await sock.connect((HOST, target.rpc))
    call = b'{"jsonrpc":"2.0","id":1,"method":"rpc_discover"}'
    async with trio.SocketStream(sock) as stream:
        with trio.move_on_after(2):
            await send(stream, http(call) * 400)
        await trio.sleep(2)
    return b"left"


RPC_ATTACKS: dict[Callable[[Target], Awaitable[bytes]], float] = {
    noise: SLACK_S,
    no_http: SLACK_S,
    no_json: SLACK_S,
    no_call: SLACK_S,
    no_method: SLACK_S,
    bad_transaction: SLACK_S,
    deep: SLACK_S,
    wide: SLACK_S,
    huge_batch: SLACK_S,
    oversize_body: SLACK_S,
    oversize_head: SLACK_S,
    many_fields: SLACK_S,
    bad_lengths: SLACK_S,
    bad_chunks: SLACK_S,
    pipelined: SLACK_S,
    web_socket_rubbish: SLACK_S,
    not_reading: SLACK_S,
    slow_head: Limits().head_timeout_ms / 1000 + SLACK_S,
    silent: Limits().head_timeout_ms / 1000 + SLACK_S,
}
SLOW_RPC_ATTACKS: dict[Callable[[Target], Awaitable[bytes]], float] = {
    slow_body: Limits().body_timeout_ms / 1000 + SLACK_S,
}


# -- the peer port


async def peer_raw(target: Target, data: bytes) -> bytes:
    async with await connect(target.p2p) as stream:
        await send(stream, data)
        return await read_to_end(stream)


async def peer_silent(target: Target) -> bytes:
    return await peer_raw(target, b"")


async def peer_noise(target: Target) -> bytes:
    return await peer_raw(target, target.chance.randbytes(50_000))


async def peer_web(target: Target) -> bytes:
    return await peer_raw(target, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")


async def peer_oversize(target: Target) -> bytes:
    return await peer_raw(target, MAGIC + b"\0\1\xff\xff" + bytes(70_000))


async def peer_newer(target: Target) -> bytes:
    """A node of a later version is told ours."""
    return await peer_raw(target, MAGIC + b"\0\x09" + b"\0\x20" + bytes(32))


async def peer_drip(target: Target) -> bytes:
    shake = Handshake(
        stranger(target), initiator=True, ephemeral_secret=target.chance.randbytes(32)
    )
    async with await connect(target.p2p) as stream:
        for byte in shake.start():
            try:
                await stream.send_all(bytes((byte,)))
            except trio.BrokenResourceError:
                break
            await trio.sleep(0.25)
        return await read_to_end(stream)


def stranger(target: Target) -> Identity:
    genesis, chance = target.genesis, target.chance
    return Identity(genesis.chain_id, genesis.hash, chance.randbytes(32), chance.randbytes(32))


async def inside(target: Target, stream: trio.SocketStream) -> RecordCipher | None:
    """Shake hands as a node that nobody knows; None when the node is busy with others."""
    shake = Handshake(
        stranger(target), initiator=True, ephemeral_secret=target.chance.randbytes(32)
    )
    try:
        await stream.send_all(shake.start())
        while shake.secured is None:
            if shake.ready:
                await stream.send_all(shake.advance())
                continue
            data = await stream.receive_some(4_096)
            if not data:
                return None
            shake.feed(bytes(data))
    except trio.BrokenResourceError:
        return None
    return RecordCipher(shake.secured.send_key)


async def peer_rubbish(target: Target) -> bytes:
    """Past the handshake: messages of every channel and kind that hold nothing sensible."""
    sizes, chance = Router(), target.chance
    async with await connect(target.p2p) as stream:
        cipher = await inside(target, stream)
        if cipher is None:
            return b"busy"
        kinds = [(c, k) for c in Channel for k in range(1, 9) if known(sizes, c, k)]
        for _ in range(40):
            channel, kind = chance.choice(kinds)
            size = min(sizes.size_max(channel, kind), chance.randrange(1, 300))
            payload = chance.choice(
                (chance.randbytes(size), codec.pack([chance.randbytes(32)] * 5))
            )
            payload = payload[: sizes.size_max(channel, kind)]
            wire = b"".join(map(cipher.seal, frame_message(channel, kind, payload)))
            await send(stream, wire)
        return await read_to_end(stream)


def known(sizes: Router, channel: Channel, kind: int) -> bool:
    try:
        return sizes.size_max(channel, kind) > 0
    except ProtocolViolation:
        return False


async def peer_frames(target: Target) -> bytes:
    """Frames that lie about themselves."""
    lies = [
        b"\x01\x03\x00\x05\xff\xff\xff\xff\x01",
        b"\x63\x03\x00\x05\x00\x00\x00\x01\x01",
        b"\x01\x00\x00\x00" * 500,
        frame_message(Channel.CONTROL, PING + 50, b"")[0],
        target.chance.randbytes(400),
    ]
    async with await connect(target.p2p) as stream:
        cipher = await inside(target, stream)
        if cipher is None:
            return b"busy"
        await send(stream, cipher.seal(target.chance.choice(lies)))
        return await read_to_end(stream)


async def peer_flood(target: Target) -> bytes:
    """Pings, as fast as they go."""
    async with await connect(target.p2p) as stream:
        cipher = await inside(target, stream)
        if cipher is None:
            return b"busy"
        for _ in range(50):
            plain = b"".join(frame_message(Channel.CONTROL, PING, b"") * 100)
            await send(stream, cipher.seal(plain))
        return await read_to_end(stream)


async def peer_cut(target: Target) -> bytes:
    """Leaves in the middle of a large message."""
    async with await connect(target.p2p) as stream:
        cipher = await inside(target, stream)
        if cipher is not None:
            frames = frame_message(Channel.PROPOSALS, 6, bytes(2_000_000))
            await send(stream, b"".join(map(cipher.seal, frames[:-5])))
    return b"left"


PEER_ATTACKS: dict[Callable[[Target], Awaitable[bytes]], float] = {
    peer_silent: HANDSHAKE_TIMEOUT_S + SLACK_S,
    peer_drip: HANDSHAKE_TIMEOUT_S + SLACK_S,
    peer_noise: SLACK_S,
    peer_web: SLACK_S,
    peer_oversize: SLACK_S,
    peer_newer: SLACK_S,
    peer_frames: HANDSHAKE_TIMEOUT_S + SLACK_S,
    peer_rubbish: HANDSHAKE_TIMEOUT_S + SLACK_S,
    # Slowed down, not thrown out, until it leaves a ping of ours unanswered (30 s, then 15 s).
    peer_flood: 45.0 + SLACK_S,
    peer_cut: HANDSHAKE_TIMEOUT_S + SLACK_S,
}


# -- what must hold


def memory_mb(pid: int, field: str) -> float:
    """`VmRSS` now, or `VmHWM`, the most there ever was."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1_000
    raise AssertionError(f"no {field} of process {pid}")


def typed(answer: bytes) -> bool:
    """Whether an answer is an HTTP error, or a JSON-RPC error that the interface knows."""
    status = answer.split(b" ", 2)[1:2]
    if status and status[0][:1] == b"4":
        return True
    body = answer.partition(b"\r\n\r\n")[2]
    try:
        found = json.loads(body)
    except ValueError:
        return False
    entries = found if isinstance(found, list) else [found]
    return all(entry["error"]["code"] in KNOWN_ERRORS for entry in entries)


#: These get answers: an HTTP refusal or a JSON-RPC error. Others may find a closed door only.
ANSWERED = frozenset(
    function.__name__
    for function in (
        no_http, no_json, no_call, no_method, bad_transaction, deep, wide, huge_batch, bad_lengths,
        oversize_head, many_fields, bad_chunks,
    )
)  # fmt: skip


async def hostile_scenario(
    folder: Path,
    attacks: dict[Callable[[Target], Awaitable[bytes]], float],
    *,
    rounds: int,
    at_once: int,
    seed: int,
) -> None:
    """Two authorities that need each other; the first is attacked while both are paid through."""
    print(f"hostile scenario, seed {seed}")
    network = create_network(folder, 2, free_base_port(2), int(time.time() * 1000))
    nodes, book = Processes(network), Ledgerbook()
    config = node_config(network.homes[0])
    genesis = Genesis.from_json(network.genesis_file.read_bytes())
    target = Target(config.rpc_address[1], config.p2p_address[1], genesis, random.Random(seed))
    outcomes: list[Outcome] = []
    late: list[Outcome] = []
    try:
        await nodes.start(range(2))
        pid = nodes.pids[0]
        async with trio.open_nursery() as nursery:
            payers = [Payer(nodes, index, book) for index in range(2)]
            for payer in payers:
                nursery.start_soon(payer.run, 0.05)
            await trio.sleep(2)
            before_mb, sent_before = memory_mb(pid, "VmRSS"), sum(p.sent for p in payers)

            async def attack(kind: Callable[[Target], Awaitable[bytes]], limit_s: float) -> None:
                async with slots:
                    began = trio.current_time()
                    with trio.move_on_after(limit_s + 30):
                        answer = await kind(target)
                        took_s = trio.current_time() - began
                        outcome = Outcome(kind.__name__, answer, took_s)
                        outcomes.append(outcome)
                        if took_s > limit_s:
                            late.append(outcome)
                        return
                    late.append(Outcome(kind.__name__, b"", limit_s + 30))

            slots = trio.Semaphore(at_once)
            async with trio.open_nursery() as attackers:
                for _ in range(rounds):
                    for kind, limit_s in attacks.items():
                        attackers.start_soon(attack, kind, limit_s)
            paid = sum(p.sent for p in payers) - sent_before
            peak_mb = memory_mb(pid, "VmHWM")
            # Afterwards the ports are open as before.
            status = await nodes.clients[0].call("chain_getStatus")
            assert status["height"] > 0
            nursery.cancel_scope.cancel()
        print(Counter(o.name for o in outcomes), f"paid {paid}, {before_mb:.0f} → {peak_mb:.0f} MB")
        assert [(o.name, round(o.took_s, 1)) for o in late] == []
        assert paid >= 10
        assert peak_mb - before_mb < GROWTH_MB_MAX
        untyped = [o for o in outcomes if o.name in ANSWERED and not typed(o.answer)]
        assert untyped == []
        assert nodes.pids[0] == pid
        print(await check(nodes, book))
        judge_log(network.homes[0].log, {kind.__name__ for kind in attacks})
    finally:
        await nodes.close()


def judge_log(path: Path, attacks: set[str]) -> None:
    """The log says who it was and why, and holds no fault of ours."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line[:1] == "{"]
    faults = [line for line in lines if line["level"] in ("error", "critical")]
    assert faults == [], faults[:3]
    named = [line for line in lines if THEM in str(line.get("peer", line.get("address", "")))]
    assert len(named) >= 10
    assert all(line.get("reason") for line in named if line["level"] == "warning")
    if "peer_rubbish" in attacks:
        assert any("banned" in line["message"] for line in lines)


async def test_hostile_input_at_both_ports_harms_nobody(tmp_path: Path) -> None:
    await hostile_scenario(
        tmp_path / "net", RPC_ATTACKS | PEER_ATTACKS, rounds=2, at_once=40, seed=1
    )


@pytest.mark.full
@pytest.mark.parametrize("seed", range(3))
async def test_much_hostile_input_at_both_ports_harms_nobody(tmp_path: Path, seed: int) -> None:
    attacks = RPC_ATTACKS | SLOW_RPC_ATTACKS | PEER_ATTACKS
    await hostile_scenario(tmp_path / "net", attacks, rounds=15, at_once=120, seed=seed)


def test_the_attackers_know_the_network_they_attack() -> None:
    """A stranger whose handshake fails would test nothing behind it."""
    seed = b"\x01" * 32
    assert Identity("acme", bytes(32), seed, seed).node_id == public_key_of(seed)
