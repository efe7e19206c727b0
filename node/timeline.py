"""The last quarter of an hour in steps of ten seconds: payments, and how soon they were final.

For people who look at a page: what Prometheus keeps for months is in `metrics`. A span is taken
from when this node accepted a transaction to when it saw it final. What was never pooled here (a
node that catches up) counts as a payment and has no span: a gap is not a zero.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.errors import Code
from clawpurse.node.clock import Clock

STEP_MS: Final = 10_000
STEPS: Final = 90
# What people are promised: paid within a second.
TARGET_MS: Final = 1_000
# As many as the pool holds; beyond it the oldest spans are not measured.
ACCEPTED_MAX: Final = 50_000
# Eight bins to each doubling: a percentile is right within a tenth, whatever the number of spans.
_BINS_PER_OCTAVE: Final = 8
_NS_PER_MS: Final = 1_000_000


class Point(NamedTuple):
    """One step: when it began (ms UTC), and what became final in it; None where unknown."""

    time_ms: int
    final: int | None
    failed: int | None
    blocks: int | None
    p50_ms: float | None
    p95_ms: float | None


class _Step:
    """What is counted of one step."""

    __slots__ = ("bins", "blocks", "failed", "final", "number", "spans")

    def __init__(self, number: int) -> None:
        self.number = number
        self.final = 0
        self.failed = 0
        self.blocks = 0
        self.spans = 0
        self.bins: dict[int, int] = {}

    def add_span(self, span_ms: float) -> None:
        place = math.floor(math.log2(max(span_ms, 1.0)) * _BINS_PER_OCTAVE)
        self.bins[place] = self.bins.get(place, 0) + 1
        self.spans += 1


class Timeline:
    """One node's. Told of transactions accepted and of blocks committed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_ms = clock.now_ms()
        self._accepted: OrderedDict[bytes, int] = OrderedDict()
        self._steps: deque[_Step] = deque(maxlen=STEPS)

    def accepted(self, tx_ids: Iterable[bytes]) -> None:
        """Note that transactions entered the pool."""
        now_ns = self._clock.monotonic_ns()
        for tx_id in tx_ids:
            self._accepted.setdefault(tx_id, now_ns)
            if len(self._accepted) > ACCEPTED_MAX:
                self._accepted.popitem(last=False)

    def left(self, tx_ids: Iterable[bytes]) -> None:
        """Forget transactions that will never be final."""
        for tx_id in tx_ids:
            self._accepted.pop(tx_id, None)

    def committed(self, time_ms: int, receipts: Iterable[Receipt]) -> None:
        """Count a final block of this time. One that is older than what is shown is left out."""
        step = self._step(time_ms // STEP_MS)
        if step is None:
            self.left(receipt.tx_id for receipt in receipts)
            return
        step.blocks += 1
        now_ns = self._clock.monotonic_ns()
        for receipt in receipts:
            if receipt.code == Code.OK:
                step.final += 1
            else:
                step.failed += 1
            since_ns = self._accepted.pop(receipt.tx_id, None)
            if since_ns is not None:
                step.add_span((now_ns - since_ns) / _NS_PER_MS)

    def _step(self, number: int) -> _Step | None:
        """Return the step of a number, None for one that is not shown any more."""
        newest = self._steps[-1].number if self._steps else -1
        if number > newest:
            if number <= self._clock.now_ms() // STEP_MS - STEPS:
                return None
            self._steps.append(_Step(number))
            return self._steps[-1]
        for step in reversed(self._steps):
            if step.number == number:
                return step
        return None

    def points(self) -> list[Point]:
        """Return all steps up to now, oldest first; those before this node ran are unknown."""
        now = self._clock.now_ms() // STEP_MS
        known = {step.number: step for step in self._steps}
        found = []
        for number in range(now - STEPS + 1, now + 1):
            step = known.get(number)
            if step is not None:
                p50, p95 = _percentiles([step])
                one = Point(number * STEP_MS, step.final, step.failed, step.blocks, p50, p95)
            elif (number + 1) * STEP_MS <= self._began_ms:
                one = Point(number * STEP_MS, None, None, None, None, None)
            else:
                one = Point(number * STEP_MS, 0, 0, 0, None, None)
            found.append(one)
        return found

    def percentiles(self) -> tuple[float | None, float | None]:
        """Return the median and the 95th percentile of all spans shown, in ms."""
        oldest = self._clock.now_ms() // STEP_MS - STEPS
        return _percentiles([step for step in self._steps if step.number > oldest])


def _percentiles(steps: list[_Step]) -> tuple[float | None, float | None]:
    bins: dict[int, int] = {}
    for step in steps:
        for place, count in step.bins.items():
            bins[place] = bins.get(place, 0) + count
    total = sum(bins.values())
    if not total:
        return None, None
    return _percentile(bins, total * 50 / 100), _percentile(bins, total * 95 / 100)


def _percentile(bins: dict[int, int], rank: float) -> float:
    """Return the upper end of the bin that holds a rank."""
    passed = 0
    place = 0
    for place in sorted(bins):
        passed += bins[place]
        if passed >= rank:
            break
    return round(2 ** ((place + 1) / _BINS_PER_OCTAVE), 1)
