"""Networks of whole nodes in one process: the daemon's own `Node`, several authorities at once.

On memory disks, memory links that delay, cut and reset, and a clock that jumps over waiting. A
lab watches what every authority's key ever signs, over crashes and restarts, and compares chains.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

import trio

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.signbytes import parse
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import OperatorError
from clawpurse.node.clock import LoopClock
from clawpurse.node.signer import FileSigner, create_sign_state
from clawpurse.node.workers import InlineLane
from clawpurse.p2p.transport import MemoryNetwork
from tests.node.rpc.nodeworld import START_MS, Disk, NodeWorld, Running, until
from tests.seeded import run_seeded

#: Enough for any agreement under these delays: a failed round takes two seconds.
PATIENCE_S = 60.0


class PowerCut(Exception):
    """The end of a node in the middle of something; what it had on disk was kept aside."""


class WatchedSigner(FileSigner):
    """A signer whose every released signature is noted in `released`, by position."""

    released: dict[tuple[bytes, tuple[int, int, int]], bytes]
    violations: list[str]

    async def sign(self, sign_bytes: bytes) -> bytes:
        signature = await super().sign(sign_bytes)
        slot = self.public_key, parse(sign_bytes).order
        if self.released.setdefault(slot, sign_bytes) != sign_bytes:
            self.violations.append(f"{slot[0].hex()[:8]} signed twice at {slot[1]}")
        return signature


class Lab(NodeWorld):
    """A network of several authorities. Made by `run_lab`."""

    def __init__(self, nursery: trio.Nursery, seed: int = 0, **settings: Any) -> None:
        super().__init__(nursery, **settings)
        self.chance = random.Random(seed)
        self.links = MemoryNetwork(lambda _from, _to: self.delay_s())
        self.delay_max_s = 0.02
        self.released: dict[tuple[bytes, tuple[int, int, int]], bytes] = {}
        self.violations: list[str] = []
        self.tokens = self.seeds
        self.count = len(self.seeds)

    def delay_s(self) -> float:
        return self.chance.random() * self.delay_max_s

    def _signer(self, seed: bytes, disk: Disk) -> FileSigner:
        key = public_key_of(seed)
        if not disk.signer.names():
            create_sign_state(disk.signer, self.genesis.hash, key)
        signer = WatchedSigner(seed, self.genesis.hash, disk.signer, InlineLane())
        signer.released, signer.violations = self.released, self.violations
        return signer

    # -- nodes

    async def _run(
        self, running: Running, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        try:
            await super()._run(running, task_status=task_status)
        except* PowerCut:
            self.links.reset(running.name)

    async def authorities(self, *numbers: int) -> list[Running]:
        """Start these authorities (all by default), each knowing those started before."""
        chosen = numbers or range(1, self.count + 1)
        return [await self.start(f"authority-{number}") for number in chosen]

    async def start(self, name: str, disk: Disk | None = None, **options: Any) -> Running:
        """Start a node that knows all that run."""
        return await self.node(name, *self.nodes.values(), disk=disk, **options)

    @asynccontextmanager
    async def ending(self, why: str) -> AsyncIterator[None]:
        """Inside, start nodes that must end, soon, with an operator's error that says `why`."""
        outer, before = self.nursery, set(self.nodes)
        errors: list[Exception] = []
        try:
            async with trio.open_nursery() as inner:
                self.nursery = inner
                yield
                await trio.sleep(PATIENCE_S)
                inner.cancel_scope.cancel()
        except* OperatorError as group:
            errors = leaves(group)
        finally:
            self.nursery = outer
            for name in set(self.nodes) - before:
                del self.nodes[name]
        assert errors, "nothing ended"
        assert all(why in str(error) for error in errors), errors

    async def refused_start(self, name: str, disk: Disk, why: str) -> None:
        """Start a node that must not run."""
        async with self.ending(why):
            await self.start(name, disk)

    async def crash(self, running: Running, disk: Disk | None = None) -> Disk:
        """Kill a node: what it had on disk at this moment is what is left."""
        left = disk or disk_of(running)
        self.links.reset(running.name)
        running.scope.cancel()
        await running.node.ended.wait()
        self.nodes.pop(running.name, None)
        return left

    async def power_cut(self, *victims: Running) -> list[Disk]:
        """Kill these nodes at one instant; returns what each had on disk then.

        All end before any other task runs: a node that went on for a moment after its disk was
        copied would have said what its disk does not know.
        """
        left = [disk_of(victim) for victim in victims]
        for victim in victims:
            self.links.reset(victim.name)
            victim.scope.cancel()
        for victim in victims:
            await victim.node.ended.wait()
            self.nodes.pop(victim.name, None)
        return left

    def split(self, *sides: Sequence[Running]) -> None:
        """Let nothing through between these groups."""
        for side in sides:
            for other in sides:
                if other is not side:
                    for a in side:
                        for b in other:
                            self.links.cut(a.name, b.name)

    def heal(self) -> None:
        """Let everything through between the nodes that run."""
        self._heal(list(self.nodes))

    def heal_all(self) -> None:
        """Let everything through, also where nodes are down now."""
        self._heal(["follower", *(f"authority-{n}" for n in range(1, self.count + 1))])

    def _heal(self, names: list[str]) -> None:
        for a in names:
            for b in names:
                if a != b:
                    self.links.heal(a, b)

    # -- what must hold

    async def reach(self, height: int, *nodes: Running, seconds: float = PATIENCE_S) -> None:
        """Wait until these nodes (all by default) have a block of this height final."""
        chosen = nodes or tuple(self.nodes.values())
        await until(lambda: all(node.height >= height for node in chosen), seconds)

    def check(self) -> None:
        """One chain, each certificate true, no authority signed twice for one position."""
        assert self.violations == []
        nodes = list(self.nodes.values())
        lowest = min((node.height for node in nodes), default=0)
        for height in range(1, lowest + 1):
            headers = {node.node.chain.blocks.header(height) for node in nodes}
            assert len(headers) == 1, f"the chains differ at height {height}"
        for node in nodes:
            for height in range(1, node.height + 1):
                packed = node.node.chain.blocks.certificate(height)
                assert packed is not None
                deciders = node.node.chain.authorities_at(height)
                Certificate.unpack(packed).verify(self.node_domain(node), deciders, crypto.verify)

    def node_domain(self, node: Running) -> Any:
        return node.node.domain

    def voters(self, node: Running, height: int) -> set[str]:
        """The names of the authorities whose precommits a node's certificate holds."""
        packed = node.node.chain.blocks.certificate(height)
        assert packed is not None
        deciders = node.node.chain.authorities_at(height)
        members = deciders.signers(Certificate.unpack(packed).signers)
        assert members is not None
        names = {public_key_of(s): f"authority-{n}" for n, s in enumerate(self.seeds, 1)}
        return {names[key] for key in members}


def leaves(group: BaseExceptionGroup[Any]) -> list[Exception]:
    """The errors in a group of groups."""
    found: list[Exception] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def disk_of(running: Running) -> Disk:
    """What a node has on disk now, as a copy."""
    disk = running.disk
    return Disk(
        running.store.content(), deepcopy(disk.wal), deepcopy(disk.journal), deepcopy(disk.signer)
    )


def run_lab(
    scenario: Callable[[Any], Awaitable[Any]],
    *,
    seed: int = 0,
    make: Callable[..., Lab] | None = None,
    **settings: Any,
) -> Any:
    """Run `scenario(lab)` with four authorities by default; prints the seed that repeats it.

    `make` makes a lab of another kind.
    """
    print(f"lab seed {seed}")

    async def main() -> Any:
        async with trio.open_nursery() as nursery:
            lab = (make or Lab)(nursery, seed, **{"authorities": 4, **settings})
            result = await scenario(lab)
            lab.check()
            nursery.cancel_scope.cancel()
        return result

    return run_seeded(main, seed)


def clock_off(offset_ms: int) -> LoopClock:
    """A clock that is wrong by so much."""
    return LoopClock(START_MS, offset_ms)
