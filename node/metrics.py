"""What operators watch: one Prometheus registry per node, filled when it is scraped.

Counters of events live here; everything that can be read from the parts is read at scrape time,
so that nothing is counted twice. `LoopLag` measures how late the event loop wakes up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

import trio
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.errors import Code
from clawpurse.node.clock import Clock

# How often the loop is asked to wake up; 50 ms costs nothing and catches what users feel.
LAG_PERIOD_S: Final = 0.05
LAG_BUCKETS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
CALL_BUCKETS_S: Final = (0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30)
_CALL_BOUNDS: Final = (*(str(float(bound)) for bound in CALL_BUCKETS_S), "+Inf")
# Seen by this node's own consensus, heard of from peers, final, too old, no room, forged.
EVIDENCE_STATES: Final = ("found", "heard", "committed", "expired", "dropped", "refused")
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class _Samples(Collector):
    """A gauge whose samples come and go."""

    def __init__(
        self,
        name: str,
        meaning: str,
        labels: tuple[str, ...],
        read: Callable[[], Mapping[tuple[str, ...], float]],
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = labels
        self._read = read

    def describe(self) -> list[Metric]:
        """Name it without reading."""
        return [GaugeMetricFamily(self._name, self._meaning, labels=self._labels)]

    def collect(self) -> Iterator[Metric]:
        """Read what there is now."""
        family = GaugeMetricFamily(self._name, self._meaning, labels=self._labels)
        for values, number in self._read().items():
            family.add_metric(values, number)
        yield family


class _CallTimes(Collector):
    """How long calls took, by method: a histogram that costs a call a fifth of the library's.

    That one locks for threads, twice a call; calls are counted on the loop alone.
    """

    def __init__(self) -> None:
        # Method → how many calls up to each bound and beyond the last, and their seconds.
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self.total = 0

    def observe(self, method: str, seconds: float) -> None:
        """Count one call; names are registered ones, so few."""
        self.total += 1
        counts = self._counts.get(method)
        if counts is None:
            counts = self._counts[method] = [0] * (len(CALL_BUCKETS_S) + 1)
            self._sums[method] = 0.0
        counts[bisect_left(CALL_BUCKETS_S, seconds)] += 1
        self._sums[method] += seconds

    def describe(self) -> list[Metric]:
        """Name it without reading."""
        return [self._family()]

    def collect(self) -> Iterator[Metric]:
        """Add up what there is now."""
        family = self._family()
        for method, counts in self._counts.items():
            below = list(zip(_CALL_BOUNDS, accumulate(counts), strict=True))
            family.add_metric((method,), below, self._sums[method])
        yield family

    def _family(self) -> HistogramMetricFamily:
        meaning = "JSON-RPC calls by method"
        return HistogramMetricFamily("clawpurse_rpc_call_seconds", meaning, labels=("method",))


class Metrics:
    """One node's metrics. `gauge` ties a name to a function that is called at each scrape."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.loop_lag: Final = Histogram(
            "clawpurse_loop_lag_seconds",
            "How late the event loop woke up",
            buckets=LAG_BUCKETS_S,
            registry=self._registry,
        )
        self.loop_lag_max: Final = Gauge(
            "clawpurse_loop_lag_max_seconds",
            "The worst lag since the last scrape",
            registry=self._registry,
        )
        self._calls: Final = _CallTimes()
        self._registry.register(self._calls)
        self.call_errors: Final = Counter(
            "clawpurse_rpc_errors",
            "JSON-RPC calls that ended in an error",
            ("method", "code"),
            registry=self._registry,
        )
        self.blocks: Final = Counter(
            "clawpurse_blocks_committed", "Blocks made final", registry=self._registry
        )
        self.transactions: Final = Counter(
            "clawpurse_transactions_final",
            "Transactions made final, by outcome",
            ("outcome",),
            registry=self._registry,
        )
        self.refusals: Final = Counter(
            "clawpurse_refusals",
            "Input refused at the HTTP ports, by reason",
            ("reason",),
            registry=self._registry,
        )
        self._evidence: Final = Counter(
            "clawpurse_evidence",
            "Double signings, by what became of them here",
            ("state",),
            registry=self._registry,
        )
        for state in EVIDENCE_STATES:
            self._evidence.labels(state)
        self._refusals_told: dict[str, int] = {}
        self.lag_worst_s = 0.0

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read at each scrape."""
        Gauge(name, meaning, registry=self._registry).set_function(read)

    def gauges(
        self, name: str, meaning: str, label: str | None, read: Callable[[], Mapping[str, float]]
    ) -> None:
        """Add samples that may be absent: `read` gives them by label value at each scrape.

        Without a label there is one sample at most, under any key. What is unknown is left out:
        a gap is not a zero. The caller bounds the label's values.
        """
        labels = () if label is None else (label,)

        def samples() -> dict[tuple[str, ...], float]:
            return {(value,) if labels else (): number for value, number in read().items()}

        self._registry.register(_Samples(name, meaning, labels, samples))

    def table(
        self,
        name: str,
        meaning: str,
        labels: tuple[str, ...],
        read: Callable[[], Mapping[tuple[str, ...], float]],
    ) -> None:
        """Add samples with several labels, read at each scrape. The caller bounds their values."""
        self._registry.register(_Samples(name, meaning, labels, read))

    @property
    def calls(self) -> int:
        """How many JSON-RPC calls were answered since the start."""
        return self._calls.total

    def observe_call(self, method: str, seconds: float, code: int) -> None:
        """Count one JSON-RPC call; `code` 0 means success."""
        self._calls.observe(method, seconds)
        if code:
            self.call_errors.labels(method, str(code)).inc()

    def observe_block(self, receipts: Sequence[Receipt]) -> None:
        """Count a final block."""
        self.blocks.inc()
        succeeded = sum([receipt.code == Code.OK for receipt in receipts])
        self.transactions.labels("succeeded").inc(succeeded)
        self.transactions.labels("failed").inc(len(receipts) - succeeded)

    def count_evidence(self, state: str) -> None:
        """Count a double signing that came to one of `EVIDENCE_STATES`."""
        self._evidence.labels(state).inc()

    def tell_refusals(self, counts: Mapping[str, int]) -> None:
        """Take over how often what was refused so far; reasons are short names of ours."""
        for reason, count in counts.items():
            self.refusals.labels(reason).inc(count - self._refusals_told.get(reason, 0))
            self._refusals_told[reason] = count

    def exposition(self) -> bytes:
        """Return the text that Prometheus reads."""
        self.loop_lag_max.set(self.lag_worst_s)
        self.lag_worst_s = 0.0
        return generate_latest(self._registry)

    async def watch_loop(self, clock: Clock) -> None:
        """Measure the loop's lag until cancelled."""
        while True:
            before = clock.monotonic_ns()
            await trio.sleep(LAG_PERIOD_S)
            lag_s = max(0.0, (clock.monotonic_ns() - before) / 1e9 - LAG_PERIOD_S)
            self.loop_lag.observe(lag_s)
            self.lag_worst_s = max(self.lag_worst_s, lag_s)
