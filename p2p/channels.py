"""Channels: what goes first, how much may wait, and what happens when too much does.

Weights with a floor: in each turn of the writer a channel may send its share, in order of
importance, and every channel that has something sends at least one frame, so nothing starves.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from typing import Final, NamedTuple

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
    """Bounds of a channel. `frames_per_turn` is its weight.

    `may_drop`: when its queue is full a message is dropped; else the peer is too slow to take
    part and is disconnected. Rates bound what a peer may send: messages and bytes a second,
    with a burst of two seconds' worth.
    """

    queue_messages_max: int
    queue_bytes_max: int
    frames_per_turn: int
    may_drop: bool
    messages_per_s: int
    bytes_per_s: int


POLICIES: Final[dict[Channel, ChannelPolicy]] = {
    Channel.CONTROL: ChannelPolicy(64, 65_536, 4, False, 50, 65_536),
    # 100 authorities send 200 votes a round; a queue of twenty rounds means a dead peer.
    Channel.CONSENSUS: ChannelPolicy(8_192, 8_000_000, 64, False, 5_000, 8_000_000),
    Channel.PROPOSALS: ChannelPolicy(256, 64_000_000, 32, False, 500, 80_000_000),
    Channel.EVIDENCE: ChannelPolicy(256, 4_000_000, 8, True, 50, 1_000_000),
    Channel.TRANSACTIONS: ChannelPolicy(4_096, 32_000_000, 16, True, 2_000, 64_000_000),
    Channel.SYNC: ChannelPolicy(64, 64_000_000, 8, True, 200, 64_000_000),
    Channel.PEERS: ChannelPolicy(16, 262_144, 1, True, 5, 131_072),
}
# What one `send_all` carries at most: long enough to amortise it, short enough for priorities.
TURN_BYTES_MAX: Final = 262_144


class OutQueues:
    """What waits to be sent to one peer."""

    def __init__(self) -> None:
        self._waiting: dict[Channel, deque[tuple[int, bytes]]] = {c: deque() for c in Channel}
        self._bytes: dict[Channel, int] = dict.fromkeys(Channel, 0)
        self._frames: dict[Channel, deque[bytes]] = {c: deque() for c in Channel}
        self.dropped: dict[Channel, int] = dict.fromkeys(Channel, 0)

    def put(self, channel: Channel, kind: int, payload: bytes) -> bool:
        """Queue a message; False when the channel is full."""
        policy = POLICIES[channel]
        waiting = self._waiting[channel]
        full = len(waiting) >= policy.queue_messages_max
        if full or (waiting and self._bytes[channel] + len(payload) > policy.queue_bytes_max):
            self.dropped[channel] += 1
            return False
        waiting.append((kind, payload))
        self._bytes[channel] += len(payload)
        return True

    def depth(self) -> dict[str, int]:
        """Return how many messages wait, by channel name."""
        return {c.name.lower(): len(self._waiting[c]) for c in Channel if self._waiting[c]}

    def __bool__(self) -> bool:
        return any(self._frames.values()) or any(self._waiting.values())

    def turn(self) -> list[bytes]:
        """Return the frames of one turn, taken out of the queues."""
        taken: list[bytes] = []
        size = 0
        for channel in Channel:
            for number in range(POLICIES[channel].frames_per_turn):
                # Past the turn's size a channel still gets its floor of one frame.
                if size >= TURN_BYTES_MAX and number > 0:
                    break
                frame = self._next_frame(channel)
                if frame is None:
                    break
                taken.append(frame)
                size += len(frame)
        return taken

    def _next_frame(self, channel: Channel) -> bytes | None:
        frames = self._frames[channel]
        if not frames:
            if not self._waiting[channel]:
                return None
            kind, payload = self._waiting[channel].popleft()
            self._bytes[channel] -= len(payload)
            frames.extend(frame_message(channel, kind, payload))
        return frames.popleft()


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
