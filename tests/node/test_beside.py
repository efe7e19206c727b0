"""Services in a node's process: one that fails is an alarm, and starts again; the node goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trio

from clawpurse.modules.kit.entities.flows import Flow, Move
from clawpurse.modules.kit.entities.kinds import Entity, Line, entity
from clawpurse.modules.kit.service.declaration import Host, Service
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Dispatcher, Method, NoParams
from clawpurse.node import beside as besides
from clawpurse.node.beside import Beside, LocalNode
from clawpurse.node.config import validate
from clawpurse.node.hosting import ANNOUNCED
from tests.modules.kit.service.fakeledger import FakeLedger
from tests.modules.kit.service.stubnode import EventsParams

NOW_MS = 1_800_000_000_000


class Frail(Service):
    """Fails as often as it is told to."""

    name = "frail"

    def __init__(self) -> None:
        self.starts = 0
        self.failing = 0

    async def run(self, host: Host) -> None:
        """Work, or fail."""
        self.starts += 1
        if self.starts <= self.failing:
            raise ZeroDivisionError
        await trio.sleep_forever()


def dispatcher_of(ledger: FakeLedger) -> Dispatcher:
    """The node's JSON-RPC, as far as a service asks that nobody calls."""

    async def status(_params: NoParams, _context: Any) -> Any:
        return await ledger.call("chain_getStatus", {})

    async def events(params: EventsParams, _context: Any) -> Any:
        return await ledger.call("events_get", params.model_dump(by_alias=True))

    methods = [
        Method("chain_getStatus", "It.", status),
        Method("events_get", "They.", events, EventsParams, waits=True),
    ]
    return Dispatcher(methods, log=RefusalLog())


@asynccontextmanager
async def running(
    service: Service, folder: Path, now_ms: Callable[[], int] = lambda: NOW_MS
) -> AsyncIterator[Beside]:
    config = validate({"rpc_listen": "127.0.0.1:0", "modules": [service.name]}, folder)
    dispatcher = dispatcher_of(FakeLedger())
    made = Beside([service], folder, config, lambda: dispatcher, now_ms, "1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        yield made
        nursery.cancel_scope.cancel()


async def until(check: Callable[[], Any]) -> None:
    with trio.fail_after(30):
        while not check():
            await trio.sleep(0.01)


async def test_a_service_that_fails_is_an_alarm_and_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a fault in one service stops blocks, or nobody learns of it."""
    monkeypatch.setattr(besides, "AGAIN_S_MIN", 0.2)
    service = Frail()
    service.failing = 2
    async with running(service, tmp_path) as made:
        await until(lambda: any(one.name == "ModuleStopped" for one in made.conditions()))
        [found] = [one for one in made.conditions() if one.name == "ModuleStopped"]
        assert found.subject == "frail" and "ZeroDivisionError" in found.summary
        await until(lambda: service.starts == 3 and not list(made.conditions()))
        assert (tmp_path / "frail" / ANNOUNCED).exists()
    assert not (tmp_path / "frail" / ANNOUNCED).exists()


@entity("ticket", prefix="T")
class Ticket(Entity):
    """Ticket"""

    subject: Line
    flow: ClassVar[Flow] = Flow("new", Move("finish", "new -> done"))


class Promising(Service):
    """Its records are promised an answer within an hour."""

    name = "promising"
    entities = (Ticket,)


async def test_a_promise_that_ran_out_is_an_alert_and_a_row_of_the_dashboard(
    tmp_path: Path,
) -> None:
    """Otherwise whoever runs the service learns from an angry customer."""
    now = [NOW_MS]
    async with running(Promising(), tmp_path, lambda: now[0]) as made:
        await until(lambda: made._running)
        host = made._running["promising"].host
        host.counts.breaches = {("ticket", "reply"): 4}
        # What ran out before the node was started is not told again.
        assert list(made.conditions()) == []
        host.counts.breaches = {("ticket", "reply"): 5}
        [found] = made.conditions()
        assert (found.name, found.subject) == ("ModulePromiseMissed", "promising.ticket.reply")
        now[0] += 14 * 60_000
        assert len(list(made.conditions())) == 1
        now[0] += 2 * 60_000
        assert list(made.conditions()) == []
        [seen] = made.seen()
        assert (seen["name"], seen["problem"]) == ("promising", None)
        [kind] = seen["kinds"]
        assert (kind["name"], kind["missed"], set(kind["states"])) == ("ticket", 5, {"new", "done"})


async def test_nobody_calls_it_without_a_token(tmp_path: Path) -> None:
    """Otherwise every program of the machine reads a service's records."""
    async with running(Frail(), tmp_path) as made:
        await until(lambda: made._running)
        async with RpcClient(made._running["frail"].url) as client:
            with pytest.raises(RpcError) as refused:
                await client.call("frail_describe")
        assert refused.value.code == -32006


async def test_the_node_of_the_process_is_asked_as_any_other() -> None:
    """Otherwise a service learns something else where it runs alone."""
    async with LocalNode(dispatcher_of(FakeLedger()), "frail") as node:
        assert (await node.call("chain_getStatus"))["chainId"] == "fake"
        with pytest.raises(RpcError) as unknown:
            await node.call("chain_nothing")
        assert unknown.value.code == -32601
