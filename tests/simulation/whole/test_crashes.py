"""Death at every step of R22 and R23, before, in the middle and after; then again while starting.

A user would lose what was final, or an authority would contradict itself, if a node did not find
its way back from one of these. Here each place is visited on purpose; storms visit them by chance.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio

from clawpurse.ledger.store.index import locate_transaction
from tests.node.rpc.nodeworld import Running, until
from tests.simulation.whole.checkers import checkers
from tests.simulation.whole.clients import Client, clients_of, lacking
from tests.simulation.whole.crashes import (
    AT_START,
    BATCH,
    CRASH_POINTS,
    DECISION,
    FIRST_LOG,
    GENESIS,
    HOWS,
    INPUTS,
    JOURNAL,
    JOURNAL_FILE,
    LIVE,
    OWN_MESSAGE,
    REPLAY,
    RESUME,
    TORN_TAIL,
    WATERMARK,
)
from tests.simulation.whole.media import Fuse
from tests.simulation.whole.world import FOLLOWER, Checker, World, run_world

#: Where a process has to die first, so that its start has this to do.
BEFORE = {
    REPLAY: (INPUTS, "after"),
    RESUME: (DECISION, "after"),
    TORN_TAIL: (INPUTS, "torn"),
}
#: What only a node without data does.
FRESH = (GENESIS, FIRST_LOG, JOURNAL_FILE)
#: All after precommitting before any commit; all after signing before any certificate.
TOGETHER = ((DECISION, "before"), (WATERMARK, "after"), (OWN_MESSAGE, "after"), (BATCH, "before"))
CONSENSUS = tuple(point for point in LIVE if point != JOURNAL)


class Visit:
    """A network in which somebody dies at one place after the other."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = Client(world, world.alice, 0)
        self.helper = Client(world, world.bob, 0)

    async def begin(self) -> None:
        await self.world.begin_all(self.world.names)
        await self.signing()

    async def signing(self) -> None:
        """Wait until everybody is up and signs."""
        world = self.world
        await until(
            lambda: (
                all(name in world.nodes for name in world.names)
                and all(node.node.engine.may_sign for node in world.up if node.name != FOLLOWER)
            ),
            120,
        )

    async def pay(self, client: Client, node: Running) -> None:
        """Pay at a node; wait until all that run have it."""
        transaction = client.next()
        client.hand_in(node)
        await until(lambda: transaction.tx_id in self.world.accepted, 60)
        await until(lambda: not lacking(self.world), 120)

    async def die(self, name: str, point: str, how: str, tear: float) -> None:
        """Let a running node die at a place."""
        world = self.world
        world.machines[name].fuse = Fuse(point, how, 0, tear)
        with trio.move_on_after(60):
            while name in world.nodes:
                # The payment is at the victim, so that its journal is in it too.
                self.client.hand_in(world.nodes[name])
                others = [node for node in world.up if node.name != name]
                if others:
                    self.helper.hand_in(others[0])
                await trio.sleep(1)
        assert world.endings[-1].why == f"{point}: {how}", world.endings[-1:]

    async def interrupt_start(self, name: str, point: str, how: str, tear: float) -> None:
        """Let the next starts of a node die at a place, twice."""
        for skip in (0, 1 if point == REPLAY else 0):
            await self.world.begin(name, fuse=Fuse(point, how, skip, tear))
            await until(lambda: name in self.world.down, 10)
            assert self.world.endings[-1].why == f"{point}: {how}"
            if how == "after":
                return  # It is done, and the next start has nothing to do there.

    async def visit(self, point: str, how: str, turn: int) -> None:
        """Die there and come back."""
        world, tear = self.world, (0.05, 0.5, 0.9)[turn % 3]
        name = world.names[turn % len(world.names)]
        if point in FRESH:
            name = FOLLOWER
            world.down.pop(FOLLOWER, None)
            await self.interrupt_start(name, point, how, tear)
        elif point in BEFORE:
            await self.die(name, *BEFORE[point], 0.5)
            await self.interrupt_start(name, point, how, tear)
        else:
            await self.die(name, point, how, tear)
        assert await world.begin(name) is not None, world.endings[-1]
        await self.signing()
        for client, node in zip((self.client, self.helper), world.up, strict=False):
            await self.pay(client, node)
        if name == FOLLOWER:
            await world.kill(world.nodes[FOLLOWER], power=True)
        world.check_step()


def visited(point: str, judges: Sequence[Checker] = ()) -> World:
    """Let nodes die at a place in every way; return the world in which they did."""
    worlds: list[World] = []

    async def scenario(world: World) -> None:
        worlds.append(world)
        visit = Visit(world)
        await visit.begin()
        for turn, how in enumerate(HOWS[point]):
            await visit.visit(point, how, turn)
        world.check_end()

    run_world(scenario, seed=len(point), checkers=judges)
    return worlds[0]


@pytest.mark.parametrize("point", HOWS)
def test_a_node_comes_back_from_a_death_at(point: str) -> None:
    world = visited(point, checkers())
    for how in HOWS[point]:
        assert world.crash_points[f"{point}: {how}"] >= 1


def everybody(point: str, how: str, count: int, seed: int) -> None:
    """All authorities die at the same step; afterwards they go on where they were."""

    async def scenario(world: World) -> None:
        visit = Visit(world)
        await visit.begin()
        await visit.pay(visit.client, world.up[0])
        for name in world.names:
            world.machines[name].fuse = Fuse(point, how, 0, 0.5)
        # Whoever does not come to that step without the others is killed with the last of them.
        for client in clients_of(world):
            client.hand_in(world.up[0])
        with trio.move_on_after(20):
            while len(world.nodes) > world.faults_max + 1:
                await trio.sleep(0.05)
        assert world.down, "nobody died"
        await world.kill(*world.up, power=True)
        assert not world.nodes
        await world.begin_all(world.names)
        await visit.signing()
        for client, node in zip((visit.client, visit.helper), world.up, strict=False):
            await visit.pay(client, node)
        accepted = list(world.accepted)
        for node in world.up:
            assert all(locate_transaction(node.node.chain.store, i) for i in accepted)
        world.check_end()

    run_world(scenario, seed, count, checkers())


@pytest.mark.parametrize(("point", "how"), TOGETHER)
def test_all_die_at_once_and_nothing_final_is_lost(point: str, how: str) -> None:
    everybody(point, how, 4, seed=1)


@pytest.mark.full
@pytest.mark.parametrize("count", [4, 7])
@pytest.mark.parametrize("point", CONSENSUS)
def test_all_die_at_once_at_any_step(point: str, count: int) -> None:
    for seed, how in enumerate(HOWS[point]):
        everybody(point, how, count, seed)


def test_the_list_of_places_is_complete() -> None:
    """What the rules name is in the list; a step that got another name would go unvisited."""
    assert {point for point in HOWS if point.startswith("R22")} >= {INPUTS, WATERMARK, OWN_MESSAGE}
    assert len(CRASH_POINTS) == len(set(CRASH_POINTS))
    assert set(AT_START) | set(LIVE) == set(HOWS)
