"""A log on SQLite, and on a real PostgreSQL where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.modules.audit.auditworld import Log
from tests.modules.kit.postgres import server


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """An empty log on SQLite."""
    made = Log(tmp_path / "audit.db")
    yield made
    made.database.close()


@pytest.fixture(scope="session")
def audit_server() -> Iterator[str]:
    """A PostgreSQL server's database."""
    with server() as url:
        yield url


@pytest.fixture
def post(audit_server: str) -> Iterator[Log]:
    """An empty log on PostgreSQL."""
    made = Log(audit_server)
    yield made
    made.empty()
    made.database.close()
