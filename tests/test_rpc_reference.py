"""A developer who trusts the reference pages would call what is not there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", ["rpc_reference", "ledger_reference"])
def test_a_reference_page_is_what_the_definitions_say(name: str) -> None:
    """`make reference` writes the pages again."""
    spec = importlib.util.spec_from_file_location("ref", ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page()
