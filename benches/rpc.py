"""How many balances a second one node tells its callers, one call at a time and in batches.

    python -m benches.rpc [--calls N --connections C] [--small]

`account_getBalances` over kept connections, each with one request in flight: the node's loop
is the one core that the bar speaks of, this process is the other. Beside calls per second stand
calls per CPU second of the node, which a crowded machine disturbs less. In the same run the same
client drives two servers that look nothing up: a bare loop that answers a constant, which is the
limit, and uvicorn, where it is installed (`pip install uvicorn`), which is a peer.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import select
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

from clawpurse.benches.limits import loopback_per_s
from clawpurse.benches.link import Link, answer_end, http_request, rpc_request
from clawpurse.benches.network import BenchNetwork, percentile
from clawpurse.benches.report import print_report
from clawpurse.ledger.address import account_text

BAR: Final = (
    "≥ 12,000/s single and ≥ 60,000/s in batches of 100 on one core; p99 of single calls ≤ 5 ms; "
    "ratio is single calls/s over 12,000"
)
SINGLE_MIN, BATCHED_MIN, P99_MS_MAX = 12_000, 60_000, 5.0
CALLS_JUDGED_MIN: Final = 20_000
BATCH: Final = 100
ACCOUNTS: Final = 1_000
# Requests made beforehand; the client goes round them.
REQUESTS: Final = 500
SILENCE_MAX_S: Final = 30.0


class Result(NamedTuple):
    """One way of asking: wall seconds, CPU seconds of the node, and how long answers took."""

    seconds: float
    cpu_s: float
    times_ms: list[float]


def drive(port: int, requests: list[bytes], count: int, connections: int) -> list[float]:
    """Send `count` requests, one in flight on each connection; return each answer's time in ms.

    Raises `RuntimeError` when the node hangs up, answers with an error, or falls silent.
    """
    links = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    by_number = {link.fileno(): link for link in links}
    began = dict.fromkeys(by_number, 0.0)
    unread = {number: bytearray() for number in by_number}
    poller = select.epoll()
    times_ms: list[float] = []
    sent = 0
    for link in links:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poller.register(link.fileno(), select.EPOLLIN)
        if sent < count:
            began[link.fileno()] = time.monotonic()
            link.sendall(requests[sent % len(requests)])
            sent += 1
    while len(times_ms) < count:
        ready = poller.poll(SILENCE_MAX_S)
        if not ready:
            raise RuntimeError(f"no answer in {SILENCE_MAX_S:g} s")
        for number, _ in ready:
            data = unread[number]
            piece = by_number[number].recv(1 << 16)
            if not piece:
                raise RuntimeError("the node closed a connection")
            data += piece
            span = answer_end(data)
            if span is None or len(data) < span[1]:
                continue
            now = time.monotonic()
            times_ms.append((now - began[number]) * 1000)
            if b'"error"' in data or not data.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"not a balance: {bytes(data[:300])!r}")
            data.clear()
            if sent < count:
                began[number] = now
                by_number[number].sendall(requests[sent % len(requests)])
                sent += 1
    poller.close()
    for link in links:
        link.close()
    return times_ms


def measure(network: BenchNetwork, requests: list[bytes], count: int, connections: int) -> Result:
    """Drive the only node of a network, warm from a tenth of the calls."""
    port = network.ports[0].rpc
    drive(port, requests, max(1, count // 10), connections)
    cpu_s = network.usage()[0].cpu_s
    began = time.monotonic()
    times_ms = drive(port, requests, count, connections)
    seconds = time.monotonic() - began
    return Result(seconds, network.usage()[0].cpu_s - cpu_s, times_ms)


def measure_constant(name: str, requests: list[bytes], count: int, connections: int) -> Result:
    """Drive a server of `constant_server` in a process of its own, as `measure` drives a node."""
    command = [sys.executable, "-m", "clawpurse.benches.constant_server", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline())
            drive(port, requests, max(1, count // 10), connections)
            cpu_s = process_cpu_s(server.pid)
            began = time.monotonic()
            times_ms = drive(port, requests, count, connections)
            seconds = time.monotonic() - began
            return Result(seconds, process_cpu_s(server.pid) - cpu_s, times_ms)
        finally:
            server.terminate()


def process_cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(requests: list[bytes], count: int, connections: int) -> dict[str, Any]:
    """Return what servers that look nothing up reach with the same client."""
    figures: dict[str, Any] = {}
    for name in ("httptools", "uvicorn"):
        if name == "uvicorn" and find_spec("uvicorn") is None:
            figures["peer_uvicorn_calls_per_s"] = None
            continue
        found = measure_constant(name, requests, count, connections)
        label = "limit_constant" if name == "httptools" else "peer_uvicorn"
        figures[f"{label}_calls_per_s"] = round(count / found.seconds)
        figures[f"{label}_calls_per_cpu_s"] = round(count / max(found.cpu_s, 0.01))
        figures[f"{label}_p99_ms"] = round(percentile(found.times_ms, 0.99), 2)
    return figures


def make_requests(network: BenchNetwork) -> tuple[list[bytes], list[bytes]]:
    """Return single requests and batches of a hundred, for accounts drawn at random."""
    draw = random.Random(1)
    texts = [account_text(payer.account) for payer in network.payers]

    def call(number: int) -> dict[str, Any]:
        return rpc_request("account_getBalances", {"account": draw.choice(texts)}, number)

    def packed(value: Any) -> bytes:
        return http_request(json.dumps(value, separators=(",", ":")).encode())

    single = [packed(call(1)) for _ in range(REQUESTS)]
    batched = [packed([call(n) for n in range(BATCH)]) for _ in range(REQUESTS // 10)]
    return single, batched


def run(calls: int, connections: int) -> None:
    """Measure both ways and print the report."""
    round_trips = [loopback_per_s()]
    with BenchNetwork(1, ACCOUNTS) as network:
        with Link(network.ports[0].rpc) as link:
            link.call("chain_getStatus")
        single_requests, batched_requests = make_requests(network)
        gc.freeze()
        single = measure(network, single_requests, calls, connections)
        batches = max(connections, calls // BATCH * 5)
        batched = measure(network, batched_requests, batches, connections)
        # A peer may be slow; a quarter of the calls tells its rate as well.
        compared = compare(single_requests, max(1, calls // 4), connections)
        resident_mb = network.usage()[0].resident_mb
        network.check([0] * ACCOUNTS)
    round_trips.append(loopback_per_s())
    single_per_s = calls / single.seconds
    batched_per_s = batches * BATCH / batched.seconds
    p99_ms = percentile(single.times_ms, 0.99)
    figures = {
        "calls_per_s": round(single_per_s),
        "ratio": round(single_per_s / SINGLE_MIN, 3),
        "p50_ms": round(percentile(single.times_ms, 0.5), 2),
        "p99_ms": round(p99_ms, 2),
        "calls_per_cpu_s": round(calls / max(single.cpu_s, 0.01)),
        "batched_calls_per_s": round(batched_per_s),
        "batched_calls_per_cpu_s": round(batches * BATCH / max(batched.cpu_s, 0.01)),
        "batch_p99_ms": round(percentile(batched.times_ms, 0.99), 2),
        "rss_mb_per_node": resident_mb,
        **compared,
        "limit_loopback_per_s": [round(rate) for rate in round_trips],
    }
    met = None
    if calls >= CALLS_JUDGED_MIN:
        met = single_per_s >= SINGLE_MIN and batched_per_s >= BATCHED_MIN and p99_ms <= P99_MS_MAX
    config = {"calls": calls, "connections": connections, "batch": BATCH, "accounts": ACCOUNTS}
    print_report("rpc", config, figures, BAR, met)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a tenth of the calls")
    parser.add_argument("--calls", type=int)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    calls = options.calls or (3_000 if options.small else 30_000)
    if calls < 1 or not 1 <= options.connections <= 256:
        parser.error("at least 1 call, 1…256 connections")
    run(calls, options.connections)


if __name__ == "__main__":
    main()
