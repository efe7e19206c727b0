"""Thousands of seeded schedules: whatever the network, the liars and the crashes do, nobody forks.

A user would lose a payment that was called final if one of these failed. Each failure names the
call that repeats it. Sizes: SIMULATION_SCHEDULES overrides how many the small run takes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from clawpurse.consensus.round import BRANCHES, HALT_BRANCH
from tests.simulation.beyond import InvalidDecision, InvalidPolka, run_beyond
from tests.simulation.cluster import CRASH_POINTS
from tests.simulation.schedules import Coverage, run

SCHEDULES = int(os.environ.get("SIMULATION_SCHEDULES", "3000"))
CHUNKS = 20


def reach_beyond(coverage: Coverage) -> None:
    """A true polka for an invalid block, and a decision of one, take more than f faults."""
    for plot in (InvalidPolka, InvalidDecision):
        cluster = plot(1)
        run_beyond(cluster)
        coverage.lines.update(cluster.lines)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_four_authorities_agree_whatever_happens(chunk: int) -> None:
    size = SCHEDULES * 9 // 10 // CHUNKS
    for seed in range(chunk * size, (chunk + 1) * size):
        run(seed, 4)


@pytest.mark.parametrize(
    ("count", "share"), [(1, 120), (2, 60), (3, 60), (5, 60), (6, 60), (7, 60), (10, 120)]
)
def test_networks_of_other_sizes_agree_too(count: int, share: int) -> None:
    """Off-by-one quorums show at n = 5 and 6, two faults at 7, three at 10; 1 decides alone."""
    for seed in range(SCHEDULES // share):
        run(seed, count)


def test_schedules_reach_the_branches_and_crash_points() -> None:
    """A simulator that reaches nothing finds nothing. The rare branches are left to full runs."""
    coverage = Coverage()
    for seed in range(300):
        run(seed, 4, coverage)
    reach_beyond(coverage)
    rare = {"P32:locked"}
    wanted = (*BRANCHES, HALT_BRANCH)
    assert [b for b in wanted if not coverage.lines[b] and b not in rare] == []
    assert [p for p in CRASH_POINTS if not coverage.crash_points[p]] == []
    assert coverage.evidence > 100


@pytest.mark.full
@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize(("count", "total"), [(4, 16_000), (7, 3_000), (10, 1_000)])
def test_twenty_thousand_schedules(count: int, total: int, chunk: int) -> None:
    first = 1_000_000
    size = total // CHUNKS
    for seed in range(first + chunk * size, first + (chunk + 1) * size):
        run(seed, count)


@pytest.mark.full
def test_a_full_run_reaches_every_branch() -> None:
    coverage = Coverage()
    for seed in range(2_000_000, 2_004_000):
        run(seed, 4, coverage)
    reach_beyond(coverage)
    for branch in (*BRANCHES, HALT_BRANCH):
        assert coverage.lines[branch], branch


@pytest.mark.soak
def test_any_schedule(soak_seeds: Iterator[int]) -> None:
    for seed in soak_seeds:
        run(seed, (4, 4, 4, 7, 10)[seed % 5])
