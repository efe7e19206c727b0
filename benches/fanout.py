"""How soon a thousand subscribers have each block, and whether all of them have all.

    python -m benches.fanout [--subscribers N --blocks N] [--small]

One node, one process of subscribers on raw sockets. A receipt counts from the first one of its
block: the node tells of a block the moment it is on disk, so that is the commit and the way of one
message. `from_block_time` counts from the time in the block, before it was executed, signed and
written. In the same run two servers send messages of the same size to as many sockets and do
nothing else: what so many sockets cost on this machine at this moment.
"""

from __future__ import annotations

import argparse
import base64
import gc
import importlib.util
import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from datetime import datetime
from typing import Any, Final, NamedTuple

from clawpurse.benches.link import Link
from clawpurse.benches.network import BenchNetwork, percentile
from clawpurse.benches.report import print_report

BAR: Final = (
    "1,000 subscribers of `blocks`: p95 from commit to receipt ≤ 150 ms, none lost; ratio is "
    "150 ms over that p95"
)
P95_MS_MAX: Final = 150.0
SUBSCRIBERS_JUDGED_MIN: Final = 1_000
PAYMENTS_PER_BLOCK: Final = 20
PERIOD_S: Final = 0.4
SILENCE_MAX_S: Final = 30.0
_RECEIVE_BYTES: Final = 1 << 16


class Receipts(NamedTuple):
    """What was received: latencies in ms, messages a socket, bytes of one message."""

    latencies_ms: list[float]
    counts: list[int]
    size: int
    spread_ms: list[float]


class Crowd:
    """Many WebSockets of one process, read by one loop that parses no more than it must."""

    def __init__(self, port: int, count: int, path: str, request: dict[str, Any] | None) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._buffers: dict[int, bytearray] = {}
        self._poll = select.epoll()
        for _ in range(count):
            made = self._open(port, path, request)
            made.setblocking(False)
            self._sockets[made.fileno()] = made
            self._buffers[made.fileno()] = bytearray()
            self._poll.register(made.fileno(), select.EPOLLIN)
        self._messages: dict[int, int] = dict.fromkeys(self._sockets, 0)

    def _open(self, port: int, path: str, request: dict[str, Any] | None) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", port), SILENCE_MAX_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        made.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += made.recv(1)
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            raise RuntimeError(f"no WebSocket: {head[:100]!r}")
        if request is not None:
            made.sendall(_masked(json.dumps(request).encode()))
        return made

    def listen(self, mark: bytes, messages: int, tick: Any) -> Receipts:
        """Receive until every socket has so many messages with `mark`; `tick` runs in between."""
        sent_at: dict[bytes, float] = {}
        latencies: list[float] = []
        first: dict[bytes, float] = {}
        spread: list[float] = []
        size, heard_s, began_s = 0, time.monotonic(), time.time()
        while min(self._messages.values()) < messages:
            if time.monotonic() - heard_s > SILENCE_MAX_S:
                raise RuntimeError(f"{self.missing(messages)} messages did not come")
            tick()
            for number, _ in self._poll.poll(0.02):
                heard_s = time.monotonic()
                data = self._sockets[number].recv(_RECEIVE_BYTES)
                now = time.time()
                if not data:
                    raise RuntimeError("the server hung up")
                buffer = self._buffers[number]
                buffer += data
                for payload in _frames(buffer):
                    if mark not in payload or self._messages[number] >= messages:
                        continue
                    key = payload[payload.find(b'"cursor":"') :][:40].split(b",", 1)[0]
                    if key not in sent_at:
                        sent_at[key] = _time_of(json.loads(payload))
                        first[key] = 1000 * (now - sent_at[key])
                    if sent_at[key] < began_s:
                        # Made while others were still connecting.
                        continue
                    size = len(payload)
                    self._messages[number] += 1
                    latencies.append(1000 * (now - sent_at[key]))
                    spread.append(latencies[-1] - first[key])
        return Receipts(latencies, list(self._messages.values()), size, spread)

    def missing(self, messages: int) -> int:
        """Return how many messages are still to come."""
        return sum(max(0, messages - count) for count in self._messages.values())

    def close(self) -> None:
        """Hang up."""
        self._poll.close()
        for made in self._sockets.values():
            made.close()


def _masked(payload: bytes) -> bytes:
    """Return a client's text frame, masked with zeros."""
    assert len(payload) < 126
    return bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload


