"""What pages and hints tell people to type exists: each command, and each of its options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from clawpurse.cli.main import build_root

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/wallet-guide.md", "docs/operator-guide.md", "docs/light-client.md")
# A command ends where prose or the next one begins.
COMMAND = re.compile(r"clawpurse ((?:[a-z-]+ ?)+)((?: ?(?:--?[a-z-]+|[^\s`|\",;)→]+))*)")

# A text in the code that names one of our commands.
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*clawpurse [a-z](?:[^"\\\n]|\\.)*"')
# Words after the name that make a sentence, not a command.
PROSE = ("itself", "starts", "works")


def commands_in(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """(words, options) of each `clawpurse …` in a text."""
    for match in COMMAND.finditer(text):
        words = match[1].split()
        yield words, re.findall(r"(?<!\S)--[a-z][a-z-]*", match[2])


def problem_of(words: list[str], options: list[str]) -> str:
    """Say what does not exist, or nothing."""
    command: click.Command = build_root()
    context = click.Context(command)
    for word in words:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(context, word)
        if found is None:
            return f"no command {word}"
        command = found
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    missing = [name for name in options if name not in known]
    return f"no option {missing[0]}" if missing else ""


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_what_exists(page: str) -> None:
    """A newcomer types what stands there, and believes us if it works."""
    text = (ROOT / page).read_text("utf-8")
    # The name of the folder after `git clone`.
    text = text.replace("clawpurse && cd clawpurse", "")
    found = list(commands_in(text))
    assert len(found) > 2
    wrong = [f"{' '.join(words)}: {problem_of(words, options)}"
             for words, options in found if problem_of(words, options)]  # fmt: skip
    assert wrong == []


def test_hints_in_the_code_name_what_exists() -> None:
    """Every error ends with the command that comes next; it must be one."""
    wrong = []
    for folder in ("cli", "node", "wallet", "modules", "p2p", "ledger"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for literal in LITERAL.findall(path.read_text("utf-8")):
                for words, options in commands_in(literal):
                    problem = problem_of(words, options)
                    if problem and words[0] not in PROSE:
                        wrong.append(f"{path.relative_to(ROOT)}: {literal}: {problem}")
    assert wrong == []


def test_a_wrong_command_is_noticed() -> None:
    """A checker that passes everything protects nobody."""
    (found,) = commands_in("type `clawpurse wallet sned bob 1 --from alice`")
    assert problem_of(*found) == "no command sned"
    (found,) = commands_in("$ clawpurse wallet send bob 1 --fron alice")
    assert problem_of(*found) == "no option --fron"
