"""Where connections come from: TCP, or streams in memory for simulation.

The network in memory behaves like TCP where that matters: bytes arrive in order or not at all, a
slow reader holds up the writer, a cut link delays without a word, a dead host breaks its
connections.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from clawpurse.p2p.address import Endpoint

LISTEN_BACKLOG = 64
# What a direction of a connection in memory holds before its writer waits, as sockets do.
PIPE_BYTES_MAX = 262_144
FIRST_FREE_PORT = 40_000

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


class _Pipe:
    """One direction of a connection."""

    def __init__(self, delay_s: Callable[[], float], is_cut: Callable[[], bool]) -> None:
        self._delay_s = delay_s
        self._is_cut = is_cut
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._size = 0
        self._ended = False
        self._broken = False
        self._lot = trio.lowlevel.ParkingLot()

    def wake(self) -> None:
        """Something changed: whoever waits looks again."""
        self._lot.unpark_all()

    def end(self) -> None:
        """The writer has no more."""
        self._ended = True
        self.wake()

    def break_off(self) -> None:
        """Neither side gets anything through any more."""
        self._broken = True
        self.wake()

    async def write(self, data: bytes) -> None:
        """Take bytes; waits while the pipe is full."""
        await trio.lowlevel.checkpoint()
        while self._size >= PIPE_BYTES_MAX and not self._broken:
            await self._lot.park()
        if self._broken or self._ended:
            raise trio.BrokenResourceError("the other end is gone")
        if data:
            at = trio.current_time() + self._delay_s()
            if self._chunks:
                at = max(at, self._chunks[-1][0])
            self._chunks.append((at, data))
            self._size += len(data)
            self.wake()

    async def read(self, size_max: int) -> bytes:
        """Return what has arrived; nothing at the end."""
        await trio.lowlevel.checkpoint()
        while True:
            if self._broken:
                raise trio.BrokenResourceError("the other end is gone")
            if self._is_cut() or not (self._chunks or self._ended):
                await self._lot.park()
            elif not self._chunks:
                return b""
            elif self._chunks[0][0] > trio.current_time():
                await trio.sleep_until(self._chunks[0][0])
            else:
                at, data = self._chunks.popleft()
                if len(data) > size_max:
                    self._chunks.appendleft((at, data[size_max:]))
                    data = data[:size_max]
                self._size -= len(data)
                self.wake()
                return data


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a connection in memory."""

    def __init__(self, inwards: _Pipe, outwards: _Pipe) -> None:
        self._inwards = inwards
        self._outwards = outwards
        self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See `trio.abc.SendStream`."""
        self._check()
        await self._outwards.write(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        self._check()
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        """See `trio.abc.HalfCloseableStream`."""
        self._check()
        self._outwards.end()
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See `trio.abc.ReceiveStream`."""
        self._check()
        return await self._inwards.read(max_bytes or PIPE_BYTES_MAX)

    async def aclose(self) -> None:
        """Close: the other end reads what was sent, then the end; its writes break."""
        if not self._closed:
            self._closed = True
            self._outwards.end()
            self._inwards.break_off()
        await trio.lowlevel.checkpoint()

    def reset(self) -> None:
        """Break both directions at once, as a killed process does."""
        self._closed = True
        self._outwards.break_off()
        self._inwards.break_off()

    @property
    def is_closed(self) -> bool:
        """True once this end was closed."""
        return self._closed

    def wake(self) -> None:
        """The link changed."""
        self._inwards.wake()
        self._outwards.wake()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this end was closed")


class MemoryNetwork:
    """Hosts that reach each other in memory. One per simulated network.

    `delay_s(source, destination)` is asked for every piece of bytes; it may draw from a seeded
    generator.
    """

    def __init__(self, delay_s: Callable[[str, str], float] = lambda _source, _to: 0.0) -> None:
        self._delay_s = delay_s
        self._listening: dict[tuple[str, int], tuple[Accept, trio.Nursery]] = {}
        self._cut: dict[tuple[str, str], None] = {}
        self._streams: dict[MemoryStream, tuple[str, str]] = {}
        self._ports = FIRST_FREE_PORT
        self._healed = trio.lowlevel.ParkingLot()

    def transport(self, host: str) -> MemoryTransport:
        """Return the transport of the host with this name."""
        return MemoryTransport(self, host)

    def cut(self, one: str, other: str) -> None:
        """Let nothing through between two hosts, without telling them."""
        self._cut[one, other] = self._cut[other, one] = None

    def heal(self, one: str, other: str) -> None:
        """Let through again, what was sent meanwhile too."""
        self._cut.pop((one, other), None)
        self._cut.pop((other, one), None)
        self._healed.unpark_all()
        for stream in list(self._streams):
            stream.wake()

    def reset(self, host: str) -> None:
        """Break all connections of a host, as its death does."""
        for stream, ends in list(self._streams.items()):
            if host in ends:
                stream.reset()
                del self._streams[stream]

    async def connect(self, source: str, host: str, port: int) -> MemoryStream:
        """Connect two hosts. Raises ConnectionRefusedError; on a cut link waits till it heals."""
        await trio.sleep(self._delay_s(source, host) + self._delay_s(host, source))
        while (source, host) in self._cut:
            await self._healed.park()
        found = self._listening.get((host, port))
        if found is None:
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        there = self._pipe(source, host)
        back = self._pipe(host, source)
        near, far = MemoryStream(back, there), MemoryStream(there, back)
        self._forget_closed()
        self._streams[near] = self._streams[far] = (source, host)
        accept, nursery = found
        nursery.start_soon(accept, far, Endpoint(source, self.free_port()))
        return near

    def _pipe(self, source: str, to: str) -> _Pipe:
        return _Pipe(lambda: self._delay_s(source, to), lambda: (source, to) in self._cut)

    def _forget_closed(self) -> None:
        for stream in [stream for stream in self._streams if stream.is_closed]:
            del self._streams[stream]

    def free_port(self) -> int:
        """Return a port that nobody has."""
        self._ports += 1
        return self._ports

    def listen(self, host: str, port: int, accept: Accept, nursery: trio.Nursery) -> None:
        """Begin to listen. Raises OSError when the port is taken."""
        if (host, port) in self._listening:
            raise OSError(f"{host}:{port} is taken")
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
        """Listen in memory; port 0 takes a free one."""
        port = port or self._network.free_port()
        async with trio.open_nursery() as nursery:
            self._network.listen(host, port, accept, nursery)
            task_status.started(port)
            try:
                await trio.sleep_forever()
            finally:
                self._network.unlisten(host, port)
