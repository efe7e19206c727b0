"""What tests of services share: a PostgreSQL server, where one is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.modules.kit.postgres import server


@pytest.fixture(scope="module")
def kit_postgres() -> Iterator[str]:
    """Return the URL of an empty database on a server of the test module's own."""
    with server() as url:
        yield url
