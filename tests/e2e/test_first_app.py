"""The tutorial of a first app works as it stands: curl, Python, JavaScript, a real network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.tutorial import Reader
from tests.need import need

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "tutorials" / "first-app.md"


@pytest.mark.full
@pytest.mark.real
def test_a_first_app(reader: Reader) -> None:
    """Whoever begins here decides within an hour whether to go on."""
    need("curl", "to follow the tutorial")
    need("node", "to follow the tutorial")
    reader.follow(PAGE.read_text("utf-8"))
