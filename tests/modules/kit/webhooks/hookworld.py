"""Couriers in a test: a log in memory, a clock turned by hand, and receivers on real sockets.

Receivers do as they are told, also what no honest server does, and keep what they were sent.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from standardwebhooks.webhooks import Webhook

from clawpurse.modules.kit.webhooks.addresses import Allowed
from clawpurse.modules.kit.webhooks.courier import Courier, Found, Log
from clawpurse.modules.kit.webhooks.database import open_database
from clawpurse.modules.kit.webhooks.deliveries import Deliveries, Kept
from clawpurse.modules.kit.webhooks.endpoints import Endpoints
from clawpurse.modules.kit.webhooks.events import Message, event_body, event_id
from clawpurse.modules.kit.webhooks.posting import Poster
from clawpurse.modules.kit.webhooks.signing import Scheme, new_secret, verify
from clawpurse.modules.kit.webhooks.tables import SCHEMA, VERSION, Delivery, Endpoint

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
PATIENCE_S = 20.0


def status(code: int, *fields: str) -> bytes:
    head = "".join(f"{field}\r\n" for field in fields)
    return f"HTTP/1.1 {code} X\r\ncontent-length: 0\r\n{head}\r\n".encode()


class HandClock:
    """A wall clock that stands still until it is turned; `courier.Timer`."""

    def __init__(self) -> None:
        # Now, because reference libraries judge timestamps by the machine's clock.
        self.ms = time.time_ns() // 1_000_000
        self._moved = trio.Event()

    def now_ms(self) -> int:
        return self.ms

    async def wait(self, wakeup: trio.Event, until_ms: int | None) -> None:
        while not wakeup.is_set() and (until_ms is None or self.ms < until_ms):
            moved = self._moved
            async with trio.open_nursery() as race:
                for event in (wakeup, moved):
                    race.start_soon(_then_cancel, event, race.cancel_scope)

    def turn(self, ms: int) -> None:
        self.ms += ms
        moved, self._moved = self._moved, trio.Event()
        moved.set()


async def _then_cancel(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class InlineLane:
    async def run(self, job: Callable[[], Any]) -> Any:
        await trio.lowlevel.checkpoint()
        return job()


class ThreadLane:
    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)

    async def run(self, job: Callable[[], Any]) -> Any:
        return await trio.to_thread.run_sync(job, limiter=self._limiter)


def message(number: int) -> Message:
    source = f"/chains/test/0123456789abcdef/blocks/{number}/events/0"
    ident = event_id(source)
    body = event_body(
        source=source,
        ident=ident,
        kind="org.clawpurse.test",
        time="2026-11-23T00:00:00Z",
        subject=None,
        data={"height": number},
    )
    return Message(ident, "org.clawpurse.test", str(number), body)


class MemoryLog:
    """Events 1…count; a cursor is the number of the last one seen."""

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self.floor = 0
        self._grown = trio.Event()

    def grow(self, by: int = 1) -> None:
        self.count += by
        grown, self._grown = self._grown, trio.Event()
        grown.set()

    async def read(self, endpoint: Endpoint, after: str, limit: int) -> Found:
        from clawpurse.ledger.errors import Pruned

        await trio.lowlevel.checkpoint()
        first = int(after) + 1
        if first < self.floor:
            raise Pruned("the event log", self.floor)
        found = [message(n) for n in range(first, min(self.count, first + limit - 1) + 1)]
        return Found(found, found[-1].cursor if found else after)

    async def wait_beyond(self, endpoint: Endpoint, cursor: str) -> None:
        while self.count <= int(cursor):
            await self._grown.wait()


class Request:
    """What a receiver was sent."""

    def __init__(self, head: bytes, body: bytes) -> None:
        line, *fields = head.decode("latin-1").split("\r\n")
        self.line = line
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (field.partition(":") for field in fields if field)
        }
        self.body = body

    @property
    def ident(self) -> str:
        return self.headers["webhook-id"]


Spawn = Callable[[Callable[[], Awaitable[None]]], object]
Answer = Callable[["Receiver", Request, trio.SocketStream], Awaitable[None]]


def saying(*answers: bytes, then: bytes = OK) -> Answer:
    """Answer these one after another, then always the last."""
    left = list(answers)

    async def answer(_receiver: Receiver, _request: Request, stream: trio.SocketStream) -> None:
        await stream.send_all(left.pop(0) if left else then)

    return answer


def always(answer: bytes) -> Answer:
    return saying(then=answer)


async def hang(_receiver: Receiver, _request: Request, _stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


def breaking_off(part: bytes) -> Answer:
    async def answer(_receiver: Receiver, _request: Request, stream: trio.SocketStream) -> None:
        await stream.send_all(part)
        await stream.aclose()

    return answer


def endless(head: bytes, piece: bytes) -> Answer:
    async def answer(_receiver: Receiver, _request: Request, stream: trio.SocketStream) -> None:
        await stream.send_all(head)
        while True:
            await stream.send_all(piece)

    return answer


class Receiver:
    """A server on loopback that keeps what it gets and answers as it is told."""

    def __init__(self, answer: Answer, wrap: Callable[[Any], Any] | None = None) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.port = 0
        self.under_way = 0
        self.most_at_once = 0
        self.wrap = wrap
        self._scope: trio.CancelScope | None = None

    @property
    def idents(self) -> list[str]:
        return [request.ident for request in self.requests]

    async def start(self, spawn: Spawn, port: int = 0) -> None:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        self._scope = trio.CancelScope()

        async def serve() -> None:
            assert self._scope is not None
            with self._scope:
                await trio.serve_listeners(self._serve, listeners)

        spawn(serve)

    async def restart(self, spawn: Spawn) -> None:
        """Listen again where it listened before."""
        await self.start(spawn, self.port)

    def stop(self) -> None:
        """Die: the port is closed, and so is every connection."""
        assert self._scope is not None
        self._scope.cancel()

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            async with self.wrap(stream) if self.wrap else stream as open_stream:
                await self._talk(open_stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, ValueError):
            return

    async def _talk(self, stream: Any) -> None:
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = await stream.receive_some(65536)
                if not data:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            fields = Request(head, b"").headers
            length = int(fields["content-length"])
            while len(buffer) < length:
                buffer += await stream.receive_some(65536)
            request = Request(head, buffer[:length])
            buffer = buffer[length:]
            self.requests.append(request)
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
            try:
                await self.answer(self, request, stream)
            finally:
                self.under_way -= 1


class World:
    """A courier with everything around it. Made by `hook_world`."""

    def __init__(self, folder: Path, nursery: trio.Nursery, *, count: int, timeout_ms: int) -> None:
        self.folder = folder
        self.spawn = nursery.start_soon
        self.clock = HandClock()
        self.log = MemoryLog(count)
        self.names: dict[str, list[str]] = {}
        self.looked_up: list[str] = []
        self.chance = random.Random(1)
        self.allowed: list[str] = []
        self.timeout_ms = timeout_ms
        self.tls: Callable[[], Any] | None = None
        self.kept = Kept()
        self.keys: dict[str, str] = {}
        self.scope = trio.CancelScope()
        self.ended = trio.Event()
        self.lane: Any = ThreadLane()

    def open(self) -> None:
        """Open the database and make a courier, as a process does at its start."""
        self.database = open_database(self.folder / "webhooks.db", self.lane, SCHEMA, VERSION)
        self.endpoints = Endpoints(self.database)
        self.deliveries = Deliveries(self.database)
        options: dict[str, Any] = {} if self.tls is None else {"tls": self.tls}
        poster = Poster(
            Allowed(self.allowed),
            software="1",
            timeout_ms=self.timeout_ms,
            resolver=lambda: self._resolve,
            **options,
        )
        log: Log = self.log
        self.courier = Courier(
            self.endpoints,
            self.deliveries,
            log,
            poster,
            self.clock,
            self.chance.random,
            self.kept,
        )

    async def _resolve(self, host: str) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        self.looked_up.append(host)
        found = self.names.get(host)
        if found is None:
            raise OSError(f"{host} is not known")
        return found

    async def run(self) -> None:
        """Run the courier until the world ends."""

        async def main() -> None:
            try:
                with self.scope:
                    await self.courier.run()
            finally:
                self.ended.set()

        self.spawn(main)
        await trio.lowlevel.checkpoint()

    async def receiver(self, answer: Answer, **options: Any) -> Receiver:
        """Start a receiver."""
        made = Receiver(answer, **options)
        await made.start(self.spawn)
        return made

    async def hook(
        self,
        url: str,
        *,
        ident: str = "wh_1",
        cursor: str = "0",
        concurrency: int = 1,
        scheme: Scheme = Scheme.HMAC,
    ) -> Endpoint:
        """Keep an endpoint and tell the courier of it."""
        secret = new_secret(scheme, self.clock.now_ms(), self.chance.randbytes)
        made = await self.endpoints.add(
            Endpoint(
                id=ident,
                url=url,
                description="",
                topic="test",
                filter={},
                types=(),
                concurrency=concurrency,
                created_ms=self.clock.now_ms(),
                enabled=True,
                reason=None,
                why=None,
                disabled_ms=None,
                cursor=cursor,
                epoch=0,
                rest_until_ms=0,
                last_success_ms=None,
                last_failure_ms=None,
                secrets=(secret,),
            )
        )
        self.keys[ident] = secret.receiver_text
        self.courier.changed(ident)
        return made

    async def rows(self, ident: str = "wh_1") -> list[Delivery]:
        """The deliveries of an endpoint, oldest first."""
        return list(reversed(await self.deliveries.page(ident, None, None, 500)))

    async def until(self, condition: Callable[[], Awaitable[object]]) -> None:
        """Wait, on the real clock, for what real sockets take."""
        with trio.move_on_after(PATIENCE_S):
            while not await condition():
                await trio.sleep(0.005)
            return
        raise AssertionError("it did not come true in time")

    async def until_state(self, state: str, count: int, ident: str = "wh_1") -> None:
        async def reached() -> bool:
            return (await self.deliveries.counts(ident)).get(state, 0) == count

        await self.until(reached)

    async def until_attempts(self, number: int, ident: str = "wh_1") -> Delivery:
        """Wait until the first delivery of an endpoint was tried so often."""

        async def reached() -> bool:
            rows = await self.rows(ident)
            return bool(rows) and rows[0].attempts >= number

        await self.until(reached)
        return (await self.rows(ident))[0]

    async def until_message(self, ident: str, attempts: int) -> None:
        """Wait until a message was tried so often."""

        async def reached() -> bool:
            return any(
                row.message == ident and row.attempts >= attempts for row in await self.rows()
            )

        await self.until(reached)

    def genuine(self, request: Request, ident: str = "wh_1") -> bool:
        """Whether a request is signed as its endpoint's receiver expects, by both checkers."""
        key = self.keys[ident]
        if key.startswith("whsec_"):
            Webhook(key).verify(request.body, request.headers)
        verify([key], request.headers, request.body, self.clock.now_ms())
        return True


@asynccontextmanager
async def hook_world(
    folder: Path, *, count: int = 0, timeout_ms: int = 2_000, allow: Sequence[str] = ()
) -> AsyncIterator[World]:
    """Give a world with a running courier; it ends with the block."""
    async with trio.open_nursery() as nursery:
        world = World(folder, nursery, count=count, timeout_ms=timeout_ms)
        world.allowed = ["127.0.0.1/32", *allow]
        world.open()
        await world.run()
        try:
            yield world
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await world.ended.wait()
            world.database.close()
