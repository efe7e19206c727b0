"""The gateway's public port: connections, requests one after the other, a clean stop.

A request sees one state of the configuration from its beginning to its end; another state is put
in its place between requests, so that nobody is dropped by a reload.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio

from clawpurse.modules.gateway.calls import (
    Call,
    Entry,
    Fields,
    Guard,
    OpenGuard,
    Reply,
    ident_of,
    problem,
    trace_of,
)
from clawpurse.modules.gateway.config import GatewayConfig, RouteConfig
from clawpurse.modules.gateway.forwarding import Client, Gone, Sent, forward, reply_bytes
from clawpurse.modules.gateway.framing import Flow
from clawpurse.modules.gateway.paths import canonical
from clawpurse.modules.gateway.routing import Router
from clawpurse.modules.gateway.upstreams import Upstream
from clawpurse.modules.kit.web.guard import RefusalLog, printable
from clawpurse.modules.kit.web.head import Head, HttpRefusal, check_beginning, parse_head
from clawpurse.modules.kit.web.limits import Limits, seconds
from clawpurse.modules.kit.web.messages import Peer, peer_of
from clawpurse.modules.kit.web.tls import client_certificate

ACCESS_LOG: Final = logging.getLogger("clawpurse.gateway.access")
WRITE_MS: Final = 60_000
"""For one piece of an answer to leave: who reads slower than that has gone."""

LINGER_MS: Final = 2_000
LINGER_BYTES_MAX: Final = 4 * 1024 * 1024
BODY_DROPPED_MAX: Final = 64 * 1024
"""Of a request that is refused so much body is read, so that its connection can go on."""

HEADS_KEPT: Final = 8
BLANK_LINES_MAX: Final = 2
NO_ROUTE: Final = RouteConfig(name="none", path="/**", upstream="none")
OWN: Final = RouteConfig(name="gateway", path="/**", upstream="none", body_bytes_max=256 * 1024)
"""The gateway's own paths."""

OwnHandler = Callable[[Call, bytes], Awaitable[Reply]]


@dataclass(frozen=True)
class State:
    """All that decides on requests; replaced whole. `own`: (method, path) → what the gateway itself
    answers there; a path that ends with a slash has all paths below it.
    """

    config: GatewayConfig
    router: Router
    upstreams: Mapping[str, Upstream]
    guard: Guard = field(default_factory=OpenGuard)
    own: Mapping[tuple[str, str], OwnHandler] = field(default_factory=dict)


@dataclass
class FrontCounts:
    """What metrics tell. `answers`: by route and status; `refusals`: by short name."""

    open: int = 0
    accepted: int = 0
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    by_client: Counter[str] = field(default_factory=Counter)


