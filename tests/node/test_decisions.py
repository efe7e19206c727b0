"""What authorities decide takes place on every node at its height, whatever happens meanwhile.

4 → 5 → 4 and a replacement, with crashes and cuts from h to h + 2; parameters under load; an
amendment that some nodes do not know. If these failed, a vote could stop the network or split it.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio

from clawpurse.ledger import amendments
from clawpurse.ledger.crypto import public_key_of
from clawpurse.modules.governance.changes import AMENDMENT_BLOCKS_MIN, Change, Kind
from tests.node.decisions import ballot, change, decide, in_force, seat, seats
from tests.node.lab import Lab, disk_of, run_lab
from tests.node.rpc.nodeworld import HOUR_MS, Running, until


def deciders(lab: Lab, node: Running, height: int) -> set[int]:
    """The numbers of the authorities whose precommits a node's certificate holds."""
    return {int(name.removeprefix("authority-")) for name in lab.voters(node, height)}


async def load(lab: Lab, via: Running) -> None:
    """Payments without end."""
    while True:
        await lab.final(via, lab.pay(lab.bob))
        await trio.sleep(0.05)


async def full_set(lab: Lab, *numbers: int) -> None:
    """Wait until the running nodes are decided by exactly these."""
    wanted = seats(lab, *numbers)
    await until(lambda: all(n.node.chain.authorities == wanted for n in lab.nodes.values()))


def test_four_to_five_to_four_and_a_replacement_under_load() -> None:
    async def scenario(lab: Lab) -> None:
        first, *_ = await lab.authorities()
        lab.nursery.start_soon(load, lab, first)
        fifth = (seat(lab, 5), await lab.start("authority-5"))[1]
        await lab.reach(3)
        assert not fifth.node.engine.may_sign
        await decide(lab, first, change(lab, Kind.ADD, 5), [1, 2, 3])
        await full_set(lab, 1, 2, 3, 4, 5)
        since = in_force(first)
        # It listens before it signs for the first time.
        await until(lambda: fifth.node.engine.may_sign and 5 in deciders(lab, first, first.height))
        assert all(5 not in deciders(lab, first, height) for height in range(1, since))
        # Four of five now: three votes do nothing.
        removal, until_ms = change(lab, Kind.REMOVE, 2), lab.clock.now_ms() + HOUR_MS
        await decide(lab, first, removal, [1, 3, 4], until_ms)
        assert len(first.node.chain.next_authorities) == 5
        await decide(lab, first, removal, [5], until_ms)
        await full_set(lab, 1, 3, 4, 5)
        left = in_force(first)
        await lab.reach(left + 5)
        assert all(2 not in deciders(lab, first, height) for height in range(left, first.height))
        # It follows on, and its vote is refused.
        second = lab.nodes["authority-2"]
        assert not second.node.engine.may_sign
        (refused,) = await decide(lab, first, change(lab, Kind.ADD, 2), [2])
        assert refused["receipt"]["rule"] == "governance.notMember"
        sixth = (seat(lab, 6), await lab.start("authority-6"))[1]
        await decide(lab, first, change(lab, Kind.REPLACE, 3, 6), [1, 4, 5])
        await full_set(lab, 1, 4, 5, 6)
        await lab.reach(in_force(first) + 5)
        await until(lambda: sixth.node.engine.may_sign)
        assert 3 not in deciders(lab, first, first.height)

    run_lab(scenario)


def test_an_idle_chain_takes_a_change_at_once_not_at_the_next_heartbeat() -> None:
    async def scenario(lab: Lab) -> None:
        first, *_ = await lab.authorities()
        await decide(lab, first, change(lab, Kind.ADD, 5), [1, 2, 3])
        # Three of five cannot decide; four can: the fifth is not there, and nobody waits for it.
        began_s = trio.current_time()
        await full_set(lab, 1, 2, 3, 4, 5)
        assert trio.current_time() - began_s < 5

    run_lab(scenario)


@pytest.mark.parametrize("moment", [0, 1, 2])
@pytest.mark.parametrize("kind", [Kind.ADD, Kind.REMOVE, Kind.REPLACE])
def test_a_crash_between_the_vote_and_its_height_changes_nothing(kind: Kind, moment: int) -> None:
    """One node is killed with h, h + 1 or h + 2 as its newest block, and comes back."""

    async def scenario(lab: Lab) -> None:
        first, second, *_ = await lab.authorities()
        if kind is not Kind.REMOVE:
            seat(lab, 5)
            await lab.start("authority-5")
        wanted = {
            Kind.ADD: change(lab, Kind.ADD, 5),
            Kind.REMOVE: change(lab, Kind.REMOVE, 5),
            Kind.REPLACE: change(lab, Kind.REPLACE, 4, 5),
        }[kind]
        left: list[Any] = []

        async def kill() -> None:
            await until(lambda: bool(in_force(second)))
            await until(lambda: second.height >= in_force(second) - 2 + moment)
            left.append(await lab.crash(second))

        lab.nursery.start_soon(kill)
        await decide(lab, first, wanted, [1, 2, 3, 4][: 4 if kind is Kind.REMOVE else 3])
        await until(lambda: bool(left))
        await lab.final(first, lab.pay(lab.bob))
        again = await lab.start("authority-2", left[0])
        await lab.final(again, lab.pay(lab.alice))
        members = {
            Kind.ADD: (1, 2, 3, 4, 5),
            Kind.REMOVE: (1, 2, 3, 4),
            Kind.REPLACE: (1, 2, 3, 5),
        }[kind]
        await full_set(lab, *members)

    run_lab(scenario, seed=moment, authorities=5 if kind is Kind.REMOVE else 4)


