"""A desk on SQLite, and on a real PostgreSQL where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.modules.kit.records.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk on an empty SQLite database."""
    made = Desk(tmp_path / "desk.db")
    made.make()
    yield made
    made.database.close()
