"""Where connections come from: TCP, or streams in memory for simulation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio
import trio.testing

from clawpurse.p2p.address import Endpoint

LISTEN_BACKLOG = 64

Accept = Callable[[trio.abc.Stream, Endpoint], Awaitable[None]]


class Transport(Protocol):
    """Dials and listens."""

    async def open_stream(self, host: str, port: int) -> tuple[trio.abc.Stream, Endpoint]:
        """Connect; names are resolved anew each time. Raises OSError."""

    async def serve(
        self,
        host: str,
        port: int,
        accept: Accept,
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen until cancelled; reports the bound port. Raises OSError when it is taken."""


class TcpTransport:
    """The real network."""

    async def open_stream(self, host: str, port: int) -> tuple[trio.abc.Stream, Endpoint]:
        """Connect by TCP."""
        try:
            stream = await trio.open_tcp_stream(host, port)
        except UnicodeError as err:
            raise OSError(f"{host} is no name that can be resolved: {err}") from err
        try:
            return stream, _remote(stream)
        except OSError:
            await trio.aclose_forcefully(stream)
            raise

    async def serve(
        self,
        host: str,
        port: int,
        accept: Accept,
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen on TCP."""
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=LISTEN_BACKLOG)
        task_status.started(listeners[0].socket.getsockname()[1])

        async def accepted(stream: trio.SocketStream) -> None:
            try:
                endpoint = _remote(stream)
            except OSError:
                await trio.aclose_forcefully(stream)  # Gone between accept and now.
                return
            await accept(stream, endpoint)

        await trio.serve_listeners(accepted, listeners)


def _remote(stream: trio.SocketStream) -> Endpoint:
    name = stream.socket.getpeername()
    return Endpoint(str(name[0]), int(name[1]))


class MemoryNetwork:
    """Hosts that reach each other through memory streams. One per simulated network."""

    def __init__(self) -> None:
        self._listening: dict[tuple[str, int], tuple[Accept, trio.Nursery]] = {}

    def transport(self, host: str) -> MemoryTransport:
        """Return the transport of the host with this name."""
        return MemoryTransport(self, host)

    async def connect(self, source: str, host: str, port: int) -> trio.abc.Stream:
        """Make a pair of streams, one end of which the listener gets."""
        found = self._listening.get((host, port))
        if found is None:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        near, far = trio.testing.memory_stream_pair()
        accept, nursery = found
        nursery.start_soon(accept, far, Endpoint(source, 1))
        await trio.lowlevel.checkpoint()
        return near

    def listen(self, host: str, port: int, accept: Accept, nursery: trio.Nursery) -> None:
        """Begin to listen."""
        self._listening[host, port] = (accept, nursery)

    def unlisten(self, host: str, port: int) -> None:
        """Stop listening."""
        self._listening.pop((host, port), None)


class MemoryTransport:
    """One host's view of a `MemoryNetwork`."""

    def __init__(self, network: MemoryNetwork, host: str) -> None:
        self._network = network
        self._host = host

    async def open_stream(self, host: str, port: int) -> tuple[trio.abc.Stream, Endpoint]:
        """Connect in memory."""
        return await self._network.connect(self._host, host, port), Endpoint(host, port)

    async def serve(
        self,
        host: str,
        port: int,
        accept: Accept,
        *,
        task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Listen in memory."""
        async with trio.open_nursery() as nursery:
            self._network.listen(host, port, accept, nursery)
            task_status.started(port)
            try:
                await trio.sleep_forever()
            finally:
                self._network.unlisten(host, port)
