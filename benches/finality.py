"""How long one payment takes on an idle network, from sending it to hearing that it is final.

    python -m benches.finality [--authorities N --payments K] [--small]

Payments are spaced apart and jittered, so that none waits for another's block. Measured at an
interval of 0, which the bar speaks of, and at the network's default, where a payment that
follows a block sooner than the interval waits for the rest of it.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from typing import Any, Final

from clawpurse.benches.limits import loopback_per_s, sync_ms
from clawpurse.benches.link import Link, http_request, rpc_request
from clawpurse.benches.network import BenchNetwork, percentile
from clawpurse.benches.report import print_report
from clawpurse.ledger.params import Params

BAR: Final = "interval 0: p50 ≤ 20 ms and p95 ≤ 50 ms; ratio is p50 over 20 ms"
P50_MS_MAX, P95_MS_MAX = 20.0, 50.0
PAYMENTS_JUDGED_MIN: Final = 50
# Between payments; with the jitter the moments spread over a whole default interval.
SPACING_S: Final = 0.3
JITTER_S: Final = 0.2
ACCOUNTS: Final = 8
# The first payments meet cold caches and connections.
WARM_UP: Final = 5


def measure(authorities: int, payments: int, interval_ms: int | None) -> dict[str, Any]:
    """Pay through each node in turn on a fresh network; return the figures."""
    draw = random.Random(payments)
    times_ms: list[float] = []
    with BenchNetwork(authorities, ACCOUNTS, interval_ms) as network:
        links = [Link(ports.rpc) for ports in network.ports]
        sent = [0] * ACCOUNTS
        before = network.usage()
        for number in range(WARM_UP + payments):
            sender = number % ACCOUNTS
            raw = network.payment(sender, (sender + 1) % ACCOUNTS, sent[sender])
            sent[sender] += 1
            call = rpc_request("tx_submit", {"tx": "0x" + raw.hex(), "wait": "final"})
            request = http_request(json.dumps(call).encode())
            time.sleep(SPACING_S + draw.random() * JITTER_S)
            began = time.monotonic()
            answer = json.loads(links[number % authorities].exchange(request))
            spent_ms = (time.monotonic() - began) * 1000
            if answer.get("result", {}).get("status") != "final":
                raise RuntimeError(f"a payment did not become final: {answer}")
            if number >= WARM_UP:
                times_ms.append(spent_ms)
        for link in links:
            link.close()
        after = network.usage()
        network.check(sent)
    cpu_s = sum(new.cpu_s - old.cpu_s for old, new in zip(before, after, strict=True))
    return {
        "p50_ms": round(percentile(times_ms, 0.5), 2),
        "p95_ms": round(percentile(times_ms, 0.95), 2),
        "max_ms": round(max(times_ms), 2),
        "cpu_ms_per_payment_and_node": round(cpu_s * 1000 / (WARM_UP + payments) / authorities, 2),
    }


def main() -> None:
    """Read the command line, measure both intervals, print the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="ten payments at each interval")
    parser.add_argument("--authorities", type=int, default=4)
    parser.add_argument("--payments", type=int)
    options = parser.parse_args()
    payments = options.payments or (10 if options.small else 100)
    if not 1 <= options.authorities <= 16 or payments < 1:
        parser.error("1…16 authorities, at least 1 payment")
    syncs_ms, round_trips = [round(sync_ms(), 3)], [round(loopback_per_s())]
    idle = measure(options.authorities, payments, 0)
    default = measure(options.authorities, payments, None)
    syncs_ms.append(round(sync_ms(), 3))
    round_trips.append(round(loopback_per_s()))
    p50_ms, p95_ms = idle["p50_ms"], idle["p95_ms"]
    figures = {
        **idle,
        "ratio": round(p50_ms / P50_MS_MAX, 3),
        f"interval_{Params().interval_ms}_ms": default,
        "limits": {"sync_ms": syncs_ms, "loopback_per_s": round_trips},
    }
    met = None
    if options.authorities == 4 and payments >= PAYMENTS_JUDGED_MIN:
        met = p50_ms <= P50_MS_MAX and p95_ms <= P95_MS_MAX
    config = {
        "authorities": options.authorities,
        "payments": payments,
        "interval_ms": 0,
        "spacing_ms": [round(SPACING_S * 1000), round((SPACING_S + JITTER_S) * 1000)],
    }
    print_report("finality", config, figures, BAR, met)


if __name__ == "__main__":
    main()