def test_all_nodes_crash_with_the_change_decided_and_not_yet_in_force() -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        first = nodes[0]
        seat(lab, 5)
        await decide(lab, first, change(lab, Kind.REPLACE, 4, 5), [1, 2, 3])
        disks = [disk_of(node) for node in nodes]
        for node, disk in zip(nodes, disks, strict=True):
            await lab.crash(node, disk)
        again = [
            await lab.start(f"authority-{number}", disk) for number, disk in enumerate(disks, 1)
        ]
        await lab.start("authority-5")
        await full_set(lab, 1, 2, 3, 5)
        await lab.final(again[0], lab.pay(lab.bob))

    run_lab(scenario)


def test_a_cut_through_the_change_heals_into_one_chain() -> None:
    """Two and two while the votes come, in no side a quorum; then whole again."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await lab.reach(1) if nodes[0].height else None
        seat(lab, 5)
        await lab.start("authority-5")
        wanted, until_ms = change(lab, Kind.ADD, 5), lab.clock.now_ms() + HOUR_MS
        await decide(lab, nodes[0], wanted, [1, 2], until_ms)
        lab.split(nodes[:2], [*nodes[2:], lab.nodes["authority-5"]])
        last = ballot(lab, wanted, 3, until_ms)
        await nodes[0].call("tx_submit", tx="0x" + last.raw.hex())
        await trio.sleep(20)
        assert in_force(nodes[0]) == 0
        lab.heal()
        await full_set(lab, 1, 2, 3, 4, 5)
        await lab.final(nodes[3], lab.pay(lab.bob))

    run_lab(scenario)


def test_a_cut_off_authority_learns_of_its_replacement_and_signs_nothing_more() -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        seat(lab, 5)
        await lab.start("authority-5")
        rest = [*nodes[:3], lab.nodes["authority-5"]]
        lab.split([nodes[3]], rest)
        await decide(lab, nodes[0], change(lab, Kind.REPLACE, 4, 5), [1, 2, 3])
        since = in_force(nodes[0])
        await lab.final(nodes[0], lab.pay(lab.bob))
        lab.heal()
        await full_set(lab, 1, 2, 3, 5)
        await lab.final(nodes[0], lab.pay(lab.bob))
        key = seat(lab, 4)
        assert not [slot for slot in lab.released if slot[0] == key and slot[1][0] >= since]
        assert not nodes[3].node.engine.may_sign

    run_lab(scenario)


# -- parameters


def test_the_pace_changes_live_on_every_node() -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        lab.nursery.start_soon(load, lab, nodes[0])
        await lab.reach(3)
        wanted = Change(Kind.PARAMETERS, ("interval_ms=2000",))
        await decide(lab, nodes[0], wanted, [1, 2, 3])
        await until(lambda: all(n.node.chain.params.interval_ms == 2_000 for n in nodes))
        start = nodes[0].height
        began_s = trio.current_time()
        await lab.reach(start + 5)
        assert trio.current_time() - began_s > 7
        headers = [nodes[0].node.services.header(height) for height in range(start + 1, start + 4)]
        assert {header.params_hash for header in headers} == {nodes[0].node.chain.params.hash}
        # A follower that starts from genesis learns both in turn.
        follower = await lab.start("follower")
        await lab.reach(start + 5, follower)
        assert follower.node.chain.params.interval_ms == 2_000

    run_lab(scenario)


# -- amendments


def test_nodes_stop_before_an_amendment_that_they_do_not_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        first, height = nodes[0], AMENDMENT_BLOCKS_MIN + 10
        for node in nodes:
            node.node.chain.known_amendments = ("next-one",)
        async with lab.ending("does not know it"):
            left = await lab.start("authority-4")
            await decide(lab, first, Change(Kind.AMEND, ("next-one", height)), [1, 2, 3])
            await lab.reach(first.height)
            health = await left.call("node_getHealth")
            assert health["ready"] and "next-one" in health["alarms"][0]
            assert (await first.call("node_getHealth"))["alarms"] == []
            await pay_until(lab, first, height + 2)
        # Not one block under rules that it does not know.
        assert left.height == height - 1
        disk = disk_of(left)
        await lab.refused_start("authority-4", disk, "install a version that knows next-one")
        # Newer software goes on where it stopped.
        monkeypatch.setattr(amendments, "KNOWN", ("next-one",))
        again = await lab.start("authority-4", disk)
        while again.height < height + 2:
            await lab.final(first, lab.pay(lab.alice))
        listed = await again.call("consensus_listAmendments")
        assert (listed["amendments"][0]["active"], listed["known"]) == (True, ["next-one"])

    run_lab(scenario)


async def pay_until(lab: Lab, via: Running, height: int) -> None:
    while via.height < height:
        await lab.final(via, lab.pay(lab.bob))


def test_keys_of_a_lab_are_those_of_its_names() -> None:
    """The other tests speak of authorities by number."""

    async def scenario(lab: Lab) -> None:
        assert seat(lab, 7) == public_key_of(bytes([7]) * 32)
        assert len(seats(lab, 1, 2, 3, 4)) == 4

    run_lab(scenario)
