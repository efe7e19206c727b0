"""Where blocking work runs: threads under limits, or inline in simulation.

The event loop never waits for a disk or a long hash. Each durable step is one job; jobs of one
`Lane` run one after another, so that a later write cannot overtake an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Lane(Protocol):
    """Runs blocking jobs one at a time, in the order in which they were handed in."""

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` and return its result or raise its error.

        Not cancellable once begun: a durable step is finished whatever becomes of its caller.
        """


class ThreadLane:
    """Jobs in a worker thread, one at a time."""

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` in a thread."""
        return await trio.to_thread.run_sync(job, limiter=self._limiter)


class InlineLane:
    """Jobs on the loop itself, for simulation: threads would outrun a virtual clock."""

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` at once."""
        await trio.lowlevel.checkpoint()
        return job()


LaneFactory = Callable[[], Lane]
