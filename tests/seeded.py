"""One loop whose every step repeats: trio with a mock clock and a seeded order of tasks.

The only file that touches trio's private names. `tests/test_seeded.py` is its canary: should a
new trio schedule otherwise, that test says so, and failures elsewhere are still true, only
harder to repeat.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
import trio.testing
from trio._core import _run

T = TypeVar("T")


def run_seeded(main: Callable[[], Awaitable[T]], seed: int) -> T:
    """Run `main` on a clock that jumps over waiting; equal seeds give equal runs."""
    chance: random.Random = _run._r
    state, was_fixed = chance.getstate(), _run._ALLOW_DETERMINISTIC_SCHEDULING
    chance.seed(seed)
    _run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    try:
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        _run._ALLOW_DETERMINISTIC_SCHEDULING = was_fixed  # type: ignore[misc]
        chance.setstate(state)
