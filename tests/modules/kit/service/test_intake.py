"""The chain's events in a service: each once, in order, with all it caused or nothing of it."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.entities.flows import Flow
from clawpurse.modules.kit.entities.kinds import Entity, Line, entity
from clawpurse.modules.kit.privacy.sealing import KeyRing, MasterKey
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service import intake as intaking
from clawpurse.modules.kit.service.declaration import ChainEvent, Service, compiled, every, on
from clawpurse.modules.kit.service.intake import Intake, take_all
from clawpurse.modules.kit.store.database import Database
from clawpurse.modules.kit.store.migrations import migrate
from clawpurse.modules.kit.web.client import RpcClient
from tests.modules.kit.service.stubnode import Counting, Seen, StubNode, event

GENESIS = b"g" * 32
NOW_MS = 1_800_000_000_000


class Beside:
    """The counting service on a file, fed by a stub of a node."""

    def __init__(self, file: Path, service: Service | None = None) -> None:
        self.manifest = compiled(service or Counting())
        self.database = Database(file, "counting")
        self.database.write_now(
            lambda db: migrate(db, self.manifest.tables, self.manifest.steps, NOW_MS)
        )
        self.keys = KeyRing(MasterKey(b"m" * 32))

    def intake(self, client: RpcClient, genesis_hash: bytes = GENESIS) -> Intake:
        m = self.manifest
        records = Transactions(m.name, m.tables, m.kinds, self.database, self.keys, lambda: NOW_MS)
        return Intake(m, records, client, genesis_hash)

    def seen(self) -> list[Any]:
        def rows(db: Any) -> list[Any]:
            table = self.manifest.tables.records["seen"]
            return list(db.execute(table.select().order_by(table.c.number)).all())

        return self.database.read_now(rows)

    def sent(self) -> list[bytes]:
        outbox = self.manifest.tables.outbox
        found = self.database.read_now(
            lambda db: db.execute(outbox.select().order_by(outbox.c.number)).all()
        )
        return [row.idempotency_key for row in found]


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Beside]:
    made = Beside(tmp_path / "counting.db")
    yield made
    made.database.close()


def complete(rows: list[Any], count: int) -> None:
    """Each event once, in order, those that ended moved; a beat where ten blocks were whole."""
    events = [row for row in rows if not row.beats]
    assert [row.counted for row in events] == list(range(count))
    assert [row.place for row in events] == [event(number)["cursor"] for number in range(count)]
    assert [row.state for row in events] == [
        "new" if number % 3 else "done" for number in range(count)
    ]


async def test_every_event_is_taken_in_once_and_in_order(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a payment that was held has no case, or two."""
    monkeypatch.setattr(intaking, "BATCH", 13)
    node = StubNode(70)
    async with node.serving() as url, RpcClient(url) as client:
        assert await take_all(beside.intake(client)) == f"10.{2**32 - 1}"
        complete(beside.seen(), 70)
        node.count = 95
        await take_all(beside.intake(client))
    complete(beside.seen(), 95)
    assert [row.place for row in beside.seen() if row.beats] == ["beat 10"]
    assert len(beside.sent()) == len(set(beside.sent())) == 10


async def test_a_handler_that_fails_leaves_nothing_of_its_batch(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise an event is half taken in, and never looked at again."""
    node = StubNode(20)
    broken = True
    create = Work.create

    def sometimes(self: Work, kind: Any, given: Any, request_key: str | None = None) -> Any:
        if broken and given["counted"] == 11:
            raise ZeroDivisionError
        return create(self, kind, given, request_key)

    monkeypatch.setattr(Work, "create", sometimes)
    async with node.serving() as url, RpcClient(url) as client:
        intake = beside.intake(client)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await intake.step()
            assert beside.seen() == []
            assert beside.sent() == []
        broken = False
        await take_all(intake)
    complete(beside.seen(), 20)


async def test_another_network_s_database_is_refused(beside: Beside) -> None:
    """Otherwise the cases of a test network stand among those of the real one."""
    async with StubNode(5).serving() as url, RpcClient(url) as client:
        await take_all(beside.intake(client))
        with pytest.raises(OperatorError, match="another network"):
            await beside.intake(client, b"h" * 32).step()


@pytest.mark.real
@pytest.mark.parametrize("kills", [4, pytest.param(30, marks=pytest.mark.full, id="thirty")])
async def test_however_often_it_is_killed_nothing_is_lost_or_done_twice(
    tmp_path: Path, kills: int
) -> None:
    """Otherwise a machine that loses its power loses a case, or sends money twice."""
    file, draw = tmp_path / "counting.db", random.Random(kills)
    node = StubNode(2_100)
    root = Path(__file__).parents[4]
    async with node.serving() as url:
        for _ in range(kills):
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "tests.modules.kit.service.sidecar", str(file), url],
                cwd=root,
                stdin=subprocess.DEVNULL,
            )
            asked = node.calls
            with trio.fail_after(60):
                while node.calls < asked + 2 and process.poll() is None:
                    await trio.sleep(0.005)
            await trio.sleep(draw.random() * 0.05)
            process.kill()
            await process.wait()
        beside = Beside(file)
        async with RpcClient(url) as client:
            await take_all(beside.intake(client))
    complete(beside.seen(), node.count)
    assert len(beside.sent()) == len(set(beside.sent())) == node.count // 10
    beside.database.close()


def test_a_declaration_that_does_not_hold_together_is_refused() -> None:
    """Otherwise a service starts and fails at its first event."""

    @entity("seen", prefix="S")
    class Twice(Entity):
        """Twice"""

        place: Line
        flow = Flow("new")

    class Same(Service):
        name = "same"
        entities = (Seen, Twice)

    class Later(Service):
        name = "later"

        @on("test.held")
        async def later(self, work: Work, event: ChainEvent) -> None:
            """A handler cannot wait."""

    for service in (Same(), Later()):
        with pytest.raises(ValueError, match=r"two records|plain function"):
            compiled(service)
    with pytest.raises(ValueError, match="kinds"):
        on("no kind")
    with pytest.raises(ValueError, match="at least one"):
        every(blocks=0)
    manifest = compiled(Counting())
    assert len(manifest.handlers("test.held")) == 1
    assert manifest.handlers("other.held") == manifest.handlers("test") == []
