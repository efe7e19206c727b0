"""A log of events behind real JSON-RPC, as a node tells it, and a service that counts them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar

import trio
from pydantic import Field

from clawpurse.modules.kit.entities.flows import Flow, Move
from clawpurse.modules.kit.entities.kinds import Entity, Line, Whole, entity
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.declaration import ChainEvent, Head, Service, every, on
from clawpurse.modules.kit.web.app import App
from clawpurse.modules.kit.web.guard import Access, RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Context, Dispatcher, Method, Params
from clawpurse.modules.kit.web.server import WebServer

LAST = 2**32 - 1
PER_BLOCK = 7


class EventsParams(Params):
    topic: str
    from_cursor: str
    limit: int
    wait_ms: int = 0


def event(number: int) -> dict[str, Any]:
    """Event `number`: seven stand in each block."""
    height, index = 1 + number // PER_BLOCK, number % PER_BLOCK
    shown = {
        "height": height,
        "index": index,
        "time": "2026-11-23T10:00:00Z",
        "kind": "test.held" if number % 3 else "test.ended",
        "accounts": ["claw1someone"],
        "data": {"number": number},
        "txId": None,
    }
    return {"cursor": f"{height}.{index}", "topic": "events", "final": True, "data": shown}


class StubNode:
    """Has `count` events, and answers at most `limit` of them at once."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.calls = 0

    def get(self, params: EventsParams, _context: Context) -> dict[str, Any]:
        """events_get."""
        self.calls += 1
        start = 0
        if params.from_cursor != "beginning":
            height, index = map(int, params.from_cursor.split("."))
            start = (height - 1) * PER_BLOCK + min(index + 1, PER_BLOCK)
        found = [event(number) for number in range(self.count)][start : start + params.limit]
        end = start + len(found)
        if end == self.count and end % PER_BLOCK == 0:
            reached = f"{end // PER_BLOCK}.{LAST}"
        else:
            reached = found[-1]["cursor"] if found else params.from_cursor
        return {"events": found, "nextCursor": reached, "height": 99, "time": "now"}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on loopback; gives the URL."""
        log = RefusalLog()
        method = Method("events_get", "Events", self.get, EventsParams)
        app = App(log=log, dispatcher=Dispatcher([method], log=log), routes={}, access=Access())
        server = WebServer(app, log=log)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(server.run, listeners)
            yield f"http://127.0.0.1:{port}"
            nursery.cancel_scope.cancel()


@entity("seen", prefix="S", indexed=["place"])
class Seen(Entity):
    """One event that was taken in"""

    place: Line
    counted: Annotated[int, Field(ge=0, le=10**9)]
    beats: Whole = 0

    flow: ClassVar[Flow] = Flow("new", Move("finish", "new -> done"))


class Counting(Service):
    """Writes each event down, moves those that ended, and sends something for each tenth."""

    name = "counting"
    entities = (Seen,)

    @on("test.")
    def write_down(self, work: Work, event: ChainEvent) -> None:
        made = work.create(Seen.kind, {"place": event.cursor, "counted": int(event.data["number"])})
        if event.data["number"] % 10 == 0:
            work.send("chain", b"payload", event.cursor.encode().ljust(32, b"\0"))
        if event.kind == "test.ended":
            work.move(Seen.kind, made.number, "finish")

    @every(blocks=10)
    def beat(self, work: Work, head: Head) -> None:
        work.create(Seen.kind, {"place": f"beat {head.height}", "counted": 0, "beats": 1})
