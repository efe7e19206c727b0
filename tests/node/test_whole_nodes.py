"""Networks of whole nodes: what people pay stays paid, whatever stops, splits or starts again.

Every scenario prints its seed and ends with `Lab.check`: one chain, true certificates, and no
key that signed twice for one position, over all crashes and restarts.
"""

from __future__ import annotations

import pytest
import trio

from clawpurse.ledger.store.index import locate_transaction
from tests.node.lab import Lab, run_lab
from tests.node.rpc.nodeworld import Running, hexed, octets, until

#: A handful of seeds on every run; more by `make soak`.
#: One seed in `make test`; the further ones run at full size.
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, 3))]


async def submit(lab: Lab, node: Running, count: int = 1) -> list[str]:
    """Hand in payments; returns their ids, accepted and not yet final."""
    raws = [hexed(lab.pay(lab.alice).raw) for _ in range(count)]
    entries = (await node.call("tx_submitBatch", txs=raws))["results"]
    assert all("error" not in entry for entry in entries), entries
    return [entry["txId"] for entry in entries]


def is_final(node: Running, tx_id: str) -> bool:
    return locate_transaction(node.node.chain.store, octets(tx_id)) is not None


async def all_final(node: Running, tx_ids: list[str], seconds: float = 60) -> None:
    """Wait until a node holds all of these in final blocks."""
    await until(lambda: all(is_final(node, tx_id) for tx_id in tx_ids), seconds)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_payment_becomes_final_on_all_four_wherever_it_is_made(seed: int) -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        for node in nodes:
            (answer,) = await lab.final(node, lab.pay(lab.alice))
            assert answer["status"] == "final"
            height = answer["height"]
            await lab.reach(height)
            roots = {n.node.chain.blocks.header(height) for n in nodes}
            assert len(roots) == 1

    run_lab(scenario, seed=seed)


