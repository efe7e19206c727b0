"""A peer of our own making on a lab's network: past the handshake, it says what a test wants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from clawpurse.node.network import Router
from clawpurse.p2p.address import PeerAddress
from clawpurse.p2p.book import AddressBook
from clawpurse.p2p.channels import Channel
from clawpurse.p2p.configured import Configured
from clawpurse.p2p.handshake import Identity
from clawpurse.p2p.pool import PeerPool, PoolConfig
from clawpurse.p2p.standing import Standing
from tests.node.lab import Lab
from tests.node.rpc.nodeworld import PORT, Running, until

Answer = Callable[[bytes, Channel, int, bytes], Awaitable[None]]


class Stranger:
    """A peer pool without a node behind it. `heard` is what came; `answer` may react."""

    def __init__(self, lab: Lab, name: str, answer: Answer | None = None) -> None:
        self.name = name
        self.answer = answer
        self.heard: list[tuple[bytes, Channel, int, bytes]] = []
        self.sizes = Router()
        genesis = lab.genesis
        identity = Identity(
            genesis.chain_id, genesis.hash, lab.chance.randbytes(32), lab.chance.randbytes(32)
        )
        self.id = identity.node_id
        now_ms = lab.clock.now_ms
        self.pool = PeerPool(
            identity,
            PoolConfig(name, PORT),
            lab.links.transport(name),
            self,
            AddressBook(genesis.hash, self.id, bytes(32), now_ms),
            Standing(now_ms, Configured()),
            random_bytes=lab.chance.randbytes,
            now_ms=now_ms,
        )

    @property
    def address(self) -> PeerAddress:
        return PeerAddress(self.id, self.name, PORT)

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        await self.pool.run(task_status=task_status)

    async def meet(self, lab: Lab, node: Running) -> None:
        """Start, if need be, and connect to a node."""
        if not self.pool.ids():
            await lab.nursery.start(self.run)
        lab.nursery.start_soon(self.pool._dial, node.address)
        await until(lambda: node.address.node_id in self.pool.ids(), 20)

    def say(self, node: Running, channel: Channel, kind: int, payload: bytes) -> None:
        assert self.pool.send(node.address.node_id, channel, kind, payload)

    # -- the pool's handler

    def size_max(self, channel: int, kind: int) -> int:
        return self.sizes.size_max(channel, kind)

    def connected(self, node_id: bytes) -> None:
        """Somebody is there."""

    def disconnected(self, node_id: bytes) -> None:
        """Somebody is gone."""

    async def on_message(self, node_id: bytes, channel: Channel, kind: int, payload: bytes) -> None:
        self.heard.append((node_id, channel, kind, payload))
        if self.answer is not None:
            await self.answer(node_id, channel, kind, payload)
