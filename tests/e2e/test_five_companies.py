"""The tutorial of five companies works as it stands, on a real network, to its last line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import environment_for, free_base_port, runner
from tests.e2e.tutorial import Reader, matches, steps

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "tutorials" / "five-companies.md"


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Somebody with an empty home and the command on the path."""
    home = tmp_path / ".clawpurse"  # Where it is for somebody who says nothing.
    commands = tmp_path / "bin"
    commands.mkdir()
    command = commands / "clawpurse"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m clawpurse.cli "$@"\n')
    command.chmod(0o755)
    variables = environment_for(home)
    variables["PATH"] = f"{commands}:{os.environ['PATH']}"
    variables["HOME"] = str(tmp_path)
    del variables["CLAWPURSE_HOME"]
    variables["CLAWPURSE_BASE_PORT"] = str(free_base_port(4))
    try:
        yield Reader(tmp_path, variables)
    finally:
        runner(home)("testnet", "stop")


@pytest.mark.full
@pytest.mark.real
def test_five_companies(reader: Reader) -> None:
    reader.follow(PAGE.read_text("utf-8"))


def test_a_page_is_read_as_people_read_it() -> None:
    shown = "```console\n$ a \\\n    b\none … two\n\n$ c\n```\n"
    page = f"x\n{shown}<!-- fails -->\n```console\n$ d\n```\n"
    found = [(s.command, s.expected, s.line, s.fails) for s in steps(page)]
    assert found == [
        ("a \\\n    b", ("one … two",), 3, False),
        ("c", (), 7, False),
        ("d", (), 11, True),
    ]
    assert matches("Paid … to bob", "Paid   1.00 EURX to bob") and matches("…", "anything")
    assert not matches("Paid 1", "Paid 10")
