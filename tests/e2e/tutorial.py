"""Does what a tutorial says, as its reader would: types its commands, compares what they print.

In a block marked `console`, a line that begins with `$ ` is typed into one shell; lines that end
in a backslash go on, and a file after `<<END` or `<<'END'` goes on to END. What follows is what it
prints: each line must come, in that order, among what is printed (lines that nobody needs to read
are left out of a page). In an expected line `…` stands for anything. `$ NAME=0x…` takes the id
that was printed last; an id is 32 bytes. A comment `<!-- fails -->` right before a block says that
its last command ends with another code than 0.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

COMMAND_SECONDS_MAX = 180
_BLOCK = re.compile(r"(<!-- fails -->\n)?^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"<<'?END\b")
_ID = re.compile(r"0x[0-9a-f]{64}")
_TAKEN = re.compile(r"^([A-Z_]+)=0x…$")


class Step(NamedTuple):
    """One command of a page, what it shall print, and the line of the page that it stands on."""

    command: str
    expected: tuple[str, ...]
    line: int
    fails: bool


def steps(page: str) -> Iterator[Step]:
    """Yield the steps of a page in order."""
    for block in _BLOCK.finditer(page):
        first = page[: block.start(2)].count("\n") + 1
        commands: list[tuple[int, list[str], list[str]]] = []
        for number, line in enumerate(block[2].splitlines(), first):
            if line.startswith("$ "):
                commands.append((number, [line[2:]], []))
            elif goes_on(commands[-1][1]):
                commands[-1][1].append(line)
            elif line.strip():
                commands[-1][2].append(line)
        for number, typed, printed in commands:
            last = number == commands[-1][0]
            yield Step("\n".join(typed), tuple(printed), number, bool(block[1]) and last)


def goes_on(typed: list[str]) -> bool:
    """Tell whether a command has another line: after a backslash, or up to the END of a file."""
    if _FILE.search(typed[0]):
        return typed[-1] != "END"
    return typed[-1].endswith("\\")


def matches(expected: str, printed: str) -> bool:
    """Tell whether a printed line is the expected one; runs of spaces count as one."""
    parts = [re.escape(" ".join(part.split())) for part in expected.split("…")]
    pattern = r"\s?.*\s?".join(parts)
    return re.fullmatch(pattern, " ".join(printed.split())) is not None


class Reader:
    """Somebody who follows a page in a folder; `told` is everything that was typed and printed."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._variables = dict(environment)
        self._last_id = ""
        self.told: list[str] = []

    def follow(self, page: str) -> None:
        """Do all steps of a page. Raises `AssertionError` naming the line that is not true."""
        for step in steps(page):
            taken = _TAKEN.match(step.command)
            if taken is not None:
                assert self._last_id, f"line {step.line}: nothing was printed to take"
                self._variables[taken[1]] = self._last_id
                continue
            printed = self._type(step)
            lines = iter(printed.splitlines())
            for expected in step.expected:
                found = any(matches(expected, line) for line in lines)
                assert found, (
                    f"line {step.line}: {step.command}\nshould print: {expected}\n"
                    f"printed:\n{printed}"
                )

    def _type(self, step: Step) -> str:
        """Run one command; `export` is remembered for those after it."""
        done = subprocess.run(
            [
                "bash",
                "-c",
                f"set -a\n{step.command}\nstatus=$?; env -0 > .environment; exit $status",
            ],
            cwd=self._folder,
            env=self._variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        self.told.append(f"$ {step.command}\n{done.stdout}")
        assert (done.returncode != 0) == step.fails, (
            f"line {step.line}: {step.command}\nended with {done.returncode}:\n{done.stdout}"
        )
        kept = (self._folder / ".environment").read_text()
        pairs = (entry.partition("=") for entry in kept.split("\0") if entry)
        self._variables = {name: value for name, _, value in pairs}
        ids = _ID.findall(done.stdout)
        self._last_id = ids[-1] if ids else self._last_id
        return done.stdout
