"""Sign-in on SQLite, empty for each test: a copy of what one real start made."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.modules.auth.signworld import Schemas, World, open_world, place_in


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Schemas]:
    """A folder with the service's empty database, and what its methods publish."""
    folder = tmp_path_factory.mktemp("auth")

    async def start() -> Schemas:
        world = await open_world(place_in(folder))
        await world.host.close()
        return world.schemas

    return folder, trio.run(start)


@pytest.fixture
async def world(
    made: tuple[Path, Schemas], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """The service, ready. Comparing its tables again would take most of a test's time."""
    folder, schemas = made
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr("clawpurse.modules.kit.service.host.migrate", lambda *_: [])
    opened = await open_world(place_in(tmp_path), schemas=schemas)
    yield opened
    await opened.host.close()