class Front:
    """Serves the public port. `run` until `stop` and the last answer, or cancelled."""

    def __init__(self, state: State, log: RefusalLog, now: Callable[[], float]) -> None:
        self.state = state
        self.counts = FrontCounts()
        self._log = log
        self._now = now
        #: Where it listens, once it does.
        self.port = 0
        self._stop_asked = trio.Event()
        #: Set when it has ended.
        self.ended = trio.Event()
        self._connections: set[_Connection] = set()

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop_asked.is_set()

    def stop(self) -> None:
        """Take no more connections; requests under way have `drain_ms`."""
        self._stop_asked.set()

    async def run(
        self,
        listeners: Sequence[trio.abc.Listener[Any]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve the listeners, which are closed at the end."""
        try:
            await self._run(listeners, task_status)
        finally:
            self.ended.set()

    async def _run(
        self, listeners: Sequence[trio.abc.Listener[Any]], task_status: trio.TaskStatus[None]
    ) -> None:
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                serve = partial(trio.serve_listeners, handler_nursery=connections)
                accepting.start_soon(serve, self.serve_stream, list(listeners))
                task_status.started()
                await self._stop_asked.wait()
                accepting.cancel_scope.cancel()
            for connection in tuple(self._connections):
                connection.stop()
            drain_s = seconds(self.state.config.drain_ms)
            connections.cancel_scope.deadline = trio.current_time() + drain_s

    async def serve_stream(self, stream: trio.abc.Stream, peer: Peer | None = None) -> None:
        """Serve one connection to its end, and close it; a fault ends that one alone."""
        counts, config = self.counts, self.state.config
        try:
            peer = peer or _peer_of(stream)
            full = counts.open >= config.connections_max
            if full or counts.by_client[peer.client] >= config.connections_per_client_max:
                self.note_refusal(peer, "too-many-connections")
                return
            counts.open += 1
            counts.accepted += 1
            counts.by_client[peer.client] += 1
            try:
                await self._serve_counted(stream, peer)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                # The client is gone.
                pass
            except Exception as error:
                self._log.incident(error, "a connection of the gateway", peer.address)
            finally:
                counts.open -= 1
                counts.by_client[peer.client] -= 1
                if not counts.by_client[peer.client]:
                    del counts.by_client[peer.client]
        except OSError:
            # Gone between accept and now.
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_counted(self, stream: trio.abc.Stream, peer: Peer) -> None:
        secure = isinstance(stream, trio.SSLStream)
        if isinstance(stream, trio.SSLStream):
            try:
                with trio.fail_after(seconds(self.state.config.head_ms)):
                    await stream.do_handshake()
            except (trio.BrokenResourceError, trio.TooSlowError):
                self.note_refusal(peer, "tls")
                return
            peer = peer._replace(certificate=client_certificate(stream))
        connection = _Connection(self, stream, peer, secure=secure)
        self._connections.add(connection)
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)

    def note_refusal(self, peer: Peer, slug: str, detail: str = "") -> None:
        """Count and log, in moderation, that somebody was turned away."""
        self.counts.refusals[slug] += 1
        self._log.refuse(peer.address, peer.client, slug, detail)

    def note_answer(self, call: Call, status: int, size: int, started: float) -> None:
        """Count and log a request that was answered."""
        self.counts.answers[call.route.name, status] += 1
        if ACCESS_LOG.isEnabledFor(logging.INFO):
            ACCESS_LOG.info(
                "%s %s %d",
                call.head.method,
                printable(call.path),
                status,
                extra={
                    "request": call.ident.decode(),
                    "client": call.client,
                    "peer": call.peer.address,
                    "route": call.route.name,
                    "bytes": size,
                    "ms": round((self._now() - started) * 1000, 1),
                    **call.facts,
                },
            )

    def incident(self, error: Exception, call: Call) -> Reply:
        """Answer a fault of ours: an id, and nothing else of it."""
        ident = self._log.incident(error, f"the route {call.route.name}", call.peer.address)
        return problem(500, "internal", f"this gateway failed; incident {ident}", close=True)


class _Connection:
    """One connection. Waits have deadlines; what a request does has its own."""

    def __init__(self, front: Front, stream: trio.abc.Stream, peer: Peer, *, secure: bool) -> None:
        self._front = front
        self._flow = Flow(stream)
        self._peer = peer
        self._secure = secure
        self._idle: trio.CancelScope | None = None
        self._stopping = False
        self._scanned = 0
        self._heads: dict[bytes, Head] = {}

    def stop(self) -> None:
        """End after the request under way; now, if there is none."""
        self._stopping = True
        if self._idle is not None and not self._flow.buffer:
            self._idle.cancel()

    async def serve(self) -> None:
        """Answer requests until either side ends the connection."""
        limits = Limits()
        wait_ms = self._front.state.config.head_ms
        while not (self._stopping or self._front.stopping) or self._flow.buffer:
            try:
                head = await self._next(limits, wait_ms)
                if head is None or not await self._answer(head):
                    return
            except HttpRefusal as refusal:
                self._front.note_refusal(self._peer, refusal.slug, refusal.problem)
                reply = problem(refusal.status, refusal.slug, refusal.problem, close=True)
                await self._say_and_close(reply, None)
                return
            except Gone:
                return
            wait_ms = self._front.state.config.idle_ms

    async def _next(self, limits: Limits, wait_ms: int) -> Head | None:
        """Read the next head; None at the end, or when nothing came in time."""
        begun_by: float | None = None
        self._scanned = 0
        while True:
            head = self._cut_head(limits)
            if head is not None:
                return head
            now = trio.current_time()
            if begun_by is None and self._flow.buffer:
                # From its first byte a head has so long, however slowly it drips.
                begun_by = now + seconds(self._front.state.config.head_ms)
            deadline = now + seconds(wait_ms) if begun_by is None else begun_by
            with trio.CancelScope(deadline=deadline) as self._idle:
                more = await self._flow.more()
            idle, self._idle = self._idle, None
            if idle.cancelled_caught:
                if self._flow.buffer:
                    raise HttpRefusal(408, "timeout-head", "the head took too long")
                return None
            if not more:
                if self._flow.buffer:
                    raise HttpRefusal(400, "cut-off", "the request ended in the middle")
                return None

    def _cut_head(self, limits: Limits) -> Head | None:
        buffer = self._flow.buffer
        blank = 0
        while buffer[:2] == b"\r\n":
            blank += 1
            if blank > BLANK_LINES_MAX:
                raise HttpRefusal(400, "blank-lines", "a request starts with its request line")
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", max(self._scanned - 3, 0))
        if end < 0:
            if buffer and buffer != b"\r":
                check_beginning(bytes(buffer), limits)
            self._scanned = len(buffer)
            return None
        raw = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        self._scanned = 0
        head = self._heads.get(raw)
        if head is None:
            head = parse_head(raw, limits)
            if len(self._heads) >= HEADS_KEPT:
                self._heads.clear()
            self._heads[raw] = head
        return head

    async def _answer(self, head: Head) -> bool:
        """Answer one request; False when the connection ends with it."""
        front, state = self._front, self._front.state
        started = front._now()
        call = Call(
            head,
            canonical(head.path) if head.path != "*" else "*",
            self._peer,
            NO_ROUTE,
            self._secure,
            ident_of(head),
            trace_of(head),
        )
        call.client = self._peer.client
        client = Client(self._flow, call, WRITE_MS)
        try:
            outcome = await self._outcome(state, call, client)
        except HttpRefusal as refusal:
            front.note_refusal(self._peer, refusal.slug, refusal.problem)
            outcome = problem(refusal.status, refusal.slug, refusal.problem, close=True)
        except Gone:
            front.note_answer(call, 499, 0, started)
            raise
        except Exception as error:
            outcome = front.incident(error, call)
        if isinstance(outcome, Sent):
            front.note_answer(call, outcome.status, outcome.size, started)
            return outcome.keeps
        front.note_answer(call, outcome.status, len(outcome.body), started)
        return await self._reply(outcome, call, client)

    async def _outcome(self, state: State, call: Call, client: Client) -> Sent | Reply:
        _believe(call, state.config)
        own = _own_handler(state, call)
        if own is not None:
            call.route = OWN
            body = b"".join([piece async for piece in client.body()])
            return await own(call, body)
        asked = call.head.headers.get(b"access-control-request-method")
        preflight = asked.decode("latin-1") if call.head.method == "OPTIONS" and asked else ""
        found = state.router.find(call.head, call.path, preflight)
        if found.route is None:
            if not found.methods:
                return problem(404, "noRoute", "there is nothing at this path")
            allowed = ", ".join(sorted(found.methods))
            return problem(405, "method", f"use {allowed}", [(b"Allow", allowed.encode())])
        call.route = found.route
        cors = _cors(call)
        if preflight and found.route.cors is not None:
            return Reply(204, fields=cors + _preflight(call))
        if call.head.upgrade and not (call.head.upgrade == "websocket" and found.route.websocket):
            # RFC 9110 §7.8: who does not want to switch answers as if it were not asked.
            call.facts["upgrade"] = "ignored"
        entry = await state.guard.admit(call)
        if isinstance(entry, Reply):
            entry.fields += cors
            return entry
        entry.back += cors
        return await self._forward(state, call, entry, client)

    async def _forward(
        self, state: State, call: Call, entry: Entry, client: Client
    ) -> Sent | Reply:
        def goes_on() -> bool:
            return call.head.keep_alive and not (self._stopping or self._front.stopping)

        upstream = state.upstreams[call.route.upstream]
        outcome = await forward(call, entry, upstream, client, goes_on=goes_on)
        if isinstance(outcome, Reply):
            outcome.fields += entry.back
        return outcome

    async def _reply(self, reply: Reply, call: Call, client: Client) -> bool:
        """Send an answer of our own; what is left of a small body is read, so that it goes on."""
        keeps = call.head.keep_alive and not reply.close
        keeps = keeps and not (self._stopping or self._front.stopping)
        if keeps and not client.is_read:
            keeps = client.invited and await _dropped(call, client)
        if not keeps:
            await self._say_and_close(reply, call)
            return False
        await client.send(
            reply_bytes(reply, call, head_only=call.head.method == "HEAD", keeps=True)
        )
        return True

    async def _say_and_close(self, reply: Reply, call: Call | None) -> None:
        """Answer, then linger: closing with unread bytes would destroy the answer."""
        stream = self._flow.stream
        head_only = call is not None and call.head.method == "HEAD"
        with trio.move_on_after(seconds(LINGER_MS)):
            try:
                await stream.send_all(reply_bytes(reply, call, head_only=head_only, keeps=False))
                if isinstance(stream, trio.abc.HalfCloseableStream):
                    await stream.send_eof()
                dropped = 0
                while dropped < LINGER_BYTES_MAX:
                    self._flow.buffer.clear()
                    if not await self._flow.more():
                        break
                    dropped += len(self._flow.buffer)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                # Nobody misses the rest.
                pass


async def _dropped(call: Call, client: Client) -> bool:
    """Read and forget a small body; False when it is not small, or not all there."""
    if not 0 < call.head.body_length <= BODY_DROPPED_MAX:
        return False
    with trio.move_on_after(seconds(LINGER_MS)):
        async for _ in client.body():
            pass
    return client.is_read


def _own_handler(state: State, call: Call) -> OwnHandler | None:
    method = "GET" if call.head.method == "HEAD" else call.head.method
    found = state.own.get((method, call.path))
    if found is None and state.own:
        cut = call.path.rfind("/")
        found = state.own.get((method, call.path[: cut + 1]))
    return found


def _believe(call: Call, config: GatewayConfig) -> None:
    """Take over who a trusted proxy says the client is; from others it is a claim."""
    if call.peer.client in config.trusted_proxies:
        named = call.head.headers.get(b"x-forwarded-for", b"").decode("latin-1")
        first = named.rpartition(",")[2].strip()
        if first:
            call.client = printable(first)[:64]
            call.facts["forwardedFor"] = f"{printable(named)[:256]}, {call.peer.client}"


def _cors(call: Call) -> Fields:
    """Return the fields by which a page of another origin may read the answer."""
    cors, origin = call.route.cors, call.head.headers.get(b"origin")
    if cors is None or origin is None:
        return []
    everybody = "*" in cors.origins
    if not everybody and origin.decode("latin-1") not in cors.origins:
        return [(b"Vary", b"Origin")]
    fields = [(b"Access-Control-Allow-Origin", b"*" if everybody else origin)]
    if not everybody:
        fields.append((b"Vary", b"Origin"))
    if cors.credentials:
        fields.append((b"Access-Control-Allow-Credentials", b"true"))
    if cors.exposed:
        fields.append((b"Access-Control-Expose-Headers", ", ".join(cors.exposed).encode()))
    return fields


def _preflight(call: Call) -> Fields:
    cors = call.route.cors
    assert cors is not None
    methods = call.route.methods or ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    return [
        (b"Access-Control-Allow-Methods", ", ".join(methods).encode()),
        (b"Access-Control-Allow-Headers", ", ".join(cors.headers).encode()),
        (b"Access-Control-Max-Age", b"%d" % cors.max_age_s),
    ]


def _peer_of(stream: trio.abc.Stream) -> Peer:
    inner = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    return peer_of(inner.socket.getpeername() if isinstance(inner, trio.SocketStream) else None)
