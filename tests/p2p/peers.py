"""Nodes that only talk: pools on a memory network, and a handler that writes down what it hears."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from clawpurse.ledger.errors import ProtocolViolation
from clawpurse.p2p.address import PeerAddress
from clawpurse.p2p.book import AddressBook
from clawpurse.p2p.channels import Channel
from clawpurse.p2p.configured import Configured
from clawpurse.p2p.handshake import Identity
from clawpurse.p2p.pool import PeerPool, PoolConfig
from clawpurse.p2p.standing import Standing
from clawpurse.p2p.transport import MemoryNetwork, Transport

GENESIS = b"\x11" * 32
PORT = 9640
START_MS = 1_800_000_000_000
DAY_MS = 86_400_000
#: A payload as large as a synced range may be.
SIZE_MAX = 20_000_000
KINDS = 5


def now_ms() -> int:
    """The wall clock of these nodes: trio's, so that a mock clock moves it."""
    return START_MS + round(trio.current_time() * 1000)


def identity(number: int, *, genesis: bytes = GENESIS, chain_id: str = "acme") -> Identity:
    """The node with this number. Ids are in no order of the numbers."""
    return Identity(chain_id, genesis, bytes((number,)) * 32, bytes((number, 1)) * 16)


def node_id(number: int) -> bytes:
    return identity(number).node_id


@dataclass
class Heard:
    """A handler that notes what it is told. `answer` may do more with a message, or raise."""

    events: list[tuple[str, bytes]] = field(default_factory=list)
    messages: list[tuple[bytes, Channel, int, bytes]] = field(default_factory=list)
    news: trio.Event = field(default_factory=trio.Event)
    answer: Callable[[bytes, Channel, int, bytes], Awaitable[None]] | None = None

    def size_max(self, channel: int, kind: int) -> int:
        if not 0 <= channel <= 6 or kind > KINDS:
            raise ProtocolViolation(f"there is no kind {kind} on channel {channel}")
        return SIZE_MAX

    def _tell(self) -> None:
        news, self.news = self.news, trio.Event()
        news.set()

    def connected(self, peer: bytes) -> None:
        self.events.append(("connected", peer))
        self._tell()

    def disconnected(self, peer: bytes) -> None:
        self.events.append(("disconnected", peer))
        self._tell()

    async def on_message(self, peer: bytes, channel: Channel, kind: int, payload: bytes) -> None:
        self.messages.append((peer, channel, kind, payload))
        self._tell()
        if self.answer is not None:
            await self.answer(peer, channel, kind, payload)


class Peer:
    """One node: its pool and what it heard. Started by `run`."""

    def __init__(
        self,
        number: int,
        transport: Transport,
        *,
        host: str = "",
        port: int = PORT,
        persistent: tuple[PeerAddress, ...] = (),
        private: frozenset[bytes] = frozenset(),
        advertise: tuple[tuple[str, int], ...] = (),
        known_as: Identity | None = None,
        saved: dict[str, Any] | None = None,
    ) -> None:
        self.number = number
        self.identity = known_as or identity(number)
        self.id = self.identity.node_id
        self.host = host or host_of(number)
        self.heard = Heard()
        chance = random.Random(number)
        self.book = AddressBook(GENESIS, self.id, bytes((number, 2)) * 16, now_ms)
        self.standing = Standing(now_ms, Configured(persistent))
        if saved:
            self.book.restore(saved["book"])
            self.standing.restore(saved["bans"])
        self.pool = PeerPool(
            self.identity,
            PoolConfig(self.host, port, advertise, persistent, private),
            transport,
            self.heard,
            self.book,
            self.standing,
            random_bytes=chance.randbytes,
            now_ms=now_ms,
        )
        self.scope = trio.CancelScope()

    @property
    def address(self) -> PeerAddress:
        return PeerAddress(self.id, self.host, self.pool.port)

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        with self.scope:
            await self.pool.run(task_status=task_status)

    def connection(self, other: Peer) -> Any:
        """The connection object to another, for looking inside."""
        return self.pool._connections.get(other.id)


def host_of(number: int) -> str:
    return f"host-{number}.example"


class World:
    """A memory network and the peers on it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.net = MemoryNetwork()
        self._start = nursery.start

    async def peer(self, number: int, *known: Peer, **options: Any) -> Peer:
        """Start a node that knows `known` as persistent peers."""
        host = options.pop("host", host_of(number))
        peer = Peer(
            number,
            self.net.transport(host),
            host=host,
            persistent=tuple(other.address for other in known),
            **options,
        )
        await self._start(peer.run)
        return peer

    async def stop(self, peer: Peer) -> None:
        """End a node as a crash does: its streams close, nobody is told why."""
        peer.scope.cancel()
        await until(lambda: not peer.pool.ids(), 5)


async def until(condition: Callable[[], object], seconds: float) -> None:
    """Wait for a condition, checking often; fails after so many seconds of the loop's time."""
    with trio.move_on_after(seconds):
        while not condition():
            await trio.sleep(0.01)
        return
    raise AssertionError(f"it did not come true within {seconds} s")


def linked(*peers: Peer) -> bool:
    """Whether each of these is connected to each other one."""
    return all(b.id in a.pool.ids() for a in peers for b in peers if a is not b)
