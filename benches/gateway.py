"""What the gateway adds to a request, and how many it sells a second by voucher.

    python -m benches.gateway [--requests N --connections C] [--small]

One upstream answers a constant. In the same run it is asked directly, through the gateway for
nothing, through the gateway by voucher (each with a signature of its own, checked, reserved and
earned on the disk), and through nginx as a plain proxy where it is installed. The three processes
share the machine's cores, so the gateway's CPU time is what its bar is judged by.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from clawpurse.benches.limits import loopback_per_s
from clawpurse.benches.network import percentile
from clawpurse.benches.report import print_report
from clawpurse.benches.rpc import Result, drive, process_cpu_s
from clawpurse.ledger.address import account_text
from clawpurse.ledger.crypto import public_key_of, sign
from clawpurse.ledger.vouchers import Terms, voucher_bytes

BAR: Final = (
    "≥ 3,000 paid requests per CPU second of the gateway by voucher; an unpaid request costs it "
    "≤ 0.3 ms; ratio is paid requests per CPU second over 3,000"
)
PAID_MIN, OVERHEAD_MS_MAX = 3_000, 0.3
REQUESTS_JUDGED_MIN: Final = 10_000
GENESIS: Final = bytes(32)
PAYEE: Final = public_key_of(b"p" * 32)
START_S_MAX: Final = 10.0


def voucher_requests(count: int, channels: int) -> tuple[list[bytes], dict[str, Any]]:
    """Return requests with a voucher each, and what a node says of their channels."""
    seeds = [number.to_bytes(32, "big") for number in range(1, channels + 1)]
    idents = [bytes([number]) * 32 for number in range(1, channels + 1)]
    requests = []
    for number in range(count):
        which, amount = number % channels, number // channels + 1
        terms = Terms(GENESIS, idents[which], "CLAW", PAYEE)
        signature = sign(seeds[which], voucher_bytes(terms, amount)).hex()
        shown = f"0x{idents[which].hex()}.{amount}.0x{signature}"
        requests.append(request("/paid/x", f"Payment-Voucher: {shown}\r\n"))
    said = {
        f"0x{ident.hex()}": {
            "channelId": f"0x{ident.hex()}",
            "payee": account_text(PAYEE),
            "payer": account_text(public_key_of(seed)),
            "asset": "CLAW",
            "voucherKey": f"0x{public_key_of(seed).hex()}",
            "left": str(count),
            "paid": "0",
            "closing": None,
            "expires": "2099-01-01T00:00:00.000Z",
        }
        for seed, ident in zip(seeds, idents, strict=True)
    }
    return requests, {
        "payee": account_text(PAYEE),
        "genesisHash": GENESIS.hex(),
        "channels": said,
    }


def request(path: str, fields: str = "") -> bytes:
    """Return one request on a kept connection."""
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n{fields}\r\n".encode()


@contextmanager
def serving(*command: str) -> Iterator[tuple[int, int]]:
    """Run a server that prints its port; yields the port and the process's id."""
    with subprocess.Popen(
        [sys.executable, "-m", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline()), server.pid
        finally:
            server.terminate()


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[tuple[int, int] | None]:
    """Run nginx with one worker before the upstream; None where it is not installed."""
    program = shutil.which("nginx")
    if program is None:
        yield None
        return
    port = upstream + 1 if upstream < 65_000 else upstream - 1
    (folder / "nginx.conf").write_text(
        f"""
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 1000000;
  upstream up {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}
"""
    )
    with subprocess.Popen([program, "-p", str(folder), "-c", str(folder / "nginx.conf")]) as server:
        try:
            yield port, _worker_of(server.pid)
        finally:
            server.terminate()


def _worker_of(pid: int) -> int:
    until = time.monotonic() + START_S_MAX
    while time.monotonic() < until:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise RuntimeError("nginx did not start")


def measure(
    port: int, pid: int, requests: list[bytes], count: int, connections: int, warm: int
) -> Result:
    """Drive a server, warm from the first requests; they are not sent again."""
    drive(port, requests[:warm], warm, connections)
    rest = requests[warm:] or requests
    cpu_s = process_cpu_s(pid)
    began = time.monotonic()
    times_ms = drive(port, rest, count, connections)
    return Result(time.monotonic() - began, process_cpu_s(pid) - cpu_s, times_ms)


def figures_of(name: str, count: int, found: Result) -> dict[str, Any]:
    """Return what is said of one way."""
    return {
        f"{name}_per_s": round(count / found.seconds),
        f"{name}_per_cpu_s": round(count / max(found.cpu_s, 0.01)),
        f"{name}_cpu_us": round(found.cpu_s / count * 1e6, 1),
        f"{name}_p50_ms": round(percentile(found.times_ms, 0.5), 2),
        f"{name}_p99_ms": round(percentile(found.times_ms, 0.99), 2),
    }


def run(count: int, connections: int) -> None:
    """Measure all ways and print the report."""
    warm = max(connections, count // 10)
    figures: dict[str, Any] = {"limit_loopback_per_s": [round(loopback_per_s())]}
    paid_requests, facts = voucher_requests(count + warm, min(connections, 16))
    free = [request("/free/x")]
    with tempfile.TemporaryDirectory(prefix="claw-bench-") as place:
        folder = Path(place)
        (folder / "facts.json").write_text(json.dumps(facts))
        with serving("clawpurse.benches.constant_server", "httptools") as (upstream, upstream_pid):
            direct = measure(upstream, upstream_pid, free, count, connections, warm)
            figures |= figures_of("direct", count, direct)
            server = ("clawpurse.benches.gateway_server", str(upstream), place)
            with serving(*server, str(folder / "facts.json")) as (port, pid):
                unpaid = measure(port, pid, free, count, connections, warm)
                figures |= figures_of("unpaid", count, unpaid)
                paid = measure(port, pid, paid_requests, count, connections, warm)
                figures |= figures_of("paid", count, paid)
            with nginx(folder, upstream) as peer:
                if peer is not None:
                    found = measure(*peer, free, count, connections, warm)
                    figures |= figures_of("peer_nginx", count, found)
    figures["limit_loopback_per_s"].append(round(loopback_per_s()))
    figures["ratio"] = round(figures["paid_per_cpu_s"] / PAID_MIN, 3)
    met = None
    if count >= REQUESTS_JUDGED_MIN:
        dear = figures["unpaid_cpu_us"] > OVERHEAD_MS_MAX * 1000
        met = figures["paid_per_cpu_s"] >= PAID_MIN and not dear
    print_report("gateway", {"requests": count, "connections": connections}, figures, BAR, met)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--small", action="store_true", help="a tenth of a second, for tests")
    asked = parser.parse_args()
    run(400 if asked.small else asked.requests, 8 if asked.small else asked.connections)


if __name__ == "__main__":
    main()
