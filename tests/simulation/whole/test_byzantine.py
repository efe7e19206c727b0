"""Whole networks with authorities in wrong hands: at most f of them hurt nobody but themselves.

Each habit of the fault matrix by itself, twins, and all of it mixed. After every step and at the
end of every run each property has its checker. A user would lose what was called final, or wait
for ever, if one of these failed.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.whole import intrigue
from tests.simulation.whole.byzantine import HABITS, Habit
from tests.simulation.whole.checkers import CHECKERS, checkers
from tests.simulation.whole.storm import Report

#: Habits that show only when something else goes wrong as well.
QUIET = ("amnesia", "bad witness in a body", "forged payment", "bad block range")
MIXED_FULL = 50


def run(seed: int, count: int, **how: object) -> Report:
    return intrigue.run(seed, count, checkers(), **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.__name__)
def test_one_bad_habit_hurts_nobody(habit: type[Habit]) -> None:
    report = run(HABITS.index(habit), 4, habits=[habit])
    assert report.faults["lies"] or habit.name in QUIET


@pytest.mark.parametrize("seed", range(2))
def test_twins_of_one_key_divide_nobody(seed: int) -> None:
    run(seed, 4, twins=True)


@pytest.mark.parametrize("seed", range(3))
def test_mixed_villains_hurt_nobody(seed: int) -> None:
    run(seed, 4)


@pytest.mark.parametrize("seed", [20_262_446, 20_262_544])
def test_a_height_that_begins_with_early_votes_is_replayed_as_it_was(seed: int) -> None:
    """Found by a soak: the log had an own precommit before the prevotes that it rests on."""
    run(seed, 4)


@pytest.mark.full
@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.__name__)
@pytest.mark.parametrize("seed", range(100, 103))
def test_one_bad_habit_hurts_nobody_over_seeds(habit: type[Habit], seed: int) -> None:
    run(seed, 4, habits=[habit])


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 110))
def test_twins_of_one_key_divide_nobody_over_seeds(seed: int) -> None:
    run(seed, 4, twins=True)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 100 + MIXED_FULL))
def test_mixed_villains_hurt_nobody_over_seeds(seed: int) -> None:
    run(seed, (4, 4, 4, 4, 7)[seed % 5])


@pytest.mark.soak
def test_any_intrigue(soak_seeds: Iterator[int]) -> None:
    for seed in soak_seeds:
        run(seed, (4, 4, 4, 7)[seed % 4])


def test_each_property_has_its_checker() -> None:
    """Property 14, coverage, is of all runs together; 1 to 23 else are judged in each."""
    numbers = [made.number for made in checkers()]
    assert sorted(numbers) == [number for number in range(1, 24) if number != 14]
    assert len({made.name for made in checkers()}) == len(CHECKERS)
