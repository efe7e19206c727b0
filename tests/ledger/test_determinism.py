"""Two nodes that compute one block differently are two networks.

Whatever differs between processes (hash seeds, Python versions, the order in which a dictionary
was filled) must not reach state, receipts or events.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.ledger import scenario

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = """
import tests.conftest
from tests.ledger import scenario
print("\\n".join(scenario.digests()))
"""
NEEDS = "import msgpack, nacl, hypothesis, pytest"
OTHERS = [name for name in ("python3.11", "python3.12", "python3.13", "python3.14")
          if name != f"python3.{sys.version_info.minor}"]  # fmt: skip


@cache
def expected() -> tuple[str, ...]:
    return tuple(scenario.digests())


def run_under(python: str, hash_seed: str) -> tuple[str, ...]:
    done = subprocess.run(
        [python, "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(done.stdout.splitlines())


def test_the_history_holds_refusals_failures_holds_due_work_and_expiries() -> None:
    lines = expected()
    wanted = """
        done kernel.balance kernel.policy kernel.hold kernel.accountExists kernel.duplicateKey
        desk.large assets.transferred accounts.opened accounts.keyChanged assets.minted
        assets.burned kernel.held kernel.holdEnded kernel.dueFailed desk.paid
    """
    assert not set(wanted.split()) - set(lines)
    assert tuple(scenario.digests()) == lines


@pytest.mark.parametrize("hash_seed", ["0", "1", "31337", "random"])
def test_every_hash_seed_gives_the_same_history(hash_seed: str) -> None:
    assert run_under(sys.executable, hash_seed) == expected()


@pytest.mark.parametrize("name", OTHERS)
def test_another_python_gives_the_same_history(name: str) -> None:
    python = shutil.which(name)
    if python is None:
        pytest.skip(f"{name} is not installed here")
    if subprocess.run([python, "-c", NEEDS], capture_output=True, check=False).returncode:
        pytest.skip(f"{name} lacks the packages that the ledger needs")
    assert run_under(python, "7") == expected()
