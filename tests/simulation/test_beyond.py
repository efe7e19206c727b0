"""More faults than the design survives: payments may be undone then, never without proof of who.

An operator who meets a fork must be able to show whose keys made it, and no honest authority may
be accused with them.
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.simulation.beyond import (
    Accountable,
    Amnesia,
    InvalidDecision,
    InvalidPolka,
    Plot,
    beyond_of,
    faults_max,
    run_beyond,
)
from tests.simulation.properties import Violation

SEEDS = 30
SEEDS_FULL = 1_500


def outcomes(seeds: range, count: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed in seeds:
        cluster = Accountable(beyond_of(seed, count))
        try:
            found[run_beyond(cluster)] += 1
        except Exception as error:
            error.add_note(f"repeat with Accountable(beyond_of({seed}, {count}))")
            raise
    return found


@pytest.mark.parametrize("count", [4, 7])
def test_whoever_forks_can_be_named(count: int) -> None:
    found = outcomes(range(SEEDS), count)
    assert found["forked"] >= SEEDS // 15, found


@pytest.mark.full
@pytest.mark.parametrize("count", [4, 7, 10])
def test_whoever_forks_can_be_named_over_many_seeds(count: int) -> None:
    size = SEEDS_FULL // (count - 3)
    found = outcomes(range(10_000, 10_000 + size), count)
    assert found["forked"] >= size // 10, found


def test_a_fork_by_forgetting_is_seen_without_a_double_signature() -> None:
    """Equivocation is the easy half; who forgets a lock must not get away with it."""
    cluster = Amnesia(1)
    assert run_beyond(cluster) == "forked"
    culprits = cluster.recorder.culprits(1)
    assert len(culprits) == 3 > faults_max(cluster.authorities)
    assert all("was locked in round 0" in how for how in culprits.values())


def test_a_quorum_of_liars_cannot_talk_a_correct_node_into_an_invalid_block() -> None:
    """Even with a true polka, the own execution has the last word on the own vote (P32)."""
    cluster = InvalidPolka(2)
    assert run_beyond(cluster) == "decided"
    assert cluster.lines["P26:invalid"] == cluster.lines["P32:invalid"] == 1
    assert [len(node.chain) for node in cluster.correct] == [1, 1, 1]


def test_a_node_halts_rather_than_follow_an_invalid_decision() -> None:
    cluster: Plot = InvalidDecision(3)
    assert run_beyond(cluster) == "halted"
    assert cluster.lines["P50:invalid"] == 1


def test_a_fork_without_culprits_is_noticed() -> None:
    """The checker checked: if the observer forgets what was said, the fork has no culprits."""
    cluster = Amnesia(1)
    run_beyond(cluster)
    cluster.recorder.said.clear()
    with pytest.raises(Violation, match="no more than f culprits"):
        cluster.judge()
