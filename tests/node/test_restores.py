"""Restored backups, lost logs, lost signing states, twins: nobody signs what it might contradict.

Each scenario ends with `Lab.check`, which holds every key to every signature that it ever
released: a node that came back too trustingly would be seen signing twice.
"""

from __future__ import annotations

from copy import deepcopy

import pytest
import trio

from clawpurse.ledger import crypto
from clawpurse.node.files import MemoryFiles
from clawpurse.node.signer import create_sign_state, set_floor
from tests.node.lab import Lab, disk_of, run_lab
from tests.node.rpc.nodeworld import Disk, Running, until

#: One seed in `make test`; the further ones run at full size.
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 3))]


class Life:
    """What one authority's key signs from now on, apart from what it signed before."""

    def __init__(self, lab: Lab, number: int) -> None:
        self.lab = lab
        self.key = crypto.public_key_of(lab.seeds[number - 1])
        self.before = frozenset(lab.released)

    @property
    def heights(self) -> list[int]:
        fresh = [slot for slot in self.lab.released if slot not in self.before]
        return [order[0] for signer, order in fresh if signer == self.key]

    async def signs_again(self, others: list[Running]) -> int:
        """Make blocks until this key signs; return the first height at which it did."""
        for _ in range(12):
            await pay(self.lab, others, 1)
            if self.heights:
                return self.heights[0]
        raise AssertionError("it did not sign again")


async def pay(lab: Lab, nodes: list[Running], blocks: int) -> None:
    for turn in range(blocks):
        await lab.final(nodes[turn % len(nodes)], lab.pay(lab.alice))


