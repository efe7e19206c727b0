"""Payments that were called accepted or final would be lost if a crash could undo them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


def _killing() -> Any:
    name = "claw_e2e_killing"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "killing.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.mark.real
async def test_three_kills_lose_nothing(tmp_path: Path) -> None:
    """One authority killed, then all of them, under load: every promise is kept."""
    await _killing().kill_scenario(tmp_path / "net", 1, kills_of_all=2, kills_of_one=1)


@pytest.mark.real
@pytest.mark.full
async def test_twenty_kills_of_all_lose_nothing(tmp_path: Path) -> None:
    """All four killed at twenty random moments: every restart continues the same chain."""
    await _killing().kill_scenario(tmp_path / "net", 20, kills_of_all=20, kills_of_one=2)
