"""One authenticated connection: a reader, a writer, pings, and a worker for each channel.

The reader never waits for a slow consumer of one channel on behalf of another: each channel has
an inbound queue; when that is full, droppable messages are dropped and others slow this peer
down. Everything queued for the peer leaves in one `send_all`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from clawpurse.ledger.errors import CallerError, ProtocolViolation
from clawpurse.p2p.address import Endpoint
from clawpurse.p2p.channels import POLICIES, Channel, OutQueues, TokenBucket
from clawpurse.p2p.handshake import Secured
from clawpurse.p2p.records import (
    PLAIN_BYTES_MAX,
    Message,
    MessageReader,
    RecordCipher,
    RecordReader,
)

PING_PERIOD_S: Final = 10.0
# Three pings unanswered: half-open, or a machine that sleeps.
SILENCE_MAX_S: Final = 30.0
WRITE_TIMEOUT_S: Final = 20.0
RECEIVE_BYTES: Final = 262_144
# Taking in a message costs some microseconds, and one read may bring thousands.
MESSAGES_PER_SLICE: Final = 64
# Messages of one channel that wait for their consumer.
INBOX_MESSAGES_MAX: Final = 256
BURST_S: Final = 2
PING, PONG = 1, 2
# A peer this far ahead of its rate is flooding, not bursting.
FLOOD_S: Final = 10.0
log = logging.getLogger("clawpurse.p2p")

Consumer = Callable[["Connection", Channel, int, bytes], Awaitable[None]]


class Connection:
    """A connected peer. `run` ends when the connection does; `send` queues and never waits."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        secured: Secured,
        leftover: bytes,
        endpoint: Endpoint,
        *,
        outbound: bool,
        size_max: Callable[[int, int], int],
        grown: Callable[[Connection], None] = lambda _: None,
    ) -> None:
        """`grown` is called after each read: the place to bound what all connections hold."""
        self.node_id: Final = secured.node_id
        self.agent: Final = secured.agent
        self.endpoint: Final = endpoint
        self.outbound: Final = outbound
        self.since_s: Final = trio.current_time()
        self.last_seen_s = self.since_s
        self.bytes_in = 0
        self.bytes_out = 0
        self.dropped_in = 0
        self.closed_because = ""
        # When this peer was last asked for records of others, and when it last was answered.
        self.records_asked_s = self.records_told_s = float("-inf")
        self._stream = stream
        self._seal = RecordCipher(secured.send_key)
        self._records = RecordReader(RecordCipher(secured.receive_key))
        self._leftover = leftover
        self._messages = MessageReader(size_max)
        self._grown = grown
        self._queues = OutQueues()
        self._wake = trio.Event()
        self._scope = trio.CancelScope()
        now = self.since_s
        self._rates = {
            channel: (
                TokenBucket(policy.messages_per_s, BURST_S * policy.messages_per_s, now),
                TokenBucket(policy.bytes_per_s, BURST_S * policy.bytes_per_s, now),
            )
            for channel, policy in POLICIES.items()
        }

    def send(self, channel: Channel, kind: int, payload: bytes) -> bool:
        """Queue a message. False: dropped, or the peer is too slow and is being disconnected."""
        if self._queues.put(channel, kind, payload):
            self._wake.set()
            return True
        if not POLICIES[channel].may_drop:
            self.close(f"too slow: its {channel.name.lower()} queue is full")
        return False

    def close(self, reason: str) -> None:
        """End the connection soon; the first reason is kept."""
        self.closed_because = self.closed_because or reason
        self._scope.cancel()

    @property
    def unfinished_bytes(self) -> int:
        """How many bytes of messages that are still arriving are held for this peer."""
        return self._messages.unfinished_bytes

    @property
    def queued(self) -> dict[str, int]:
        """How many messages wait to be sent, by channel."""
        return self._queues.depth()

    async def run(self, consume: Consumer) -> None:
        """Serve the connection to its end.

        `consume` is awaited for each message, one at a time per channel. Raises
        `ProtocolViolation` or `Malformed` for what the peer did wrong, whatever `consume`
        raises, and `Cancelled`; a connection that merely ends returns.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    inboxes = self._start_consumers(nursery, consume)
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._ping)
                    await self._read(inboxes)
                    nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            self.closed_because = self.closed_because or "connection broke"
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)

    def _start_consumers(
        self, nursery: trio.Nursery, consume: Consumer
    ) -> dict[Channel, trio.MemorySendChannel[Message]]:
        inboxes = {}
        for channel in Channel:
            send, receive = trio.open_memory_channel[Message](INBOX_MESSAGES_MAX)
            inboxes[channel] = send
            nursery.start_soon(self._consume, receive, consume, channel)
        return inboxes

    async def _consume(
        self, inbox: trio.MemoryReceiveChannel[Message], consume: Consumer, channel: Channel
    ) -> None:
        async for message in inbox:
            if channel is Channel.CONTROL:
                if message.kind == PING:
                    self.send(Channel.CONTROL, PONG, b"")
                elif message.kind != PONG:
                    raise ProtocolViolation(f"there is no control message {message.kind}")
            else:
                await consume(self, channel, message.kind, message.payload)

    async def _read(self, inboxes: dict[Channel, trio.MemorySendChannel[Message]]) -> None:
        data, self._leftover = self._leftover, b""
        taken = 0
        while True:
            if data:
                self.bytes_in += len(data)
                self.last_seen_s = trio.current_time()
                for plain in self._records.feed(data):
                    for message in self._messages.feed(plain):
                        await self._take(message, inboxes)
                        taken += 1
                        if taken % MESSAGES_PER_SLICE == 0:
                            await trio.lowlevel.checkpoint()
                self._grown(self)
            data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
            if not data:
                self.closed_because = self.closed_because or "closed by the peer"
                return

    async def _take(
        self, message: Message, inboxes: dict[Channel, trio.MemorySendChannel[Message]]
    ) -> None:
        channel = Channel(message.channel)
        now = trio.current_time()
        messages, octets = self._rates[channel]
        ahead_s = max(messages.take(1, now), octets.take(len(message.payload), now))
        if ahead_s > FLOOD_S:
            raise ProtocolViolation(f"floods the {channel.name.lower()} channel")
        may_drop = POLICIES[channel].may_drop
        if ahead_s and may_drop:
            self.dropped_in += 1
            return
        try:
            inboxes[channel].send_nowait(message)
        except trio.WouldBlock:
            if may_drop:
                self.dropped_in += 1
            else:
                # This peer waits for its own messages to be dealt with; others do not.
                await inboxes[channel].send(message)

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._queues:
                data = self._sealed(self._queues.turn())
                with trio.move_on_after(WRITE_TIMEOUT_S) as scope:
                    await self._stream.send_all(data)
                if scope.cancelled_caught:
                    self.close("too slow: it does not read")
                    return
                self.bytes_out += len(data)

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

    async def _ping(self) -> None:
        while True:
            await trio.sleep(PING_PERIOD_S)
            if trio.current_time() - self.last_seen_s > SILENCE_MAX_S:
                self.close("silent")
                return
            self.send(Channel.CONTROL, PING, b"")


def fault_of(error: BaseException) -> str | None:
    """Return what a peer did wrong, or None when an error is not the peer's."""
    if isinstance(error, BaseExceptionGroup):
        faults = [fault_of(inner) for inner in error.exceptions]
        return faults[0] if faults and all(fault is not None for fault in faults) else None
    if isinstance(error, ProtocolViolation | CallerError):
        return str(error)
    return None
