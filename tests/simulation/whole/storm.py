"""What happens to a network of whole nodes, drawn from one seed; then calm, then judgement.

`run(seed, count)` is the whole of it. A storm is a number of steps; each harms something, heals
something or lets somebody pay, and then some time passes. At the end all links are whole, all
clocks true and all nodes back, and everything that was promised has to come true.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import trio

from clawpurse.ledger.agreement.signbytes import Kind
from tests.node.rpc.nodeworld import Running
from tests.simulation.whole.clients import clients_of, lacking, submit
from tests.simulation.whole.crashes import AT_START, HOWS, LEFT_TO_DO, LIVE
from tests.simulation.whole.harms import Harms
from tests.simulation.whole.media import Fuse, Medium
from tests.simulation.whole.operator import bring_back
from tests.simulation.whole.world import FOLLOWER, SENDING_S, Checker, Violation, World, run_world

STEPS = 25
#: Longer than any agreement takes under fair weather, with all of the rounds' growth behind it.
PATIENCE_S = 600.0
PRECISION_MS = 500
#: R20 must bear these; beyond them the proposals of that node fail.
SKEWS_MS = (-100, 100, 0, PRECISION_MS - 1, -PRECISION_MS + 1)
WILD_SKEWS_MS = (PRECISION_MS + 1, -PRECISION_MS - 1, 2 * PRECISION_MS, 10_000, -10_000)
PAUSES_S = (0.0, 0.01, 0.3, 1.0, 3.0)
SYNCS_S = (0.01, 0.05, 0.3, 1.0, 5.0)
#: What is lost of a round, by kind, for each receiver and round: as in the pure simulation.
SIEVES: tuple[dict[Kind, tuple[int, ...]], ...] = (
    dict.fromkeys(Kind, (0, 40, 100)),
    {Kind.PROPOSAL: (0, 100), Kind.PRECOMMIT: (0, 100)},
    {Kind.PROPOSAL: (0, 100), Kind.PREVOTE: (0, 0, 30)},
    {Kind.PREVOTE: (0, 100), Kind.PRECOMMIT: (0, 100)},
    {Kind.PRECOMMIT: (0, 100, 100)},
)
DISK_ERRORS = ("No space left on device.", "Input/output error.")


@dataclass
class Report:
    """What one run was."""

    seed: int
    count: int
    virtual_s: float = 0.0
    height: int = 0
    rounds_max: int = 0
    accepted: int = 0
    messages: int = 0
    digest: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    lines: Counter[str] = field(default_factory=Counter)
    crash_points: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return (
            f"seed {self.seed}, {self.count} authorities: {self.virtual_s:.0f} virtual s, "
            f"height {self.height}, rounds to {self.rounds_max}, {self.accepted} payments, "
            f"{self.messages} messages; {faults}"
        )


class Storm:
    """One run in progress."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = random.Random(f"storm {world.seed} {len(world.names)}")
        self.clients = clients_of(world)
        self.harms = Harms(world, self.chance)
        self.actions = self._drawn_actions()

    def _drawn_actions(self) -> list[Callable[[], object]]:
        """What may happen in this storm: a few kinds of harm, so that they meet each other."""
        kinds: list[Callable[[], object]] = [
            self.rough_weather,
            self.sieve,
            self.sieve,
            self.slow_link,
            self.slow_node,
            self.cut,
            self.cut_one_way,
            self.partition,
            self.isolate_proposer,
            self.reset,
            self.corrupt,
            self.skew,
            self.wild_skew,
            self.jump,
            self.freeze,
            self.kill_one,
            self.kill_some,
            self.fuse_one,
            self.fuse_one,
            self.fuse_one,
            self.fuse_all,
            self.slow_disk,
            self.break_disk,
            self.low_disk,
            self.harms.flip,
            self.harms.flip,
            self.harms.lie,
            self.harms.restore,
            self.harms.restore,
            self.lone_payment,
        ]
        harm = self.chance.sample(kinds, self.chance.randint(3, 8))
        return [*harm, *harm, *[self.pay] * 6, *[self.revive] * 4, *self.always]

    @property
    def always(self) -> list[Callable[[], object]]:
        """What happens in every storm."""
        return [self.heal_links, self.mend, self.harms.back_up, self.harms.back_up, self.kill_one]

    # -- whom

    @property
    def up(self) -> list[Running]:
        return self.world.up

    def authorities_up(self) -> list[Running]:
        return [node for node in self.up if node.name != FOLLOWER]

    def anybody(self) -> Running | None:
        return self.chance.choice(self.up) if self.up else None

    def pair(self) -> tuple[str, str]:
        one, other = self.chance.sample(self.world.all_names, 2)
        return one, other

    def proposer(self) -> str:
        """Who proposes next, in the round that most are in."""
        machines = [node.node.engine.machine for node in self.authorities_up()]
        round_ = max((machine.round for machine in machines), default=0)
        keys = sorted(self.world.key_names)
        return self.world.key_names[keys[(self.world.height + round_) % len(keys)]]

    def count(self, what: str) -> None:
        self.world.faults[what] += 1

    # -- links

    def rough_weather(self) -> None:
        weather, chance = self.world.links.weather, self.chance
        weather.lost = chance.choice((0, 2, 10, 30))
        weather.repeated = chance.choice((0, 5, 30))
        weather.held = chance.choice((0, 5, 30))
        weather.held_s = chance.choice((0.05, 0.5, 2.0))
        weather.delay_s = chance.choice((0.0, 0.01, 0.1, 0.5))
        self.count("weather")

    def sieve(self) -> None:
        """Some kinds of messages do not reach some nodes in some rounds: that makes locks."""
        self.world.links.weather.sieve = self.chance.choice(SIEVES)
        self.count("sieve")

    def slow_link(self) -> None:
        self.world.links.weather.extra_s[self.pair()] = self.chance.choice((0.1, 0.5, 2.0))
        self.count("slow link")

    def slow_node(self) -> None:
        name = self.chance.choice(self.world.names)
        self.world.links.weather.slow[name] = self.chance.choice((0.1, 0.3, 1.0))
        self.count("slow node")

    def cut(self) -> None:
        self.world.links.cut(*self.pair())
        self.count("cut")

    def cut_one_way(self) -> None:
        self.world.links.cut_one_way(*self.pair())
        self.count("one-way cut")

    def partition(self) -> None:
        """2f + 1 against f, where one side has a quorum; f + 1 against 2f, where none has."""
        names, faults = list(self.world.names), self.world.faults_max
        self.chance.shuffle(names)
        size = self.chance.choice((faults, faults + 1, 2 * faults))
        side, others = names[:size], [*names[size:], FOLLOWER]
        for one in side:
            for other in others:
                self.world.links.cut(one, other)
        self.count("partition")

    def isolate_proposer(self) -> None:
        name = self.proposer()
        for other in self.world.all_names:
            if other != name:
                self.world.links.cut(name, other)
        self.count("isolated proposer")

    def reset(self) -> None:
        self.world.links.reset_link(*self.pair())
        self.count("reset link")

    def corrupt(self) -> None:
        self.world.links.corrupt(*self.pair())
        self.count("corruption")

    def heal_links(self) -> None:
        self.world.links.heal_everything()

    # -- clocks

    def skew(self) -> None:
        name = self.chance.choice(self.world.all_names)
        self.world.clocks[name].correct(self.chance.choice(SKEWS_MS))
        self.count("skew")

    def wild_skew(self) -> None:
        name = self.chance.choice(self.world.all_names)
        self.world.clocks[name].correct(self.chance.choice(WILD_SKEWS_MS))
        self.count("wild skew")

    def jump(self) -> None:
        name = self.chance.choice(self.world.all_names)
        self.world.clocks[name].jump(self.chance.choice((-10_000, -300, 300, 10_000)))
        self.count("clock jump")

    def freeze(self) -> None:
        self.world.clocks[self.chance.choice(self.world.all_names)].freeze()
        self.count("frozen clock")

    # -- disks

    def _medium(self) -> Medium | None:
        node = self.anybody()
        return None if node is None else self.world.machines[node.name]

    def slow_disk(self) -> None:
        medium = self._medium()
        if medium is not None:
            longest = self.chance.choice(SYNCS_S)
            medium.sync_s = lambda: self.chance.uniform(0.01, longest)
            self.count("slow disk")

    def break_disk(self) -> None:
        medium = self._medium()
        if medium is not None:
            medium.breaks(self.chance.choice(DISK_ERRORS))
            self.count("broken disk")

    def low_disk(self) -> None:
        medium = self._medium()
        if medium is not None:
            medium.fills_up()
            self.count("low disk")

    def mend(self) -> None:
        """The operator looks after clocks and disks."""
        for clock in self.world.clocks.values():
            clock.correct(self.chance.randint(-100, 100))
        for medium in [*self.world.machines.values(), *self.world.down.values()]:
            medium.mend()

    # -- crashes

    async def kill_one(self) -> None:
        node = self.anybody()
        if node is not None:
            self.count("kill")
            await self.world.kill(node, power=self.chance.random() < 0.5)

    async def kill_some(self) -> None:
        faults, up = self.world.faults_max, self.authorities_up()
        size = self.chance.choice((faults, faults + 1, 2 * faults + 1, len(up)))
        victims = self.chance.sample(up, min(size, len(up)))
        self.count("mass kill")
        await self.world.kill(*victims, power=self.chance.random() < 0.5)

    def _fuse(self, points: Sequence[str], skips: Sequence[int] = (0, 0, 1, 3, 8)) -> Fuse:
        point = self.chance.choice(points)
        skip = self.chance.choice(skips)
        return Fuse(point, self.chance.choice(HOWS[point]), skip, self.chance.random())

    def fuse_one(self) -> None:
        node = self.anybody()
        if node is not None:
            self.world.machines[node.name].fuse = self._fuse(LIVE)
            self.count("fuse")

    def fuse_all(self) -> None:
        """f, f + 1, 2f + 1 or all die at the same step."""
        faults, up = self.world.faults_max, self.authorities_up()
        size = self.chance.choice((faults, faults + 1, 2 * faults + 1, len(up)))
        fuse = self._fuse(LIVE)
        for node in self.chance.sample(up, min(size, len(up))):
            medium = self.world.machines[node.name]
            medium.fuse = Fuse(fuse.point, fuse.how, 0, self.chance.random())
        self.count("mass fuse")

    async def revive(self) -> None:
        for name in list(self.world.down):
            if self.chance.random() < 0.7:
                await self.world.begin(name, fuse=self._start_fuse(name))

    def _start_fuse(self, name: str) -> Fuse | None:
        """Now and then a start is interrupted too, where its last end gave it something to do."""
        if self.chance.random() < 0.6:
            return None
        burnt = next((e.why for e in reversed(self.world.endings) if e.node == name), "")
        point = LEFT_TO_DO.get(burnt)
        return self._fuse(AT_START) if point is None else self._fuse((point,), (0,))

    # -- load

    def pay(self) -> None:
        for client in self.chance.sample(self.clients, self.chance.randint(1, len(self.clients))):
            node = self.anybody()
            if node is not None:
                client.hand_in(node)

    async def lone_payment(self) -> None:
        """One payment at one node, and the proposer of its block is dead."""
        name = self.proposer()
        if name in self.world.nodes:
            await self.world.kill(self.world.nodes[name], power=True)
        node = self.anybody()
        if node is not None:
            self.clients[0].hand_in(node)
            self.count("lone payment")

    # -- the run

    async def begin(self) -> None:
        for name in self.world.all_names:
            fuse = self._fuse(AT_START) if self.chance.random() < 0.1 else None
            await self.world.begin(name, fuse=fuse)

    async def step(self) -> None:
        result = self.chance.choice(self.actions)()
        if result is not None:
            await result  # type: ignore[misc]
        await trio.sleep(self.chance.choice(PAUSES_S))
        self.world.check_step()

    async def calm(self) -> None:
        """All links, all clocks, all disks, all nodes."""
        world = self.world
        self.heal_links()
        # Who was dying while it sent is dead after this.
        await trio.sleep(2 * SENDING_S)
        for medium in [*world.machines.values(), *world.down.values()]:
            medium.fuse = None
        self.mend()
        # A disk in doubt is looked at by its operator, also when its node still runs.
        doubtful = [node for node in self.up if node.name in self.harms.flipped]
        await world.kill(*doubtful, power=False)
        deadline = trio.current_time() + PATIENCE_S
        while not self._all_sign():
            # Who was ending, on a slow disk, when it became calm, comes back a moment later.
            for name in list(world.down):
                await bring_back(world, name, self.harms.flipped.pop(name, None))
            if trio.current_time() > deadline:
                raise Violation(10, f"not all sign within {PATIENCE_S} s: {self.where()}")
            await trio.sleep(0.1)
        world.note_calm()

    def _all_sign(self) -> bool:
        up = self.authorities_up()
        return len(self.up) == len(self.world.all_names) and all(
            node.node.engine.may_sign for node in up
        )

    async def settle(self) -> None:
        """Everything that was promised comes true, and the network pays as on its first day."""
        await self._hand_in_all()
        self._send_again()
        await self.until(lambda: not lacking(self.world), "payments")
        for client in self.clients:
            client.next()
        await self._hand_in_all()
        await self.until(lambda: not lacking(self.world), "last payments")

    def _send_again(self) -> None:
        """What a node accepted may be lost with its disk: those who paid send it again."""
        if not self.world.tampered:
            return
        for tx_id in {tx_id: None for _, tx_id in lacking(self.world)}:
            submit(self.world, self.chance.choice(self.up), self.world.accepted[tx_id].transaction)

    async def _hand_in_all(self) -> None:
        deadline = trio.current_time() + PATIENCE_S
        while any(client.open for client in self.clients):
            if trio.current_time() > deadline:
                raise Violation(8, "a payment is not accepted anywhere")
            for client in self.clients:
                if client.open:
                    client.hand_in(self.chance.choice(self.up))
            await trio.sleep(0.5)
            self.world.check_step()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for what has to come true when it is calm."""
        deadline = trio.current_time() + PATIENCE_S
        while not condition():
            if trio.current_time() > deadline:
                raise Violation(10, f"{what} did not come within {PATIENCE_S} s: {self.where()}")
            await trio.sleep(0.1)
            self.world.check_step()

    def where(self) -> str:
        """Where everybody stands, for who reads a failure."""
        return (
            "; ".join(
                f"{n.name} {n.height}+{n.node.engine.machine.round} "
                f"{n.node.engine.machine.step_name} {len(n.node.peers.ids())} peers "
                f"{len(n.node.pool)} pooled{'' if n.node.engine.may_sign else ' mute'}"
                for n in self.up
            )
            + f"; down: {sorted(self.world.down)}; lacking {len(lacking(self.world))}"
        )


def run(seed: int, count: int = 4, checkers: Sequence[Checker] = (), steps: int = STEPS) -> Report:
    """Run one storm to its end. Raises with the seed in a note when something is wrong."""
    report = Report(seed, count)
    worlds: list[World] = []

    async def scenario(world: World) -> None:
        worlds.append(world)
        storm = Storm(world)
        await storm.begin()
        for _ in range(steps):
            await storm.step()
        await storm.calm()
        await storm.settle()
        report.virtual_s = trio.current_time()
        world.check_end()

    try:
        run_world(scenario, seed, count, checkers)
    except BaseException as error:
        error.add_note(f"repeat with SEED={seed} COUNT={count} pytest -m '' -k test_again {HERE}")
        raise
    _fill(report, worlds[0])
    return report


#: Where the tests of this are.
HERE = "tests/simulation/whole/test_storms.py"


def _fill(report: Report, world: World) -> None:
    report.height = world.height
    report.rounds_max = max((d.certificate.round for d in world.decisions), default=0)
    report.accepted = len(world.accepted)
    report.messages, report.digest = world.messages, world.digest
    report.faults = world.faults + world.links.counts
    report.lines, report.crash_points = world.lines, world.crash_points
