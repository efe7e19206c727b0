"""Relays between nodes, on loopback: what `testnet chaos` does to connections, it does here.

Each node reaches each other one through a relay of that pair, which can end connections, refuse
new ones, hold what flows one way, and delay it. Bytes are never lost or changed: a connection is
encrypted and numbered, so a network can only delay it or end it. Everything is bounded: what is
held makes the sender wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from enum import IntEnum
from typing import Final

import trio

HOST: Final = "127.0.0.1"
# Two nodes need one connection; the rest are attempts that are being refused.
CONNECTIONS_MAX: Final = 16
CHUNK_BYTES: Final = 65_536
# Chunks under way in one direction: 1 MB, more than a delayed second of traffic here.
CHUNKS_MAX: Final = 16
_CLOSED: Final = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


class Way(IntEnum):
    """A direction through a relay."""

    THERE = 0
    BACK = 1


class Relay:
    """One node's way to another. `serve` runs until cancelled; `port` is set by then."""

    def __init__(self, target_port: int) -> None:
        self.target_port: Final = target_port
        self.port = 0
        self.passed_bytes = 0
        self._delay_s = 0.0
        self._refusing = 0
        self._held = [0, 0]
        self._released = trio.Event()
        self._open: dict[int, trio.CancelScope] = {}
        self._count = 0

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Accept until cancelled."""
        listeners = await trio.open_tcp_listeners(0, host=HOST)
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started(self.port)
        await trio.serve_listeners(self._handle, listeners)

    # -- what chaos does

    @property
    def connections(self) -> int:
        """How many connections stand."""
        return len(self._open)

    def drop(self) -> None:
        """End all connections; new ones are welcome."""
        for scope in self._open.values():
            scope.cancel()

    def refuse(self, *, on: bool) -> None:
        """End all connections and let none stand, until switched off as often as on."""
        self._refusing += 1 if on else -1
        if on:
            self.drop()

    def hold(self, way: Way, *, on: bool) -> None:
        """Let nothing through in one direction, until switched off as often as on."""
        self._held[way] += 1 if on else -1
        released, self._released = self._released, trio.Event()
        released.set()

    def delay(self, seconds: float) -> None:
        """Deliver what comes from now on so much later."""
        self._delay_s = seconds

    # -- one connection

    async def _handle(self, near: trio.SocketStream) -> None:
        self._count += 1
        ident = self._count
        async with near:
            if self._refusing or len(self._open) >= CONNECTIONS_MAX:
                return
            try:
                far = await trio.open_tcp_stream(HOST, self.target_port)
            except OSError:
                return  # Nobody listens there now: the node is down.
            async with far:
                with trio.CancelScope() as scope:
                    self._open[ident] = scope
                    try:
                        if not self._refusing:
                            await self._pump_both(near, far, scope)
                    finally:
                        del self._open[ident]

    async def _pump_both(
        self, near: trio.SocketStream, far: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        async with trio.open_nursery() as nursery:
            for source, sink, way in ((near, far, Way.THERE), (far, near, Way.BACK)):
                sends, receives = trio.open_memory_channel[tuple[float, bytes]](CHUNKS_MAX)
                nursery.start_soon(self._read, source, sends, scope)
                nursery.start_soon(self._write, sink, receives, way, scope)

    async def _read(
        self,
        source: trio.SocketStream,
        sends: trio.MemorySendChannel[tuple[float, bytes]],
        scope: trio.CancelScope,
    ) -> None:
        with suppress(*_CLOSED):
            while chunk := await source.receive_some(CHUNK_BYTES):
                await sends.send((trio.current_time() + self._delay_s, chunk))
        # One side ended: so does the other, after no more than is under way.
        scope.cancel()

    async def _write(
        self,
        sink: trio.SocketStream,
        receives: trio.MemoryReceiveChannel[tuple[float, bytes]],
        way: Way,
        scope: trio.CancelScope,
    ) -> None:
        with suppress(*_CLOSED):
            async for when_s, chunk in receives:
                await trio.sleep_until(when_s)
                while self._held[way]:
                    await self._released.wait()
                await sink.send_all(chunk)
                self.passed_bytes += len(chunk)
        scope.cancel()


class Links:
    """All relays of a network of `count` nodes: one for each that dials another."""

    def __init__(self, ports: list[int]) -> None:
        """`ports` are where the nodes listen, in order."""
        self.count: Final = len(ports)
        self._relays: Final = {
            (dialler, target): Relay(ports[target])
            for dialler in range(len(ports))
            for target in range(len(ports))
            if dialler != target
        }

    async def serve(self, nursery: trio.Nursery) -> None:
        """Open all relays; they run in `nursery`."""
        for relay in self._relays.values():
            await nursery.start(relay.serve)

    def port(self, dialler: int, target: int) -> int:
        """Return where a node dials another."""
        return self._relays[dialler, target].port

    def of(self, node: int) -> Iterator[Relay]:
        """Iterate over the relays that end or begin at a node."""
        return (relay for pair, relay in self._relays.items() if node in pair)

    def between(self, one: int, other: int) -> tuple[Relay, Relay]:
        """Return both relays of a pair: the one that `one` dials first."""
        return self._relays[one, other], self._relays[other, one]

    def hold(self, sender: int, receiver: int, *, on: bool) -> None:
        """Let nothing through from one node to another, whoever dialled."""
        dialled, answered = self.between(sender, receiver)
        dialled.hold(Way.THERE, on=on)
        answered.hold(Way.BACK, on=on)

    def refuse(self, one: int, other: int, *, on: bool) -> None:
        """Let no connection of a pair stand."""
        for relay in self.between(one, other):
            relay.refuse(on=on)
