"""Garbage is collected when nobody waits, and never behind the process's back."""

from __future__ import annotations

import gc

import trio
from trio.testing import MockClock

from clawpurse.node.memory import IDLE_S, collect_when_idle


def test_an_idle_process_lets_go_of_cycles_and_gives_the_collector_back() -> None:
    """Otherwise memory grows for as long as the node runs, or consensus pauses for it."""
    automatic: list[bool] = []
    collected = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect_when_idle, lambda: 7)
            await trio.sleep(IDLE_S / 2)
            automatic.append(gc.isenabled())
            for _ in range(10_000):
                cycle: list[object] = []
                cycle.append(cycle)
            before = gc.get_count()[0]
            await trio.sleep(2 * IDLE_S)
            collected.append(before - gc.get_count()[0])
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert automatic == [False]
    assert collected[0] > 9_000
    assert gc.isenabled()
