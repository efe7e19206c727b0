"""The simulator itself: it repeats what it did, and it notices what is broken on purpose."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.properties import Violation
from tests.simulation.schedules import plan_of, run


def test_a_seed_repeats_its_schedule_exactly() -> None:
    """Or a failure that was found once could not be found again."""
    first, second = run(17, 4), run(17, 4)
    assert first.now == second.now
    assert first.lines == second.lines
    assert [n.chain for n in first.correct] == [n.chain for n in second.correct]


def test_a_seed_is_named_when_its_schedule_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.simulation.cluster.PATIENCE_MS", -1)
    with pytest.raises(Violation) as failure:
        run(23, 4)
    assert "seed=23, count=4" in failure.value.__notes__[0]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_rule_is_noticed(mutant: Mutant) -> None:
    """Each rule that protects users is broken once; a simulator that stays silent is blind."""
    seen = []
    for seed in range(mutant.seeds):
        try:
            mutant.cluster(plan_of(seed, mutant.nodes)).run()
        except Violation as violation:
            if violation.number in mutant.properties:
                return
            seen.append(violation.number)
    pytest.fail(f"{mutant.name} survived {mutant.seeds} seeds; other violations: {seen}")