@pytest.mark.parametrize("seed", SEEDS)
def test_yesterday_s_chain_with_today_s_signing_state_follows_and_then_signs(seed: int) -> None:
    """A restore must cost nothing but time: it observes up to its watermark, then takes part."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await pay(lab, nodes, 2)
        await lab.reach(2)
        early = disk_of(nodes[0])
        await pay(lab, nodes[1:], 5)
        await lab.reach(nodes[1].height)
        disk = await lab.crash(nodes[0])
        height = nodes[1].height
        old = Disk(early.store, early.wal, early.journal, disk.signer)
        life = Life(lab, 1)
        back = await lab.start("authority-1", old)
        await lab.reach(height, back)
        await until(lambda: back.node.signing.is_open(life.key), 30)
        first = await life.signs_again(nodes[1:])
        assert first > height

    run_lab(scenario, seed=seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_machine_set_back_as_a_whole_observes_and_signs_from_the_height_after_next(
    seed: int,
) -> None:
    """Chain, log and signing state agree with each other, and all of them are old."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await pay(lab, nodes, 2)
        await lab.reach(2)
        early = disk_of(nodes[0])
        await pay(lab, nodes[1:], 6)
        await lab.reach(nodes[1].height)
        await lab.crash(nodes[0])
        height, life = nodes[1].height, Life(lab, 1)
        back = await lab.start("authority-1", early)
        await lab.reach(height, back)
        await until(lambda: not back.node.signing.describe()[0]["has_gap"], 30)
        assert not back.node.engine.may_sign
        assert "observes and signs again from block" in "; ".join(back.node.care.problems())
        assert await life.signs_again(nodes[1:]) >= height + 3
        # It knows now what it may do: the next start is an ordinary one.
        disk = await lab.crash(back)
        again = await lab.start("authority-1", disk)
        await until(lambda: again.node.engine.may_sign, 30)

    run_lab(scenario, seed=seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_twin_that_is_alive_ends_the_second_process(seed: int) -> None:
    """The remedy is named; the first one goes on, and nobody signed twice."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await pay(lab, nodes, 2)
        await lab.reach(2)
        early = disk_of(nodes[0])
        async with lab.ending("Another process has the same key"):
            await lab.node("twin", *nodes, seed=lab.seeds[0], disk=early)
            for _ in range(4):
                await trio.sleep(2)
                await pay(lab, nodes, 3)
        await pay(lab, nodes, 2)

    run_lab(scenario, seed=seed)


def test_a_twin_with_a_state_of_its_own_ends_too() -> None:
    """Whoever sets up a second machine with a copied key has no signing state to compare."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await pay(lab, nodes, 2)
        disk = Disk()
        set_floor(disk.signer, lab.genesis.hash, crypto.public_key_of(lab.seeds[0]), 1)
        async with lab.ending("Another process has the same key"):
            await lab.node("twin", *nodes, seed=lab.seeds[0], disk=disk)
            for _ in range(4):
                await trio.sleep(2)
                await pay(lab, nodes, 3)
        await pay(lab, nodes, 2)

    run_lab(scenario)


async def stuck(lab: Lab) -> tuple[list[Running], Disk, Disk]:
    """Two of four at a height that they cannot decide, with votes there; their disks."""
    nodes = await lab.authorities()
    await pay(lab, nodes, 1)
    await lab.reach(1)
    for gone in nodes[2:]:
        await lab.crash(gone)
    await nodes[0].node.intake.submit(lab.pay(lab.alice).raw)
    await until(lambda: bool(nodes[0].node.engine.machine.own_messages), 60)
    disks = await lab.power_cut(*nodes[:2])
    return nodes, disks[0], disks[1]


def test_votes_and_locks_that_went_with_the_log_are_not_contradicted() -> None:
    """The guard knows what was signed last, not what was locked: that height is left to others."""

    async def scenario(lab: Lab) -> None:
        nodes, one, two = await stuck(lab)
        rest = [await lab.start(f"authority-{n}", disk_of(nodes[n - 1])) for n in (3, 4)]
        other = await lab.start("authority-2", two)
        life = Life(lab, 1)
        one.wal = MemoryFiles()
        await lab.start("authority-1", one)
        await lab.reach(2)
        assert await life.signs_again([other, *rest]) > 2

    run_lab(scenario)


def test_a_log_from_earlier_in_the_same_height_is_noticed() -> None:
    """Whole records are missing at its end: it looks like a torn tail and is none."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await pay(lab, nodes, 1)
        await lab.reach(1)
        for gone in nodes[2:]:
            await lab.crash(gone)
        early = deepcopy(nodes[0].disk.wal)
        await nodes[0].node.intake.submit(lab.pay(lab.alice).raw)
        await until(lambda: bool(nodes[0].node.engine.machine.own_messages), 60)
        disk = await lab.crash(nodes[0])
        disk.wal = early
        rest = [await lab.start(f"authority-{n}", disk_of(nodes[n - 1])) for n in (3, 4)]
        life = Life(lab, 1)
        await lab.start("authority-1", disk)
        await lab.reach(2)
        assert await life.signs_again([nodes[1], *rest]) > 2

    run_lab(scenario)


def test_a_log_lost_between_blocks_costs_nothing() -> None:
    """Nothing was said at the height in progress, so there is nothing to forget."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await pay(lab, nodes, 3)
        await lab.reach(3)
        await trio.sleep(1)
        disk = await lab.crash(nodes[0])
        disk.wal = MemoryFiles()
        back = await lab.start("authority-1", disk)
        await until(lambda: back.node.engine.may_sign, 20)
        height, life = back.height, Life(lab, 1)
        assert await life.signs_again(nodes[1:]) == height + 1

    run_lab(scenario)


def test_a_signing_state_older_than_the_log_learns_from_it_and_waits() -> None:
    """Somebody copied `signer/` back, or the disk lied: what is in the log was said."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await pay(lab, nodes, 1)
        await lab.reach(1)
        for gone in nodes[2:]:
            await lab.crash(gone)
        early = deepcopy(nodes[0].disk.signer)
        await nodes[0].node.intake.submit(lab.pay(lab.alice).raw)
        await until(lambda: bool(nodes[0].node.engine.machine.own_messages), 60)
        disk = await lab.crash(nodes[0])
        disk.signer = early
        back = await lab.start("authority-1", disk)
        await trio.sleep(1)
        assert back.node.signing.describe()[0]["has_gap"]
        rest = [await lab.start(f"authority-{n}", disk_of(nodes[n - 1])) for n in (3, 4)]
        await lab.reach(2)
        life = Life(lab, 1)
        assert await life.signs_again([nodes[1], *rest]) >= 4

    run_lab(scenario)


def test_an_operator_s_floor_is_kept_and_the_height_after_next_waited_for() -> None:
    """The floor is what the operator knows; what peers saw counts besides."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await pay(lab, nodes, 2)
        await lab.reach(2)
        disk = await lab.crash(nodes[0])
        disk.signer = MemoryFiles()
        key = crypto.public_key_of(lab.seeds[0])
        set_floor(disk.signer, lab.genesis.hash, key, 6)
        life = Life(lab, 1)
        back = await lab.start("authority-1", disk)
        assert await life.signs_again(nodes[1:]) > 6
        disk = await lab.crash(back)
        disk.signer = MemoryFiles()
        set_floor(disk.signer, lab.genesis.hash, key, 1)
        height, life = nodes[1].height, Life(lab, 1)
        await lab.start("authority-1", disk)
        assert await life.signs_again(nodes[1:]) >= height + 3

    run_lab(scenario)


def test_more_than_f_without_their_states_stand_still_and_say_so() -> None:
    """A lower floor could fork the chain; only people can decide to go on."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await pay(lab, nodes, 2)
        await lab.reach(2)
        for node in nodes[:2]:
            disk = await lab.crash(node)
            disk.signer = MemoryFiles()
            seed = lab.seeds[int(node.name[-1]) - 1]
            create_sign_state(disk.signer, lab.genesis.hash, crypto.public_key_of(seed), 1)
            await lab.start(node.name, disk)
        height = nodes[2].height
        await nodes[2].node.intake.submit(lab.pay(lab.alice).raw)
        await trio.sleep(120)
        assert nodes[2].height == height
        back = lab.nodes["authority-1"]
        assert "more than f authorities" in "; ".join(back.node.care.problems())

    run_lab(scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_set_back_together_go_on_from_there(seed: int) -> None:
    """Nobody remembers more than anybody else: there is nothing to wait for."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await pay(lab, nodes, 3)
        await lab.reach(3)
        disks = await lab.power_cut(*nodes)
        nodes = [await lab.start(f"authority-{n}", disks[n - 1]) for n in (1, 2, 3, 4)]
        await pay(lab, nodes, 2)

    run_lab(scenario, seed=seed)
