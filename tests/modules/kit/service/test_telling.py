"""Whoever is erased here is erased in services elsewhere, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.modules.kit.records.persons import erase_person
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.service.telling import Teller
from clawpurse.modules.kit.web.errors import FORBIDDEN, NOT_FOUND, RpcError, Unreachable
from tests.modules.kit.records.desk import KINDS, OFFICER, Desk, customer


class Elsewhere:
    """A service that erases, or is away, or refuses."""

    def __init__(self) -> None:
        self.erased: list[str] = []
        self.problem: Exception | None = None

    async def call(self, method: str, params: Any = None) -> Any:
        assert method == "crm_eraseSubject" and params["reason"] == "erased by desk"
        await trio.lowlevel.checkpoint()
        if self.problem is not None:
            raise self.problem
        self.erased.append(params["subject"])
        return {"news": True}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk with two customers."""
    made = Desk(tmp_path / "desk.db")
    made.make()
    for _ in range(2):
        customer(made)
    yield made
    made.database.close()


def teller(desk: Desk, target: Elsewhere) -> Teller:
    """As a service that was just started."""
    records = Transactions(
        "desk", desk.tables, KINDS, desk.database, desk.keys, lambda: desk.now_ms
    )
    return Teller(records, "crm", target)


def erase(desk: Desk, number: int) -> None:
    desk.do(OFFICER, lambda work: erase_person(work, f"customer/C-{number}", "by letter"))


async def test_everybody_is_told_once_and_in_order(desk: Desk) -> None:
    """Otherwise who is forgotten here is remembered in the next house."""
    target = Elsewhere()
    erase(desk, 2)
    erase(desk, 1)
    first = teller(desk, target)
    assert await first.step()
    # As after kill -9: it goes on behind what was noted.
    second = teller(desk, target)
    assert await second.step()
    assert not await second.step()
    assert target.erased == ["desk.customer/C-2", "desk.customer/C-1"]


@pytest.mark.parametrize(
    "problem", [Unreachable("http://crm", "gone", sent=True), RpcError(FORBIDDEN, "no role")]
)
async def test_who_is_away_or_refuses_is_told_again_and_people_hear_of_it(
    desk: Desk, problem: Exception, autojump_clock: trio.testing.MockClock
) -> None:
    """Otherwise one bad minute keeps somebody's data for ever, and nobody knows."""
    target = Elsewhere()
    target.problem = problem
    erase(desk, 1)
    one = teller(desk, target)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        while not one.problem:
            await trio.sleep(0.01)
        assert one.problem.startswith("crm is not told whom to erase")
        target.problem = None
        while not target.erased:
            await trio.sleep(0.1)
        while one.problem:
            await trio.sleep(0.1)
        erase(desk, 2)
        one.wake()
        while len(target.erased) < 2:
            await trio.sleep(0.1)
        nursery.cancel_scope.cancel()


async def test_who_is_not_known_there_holds_nobody_up(desk: Desk) -> None:
    """Otherwise the first person who is new to a service stops all that come after."""
    target = Elsewhere()
    target.problem = RpcError(NOT_FOUND, "nobody")
    erase(desk, 1)
    one = teller(desk, target)
    assert await one.step()
    assert not await one.step()
