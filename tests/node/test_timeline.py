"""The near past that people look at: counts, percentiles, and gaps where nothing is known."""

from __future__ import annotations

import pytest

from clawpurse.ledger.blocks import Receipt
from clawpurse.node.timeline import ACCEPTED_MAX, STEP_MS, STEPS, Timeline


class Hands:
    """A clock that tests turn."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ns(self) -> int:
        return self.ms * 1_000_000


def receipt(number: int, code: int = 0) -> Receipt:
    return Receipt(number.to_bytes(32, "big"), code, "", (), 1, 200, 0, 0)


def ids(*numbers: int) -> list[bytes]:
    return [number.to_bytes(32, "big") for number in numbers]


def test_percentiles_are_right_within_a_tenth() -> None:
    """A slow twentieth is what users feel; an average hides it."""
    clock = Hands()
    timeline = Timeline(clock)
    start = clock.ms
    for number in range(100):
        clock.ms = start
        timeline.accepted(ids(number))
        clock.ms = start + (2_000 if number >= 90 else 100)
        timeline.committed(clock.ms, [receipt(number)])
    p50, p95 = timeline.percentiles()
    assert p50 == pytest.approx(100, rel=0.1)
    assert p95 == pytest.approx(2_000, rel=0.1)


def test_a_gap_is_not_a_zero() -> None:
    """Before this node ran nothing is known; since then nothing paid is nothing paid."""
    clock = Hands()
    timeline = Timeline(clock)
    clock.ms += 3 * STEP_MS
    points = timeline.points()
    assert len(points) == STEPS
    assert points[0].final is None
    assert [point.final for point in points[-3:]] == [0, 0, 0]
    assert all(point.p50_ms is None for point in points)


def test_blocks_count_where_their_time_is() -> None:
    """A node that catches up shows the hour of the blocks, not that of its reading."""
    clock = Hands()
    timeline = Timeline(clock)
    timeline.committed(clock.ms - (STEPS + 1) * STEP_MS, [receipt(1)])
    timeline.committed(clock.ms - 2 * STEP_MS, [receipt(2), receipt(3, code=15)])
    timeline.committed(clock.ms, [receipt(4)])
    timeline.committed(clock.ms - 2 * STEP_MS, [receipt(5)])
    points = timeline.points()
    assert (points[-3].final, points[-3].failed, points[-3].blocks) == (2, 1, 2)
    assert points[-1].final == 1
    assert sum(point.final or 0 for point in points) == 3
    assert timeline.percentiles() == (None, None)


def test_memory_is_bounded() -> None:
    """A flood of transactions that never end must not fill the node."""
    clock = Hands()
    timeline = Timeline(clock)
    timeline.accepted(ids(*range(ACCEPTED_MAX + 10)))
    timeline.left(ids(*range(20)))
    assert len(timeline._accepted) == ACCEPTED_MAX - 10
    for step in range(3 * STEPS):
        clock.ms += STEP_MS
        timeline.committed(clock.ms, [receipt(10**6 + step)])
    assert len(timeline._steps) == STEPS
