"""One authenticated connection: a reader, a writer, pings, and a consumer for each channel.

The reader never waits: what arrives goes to the inbox of its channel, and a peer that sends
more than a channel's window breaks the protocol. Consumers keep to the rates of their channel
and give the window back as they go, so whoever sends too much is slowed on that channel alone.
Everything queued for the peer leaves in one `send_all`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from clawpurse.ledger.errors import (
    BadSignature,
    CallerError,
    Malformed,
    PeerError,
    ProtocolViolation,
)
from clawpurse.p2p.address import Endpoint
from clawpurse.p2p.channels import (
    BURST_S,
    POLICIES,
    Channel,
    InWindows,
    OutQueues,
    TokenBucket,
)
from clawpurse.p2p.handshake import Secured
from clawpurse.p2p.memory import MemoryBudget
from clawpurse.p2p.records import (
    PLAIN_BYTES_MAX,
    Message,
    MessageReader,
    RecordCipher,
    RecordReader,
    Tampered,
    frame_message,
)

# A connection without traffic is asked after this long, and given up when nothing comes by then.
IDLE_S: Final = 30.0
ANSWER_TIMEOUT_S: Final = 15.0
WATCH_PERIOD_S: Final = 5.0
# A peer that takes none of what is sent, or ends no message that it began, only holds memory.
WRITE_TIMEOUT_S: Final = 20.0
STUCK_MAX_S: Final = 30.0
UNFINISHED_MAX_S: Final = 60.0
# A farewell is a courtesy: so long for it to arrive, then the connection is cut.
FAREWELL_TIMEOUT_S: Final = 0.5
REASON_BYTES_MAX: Final = 256
RECEIVE_BYTES: Final = 262_144
# What a peer makes this node hold is told to the common budget in steps of this size.
ACCOUNTING_BYTES: Final = 65_536
# A consumer lets other tasks run after so many messages.
CONSUMED_PER_SLICE: Final = 16
PING, PONG, GIVE_BACK, FAREWELL = 1, 2, 3, 4
_CONTROL_BYTES_MAX: Final = {PING: 0, PONG: 0, GIVE_BACK: 5, FAREWELL: REASON_BYTES_MAX}

Consumer = Callable[["Connection", Channel, int, bytes], Awaitable[None]]


class Connection:
    """A connected peer. `run` ends when the connection does; `send` queues and never waits.

    `size_max(channel, kind)` returns the largest payload of a kind, and raises
    `ProtocolViolation` for one that does not exist.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        secured: Secured,
        leftover: bytes,
        endpoint: Endpoint,
        *,
        outbound: bool,
        size_max: Callable[[int, int], int],
        budget: MemoryBudget[Connection],
    ) -> None:
        self.node_id: Final = secured.node_id
        self.agent: Final = secured.agent
        self.endpoint: Final = endpoint
        self.outbound: Final = outbound
        self.since_s: Final = trio.current_time()
        self.last_seen_s = self.since_s
        self.bytes_in = 0
        self.bytes_out = 0
        self.messages_in = 0
        self.messages_out = 0
        self.closed_because = ""
        # When this peer was last asked for records of others, and when it last was answered.
        self.records_asked_s = self.records_told_s = float("-inf")
        self._stream = stream
        self._seal = RecordCipher(secured.send_key)
        self._records = RecordReader(RecordCipher(secured.receive_key))
        self._leftover = leftover
        self._messages = MessageReader(self._limit, self._begin)
        self._size_max = size_max
        self._budget = budget
        self._queues = OutQueues()
        self._windows = InWindows()
        self._inbox_bytes = 0
        self._unfinished_bytes = 0
        self._unfinished_since_s = self.since_s
        self._accounted_bytes = 0
        self._stuck_since_s = self.since_s
        self._asked_s: float | None = None
        self._writing = False
        # True when the peer gave its reason or left: it needs no word from us.
        self._told = False
        self._faulty = False
        self._wake = trio.Event()
        self._scope = trio.CancelScope()

    # -- what owners use

    def send(self, channel: Channel, kind: int, payload: bytes) -> bool:
        """Queue a message. False: dropped, or the peer is too slow and is being disconnected."""
        if self.closed_because:
            return False
        if self._queues.put(channel, kind, payload):
            self.messages_out += 1
            self._wake.set()
            self._account()
            return True
        if not POLICIES[channel].may_drop:
            self.close(f"too slow: its {channel.name.lower()} queue is full")
        return False

    def close(self, reason: str) -> None:
        """End the connection soon; the first reason is kept and told to the peer."""
        self.closed_because = self.closed_because or reason
        self._scope.cancel()

    @property
    def queued(self) -> dict[str, int]:
        """How many messages wait to be sent, by channel."""
        return self._queues.depth()

    @property
    def dropped(self) -> dict[str, int]:
        """How many messages to this peer found their channel full, by channel."""
        return {c.name.lower(): count for c, count in self._queues.dropped.items() if count}

    @property
    def held_bytes(self) -> int:
        """How many bytes of messages, both ways, wait in memory for this peer."""
        return self._queues.held_bytes + self._inbox_bytes + self._unfinished_bytes

    async def run(self, consume: Consumer) -> None:
        """Serve the connection to its end.

        `consume` is awaited for each message, one at a time per channel. Raises what `fault_of`
        understands for what the peer did wrong, whatever else `consume` raises, and `Cancelled`;
        a connection that merely ends returns.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    inboxes = self._start_consumers(nursery, consume)
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._watch)
                    await self._read(inboxes)
                    nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            self.closed_because = self.closed_because or "connection broke"
        except* Tampered as group:
            self._faulty = True
            self.closed_because = self.closed_because or str(group.exceptions[0])
        except* (PeerError, Malformed, BadSignature) as group:
            self._faulty = True
            self.closed_because = self.closed_because or fault_of(group) or ""
            raise
        except* CallerError as group:
            # Its message could not be dealt with; that is no proof of malice.
            self.closed_because = self.closed_because or str(group.exceptions[0])
        finally:
            self.closed_because = self.closed_because or "the node stops"
            self._budget.hold(self, 0)
            with trio.CancelScope(shield=True):
                await self._part()

    # -- inwards

    def _start_consumers(
        self, nursery: trio.Nursery, consume: Consumer
    ) -> dict[int, trio.MemorySendChannel[Message]]:
        """Start one task a channel. Inboxes are bounded by the windows, not by a count."""
        inboxes = {}
        for channel in Channel:
            if channel is not Channel.CONTROL:
                send, receive = trio.open_memory_channel[Message](math.inf)
                inboxes[int(channel)] = send
                nursery.start_soon(self._consume, receive, consume, channel)
        return inboxes

    async def _consume(
        self, inbox: trio.MemoryReceiveChannel[Message], consume: Consumer, channel: Channel
    ) -> None:
        policy = POLICIES[channel]
        now = trio.current_time()
        messages = TokenBucket(policy.messages_per_s, BURST_S * policy.messages_per_s, now)
        octets = TokenBucket(policy.bytes_per_s, BURST_S * policy.bytes_per_s, now)
        run = 0
        while True:
            run += 1
            try:
                # Not every message is worth a turn of the loop.
                message = inbox.receive_nowait() if run % CONSUMED_PER_SLICE else None
            except trio.WouldBlock:
                message = None
            if message is None:
                message = await inbox.receive()
            now, size = trio.current_time(), len(message.payload)
            wait_s = max(messages.take(1, now), octets.take(size, now))
            if wait_s:
                await trio.sleep(wait_s)
            await consume(self, channel, message.kind, message.payload)
            self._inbox_bytes -= size
            owed = self._windows.consumed(channel, size)
            if owed:
                amount = bytes((channel,)) + owed.to_bytes(4, "big")
                self.send(Channel.CONTROL, GIVE_BACK, amount)
            self._account()

    def _limit(self, channel: int, kind: int) -> int:
        """Return the largest payload of a kind. Raises `ProtocolViolation` if there is none."""
        if channel != Channel.CONTROL:
            return self._size_max(channel, kind)
        if kind not in _CONTROL_BYTES_MAX:
            raise ProtocolViolation(f"there is no control message {kind}")
        return _CONTROL_BYTES_MAX[kind]

    def _begin(self, channel: int, size: int) -> None:
        """Judge a message by the window of its channel, before any of it is kept."""
        if not self._windows.begin(Channel(channel), size):
            raise ProtocolViolation(f"sends more on channel {channel} than its window")

    async def _read(self, inboxes: dict[int, trio.MemorySendChannel[Message]]) -> None:
        control = POLICIES[Channel.CONTROL]
        rate = TokenBucket(
            control.messages_per_s, BURST_S * control.messages_per_s, trio.current_time()
        )
        data = self._leftover
        while True:
            if data:
                now = self.last_seen_s = trio.current_time()
                self._asked_s = None
                self.bytes_in += len(data)
                for plain in self._records.feed(data):
                    for message in self._messages.feed(plain):
                        if message.channel != Channel.CONTROL:
                            self._inbox_bytes += len(message.payload)
                            self.messages_in += 1
                            inboxes[message.channel].send_nowait(message)
                        elif rate.allows(1, now):
                            self._on_control(message)
                        else:
                            raise ProtocolViolation("floods the control channel")
                unfinished_bytes = self._messages.unfinished_bytes
                if unfinished_bytes != self._unfinished_bytes:
                    self._unfinished_bytes = unfinished_bytes
                    self._unfinished_since_s = now
                self._account()
            data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
            if not data:
                self._told = True
                self.closed_because = self.closed_because or "closed by the peer"
                return

    def _on_control(self, message: Message) -> None:
        if message.kind == PING:
            self.send(Channel.CONTROL, PONG, b"")
        elif message.kind == GIVE_BACK:
            channel = message.payload[0] if len(message.payload) == 5 else 0
            if channel not in POLICIES or channel == Channel.CONTROL:
                raise ProtocolViolation("gives back the window of no channel")
            amount = int.from_bytes(message.payload[1:], "big")
            if not self._queues.give_back(Channel(channel), amount):
                raise ProtocolViolation("gives back more than it was sent")
            self._wake.set()
        elif message.kind == FAREWELL:
            self._told = True
            self.close(f"the peer said: {_printable(message.payload)}")

    def _account(self) -> None:
        """Tell the budget what is held, in coarse steps: most messages are small and gone soon."""
        held = self._queues.held_bytes + self._inbox_bytes + self._unfinished_bytes
        if abs(held - self._accounted_bytes) >= ACCOUNTING_BYTES:
            self._accounted_bytes = held
            self._budget.hold(self, held)

    # -- outwards

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._queues:
                data = self._sealed(self._queues.turn())
                self._writing = True
                with trio.move_on_after(WRITE_TIMEOUT_S) as scope:
                    await self._stream.send_all(data)
                if scope.cancelled_caught:
                    self.close("too slow: it does not read")
                    return
                self._writing = False
                self.bytes_out += len(data)
                self._account()

    def _sealed(self, frames: list[bytes]) -> bytes:
        """Seal frames into as few records as they fit."""
        records: list[bytes] = []
        plain: list[bytes] = []
        size = 0
        for frame in frames:
            if size + len(frame) > PLAIN_BYTES_MAX:
                records.append(self._seal.seal(b"".join(plain)))
                plain, size = [], 0
            plain.append(frame)
            size += len(frame)
        records.append(self._seal.seal(b"".join(plain)))
        return b"".join(records)

    async def _watch(self) -> None:
        """Ask a silent peer; give up one that does not answer, take, or end what it began."""
        while True:
            await trio.sleep(WATCH_PERIOD_S)
            now = trio.current_time()
            if not self._queues.stuck(Channel.CONSENSUS):
                self._stuck_since_s = now
            if self._asked_s is not None and now - self._asked_s > ANSWER_TIMEOUT_S:
                self.close("silent")
            elif now - self._stuck_since_s > STUCK_MAX_S:
                self.close("too slow: it takes no consensus messages")
            elif self._unfinished_bytes and now - self._unfinished_since_s > UNFINISHED_MAX_S:
                self.close("does not finish what it sends")
            elif self._asked_s is None and now - self.last_seen_s >= IDLE_S:
                self._asked_s = now
                self.send(Channel.CONTROL, PING, b"")

    async def _part(self) -> None:
        """Tell the peer why, unless half a record is under way, and close."""
        with trio.move_on_after(FAREWELL_TIMEOUT_S):
            try:
                if self.closed_because and not self._writing and not self._told:
                    await self._stream.send_all(self._seal.seal(_farewell(self.closed_because)))
                    if not self._faulty:
                        await _linger(self._stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # The peer left first.
        await trio.aclose_forcefully(self._stream)


async def dismiss(stream: trio.abc.Stream, secured: Secured, reason: str) -> None:
    """Tell an authenticated peer why it is not wanted, and close. Takes half a second at most."""
    with trio.CancelScope(shield=True):
        with trio.move_on_after(FAREWELL_TIMEOUT_S):
            try:
                await stream.send_all(RecordCipher(secured.send_key).seal(_farewell(reason)))
                await _linger(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # The peer left first.
        await trio.aclose_forcefully(stream)


async def _linger(stream: trio.abc.Stream) -> None:
    """Read on until the peer closes, so that what was sent last is not lost to a reset.

    To be called under a deadline. Raises what the stream raises.
    """
    if isinstance(stream, trio.abc.HalfCloseableStream):
        await stream.send_eof()
    while await stream.receive_some(RECEIVE_BYTES):
        await trio.lowlevel.checkpoint()


def _farewell(reason: str) -> bytes:
    text = reason.encode("ascii", "replace")[:REASON_BYTES_MAX]
    return b"".join(frame_message(Channel.CONTROL, FAREWELL, text))


def _printable(text: bytes) -> str:
    return "".join(chr(octet) if 0x20 <= octet <= 0x7E else "?" for octet in text)


def fault_of(error: BaseException) -> str | None:
    """Return what a peer did wrong, or None when an error is not the peer's."""
    if isinstance(error, BaseExceptionGroup):
        faults = [fault_of(inner) for inner in error.exceptions]
        return faults[0] if faults and all(fault is not None for fault in faults) else None
    if isinstance(error, PeerError | Malformed | BadSignature):
        return str(error)
    return None
