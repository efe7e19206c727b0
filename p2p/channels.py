"""Channels: what goes first, how much may wait, and what happens when too much does.

*Priority with a floor.* Each waiting channel has a virtual time that advances by bytes sent
over its weight; the earliest goes next. So under load channels share a connection by their
weights, none starves, and an idle channel's first message goes almost at once.

*Flow control.* A message costs its length and `MESSAGE_COST`. A sender may have
`window_bytes` of a channel on its way; the receiver gives the cost back when its consumer is
done with the message. So a slow consumer of one channel fills that channel's window and never
the way of the others, and what a peer can make a node keep is bounded. Windows are part of the
protocol version; nothing is negotiated.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Final, NamedTuple

from clawpurse.ledger.errors import Bug
from clawpurse.p2p.records import frame_message


class Channel(IntEnum):
    """Channels by falling importance. The numbers are part of the protocol."""

    CONTROL = 0
    CONSENSUS = 1
    PROPOSALS = 2
    EVIDENCE = 3
    TRANSACTIONS = 4
    SYNC = 5
    PEERS = 6


class ChannelPolicy(NamedTuple):
    """Bounds of a channel.

    `may_drop`: when its queue is full a message is dropped and counted; else the peer is too
    slow to take part and is disconnected. Rates (messages and bytes a second, with a burst of
    `BURST_S`) bound what is taken from one peer: beyond them it is made to wait.
    """

    weight: int
    queue_messages_max: int
    queue_bytes_max: int
    window_bytes: int
    may_drop: bool
    messages_per_s: int
    bytes_per_s: int


# A receiver gives back what it owes once that is this part of the window. So a message may take
# up the rest at most, or it would wait for ever.
OWED_PART: Final = 4
# Charged per message beside its length, so that a window bounds empty messages too.
MESSAGE_COST: Final = 256
BURST_S: Final = 2
# Weights halve from channel to channel; virtual time counts in units of the largest weight.
_WEIGHT_MAX: Final = 32
# What a channel may send before the next is chosen: small messages leave in runs.
RUN_BYTES: Final = 4_096
# What one `send_all` carries at most: long enough to amortise it, short enough for priorities.
TURN_BYTES_MAX: Final = 262_144

POLICIES: Final[dict[Channel, ChannelPolicy]] = {
    # Pings, returned windows, farewells: always first, never flow-controlled.
    Channel.CONTROL: ChannelPolicy(32, 1_024, 65_536, 65_536, False, 2_000, 1_000_000),
    # 100 authorities send 200 votes a round; a queue of forty rounds means a dead peer.
    Channel.CONSENSUS: ChannelPolicy(32, 8_192, 4_000_000, 8_000_000, False, 5_000, 8_000_000),
    # The largest block is 16 MB. What all peers together hold is bounded apart from this.
    Channel.PROPOSALS: ChannelPolicy(16, 256, 17_000_000, 24_000_000, False, 500, 80_000_000),
    Channel.EVIDENCE: ChannelPolicy(8, 256, 1_000_000, 2_000_000, True, 50, 1_000_000),
    Channel.TRANSACTIONS: ChannelPolicy(4, 4_096, 8_000_000, 12_000_000, True, 2_000, 64_000_000),
    # The largest answer is a range of 4 MB that ends in the largest block.
    Channel.SYNC: ChannelPolicy(2, 64, 20_500_000, 28_000_000, True, 500, 64_000_000),
    Channel.PEERS: ChannelPolicy(1, 16, 131_072, 262_144, True, 5, 131_072),
}


class _Queue:
    """What waits on one channel; `credit` is what the peer still takes."""

    def __init__(self, policy: ChannelPolicy) -> None:
        self.waiting: deque[tuple[int, bytes]] = deque()
        self.waiting_bytes = 0
        self.frames: deque[bytes] = deque()
        self.credit = policy.window_bytes
        self.virtual_time = 0
        self.dropped = 0


class OutQueues:
    """What waits to be sent to one peer."""

    def __init__(self) -> None:
        self._queues: dict[Channel, _Queue] = {c: _Queue(POLICIES[c]) for c in Channel}
        self._now = 0
        # How many bytes wait, of all channels.
        self.held_bytes = 0

    def put(self, channel: Channel, kind: int, payload: bytes) -> bool:
        """Queue a message; False when the channel is full."""
        policy, queue = POLICIES[channel], self._queues[channel]
        if channel is not Channel.CONTROL and _cost(payload) > largest_cost(channel):
            raise Bug(f"{len(payload)} bytes do not fit in the window of {channel.name}")
        full = len(queue.waiting) >= policy.queue_messages_max
        if full or (queue.waiting and queue.waiting_bytes + len(payload) > policy.queue_bytes_max):
            queue.dropped += 1
            return False
        if not queue.waiting and not queue.frames:
            queue.virtual_time = max(queue.virtual_time, self._now)
        queue.waiting.append((kind, payload))
        queue.waiting_bytes += len(payload)
        self.held_bytes += len(payload)
        return True

    def give_back(self, channel: Channel, cost: int) -> bool:
        """The peer's consumer is done with `cost`; False if it gives more than it was sent."""
        queue = self._queues[channel]
        if self.stuck(channel):
            # It waited for the peer, not for its turn: no claim to what others sent meanwhile.
            queue.virtual_time = max(queue.virtual_time, self._now)
        queue.credit += cost
        return queue.credit <= POLICIES[channel].window_bytes

    def depth(self) -> dict[str, int]:
        """Return how many messages wait, by channel name."""
        return {c.name.lower(): len(q.waiting) for c, q in self._queues.items() if q.waiting}

    @property
    def dropped(self) -> dict[Channel, int]:
        """How many messages found their channel full, by channel."""
        return {channel: queue.dropped for channel, queue in self._queues.items()}

    def stuck(self, channel: Channel) -> bool:
        """Tell whether messages wait on a channel for the peer to take earlier ones."""
        queue = self._queues[channel]
        return bool(queue.waiting) and not self._sendable(channel, queue)

    def __bool__(self) -> bool:
        return any(self._sendable(channel, queue) for channel, queue in self._queues.items())

    @staticmethod
    def _sendable(channel: Channel, queue: _Queue) -> bool:
        if queue.frames:
            return True
        if not queue.waiting:
            return False
        return channel is Channel.CONTROL or queue.credit >= _cost(queue.waiting[0][1])

    def turn(self, bytes_max: int = TURN_BYTES_MAX) -> list[bytes]:
        """Return the frames to send next, taken out of the queues, of about `bytes_max`."""
        taken: list[bytes] = []
        size = 0
        while size < bytes_max:
            channel = self._next_channel()
            if channel is None:
                break
            size += self._run(channel, taken)
        return taken

    def _next_channel(self) -> Channel | None:
        if self._sendable(Channel.CONTROL, self._queues[Channel.CONTROL]):
            return Channel.CONTROL
        ready = [c for c, queue in self._queues.items() if self._sendable(c, queue)]
        return min(ready, key=lambda c: (self._queues[c].virtual_time, c), default=None)

    def _run(self, channel: Channel, taken: list[bytes]) -> int:
        """Move frames of one channel to `taken` until a run is full; return their bytes."""
        queue = self._queues[channel]
        size = 0
        while size < RUN_BYTES and self._sendable(channel, queue):
            if not queue.frames:
                kind, payload = queue.waiting.popleft()
                queue.waiting_bytes -= len(payload)
                self.held_bytes -= len(payload)
                if channel is not Channel.CONTROL:
                    queue.credit -= _cost(payload)
                queue.frames.extend(frame_message(channel, kind, payload))
            frame = queue.frames.popleft()
            taken.append(frame)
            size += len(frame)
        if channel is not Channel.CONTROL:
            self._now = max(self._now, queue.virtual_time)
            queue.virtual_time += size * (_WEIGHT_MAX // POLICIES[channel].weight)
        return size


class InWindows:
    """What a peer may still send, and what has to be given back to it, by channel."""

    def __init__(self) -> None:
        self._left: dict[Channel, int] = {c: POLICIES[c].window_bytes for c in Channel}
        self._owed: dict[Channel, int] = dict.fromkeys(Channel, 0)

    def begin(self, channel: Channel, size: int) -> bool:
        """A message of `size` bytes begins; False when the peer exceeds its window."""
        if channel is Channel.CONTROL:
            return True
        self._left[channel] -= size + MESSAGE_COST
        return self._left[channel] >= 0

    def consumed(self, channel: Channel, size: int) -> int:
        """A message was dealt with; return what to give back now (0: later, with others)."""
        self._owed[channel] += size + MESSAGE_COST
        if self._owed[channel] < POLICIES[channel].window_bytes // OWED_PART:
            return 0
        owed, self._owed[channel] = self._owed[channel], 0
        self._left[channel] += owed
        return owed


class TokenBucket:
    """Allows `rate` a second with a burst; the caller tells the time in seconds."""

    def __init__(self, rate: float, burst: float, now_s: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at_s = now_s

    def _fill(self, now_s: float) -> None:
        self._level = min(self._burst, self._level + (now_s - self._at_s) * self._rate)
        self._at_s = now_s

    def take(self, amount: float, now_s: float) -> float:
        """Take `amount`; return how many seconds it is ahead of its rate (0: within it)."""
        self._fill(now_s)
        self._level -= amount
        return 0.0 if self._level >= 0 else -self._level / self._rate

    def allows(self, amount: float, now_s: float) -> bool:
        """Take `amount` if it is there; a refusal takes nothing, so a flood leaves no debt."""
        self._fill(now_s)
        if self._level < amount:
            return False
        self._level -= amount
        return True


def largest_cost(channel: Channel) -> int:
    """Return the largest cost of one message that a channel can carry."""
    window = POLICIES[channel].window_bytes
    return window - window // OWED_PART


def _cost(payload: bytes) -> int:
    return len(payload) + MESSAGE_COST
