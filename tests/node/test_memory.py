"""Garbage is collected when nobody waits, and never behind the process's back."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import trio
from trio.testing import MockClock

from clawpurse.node.memory import IDLE_S, WHOLE_S, collect_when_idle


@pytest.fixture(autouse=True)
def long_lived() -> Iterator[None]:
    """What lives until the end of the run is set apart again, as `tests/conftest.py` did."""
    yield
    gc.collect()
    gc.freeze()


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


def test_what_is_old_is_gone_through_once_an_hour_and_not_each_time() -> None:
    """Otherwise an idle moment is a pause of a tenth of a second, or old cycles stay for good."""
    alive: list[bool] = []

    class Old:
        """Seen by a weak reference."""

    def tie(old: Old) -> weakref.ref[Old]:
        old.__dict__["itself"] = old
        return weakref.ref(old)

    def fill() -> list[list[int]]:
        return [[n] for n in range(10_000)]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect_when_idle, lambda: 7)
            await trio.sleep(IDLE_S / 2)
            kept = Old()
            seen = tie(kept)
            more = fill()
            await trio.sleep(2 * IDLE_S)
            del kept
            for wait_s in (2 * IDLE_S, WHOLE_S + IDLE_S):
                more = fill()
                await trio.sleep(wait_s)
                alive.append(seen() is not None)
            del more
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert alive == [True, False]
