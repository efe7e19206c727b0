"""The simulator itself: it repeats what it did, and it notices what is broken on purpose."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_means_the_same_in_every_process(hash_seed: str) -> None:
    """A failure that another machine cannot repeat is a rumour; so no set's order may count."""
    program = (
        "import runpy, sys; sys.path.insert(0, sys.argv[1]);"
        "runpy.run_path(sys.argv[1] + '/tests/conftest.py');"
        "from tests.simulation.test_simulator import fingerprint; print(fingerprint())"
    )
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", program, root],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == fingerprint()


def fingerprint() -> str:
    """Return a hash over everything that some schedules decided, when, and how."""
    digest = hashlib.blake2b(digest_size=16)
    for seed in range(12):
        cluster = run(seed, 4)
        digest.update(repr((cluster.now, sorted(cluster.lines.items()))).encode())
        for node in cluster.correct:
            digest.update(b"".join(header.block_id for header, _ in node.chain))
    return digest.hexdigest()