def test_a_payment_made_before_anybody_is_connected_is_not_forgotten() -> None:
    """The one node that knows it may not be the one to propose; an idle network waits 30 s."""

    async def scenario(lab: Lab) -> None:
        first = await lab.start("authority-1")
        ids = await submit(lab, first, 3)
        await trio.sleep(20)
        others = [await lab.start(f"authority-{n}") for n in (2, 3, 4)]
        began = trio.current_time()
        for other in others:
            await all_final(other, ids, 10)
        assert trio.current_time() - began < 10

    run_lab(scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_three_go_on_without_the_fourth_which_catches_up_and_votes(seed: int) -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await lab.final(nodes[0], lab.pay(lab.alice))
        absent = nodes.pop(lab.chance.randrange(4))
        disk = await (lab.stop(absent) if seed % 2 else lab.crash(absent))
        for turn in range(6):
            await lab.final(nodes[turn % 3], lab.pay(lab.alice))
        height = nodes[0].height
        assert absent.name not in lab.voters(nodes[0], height)
        back = await lab.start(absent.name, disk)
        await lab.reach(height, back)
        # After a restart it listens for a round before it signs.
        await until(lambda: back.node.engine.may_sign, 10)
        for turn in range(4):
            await lab.final(nodes[turn % 3], lab.pay(lab.alice))
        await lab.reach(nodes[0].height)
        key = back.node.own_key
        assert any(slot[0] == key and slot[1][0] > height for slot in lab.released)

    run_lab(scenario, seed=seed)


def test_a_follower_starts_from_genesis_and_relays_a_payment() -> None:
    """A partner without a vote sees the same truth and can pay through its own node."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        for turn in range(10):
            await lab.final(nodes[turn % 4], lab.pay(lab.alice))
        follower = await lab.node("follower", nodes[2])
        await lab.reach(nodes[0].height, follower)
        (answer,) = await lab.final(follower, lab.pay(lab.bob))
        assert answer["status"] == "final"
        await lab.reach(answer["height"])
        assert len(follower.node.peers.ids()) >= 1
        assert not follower.node.care.problems()

    run_lab(scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_two_against_two_stand_still_and_go_on_when_the_cut_heals(seed: int) -> None:
    """No quorum: nothing may become final on either side. Afterwards nothing may be lost."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        lab.split(nodes[:2], nodes[2:])
        before = max(node.height for node in nodes)
        ids = [*await submit(lab, nodes[0], 2), *await submit(lab, nodes[3], 2)]
        await trio.sleep(90)
        assert max(node.height for node in nodes) <= before + 1
        stuck = {node.height for node in nodes}
        await trio.sleep(60)
        assert {node.height for node in nodes} == stuck
        lab.heal()
        for node in nodes:
            await all_final(node, ids)

    run_lab(scenario, seed=seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_cut_off_from_three_costs_nothing_final(seed: int) -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await lab.final(nodes[0], lab.pay(lab.alice))
        lonely = nodes[lab.chance.randrange(4)]
        rest = [node for node in nodes if node is not lonely]
        lab.split([lonely], rest)
        ids = await submit(lab, lonely, 2)
        for turn in range(5):
            await lab.final(rest[turn % 3], lab.pay(lab.bob))
        lab.heal()
        await lab.reach(rest[0].height, lonely)
        for node in nodes:
            await all_final(node, ids)

    run_lab(scenario, seed=seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_slow_and_uneven_links_delay_and_never_confuse(seed: int) -> None:
    async def scenario(lab: Lab) -> None:
        lab.delay_max_s = 0.4
        nodes = await lab.authorities()
        ids: list[str] = []
        for turn in range(6):
            ids += await submit(lab, nodes[turn % 4], 3)
            await trio.sleep(lab.chance.random())
        for node in nodes:
            await all_final(node, ids, 120)

    run_lab(scenario, seed=seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_four_killed_again_and_again_lose_nothing_accepted(seed: int) -> None:
    """What was final stays final on all; what was accepted becomes final after all."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        accepted: list[str] = []
        for _ in range(4):
            for turn in range(4):
                accepted += await submit(lab, nodes[turn], 2)
                await trio.sleep(lab.chance.random() * 0.3)
            final = [tx_id for tx_id in accepted if any(is_final(n, tx_id) for n in nodes)]
            # The power goes: all at the same instant.
            names = [node.name for node in nodes]
            disks = await lab.power_cut(*nodes)
            order = sorted(range(4), key=lambda _: lab.chance.random())
            nodes = []
            for place in order:
                nodes.append(await lab.start(names[place], disks[place]))
                await trio.sleep(lab.chance.random() * 3)
            for node in nodes:
                await all_final(node, final)
        for node in nodes:
            await all_final(node, accepted)

    run_lab(scenario, seed=seed)


def test_an_idle_network_makes_no_blocks_but_heartbeats() -> None:
    """An empty block every 200 ms would be 150 million a year."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        at = nodes[0].height
        await trio.sleep(125)
        assert nodes[0].height - at == 4

    run_lab(scenario)


def test_one_authority_alone_is_a_network_too() -> None:
    async def scenario(lab: Lab) -> None:
        (only,) = await lab.authorities()
        ids = await submit(lab, only, 3)
        await all_final(only, ids)
        disk = await lab.crash(only)
        again = await lab.start("authority-1", disk)
        await all_final(again, ids)
        await lab.final(again, lab.pay(lab.alice))

    run_lab(scenario, authorities=1)


def test_seven_authorities_go_on_without_two() -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await until(lambda: all(len(node.node.peers.ids()) == 6 for node in nodes), 60)
        await lab.final(nodes[0], lab.pay(lab.alice))
        for gone in nodes[5:]:
            await lab.crash(gone)
        for turn in range(6):
            await lab.final(nodes[turn % 5], lab.pay(lab.alice))

    run_lab(scenario, authorities=7)
