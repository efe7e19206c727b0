"""The tutorial of five companies works as it stands, on a real network, to its last line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.tutorial import Reader, matches, steps

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "tutorials" / "five-companies.md"


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
