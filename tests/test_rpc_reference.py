"""An app developer who trusts the reference page would call methods that are not there."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_reference_page_is_what_the_definitions_say() -> None:
    """`make reference` writes the page again."""
    spec = importlib.util.spec_from_file_location("ref", ROOT / "scripts" / "rpc_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page()
