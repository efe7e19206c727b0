"""Links between simulated machines, and the weather on them.

Two levels, because the transport is a reliable stream under Noise:

- *Streams*: latency by direction, one-way cuts (bytes wait and come after the healing, as TCP
  resends them), resets, and corruption: one flipped bit of what is encrypted ends the connection.
- *Messages*: a message that arrived is lost, repeated or held back before its node sees it, so
  that consensus, bodies, transactions and sync really miss messages, get them twice and out of
  order. A stream alone never does that; full queues, reconnections and other software do.

`Weather` says how rough it is; taps look at (and may change) each message that is delivered.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import trio

from clawpurse.ledger.agreement.certificates import PolkaCertificate
from clawpurse.ledger.agreement.envelope import unpack_message
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.node.messages import ConsensusKind
from clawpurse.p2p.channels import Channel
from clawpurse.p2p.transport import MemoryNetwork, _Pipe


class Message(NamedTuple):
    """One message between two nodes, by their names."""

    source: str
    to: str
    channel: Channel
    kind: int
    payload: bytes


class Tap(Protocol):
    """Looks at messages on their way."""

    def passes(self, message: Message) -> Sequence[tuple[float, bytes]] | None:
        """Return what arrives instead, each after so many seconds; None: let it pass as it is."""


@dataclass
class Weather:
    """Chances per message, in percent, and delays in seconds.

    `delays_s` and `extra_s` are the longest delay of every link and of single directions;
    `slow` are nodes all of whose links have so much more.
    """

    delay_s: float = 0.02
    extra_s: dict[tuple[str, str], float] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)
    lost: int = 0
    repeated: int = 0
    held: int = 0
    held_s: float = 0.5
    #: Chances from which each (height, round, kind, receiver) draws how much of it is lost.
    sieve: dict[Kind, tuple[int, ...]] = field(default_factory=dict)
    #: Messages of these channels only; the rest arrive.
    channels: frozenset[Channel] = frozenset(
        (
            Channel.CONSENSUS,
            Channel.PROPOSALS,
            Channel.EVIDENCE,
            Channel.TRANSACTIONS,
            Channel.SYNC,
        )
    )

    def calm(self) -> None:
        """Fair weather from now on."""
        fair = Weather()
        self.delay_s, self.extra_s, self.slow = fair.delay_s, {}, {}
        self.lost = self.repeated = self.held = 0
        self.sieve = {}


class Links(MemoryNetwork):
    """The network of one simulation."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(self._delay)
        self.chance = chance
        self.weather = Weather()
        self.corrupted: dict[tuple[str, str], None] = {}
        self.counts: Counter[str] = Counter()
        self.taps: list[Tap] = []
        self._holes: dict[tuple[int, int, Kind, str], int] = {}

    def _delay(self, source: str, to: str) -> float:
        weather = self.weather
        longest = weather.delay_s + weather.extra_s.get((source, to), 0.0)
        slow = weather.slow.get(source, 0.0) + weather.slow.get(to, 0.0)
        return self.chance.random() * longest + slow

    # -- streams

    def cut_one_way(self, source: str, to: str) -> None:
        """Let nothing through in one direction."""
        self._cut[source, to] = None

    def reset_link(self, one: str, other: str) -> None:
        """Break all connections between two hosts."""
        for stream, ends in list(self._streams.items()):
            if set(ends) == {one, other}:
                stream.reset()
                del self._streams[stream]

    def corrupt(self, source: str, to: str) -> None:
        """Flip a bit of the next bytes in one direction."""
        self.corrupted[source, to] = None

    def heal_everything(self) -> None:
        """Fair weather and no cut."""
        self.weather.calm()
        self.corrupted.clear()
        for one, other in list(self._cut):
            self.heal(one, other)

    def _pipe(self, source: str, to: str) -> _Pipe:
        return _RoughPipe(self, source, to)

    def bent(self, source: str, to: str, data: bytes) -> bytes:
        """Return bytes as they arrive."""
        if (source, to) not in self.corrupted or not data:
            return data
        del self.corrupted[source, to]
        self.counts["corrupted"] += 1
        place = self.chance.randrange(8 * len(data))
        bent = bytearray(data)
        bent[place // 8] ^= 1 << place % 8
        return bytes(bent)

    # -- messages

    async def deliver(
        self,
        message: Message,
        in_time: Callable[[bytes], Awaitable[None]],
        late: Callable[[bytes], Awaitable[None]],
        nursery: trio.Nursery,
    ) -> None:
        """Hand a message to its node, or not, or later, or twice.

        What is late is handed in by a task of `nursery`. Raises what `in_time` raises.
        """
        arrivals: list[tuple[float, bytes]] = [(0.0, message.payload)]
        for tap in self.taps:
            instead: list[tuple[float, bytes]] = []
            for after_s, payload in arrivals:
                found = tap.passes(message._replace(payload=payload))
                if found is None:
                    instead.append((after_s, payload))
                else:
                    instead.extend((after_s + more_s, bent) for more_s, bent in found)
            arrivals = instead
        if self.weather.sieve and message.channel is Channel.CONSENSUS:
            arrivals = [entry for entry in arrivals if not self._sieved(message, entry[1])]
        for after_s, payload in self._weathered(message.channel, arrivals):
            if after_s:
                nursery.start_soon(self._later, after_s, payload, late)
            else:
                await in_time(payload)

    def _sieved(self, message: Message, payload: bytes) -> bool:
        if message.kind != ConsensusKind.MESSAGE:
            return False
        inner = unpack_message(payload)
        if not isinstance(inner, Vote | Proposal | PolkaCertificate):
            return False
        kind = Kind.PROPOSAL if isinstance(inner, Proposal) else inner.kind
        hole = inner.height, inner.round, kind, message.to
        if hole not in self._holes:
            self._holes[hole] = self.chance.choice(self.weather.sieve.get(kind, (0,)))
        if self.chance.random() * 100 >= self._holes[hole]:
            return False
        self.counts["sieved"] += 1
        return True

    def _weathered(
        self, channel: Channel, arrivals: list[tuple[float, bytes]]
    ) -> list[tuple[float, bytes]]:
        weather, chance = self.weather, self.chance
        rough = weather.lost or weather.repeated or weather.held
        if not rough or channel not in weather.channels:
            return arrivals
        found: list[tuple[float, bytes]] = []
        for arrival_s, payload in arrivals:
            after_s = arrival_s
            if chance.random() * 100 < weather.lost:
                self.counts["lost"] += 1
                continue
            if chance.random() * 100 < weather.held:
                self.counts["held back"] += 1
                after_s += chance.random() * weather.held_s
            found.append((after_s, payload))
            if chance.random() * 100 < weather.repeated:
                self.counts["repeated"] += 1
                found.append((after_s + chance.random() * weather.held_s, payload))
        return found

    async def _later(
        self, after_s: float, payload: bytes, hand_in: Callable[[bytes], Awaitable[None]]
    ) -> None:
        await trio.sleep(after_s)
        await hand_in(payload)


class _RoughPipe(_Pipe):
    """One direction of a connection, through the weather."""

    def __init__(self, links: Links, source: str, to: str) -> None:
        super().__init__(lambda: links._delay(source, to), lambda: (source, to) in links._cut)
        self._links = links
        self._ends = source, to

    async def write(self, data: bytes) -> None:
        """Take bytes, and bend them on their way."""
        await super().write(self._links.bent(*self._ends, data))
