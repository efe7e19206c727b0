"""Records on a real PostgreSQL: the same answers as on SQLite, and no second writer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.service.declaration import compiled
from clawpurse.modules.kit.store.database import Database
from clawpurse.modules.kit.testing.canaries import forgotten
from clawpurse.modules.kit.testing.stand import Stand
from clawpurse.modules.kit.testing.walks import Walk, Walker, random_walk
from tests.modules.kit.postgres import server
from tests.modules.kit.records.desk import KINDS, Desk, HelpDesk

pytestmark = pytest.mark.real
ROLES = ("support.agent", "support.lead", "finance")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server's database."""
    with server() as found:
        yield found


@pytest.fixture
def post(url: str) -> Iterator[Desk]:
    """A desk on an empty PostgreSQL schema."""
    made = Desk(url)
    made.make()
    yield made
    made.empty()
    made.database.close()


def story(walk: Walk, desk: Desk) -> list[Any]:
    """What became of everything, but for what is random."""

    def look(work: Any) -> list[Any]:
        told: list[Any] = []
        for one in walk.seen.values():
            record = work.get(one.kind, one.number)
            told.append((record.id, record.state, record.version, dict(record.values)))
            told += [
                (entry.number, entry.move, entry.actor, entry.at_ms, sorted(entry.changes))
                for entry in work.history.of_record(one.kind.name, one.number)
            ]
        return told

    return [walk.done, desk.look(look)]


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.full) for n in range(1, 9))]
)
def test_both_databases_tell_the_same_story(desk: Desk, post: Desk, seed: int) -> None:
    """Otherwise an installation that moves to a server finds other records there."""
    told = []
    for one in (desk, post):
        walk = random_walk(KINDS, one.do, Walker(Random(seed), ROLES), 250)
        told.append(story(walk, one))
    assert told[0] == told[1]


def test_a_second_writer_is_told(post: Desk, url: str) -> None:
    """Otherwise two services give the same number twice."""
    with pytest.raises(OperatorError, match="in use"):
        Database(url, "desk")
    Database(url, "other").close()


def test_a_person_erased_leaves_no_byte_in_the_server_s_files(url: str, post: Desk) -> None:
    """Otherwise whoever copies the server's disk reads what was promised to be forgotten."""
    post.database.close()
    stand = Stand(compiled(HelpDesk()), url, random=Random(1))
    try:
        planted = forgotten(stand, Path(url.partition("host=")[2]))
    finally:
        stand.close()
        post.database = Database(url, "desk")
    assert len(planted.words) == 5
    assert len(planted.sealed) > 10
