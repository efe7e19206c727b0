"""JSON-RPC over WebSocket (RFC 6455): the same dispatcher, and pushes to the client.

Four tasks per connection: one reads frames and answers quick calls on the spot, one runs the
calls that take time (in their order; those that wait for an event beside each other), one
writes, one keeps the heart beating. What was not sent yet is bounded: when it grows beyond
the limit, reading stops and subscriptions wait, so a peer that does not read costs one
buffer and no more, and after `write_timeout_ms` its connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.frame_protocol import CloseReason

from clawpurse.modules.kit.web.errors import LIMIT_EXCEEDED, RpcError
from clawpurse.modules.kit.web.frames import (
    MessageTooBig,
    TextAssembler,
    text_frame,
    text_head,
)
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Context, Dispatcher, Pending
from clawpurse.modules.kit.web.limits import Limits, seconds
from clawpurse.modules.kit.web.memory import FREE_BYTES, Memory, Share
from clawpurse.modules.kit.web.messages import Peer
from clawpurse.modules.kit.web.pieces import Pieces, Reply, sendable

RECEIVE_BYTES = 64 * 1024

SLOW_DOWN_MAX_S = 1.0
"""Between two messages of a client over its budget; longer would starve its heartbeat."""

MESSAGES_PER_TURN = 32
"""Messages answered before the loop gets a turn: about 1 ms of cheap calls."""


class Beating(Protocol):
    """What a connection knows of its subscriptions."""

    def beat(self) -> None:
        """Say that the subscription lives, if it said nothing since the last beat."""


class WebSocketSession:
    """One WebSocket from its 101 to its close. Handlers see it as `context.connection`.

    What a subscription may use: `send_json`, `room`, `after_answer`, `subscriptions`.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        peer: Peer,
        context: Context,
        limits: Limits,
        log: RefusalLog,
    ) -> None:
        self._dispatcher = dispatcher
        self._peer = peer
        self._context = context.with_connection(self)
        self.limits = limits
        self._log = log
        self._protocol: Connection | None = None
        # Replaced by shares of the server's memory when it runs.
        self._incoming_share = Share(Memory(limits.memory_bytes_max))
        self._outgoing_share = Share(Memory(limits.memory_bytes_max))
        self._memory_is_short = False
        self._messages_in_turn = 0
        self._text = TextAssembler(limits.body_bytes_max, limits.frames_per_message_max)
        self._outgoing: deque[bytes] = deque()
        self._outgoing_bytes = 0
        self._has_outgoing = trio.Event()
        # Woken whenever bytes left or a call ended; each waiter looks for itself.
        self._progress = trio.lowlevel.ParkingLot()
        self._calls: deque[str | Pending] = deque()
        self._calls_bytes = 0
        self._has_calls = trio.Event()
        self._worker_busy = False
        self._waiting_calls = 0
        self._to_start: list[Callable[[], Awaitable[None]]] = []
        self._heard_at = 0.0
        self._message_since: float | None = None
        self._sending_since: float | None = None
        self._paused = False
        self._close_sent = False
        self._stop_asked = trio.Event()
        self._farewell: tuple[int, str] | None = None
        self._scope = trio.CancelScope()
        self.subscriptions: dict[str, Beating] = {}
        """Live subscriptions of this connection by id; `subscriptions.py` keeps it."""

    # For subscriptions.

    def send_json(self, payload: bytes) -> None:
        """Queue one message. Callers keep to `room`; small last words may go without.

        After our close frame nothing may follow (§5.5.1), so what comes later is dropped.
        """
        if not self._close_sent:
            self._queue(text_frame(payload))

    async def room(self, timeout_ms: int | None = None) -> bool:
        """Wait until less than the limit is unsent; False when that took too long."""
        if self.has_room():
            return True
        timeout_s = float("inf") if timeout_ms is None else seconds(timeout_ms)
        with trio.move_on_after(timeout_s):
            while not self.has_room():
                await self._progress.park()
            return True
        return False

    def has_room(self) -> bool:
        """Less than the limit is unsent; and little, when the memory of all is spent."""
        return self._outgoing_bytes < (
            FREE_BYTES if self._memory_is_short else self.limits.ws_outgoing_bytes_max
        )

    def after_answer(self, task: Callable[[], Awaitable[None]]) -> None:
        """Start `task` once the answer to the present call is queued; it ends with the
        connection. It may not raise but for faults of ours.
        """
        self._to_start.append(task)

    def slow(self, what: str) -> None:
        """Note that this client does not keep up."""
        self._log.refuse(self._peer.address, self._peer.client, "slow-client", what)

    def incident(self, error: BaseException, where: str) -> str:
        """Log a fault of ours that a task of this connection met; returns the incident id."""
        return self._log.incident(error, where, self._peer.address)

    # The connection.

    def stop(self) -> None:
        """Close with 1001 (going away), after the calls under way."""
        self._stop_asked.set()

    def end(self, code: int, reason: str) -> None:
        """Close with a code of RFC 6455 §7.4 now, whatever is under way."""
        self._farewell = (code, reason)
        self._stop_asked.set()
        self._progress.unpark_all()

    async def run(self, stream: trio.abc.Stream, beginning: bytes, memory: Memory) -> None:
        """Serve until either side closes or falls silent; does not close the stream."""
        self._incoming_share, self._outgoing_share = Share(memory), Share(memory)
        self._protocol = Connection(ConnectionType.SERVER, trailing_data=beginning)
        self._heard_at = trio.current_time()
        try:
            await self._run(stream)
        finally:
            self._incoming_share.release()
            self._outgoing_share.release()
            self.subscriptions.clear()

    async def _run(self, stream: trio.abc.Stream) -> None:
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, stream)
                nursery.start_soon(self._work, nursery)
                nursery.start_soon(self._beat)
                nursery.start_soon(self._leave_when_asked)
                code, reason = await self._read(stream, nursery)
                await self._say_goodbye(stream, code, reason)
                self._scope.cancel()

    async def _read(self, stream: trio.abc.Stream, nursery: trio.Nursery) -> tuple[int, str]:
        """Read until the end; return the close code to send, or 0 when none can be sent."""
        protocol = self._protocol
        assert protocol is not None
        while True:
            for event in protocol.events():
                self._paused = True
                ended = await self._on_event(event, nursery)
                self._paused = False
                if ended is not None:
                    return ended
            try:
                data = await stream.receive_some(RECEIVE_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return 0, ""
            if not data:
                return 0, ""
            self._heard_at = trio.current_time()
            protocol.receive_data(bytes(data))

    async def _on_event(self, event: object, nursery: trio.Nursery) -> tuple[int, str] | None:
        """Act on one event; a close code and reason when the connection is to end."""
        protocol = self._protocol
        assert protocol is not None
        match event:
            case TextMessage():
                try:
                    message = self._text.add(event)
                except MessageTooBig:
                    return self._refused(CloseReason.MESSAGE_TOO_BIG, "message-too-big")
                if not self._incoming_share.resize(self._text.size + self._calls_bytes):
                    return self._refused(CloseReason.TRY_AGAIN_LATER, "memory")
                if message is None:
                    if self._message_since is None:
                        self._message_since = trio.current_time()
                else:
                    self._message_since = None
                    await self._on_message(message, nursery)
            case BytesMessage():
                return self._refused(CloseReason.UNSUPPORTED_DATA, "binary-message")
            case Ping():
                # A peer that pings without reading gets no memory for it.
                if self.has_room():
                    self._queue(protocol.send(event.response()))
            case CloseConnection():
                if protocol.state is ConnectionState.CLOSED:
                    return 0, ""  # the answer to our own close
                if protocol.state is not ConnectionState.REMOTE_CLOSING:
                    return self._refused(event.code, "websocket-syntax", event.reason or "")
                return int(event.code), event.reason or ""
            case _:
                # A pong: that something was heard is noted already.
                pass
        return None

    def _refused(self, code: int, slug: str, detail: str = "") -> tuple[int, str]:
        self._log.refuse(self._peer.address, self._peer.client, slug, detail)
        return int(code), slug

    async def _on_message(self, message: str, nursery: trio.Nursery) -> None:
        """Answer a quick call at once; queue what takes time, and what came behind it."""
        await self.room()
        self._messages_in_turn += 1
        if self._messages_in_turn >= MESSAGES_PER_TURN:
            self._messages_in_turn = 0
            await trio.lowlevel.checkpoint()
        await self._slow_down()
        if self._worker_busy or self._calls:
            await self._enqueue(message)
            return
        reply = self._dispatcher.answer(message, self._context)
        if type(reply) is Pending:
            if reply.waits:
                self._start_waiting(reply, nursery)
            else:
                await self._enqueue(reply)
        else:
            self._deliver(reply, nursery)  # type: ignore[arg-type]

    async def _slow_down(self) -> None:
        """Read a client that spent its budget slowly: refusing it is work as well."""
        budgets = self._dispatcher.budgets
        wait_s = budgets.wait_s(self._context.client) if budgets is not None else 0.0
        if wait_s:
            await trio.sleep(min(wait_s, SLOW_DOWN_MAX_S))

    async def _enqueue(self, call: str | Pending) -> None:
        size = len(call) if isinstance(call, str) else 0
        while (
            len(self._calls) >= self.limits.ws_calls_queued_max
            or self._calls_bytes > self.limits.body_bytes_max
        ):
            await self._progress.park()
        self._calls.append(call)
        self._calls_bytes += size
        self._has_calls.set()

    async def _work(self, nursery: trio.Nursery) -> None:
        """Run the queued calls in their order."""
        while True:
            if not self._calls:
                self._worker_busy = False
                self._progress.unpark_all()
                self._has_calls = trio.Event()
                await self._has_calls.wait()
            self._worker_busy = True
            call = self._calls.popleft()
            self._calls_bytes -= len(call) if isinstance(call, str) else 0
            self._progress.unpark_all()
            await self.room()
            reply: Reply | Pending | None
            if isinstance(call, str):
                reply = self._dispatcher.answer(call, self._context)
                # Quick calls give the loop no turn of their own.
                await trio.lowlevel.checkpoint()
            else:
                reply = call
            if isinstance(reply, Pending):
                if reply.waits:
                    self._start_waiting(reply, nursery)
                    continue
                reply = await reply.run(self._hold)
                self._hold(0)
            self._deliver(reply, nursery)

    def _hold(self, size: int) -> bool:
        """Count the answers of a batch in the making beside what came in."""
        return self._incoming_share.resize(self._text.size + self._calls_bytes + size)

    def _start_waiting(self, call: Pending, nursery: trio.Nursery) -> None:
        """Run a call that waits for an event as a task, if there are not too many."""
        if self._waiting_calls >= self.limits.ws_calls_waiting_max:
            reason = f"{self._waiting_calls} calls of this connection are waiting already"
            self._deliver(call.refusal(RpcError(LIMIT_EXCEEDED, reason)), nursery)
            return
        self._waiting_calls += 1
        nursery.start_soon(self._wait_for, call, nursery)

    async def _wait_for(self, call: Pending, nursery: trio.Nursery) -> None:
        try:
            reply = await call.run()
        finally:
            self._waiting_calls -= 1
            self._progress.unpark_all()
        self._deliver(reply, nursery)

    def _deliver(self, reply: Reply | None, nursery: trio.Nursery) -> None:
        """Queue an answer, then start what was to follow it."""
        if isinstance(reply, Pieces):
            if not self._close_sent:
                self._queue(text_head(len(reply)), *reply)
        elif reply is not None:
            self.send_json(reply)
        if self._to_start:
            tasks, self._to_start = self._to_start, []
            for task in tasks:
                nursery.start_soon(task)

    def _queue(self, *frame: bytes) -> None:
        """Queue a frame, whole or in pieces; nothing comes between these."""
        for piece in frame:
            self._outgoing.append(bytes(piece))
            self._outgoing_bytes += len(piece)
        if self._outgoing_bytes > FREE_BYTES:
            # When this fails, `has_room` says so to whoever would send more.
            self._memory_is_short = not self._outgoing_share.resize(self._outgoing_bytes)
        self._has_outgoing.set()

    async def _write(self, stream: trio.abc.Stream) -> None:
        """Send what is queued, as much as is quick in one go. `_beat` keeps its deadline: a
        cancel scope for each of a thousand subscribers' events would cost more than the events.
        """
        while True:
            if not self._outgoing:
                self._has_outgoing = trio.Event()
                await self._has_outgoing.wait()
            queued = [*self._outgoing]
            self._outgoing.clear()
            self._sending_since = trio.current_time()
            try:
                for data in sendable(queued):
                    await stream.send_all(data)
                    self._outgoing_bytes -= len(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._scope.cancel()
                return
            self._sending_since = None
            self._memory_is_short = not self._outgoing_share.resize(self._outgoing_bytes)
            self._progress.unpark_all()

    async def _beat(self) -> None:
        """Let subscriptions beat. Ping a silent peer; end the connection when it stays silent,
        drips a message, or does not read: looks every ping interval, so deadlines here are late
        by up to one.
        """
        protocol = self._protocol
        assert protocol is not None
        interval_s = seconds(self.limits.ws_ping_interval_ms)
        look_s = trio.current_time() + interval_s
        beat_s = seconds(self.limits.sub_heartbeat_ms)
        beats_s = trio.current_time() + beat_s
        while True:
            await trio.sleep_until(min(look_s, beats_s))
            now = trio.current_time()
            if now >= beats_s:
                beats_s = now + beat_s
                for subscription in tuple(self.subscriptions.values()):
                    subscription.beat()
            if now < look_s:
                continue
            look_s = now + interval_s
            if self._sending_since is not None and (
                now - self._sending_since > seconds(self.limits.write_timeout_ms)
            ):
                self.slow("did not read")
                self._scope.cancel()
                return
            if self._paused:
                # We do not listen at the moment, so silence says nothing; but see `_write`.
                self._heard_at = now
                continue
            dripping = self._message_since is not None and now - self._message_since > seconds(
                self.limits.body_timeout_ms
            )
            if dripping or now - self._heard_at > seconds(self.limits.ws_silence_max_ms):
                slug = "timeout-message" if dripping else "half-open"
                self._log.refuse(self._peer.address, self._peer.client, slug)
                self._scope.cancel()
                return
            if now - self._heard_at >= interval_s and protocol.state is ConnectionState.OPEN:
                self._queue(protocol.send(Ping()))

    async def _leave_when_asked(self) -> None:
        """On `stop`: wait for the calls under way, then start the closing handshake."""
        await self._stop_asked.wait()
        protocol = self._protocol
        assert protocol is not None
        while self._farewell is None and (self._worker_busy or self._calls or self._waiting_calls):
            # Bounded by the server's own drain deadline, which cancels us.
            await self._progress.park()
        if protocol.state is ConnectionState.OPEN:
            code, reason = self._farewell or (CloseReason.GOING_AWAY, "server stops")
            self._send_close(protocol, code, reason)
        await trio.sleep(seconds(self.limits.ws_close_timeout_ms))
        self._scope.cancel()

    def _send_close(self, protocol: Connection, code: int, reason: str) -> None:
        self._queue(protocol.send(CloseConnection(code, reason)))
        self._close_sent = True

    async def _say_goodbye(self, stream: trio.abc.Stream, code: int, reason: str) -> None:
        """Finish the closing handshake (§7.1.2) without waiting long for anyone."""
        protocol = self._protocol
        assert protocol is not None
        if not code:
            return
        if protocol.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self._send_close(protocol, code, reason)
        with trio.move_on_after(seconds(self.limits.ws_close_timeout_ms)):
            while self._outgoing_bytes:
                await self._progress.park()
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                if isinstance(stream, trio.abc.HalfCloseableStream):
                    await stream.send_eof()
                # Read on until the peer closes: closing with unread bytes would reset.
                while await stream.receive_some(RECEIVE_BYTES):
                    pass
