"""The one place where a node reads time; everything else is handed a `Clock`.

Two readings with two meanings: `now_ms` is what people and blocks call the time (UTC, may step
when the operator's clock is corrected), `monotonic_ns` only measures spans and never goes back.
"""

from __future__ import annotations

import time
from typing import Protocol

import trio

_NS_PER_MS = 1_000_000


class Clock(Protocol):
    """Tells a node the time."""

    def now_ms(self) -> int:
        """Return the wall clock: ms UTC since 1970."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds since some fixed point, for measuring spans."""


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Return the machine's wall clock."""
        return time.time_ns() // _NS_PER_MS

    def monotonic_ns(self) -> int:
        """Return the machine's monotonic clock."""
        return time.perf_counter_ns()


class LoopClock:
    """A clock driven by trio's, for simulation: `MockClock` makes its hours pass in seconds.

    `start_ms` is the wall time at the loop's time 0, `offset_ms` how wrong this node's clock
    is; tests may change the offset while the node runs. Usable inside `trio.run` only.
    """

    def __init__(self, start_ms: int, offset_ms: int = 0) -> None:
        self._start_ms = start_ms
        self.offset_ms = offset_ms

    def now_ms(self) -> int:
        """Return the simulated wall clock."""
        return self._start_ms + self.offset_ms + self.monotonic_ns() // _NS_PER_MS

    def monotonic_ns(self) -> int:
        """Return the loop's time; it stands still while a task computes."""
        return round(trio.current_time() * 1_000_000_000)
