"""The commands that a newcomer types first: what they do, and what they say when they cannot."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMMAND_SECONDS_MAX = 60


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the root, without what the caller's own make or Python left around."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    kept.pop("PYTHONWARNINGS", None)
    return subprocess.run(
        command,
        cwd=ROOT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )


@pytest.fixture
def old_python(tmp_path: Path) -> str:
    """An interpreter that says it is 3.9, and fails every other question."""
    path = tmp_path / "python3"
    path.write_text('#!/bin/sh\ncase "$2" in *print*) echo 3.9.18 ;; *) exit 1 ;; esac\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize("target", ["run", "test"])
def test_an_old_python_is_answered_in_one_line(target: str, old_python: str) -> None:
    """On an old system the newcomer gets the command that helps, not a page of pip."""
    done = run("scripts/environment", target, PYTHON=old_python, MAKE_TARGET=target)
    assert done.returncode == 2
    assert done.stdout == ""
    start, _, command = done.stderr.partition(" → ")
    assert start == "Python 3.9 found; 3.11+ needed."
    assert command.startswith("sudo apt install python3.")
    assert command.endswith(f"-venv && make {target}\n")


def test_make_run_passes_that_line_and_its_code_on(old_python: str) -> None:
    """make must not hide the remedy behind its own words."""
    done = run("make", "run", f"PYTHON={old_python}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Python 3.9 found; 3.11+ needed. → sudo apt install ")


def test_no_python_at_all_is_answered_too() -> None:
    """A bare container has none."""
    done = run("scripts/environment", "find", PYTHON="no-such-python")
    assert done.returncode == 2
    assert done.stderr.startswith("No Python found; 3.11+ needed. → sudo apt install ")


def test_the_python_that_runs_this_is_found() -> None:
    """What can run the tests can run the network."""
    done = run("scripts/environment", "find", PYTHON=f"no-such-python {sys.executable}")
    assert (done.returncode, done.stdout) == (0, sys.executable + "\n"), done.stderr


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((), "--authorities 4"),
        (("BASE_PORT=9700",), "--base-port 9700"),
        (("DATA=/somewhere",), "--home /somewhere"),
        (("AUTHORITIES=1",), "--authorities 1"),
    ],
)
def test_make_run_hands_its_options_on(given: tuple[str, ...], wanted: str) -> None:
    """`make run BASE_PORT=9700` is the remedy that we print when a port is taken."""
    done = run("make", "-n", "run", *given)
    command = " ".join(done.stdout.replace("\\\n", " ").split())
    assert "clawpurse testnet start" in command
    assert wanted in command


def test_a_soak_without_a_length_says_how_to_give_one() -> None:
    """Otherwise it would run for no time, or for ever."""
    done = run("make", "soak")
    assert done.returncode == 2
    assert "make soak SEEDS=" in done.stderr.splitlines()[0]


def test_soak_seeds_are_as_many_as_told(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed that is not repeated exactly cannot be looked at again."""
    monkeypatch.setenv("SOAK_SEEDS", "3")
    monkeypatch.setenv("SOAK_FIRST", "41")
    assert list(request.getfixturevalue("soak_seeds")) == [41, 42, 43]


def test_the_checks_cover_every_packaged_folder() -> None:
    """A folder that the Makefile forgets is never type-checked."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    listed = next(line for line in makefile.splitlines() if line.startswith("PACKAGES :="))
    config = (ROOT / "setup.cfg").read_text("utf-8")
    mapped = [line.split(" = ")[1] for line in config.splitlines() if " = " in line]
    assert sorted(listed.split(":=")[1].split()) == sorted(mapped)


def test_every_bench_that_make_runs_exists_and_none_is_forgotten() -> None:
    """`make bench` that skips a bench lets it rot."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    listed = next(line for line in makefile.splitlines() if line.startswith("BENCHES :="))
    # What a bench compares with runs by itself too, but reports nothing.
    texts = {path.stem: path.read_text("utf-8") for path in (ROOT / "benches").glob("*.py")}
    runnable = [
        name
        for name, text in texts.items()
        if 'if __name__ == "__main__":' in text and "import print_report" in text
    ]
    assert sorted(listed.split(":=")[1].split()) == sorted(runnable)


def test_continuous_integration_runs_what_the_readme_names() -> None:
    """Two ways of testing would give two answers."""
    script = (ROOT / ".ci/run").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    for command in ("make test", "make test-full"):
        assert command in script
        assert command in readme
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_layout_page_shows_the_files_as_they_are() -> None:
    """A map that is wrong costs more than none."""
    done = run(sys.executable, "scripts/layout.py", "--check")
    assert done.returncode == 0, done.stderr
