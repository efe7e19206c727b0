"""A developer who trusts the reference pages would call what is not there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    "name", ["rpc_reference", "wallet_reference", "ledger_reference", "runbooks"]
)
def test_a_reference_page_is_what_the_definitions_say(name: str) -> None:
    """`make reference` writes the pages again."""
    module = script(name)
    assert module.PAGE.read_text(encoding="utf-8") == module.page()


BOOK = "# Name\n\nSeverity: warning.\n\n## Meaning\n\n"


@pytest.mark.parametrize(
    "text", ["**bold**", "<b>", "| a |", "1. one", "[out](https://a.example)", "### deep", "```"]
)
def test_a_runbook_that_a_page_cannot_show_is_refused(text: str) -> None:
    """An operator would read marks where a remedy should be, or miss a line of it."""
    runbooks = script("runbooks")
    assert runbooks.book("Name", BOOK + "See `a <b>` and [Stalled](Stalled.md).")["parts"] == [
        {
            "title": "Meaning",
            "blocks": [
                {
                    "text": [
                        "See ",
                        {"code": "a <b>"},
                        " and ",
                        {"text": "Stalled", "runbook": "Stalled"},
                        ".",
                    ]
                }
            ],
        }
    ]
    with pytest.raises(ValueError, match="Name: "):
        runbooks.book("Name", BOOK + text)


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location("ref", ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
