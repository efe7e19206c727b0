"""The server: listeners, connections, their number, and the way to a clean stop.

Everything is handed in: listeners (TCP, or in-memory streams through `serve_stream`), the
application, the limits. Several servers live in one process without sharing anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import partial
from typing import Any

import trio

from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.http import Application, HttpConnection
from clawpurse.modules.kit.web.limits import Limits, seconds
from clawpurse.modules.kit.web.memory import Memory
from clawpurse.modules.kit.web.messages import Peer, peer_of, refusal_response, render
from clawpurse.modules.kit.web.tls import client_certificate

LISTEN_BACKLOG = 512
"""Connections that the kernel holds while the loop is busy; a burst of reconnecting clients."""

DRAIN_TIMEOUT_MS = 5_000
"""Requests under way get this long on a stop, which an operator waits for."""


@dataclass
class ServerCounts:
    """What a host may export as metrics. Refusals by reason are in `RefusalLog.counts`."""

    connections_open: int = 0
    connections_accepted: int = 0
    by_client: dict[str, int] = field(default_factory=dict)


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on a TCP port (0: any free one) of a host name or address.

    Raises OSError when the address is taken or not ours.
    """
    return list(await trio.open_tcp_listeners(port, host=host, backlog=LISTEN_BACKLOG))


def bound_port(listener: trio.SocketListener) -> int:
    """The port that a listener got."""
    return int(listener.socket.getsockname()[1])


class WebServer:
    """Serves one application. `run` until cancelled, or until `stop` and the last answer.

    `wall_time_s` gives Unix seconds for Date fields; without it none are sent.
    """

    def __init__(
        self,
        application: Application,
        *,
        log: RefusalLog,
        limits: Limits | None = None,
        wall_time_s: Callable[[], float] | None = None,
        drain_timeout_ms: int = DRAIN_TIMEOUT_MS,
    ) -> None:
        self._application = application
        self._log = log
        self._limits = limits or Limits()
        self._wall_time_s = wall_time_s
        self._date_line = b""
        self._date_until = -1.0
        self._drain_timeout_ms = drain_timeout_ms
        self._connections: set[HttpConnection] = set()
        self._stop_asked = trio.Event()
        self.counts = ServerCounts()
        self.memory = Memory(self._limits.memory_bytes_max)

    def stop(self) -> None:
        """Stop accepting; let requests under way finish; then `run` returns."""
        self._stop_asked.set()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop_asked.is_set()

    async def run(
        self,
        listeners: Sequence[trio.abc.Listener[trio.abc.Stream]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve connections from listeners, which are closed at the end.

        Streams given to `serve_stream` are told to stop too, but run in their own tasks.
        Cancellation ends every accepted connection at once, without answers.
        """
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                if listeners:
                    serve = partial(trio.serve_listeners, handler_nursery=connections)
                    accepting.start_soon(serve, self._serve_accepted, list(listeners))
                # They listen already: who connects from now on is served.
                task_status.started()
                await self._stop_asked.wait()
                accepting.cancel_scope.cancel()
            for connection in tuple(self._connections):
                connection.stop()
            connections.cancel_scope.deadline = trio.current_time() + seconds(
                self._drain_timeout_ms
            )

    async def _serve_accepted(self, stream: trio.abc.Stream) -> None:
        try:
            peer = peer_of(_peer_name(stream))
        except OSError:
            # Gone between accept and now.
            await trio.aclose_forcefully(stream)
            return
        await self.serve_stream(stream, peer)

    async def serve_stream(self, stream: trio.abc.Stream, peer: Peer | None = None) -> None:
        """Serve one connection on any stream to its end, and close it. Never raises but
        Cancelled: a fault in one connection is logged and ends that one.
        """
        peer = peer or Peer("memory", "memory")
        counts = self.counts
        here = counts.by_client.get(peer.client, 0)
        full = counts.connections_open >= self._limits.connections_max
        try:
            if full or here >= self._limits.connections_per_client_max:
                await self._turn_away(stream, peer)
                return
            counts.connections_open += 1
            counts.connections_accepted += 1
            counts.by_client[peer.client] = here + 1
            try:
                await self._serve_counted(stream, peer)
            except Exception as error:
                self._log.incident(error, "a connection", peer.address)
            finally:
                counts.connections_open -= 1
                counts.by_client[peer.client] -= 1
                if not counts.by_client[peer.client]:
                    del counts.by_client[peer.client]
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_counted(self, stream: trio.abc.Stream, peer: Peer) -> None:
        if isinstance(stream, trio.SSLStream):
            if not await self._shake_hands(stream, peer):
                return
            peer = peer._replace(certificate=client_certificate(stream))
        connection = HttpConnection(
            stream,
            peer,
            self._application,
            self._limits,
            memory=self.memory,
            refused=self._note_refusal,
            date=self._date,
        )
        self._connections.add(connection)
        if self._stop_asked.is_set():
            connection.stop()
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)

    async def _shake_hands(self, stream: trio.SSLStream[Any], peer: Peer) -> bool:
        """Do the TLS handshake here, within the time that a first byte has."""
        with trio.move_on_after(seconds(self._limits.head_timeout_ms)):
            try:
                await stream.do_handshake()
                return True
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                # OpenSSL's own words are under the cause: a wrong CA, an old version, no TLS.
                self._log.refuse(peer.address, peer.client, "tls", str(error.__cause__ or ""))
                return False
        self._log.refuse(peer.address, peer.client, "timeout-tls")
        return False

    async def _turn_away(self, stream: trio.abc.Stream, peer: Peer) -> None:
        """Answer 503 to one connection too many, without reading from it."""
        self._log.refuse(peer.address, peer.client, "too-many-connections")
        if isinstance(stream, trio.SSLStream):
            # A handshake costs more than the answer is worth.
            return
        response = refusal_response(503, "too many connections", (("Retry-After", "5"),))
        with trio.move_on_after(seconds(self._limits.linger_timeout_ms)):
            try:
                await stream.send_all(render(response, None, keep_alive=False, date=self._date()))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                # It went by itself.
                pass

    def _note_refusal(self, peer: Peer, slug: str, detail: str) -> None:
        self._log.refuse(peer.address, peer.client, slug, detail)

    def _date(self) -> bytes:
        """The Date field line (RFC 9110 §6.6.1), made once a second."""
        if self._wall_time_s is None:
            return b""
        now = trio.current_time()
        if now >= self._date_until:
            self._date_line = f"Date: {formatdate(self._wall_time_s(), usegmt=True)}\r\n".encode()
            self._date_until = now + 1.0
        return self._date_line


def _peer_name(stream: trio.abc.Stream) -> object:
    inner = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    return inner.socket.getpeername() if isinstance(inner, trio.SocketStream) else None
