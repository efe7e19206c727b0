"""Whole nodes under everything at once: payments, kills, cuts, slow links, wrong clocks.

What happens is drawn from a seed that is printed; the seeds change with the commit, so that each
one tries something else. `SEED=n pytest tests/node/test_chaos.py -k again` repeats one.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from clawpurse.ledger.store.index import locate_transaction
from tests.node.lab import Lab, clock_off, disk_of, run_lab
from tests.node.rpc.nodeworld import Disk, Running, until

SEEDS = 12
SEEDS_FULL = 60
STEPS = 25
#: Skews that R20 must bear: below its precision.
SKEW_MS = 200


def commit_seed() -> int:
    """A number that differs from commit to commit; 0 where there is no repository."""
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return int(done.stdout[:8] or "0", 16)


class Chaos:
    """One run: what is up, what is down, what was promised."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.chance = random.Random(lab.chance.random())
        self.down: dict[str, Disk] = {}
        self.accepted: list[bytes] = []
        self.clocks = {
            name: clock_off(self.chance.randrange(-SKEW_MS, SKEW_MS))
            for name in ["follower", *(f"authority-{n}" for n in range(1, 5))]
        }

    @property
    def up(self) -> list[Running]:
        return list(self.lab.nodes.values())

    async def start(self, name: str, disk: Disk | None = None) -> None:
        await self.lab.start(name, disk, clock=self.clocks[name])

    async def step(self) -> None:
        """Something happens, then some time passes."""
        chance = self.chance
        match chance.randrange(10):
            case 0 | 1 | 2 | 3:
                await self.pay()
            case 4:
                await self.kill(1)
            case 5:
                await self.kill(len(self.up))
            case 6 | 7:
                await self.revive()
            case 8:
                self.cut()
            case 9:
                self.lab.delay_max_s = chance.choice((0.0, 0.01, 0.1, 0.5))
                if chance.random() < 0.5:
                    self.lab.heal_all()
        await trio.sleep(chance.choice((0.0, 0.01, 0.3, 3.0)))

    async def pay(self) -> None:
        if not self.up:
            return
        node = self.chance.choice(self.up)
        for _ in range(self.chance.randrange(1, 4)):
            transaction = self.lab.pay(self.lab.alice)
            await node.node.intake.submit(transaction.raw)
            self.accepted.append(transaction.tx_id)

    async def kill(self, count: int) -> None:
        victims = self.chance.sample(self.up, min(count, len(self.up)))
        # All at the same instant, as a power cut takes them.
        disks = [disk_of(victim) for victim in victims]
        for victim, disk in zip(victims, disks, strict=True):
            self.down[victim.name] = await self.lab.crash(victim, disk)

    async def revive(self) -> None:
        for name in list(self.down):
            if self.chance.random() < 0.7:
                await self.start(name, self.down.pop(name))

    def cut(self) -> None:
        names = sorted(self.clocks)
        one, other = self.chance.sample(names, 2)
        self.lab.links.cut(one, other)

    async def calm(self) -> None:
        """The storm is over: all links, all nodes."""
        self.lab.delay_max_s = 0.02
        self.lab.heal_all()
        for name in list(self.down):
            await self.start(name, self.down.pop(name))

    def all_final(self) -> bool:
        return all(
            locate_transaction(node.node.chain.store, tx_id) is not None
            for node in self.up
            for tx_id in self.accepted
        )


def storm(seed: int) -> None:
    async def scenario(lab: Lab) -> None:
        chaos = Chaos(lab)
        for name in [f"authority-{n}" for n in range(1, 5)] + ["follower"]:
            await chaos.start(name)
        for _ in range(STEPS):
            await chaos.step()
        await chaos.calm()
        await until(chaos.all_final, 240)
        assert len(chaos.up) == 5
        # And the network pays as on its first day.
        await lab.final(chaos.up[0], lab.pay(lab.bob))

    run_lab(scenario, seed=seed)


@pytest.mark.parametrize("number", range(SEEDS))
def test_whatever_happens_nothing_accepted_is_lost_and_nobody_signs_twice(number: int) -> None:
    storm(commit_seed() + number)


@pytest.mark.full
@pytest.mark.parametrize("number", range(SEEDS, SEEDS_FULL))
def test_whatever_happens_over_many_seeds(number: int) -> None:
    storm(commit_seed() + number)


@pytest.mark.skipif("SEED" not in os.environ, reason="SEED=n repeats one run")
def test_again() -> None:
    storm(int(os.environ["SEED"]))


@pytest.mark.soak
def test_storms_for_as_long_as_told(soak_seeds: Iterator[int]) -> None:
    for seed in soak_seeds:
        storm(seed)