def _frames(buffer: bytearray) -> list[bytes]:
    """Cut whole frames of a server off the buffer."""
    found, place = [], 0
    while len(buffer) - place >= 2:
        length, head = buffer[place + 1] & 0x7F, 2
        if length >= 126:
            head = 4 if length == 126 else 10
            if len(buffer) - place < head:
                break
            length = int.from_bytes(buffer[place + 2 : place + head], "big")
        if len(buffer) - place < head + length:
            break
        found.append(bytes(buffer[place + head : place + head + length]))
        place += head + length
    del buffer[:place]
    return found


def _time_of(message: dict[str, Any]) -> float:
    if "sent" in message:
        return float(message["sent"])
    return datetime.fromisoformat(message["params"]["data"]["time"]).timestamp()


def measure_node(subscribers: int, blocks: int) -> tuple[Receipts, float]:
    """Subscribe, pay at a steady pace, and receive; also the node's CPU seconds a block."""
    with BenchNetwork(1, PAYMENTS_PER_BLOCK, interval_ms=100) as network:
        port = network.ports[0].rpc
        params = {"topic": "blocks"}
        request = {"jsonrpc": "2.0", "id": 1, "method": "sub_subscribe", "params": params}
        crowd = Crowd(port, subscribers, "/ws", request)
        link = Link(port)
        link.call("chain_getStatus")
        next_s, round_ = time.monotonic() + 1, 0

        def pay() -> None:
            nonlocal next_s, round_
            if time.monotonic() < next_s or round_ > 4 * blocks:
                return
            next_s = time.monotonic() + PERIOD_S
            txs = [
                "0x" + network.payment(n, (n + 1) % PAYMENTS_PER_BLOCK, round_).hex()
                for n in range(PAYMENTS_PER_BLOCK)
            ]
            round_ += 1
            link.call("tx_submitBatch", {"txs": txs})

        before = network.usage()[0].cpu_s
        try:
            found = crowd.listen(b'"sub_event"', blocks, pay)
        finally:
            crowd.close()
            link.close()
        return found, (network.usage()[0].cpu_s - before) / blocks


def measure_peer(kind: str, subscribers: int, messages: int, size: int) -> Receipts:
    """The same against a server that only sends."""
    command = [sys.executable, "-c", "from clawpurse.benches.fanout_peers import main; main()"]
    arguments = [kind, str(size), str(round(1000 * PERIOD_S))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*command, *arguments], text=True, **pipes) as server:  # type: ignore[call-overload]
        try:
            crowd = Crowd(int(server.stdout.readline()), subscribers, "/", None)
            try:
                # Whoever connected first has had some already: those are not counted.
                return crowd.listen(b'"sent"', messages, lambda: None)
            finally:
                crowd.close()
        finally:
            server.stdin.close()
            server.terminate()
            server.wait()


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscribers", type=int, default=1_000)
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--small", action="store_true", help="50 subscribers, 5 blocks")
    options = parser.parse_args()
    subscribers, blocks = (50, 5) if options.small else (options.subscribers, options.blocks)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.disable()
    node, cpu_s = measure_node(subscribers, blocks)
    p95 = percentile(node.spread_ms, 0.95)
    lost = sum(blocks - count for count in node.counts)
    figures: dict[str, Any] = {
        "p50_ms": round(percentile(node.spread_ms, 0.5), 1),
        "p95_ms": round(p95, 1),
        "max_ms": round(max(node.spread_ms), 1),
        "from_block_time_p95_ms": round(percentile(node.latencies_ms, 0.95), 1),
        "lost": lost,
        "message_bytes": node.size,
        "node_cpu_ms_per_block": round(1000 * cpu_s, 1),
        "ratio": round(P95_MS_MAX / max(p95, 0.1), 2),
    }
    for kind in ("wsproto", "websockets"):
        if importlib.util.find_spec(kind) is None:
            figures[kind] = "not installed"
            continue
        peer = measure_peer(kind, subscribers, max(5, blocks // 2), node.size)
        figures[kind] = {
            "p50_ms": round(percentile(peer.spread_ms, 0.5), 1),
            "p95_ms": round(percentile(peer.spread_ms, 0.95), 1),
        }
    config = {"subscribers": subscribers, "blocks": blocks, "payments": PAYMENTS_PER_BLOCK}
    judged = subscribers >= SUBSCRIBERS_JUDGED_MIN
    met = (p95 <= P95_MS_MAX and lost == 0) if judged else None
    print_report("fanout", config, figures, BAR, met)


if __name__ == "__main__":
    main()
