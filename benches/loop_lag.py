"""How late a node's event loop wakes up while many clients ask for the dearest things.

    python -m benches.loop_lag [--clients C --seconds S --accounts A] [--small]

One authority with many holders of an asset and blocks full of transfers. Clients in threads ask
for pages of holders and transactions, whole blocks and deep batches, all at once and without a
budget in their way, while transfers go on. Nothing but blocks that come on time and a loop that
wakes up shows that an expensive query starves nobody.
"""

from __future__ import annotations

import argparse
import itertools
import json
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from clawpurse.benches.lag import Look, lag_ms, look
from clawpurse.benches.link import Link, http_request, rpc_request
from clawpurse.benches.network import BenchNetwork
from clawpurse.benches.report import print_report
from clawpurse.benches.throughput import plan
from clawpurse.ledger.address import account_text

BAR: Final = "p99 ≤ 10 ms, max ≤ 50 ms, with and without expensive queries; blocks go on"
LAG_P99_MS_MAX: Final = 10.0
LAG_MAX_MS_MAX: Final = 50.0
# Fewer clients or seconds meet too few of the node's own busy moments to be judged.
CLIENTS_JUDGED_MIN: Final = 16
SECONDS_JUDGED_MIN: Final = 20
BATCH: Final = 100
PAGE: Final = 500


def dear_requests(account: str, height: int) -> list[bytes]:
    """Return the dearest requests that the interface lets a client make, ready to be sent."""
    calls = [
        rpc_request("chain_findEvents", {"account": account}),
        rpc_request("chain_getInclusion", {"height": height}),
        rpc_request("account_getTransactions", {"account": account, "limit": PAGE}),
        rpc_request("chain_getBlock", {"height": height, "transactions": "full"}),
        rpc_request("rpc_discover"),
    ]
    alone = [http_request(json.dumps(call).encode()) for call in calls]
    batches = [
        http_request(json.dumps([{**call, "id": n} for n in range(BATCH)]).encode())
        for call in calls
    ]
    return alone + batches


class Asker(threading.Thread):
    """One client that asks without a pause until told to stop."""

    def __init__(self, port: int, requests: Sequence[bytes], stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._requests = requests
        self._stop_asked = stop
        self.answers = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        """Ask; an error is kept for the thread that joins."""
        try:
            with Link(self._port) as link:
                for request in itertools.cycle(self._requests):
                    if self._stop_asked.is_set():
                        return
                    link.exchange(request)
                    self.answers += 1
        except Exception as error:
            self.error = error


def measure(clients: int, seconds: int, accounts: int) -> dict[str, Any]:
    """Run transfers alone, then transfers under the flood; return the figures."""
    with BenchNetwork(1, accounts) as network:
        ports = network.ports[0]
        streams, sent = plan(network, max(2_000, 200 * seconds))
        before = look(ports.metrics)
        for stream in streams:
            stream.start()
        for stream in streams:
            stream.join()
            if stream.error is not None:
                raise stream.error
        network.wait_all_final()
        loaded = look(ports.metrics)
        with Link(ports.rpc) as link:
            start = link.call("chain_getStatus")["height"]
            requests = dear_requests(account_text(network.payers[0].account), max(1, start - 1))
            stop = threading.Event()
            askers = [
                Asker(
                    ports.rpc, requests[n % len(requests) :] + requests[: n % len(requests)], stop
                )
                for n in range(clients)
            ]
            for asker in askers:
                asker.start()
            paid, finals_ms = _pay_for(link, network, sent, seconds)
            stop.set()
            for asker in askers:
                asker.join()
                if asker.error is not None:
                    raise asker.error
            flooded = look(ports.metrics)
            end = link.call("chain_getStatus")["height"]
    finals_ms.sort()
    return {
        "lag_p99_ms": _p99_ms(loaded, flooded),
        "lag_max_ms": round(flooded.worst_s * 1000, 1),
        "throughput_lag_p99_ms": _p99_ms(before, loaded),
        "throughput_lag_max_ms": round(loaded.worst_s * 1000, 1),
        "answers": sum(asker.answers for asker in askers),
        "payments_final": paid,
        "payment_final_p50_ms": round(finals_ms[len(finals_ms) // 2]),
        "payment_final_max_ms": round(finals_ms[-1]),
        "blocks": end - start,
    }


def _p99_ms(before: Look, after: Look) -> float:
    """Return the p99; a line within a bucket may lie above the worst that was seen."""
    return round(min(after.worst_s * 1000, lag_ms([before], [after], 0.99)), 1)


def _pay_for(
    link: Link, network: Any, sent: Sequence[int], seconds: int
) -> tuple[int, list[float]]:
    """Pay one after another for some seconds; each payment must become final."""
    finals_ms: list[float] = []
    deadline = time.monotonic() + seconds
    for number in itertools.count():
        sender = number % len(sent)
        raw = network.payment(sender, (sender + 1) % len(sent), sent[sender] + number // len(sent))
        began = time.monotonic()
        answer = link.call("tx_submit", {"tx": "0x" + raw.hex(), "wait": "final"})
        if answer["status"] != "final":
            raise RuntimeError(f"a payment did not become final in time: {answer}")
        finals_ms.append((time.monotonic() - began) * 1000)
        if time.monotonic() > deadline:
            break
    return len(finals_ms), finals_ms


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="4 clients, 2 s, 200 accounts")
    parser.add_argument("--clients", type=int)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--accounts", type=int, help="holders of the asset")
    options = parser.parse_args()
    clients = options.clients or (4 if options.small else 32)
    seconds = options.seconds or (2 if options.small else 30)
    accounts = options.accounts or (200 if options.small else 2_000)
    figures = measure(clients, seconds, accounts)
    met = None
    if clients >= CLIENTS_JUDGED_MIN and seconds >= SECONDS_JUDGED_MIN:
        met = all(
            figures[f"{load}lag_p99_ms"] <= LAG_P99_MS_MAX
            and figures[f"{load}lag_max_ms"] <= LAG_MAX_MS_MAX
            for load in ("", "throughput_")
        )
    config = {"clients": clients, "seconds": seconds, "accounts": accounts}
    print_report("loop_lag", config, figures, BAR, met)


if __name__ == "__main__":
    main()
