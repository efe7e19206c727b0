"""Storms over a network in which some are Byzantine: who they are, and what is asked of the rest.

Nothing is asked of a villain: not that it comes back, not that it keeps what it promised. From
everybody else the same is asked as in any other storm.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import trio

from tests.node.rpc.nodeworld import Running
from tests.simulation.whole.byzantine import HABITS, Cast, Habit, Twins, Villain
from tests.simulation.whole.clients import lacking
from tests.simulation.whole.operator import bring_back
from tests.simulation.whole.storm import Report, Storm, _fill
from tests.simulation.whole.world import SENDING_S, Checker, World, run_world

STEPS = 15


class Intrigue(Storm):
    """One run with villains."""

    def __init__(self, world: World, cast: Cast) -> None:
        self.cast = cast
        super().__init__(world)

    def _drawn_actions(self) -> list[Callable[[], object]]:
        """Less harm than elsewhere: it shall not hide what villains do."""
        kinds: list[Callable[[], object]] = [
            self.rough_weather,
            self.sieve,
            self.sieve,
            self.slow_link,
            self.cut,
            self.partition,
            self.isolate_proposer,
            self.reset,
            self.skew,
            self.kill_one,
            self.fuse_one,
            self.fuse_all,
        ]
        harm = self.chance.sample(kinds, self.chance.randint(1, 4))
        plots = [twins.part for twins in self.cast.twins] * 6
        return [*harm, *plots, *[self.pay] * 6, *[self.revive] * 3, self.heal_links]

    @property
    def up(self) -> list[Running]:
        """The honest nodes that run."""
        return [node for node in self.world.up if node.name not in self.cast.names]

    async def begin(self) -> None:
        await self.world.begin_all([*self.world.all_names, *(t.other for t in self.cast.twins)])

    async def revive(self) -> None:
        for name in list(self.world.down):
            if self.chance.random() < 0.7:
                await self.world.begin(name)

    async def calm(self) -> None:
        """All links, clocks, disks and honest nodes; villains go on as they did."""
        world = self.world
        self.heal_links()
        for twins in self.cast.twins:
            twins.join()
        await trio.sleep(2 * SENDING_S)
        for medium in [*world.machines.values(), *world.down.values()]:
            medium.fuse = None
        self.mend()
        for name in list(world.down):
            if name not in self.cast.names:
                await bring_back(world, name)
        await self.until(self._all_sign, "signing")
        world.note_calm()

    def _all_sign(self) -> bool:
        signing = [node.name for node in self.authorities_up() if node.node.engine.may_sign]
        return sorted(signing) == sorted(set(self.world.names) - set(self.cast.names))

    async def settle(self) -> None:
        await self._hand_in_all()
        await self.until(lambda: not lacking(self.world, self.up), "payments")
        for client in self.clients:
            client.next()
        await self._hand_in_all()
        await self.until(lambda: not lacking(self.world, self.up), "last payments")
        waiting = self._pending_evidence()
        await self.until(lambda: not waiting & self._pending_evidence(), "evidence")

    def _pending_evidence(self) -> set[bytes]:
        """What honest nodes saw signed twice and no block has recorded yet."""
        return {proof.slot for node in self.up for proof in node.node.evidence.pending}


def cast_of(world: World, cast: Cast, habits: Sequence[type[Habit]] | None) -> None:
    """Draw who is Byzantine, at most f of them, and how: as told, or a few habits each."""
    chance = random.Random(f"cast {world.seed} {len(world.names)}")
    for name in chance.sample(world.names, chance.randint(1, world.faults_max)):
        if habits is None and chance.random() < 0.2:
            cast.twins.append(Twins(world, name))
            continue
        chosen = habits or chance.sample(HABITS, chance.randint(1, 3))
        cast.villains.append(Villain(world, name, chosen))


def run(
    seed: int,
    count: int = 4,
    checkers: Sequence[Checker] = (),
    steps: int = STEPS,
    *,
    habits: Sequence[type[Habit]] | None = None,
    twins: bool = False,
) -> Report:
    """Run one storm with villains to its end. `habits` fixes what they do, `twins` what they are.

    Raises with the seed in a note when something is wrong.
    """
    report = Report(seed, count)
    worlds: list[World] = []
    cast = Cast()

    async def scenario(world: World) -> None:
        worlds.append(world)
        if twins:
            cast.twins.append(Twins(world, world.names[seed % count]))
        else:
            cast_of(world, cast, habits)
        intrigue = Intrigue(world, cast)
        await intrigue.begin()
        for _ in range(steps):
            await intrigue.step()
        await intrigue.calm()
        await intrigue.settle()
        report.virtual_s = trio.current_time()
        world.check_end()

    try:
        run_world(scenario, seed, count, [cast, *checkers])
    except BaseException as error:
        named = "" if habits is None else f", habits=[{', '.join(h.__name__ for h in habits)}]"
        error.add_note(
            f"repeat with intrigue.run({seed}, {count}, checkers(){named}, twins={twins})"
        )
        raise
    _fill(report, worlds[0])
    report.faults["lies"] = sum(villain.count for villain in cast.villains)
    return report
