"""A gateway's front on loopback, before upstreams that do what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from clawpurse.modules.gateway.calls import Guard, OpenGuard
from clawpurse.modules.gateway.config import GatewayConfig
from clawpurse.modules.gateway.front import Front, State
from clawpurse.modules.gateway.routing import Router
from clawpurse.modules.gateway.upstreams import Upstream
from clawpurse.modules.kit.web.guard import RefusalLog

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WAIT_S = 20.0
Script = Callable[[trio.SocketStream, "Origin"], Awaitable[None]]


class Origin:
    """An upstream's server: what it heard, and what it does with each connection."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or saying
        #: What `saying` answers from now on.
        self.answer = OK
        self.heard: list[bytes] = []
        self.connections = 0
        self.url = ""

    @property
    def requests(self) -> int:
        """How many heads it got."""
        return sum(data.count(b"\r\n\r\n") for data in self.heard)

    async def serve(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        async def handle(stream: trio.SocketStream) -> None:
            self.connections += 1
            try:
                await self.script(stream, self)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # The gateway let go of it.
            finally:
                await trio.aclose_forcefully(stream)

        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        task_status.started()
        await trio.serve_listeners(handle, listeners)


async def saying(stream: trio.SocketStream, origin: Origin) -> None:
    """Answer each head with what the origin says at that moment."""
    while data := await stream.receive_some():
        origin.heard.append(bytes(data))
        for _ in range(data.count(b"\r\n\r\n")):
            await stream.send_all(origin.answer)


def answering(*answers: bytes) -> Script:
    """Answer each head with the next of these, the last one again and again."""

    async def run(stream: trio.SocketStream, origin: Origin) -> None:
        count = 0
        pending = b""
        while True:
            data = await stream.receive_some()
            if not data:
                return
            origin.heard.append(bytes(data))
            pending += data
            while b"\r\n\r\n" in pending:
                pending = pending.partition(b"\r\n\r\n")[2]
                await stream.send_all(answers[min(count, len(answers) - 1)])
                count += 1

    return run


class Gate:
    """A front that serves, and connections to it."""

    def __init__(self, front: Front, port: int, upstreams: dict[str, Upstream]) -> None:
        self.front = front
        self.port = port
        self.upstreams = upstreams

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def say(self, raw: bytes, *, end: bool = False) -> bytes:
        """Send bytes; return all that comes until the connection is closed, within WAIT_S."""
        stream = await self.connect()
        async with stream:
            with trio.fail_after(WAIT_S):
                await stream.send_all(raw)
                if end:
                    await stream.send_eof()
                return await rest_of(stream)

    async def get(self, path: str = "/x", fields: str = "", method: str = "GET") -> bytes:
        """One request on a connection of its own."""
        return await self.say(
            f"{method} {path} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n{fields}\r\n".encode()
        )


async def rest_of(stream: trio.abc.ReceiveStream) -> bytes:
    found = b""
    try:
        while data := await stream.receive_some():
            found += data
    except trio.BrokenResourceError:
        pass  # Cut off, which is what some tests look for.
    return found


def config_of(origins: dict[str, Origin], **changes: Any) -> GatewayConfig:
    """One route to each upstream by its name, and what a test says."""
    settings: dict[str, Any] = {
        "upstreams": {name: {"targets": (origin.url,)} for name, origin in origins.items()},
        "routes": tuple(
            {"name": name, "path": f"/{name}/**", "upstream": name} for name in origins
        ),
        "drain_ms": 2_000,
    }
    return GatewayConfig.model_validate({**settings, **changes})


@asynccontextmanager
async def gate_of(
    origins: dict[str, Origin], guard: Guard | None = None, **changes: Any
) -> AsyncIterator[Gate]:
    """Start everything; `changes` are settings, or a function of the origins that returns them."""
    async with trio.open_nursery() as nursery:
        for origin in origins.values():
            await nursery.start(origin.serve)
        made = {k: v(origins) if callable(v) else v for k, v in changes.items()}
        config = config_of(origins, **made)
        upstreams = {
            name: Upstream(name, one, trio.current_time) for name, one in config.upstreams.items()
        }
        state = State(config, Router(config.routes), upstreams, guard or OpenGuard())
        front = Front(state, RefusalLog(), trio.current_time)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await nursery.start(front.run, listeners)
        for upstream in upstreams.values():
            nursery.start_soon(upstream.run)
        try:
            yield Gate(front, port, upstreams)
        finally:
            for upstream in upstreams.values():
                await upstream.close()
            nursery.cancel_scope.cancel()


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer[9:12])


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]
