"""More than f authorities are gone for hours: nothing is decided, nothing runs away, and when
they are back the network decides at once.

A user whose payment waited would otherwise wait for as long again: protocols whose time-outs
double stand still for hours after their authorities have returned.
"""

from __future__ import annotations

import pytest
import trio

from tests.node.rpc.nodeworld import HOUR_MS, until
from tests.simulation.whole.checkers import checkers
from tests.simulation.whole.clients import Client, clients_of, lacking
from tests.simulation.whole.world import World, run_world

HOUR_S = 3_600


def quorum_lost(count: int, outage_s: float, seed: int) -> None:
    async def scenario(world: World) -> None:
        faults = world.faults_max
        world.measures_loops = False
        await world.begin_all(world.names)
        await until(lambda: all(node.node.engine.may_sign for node in world.up), 60)
        clients = clients_of(world)
        for client in clients:
            client.valid_ms = HOUR_MS + int(2_000 * outage_s)
        for client in clients:
            client.hand_in(world.up[0])
        await until(lambda: len(world.accepted) == len(clients) and not lacking(world), 60)

        height = world.height + 1
        round_before = max(node.node.engine.machine.round for node in world.up)
        victims = world.up[-(faults + 1) :]
        await world.kill(*victims, power=True)
        for client in clients:
            client.hand_in(world.up[0])
        await trio.sleep(1)
        # What is said over and over is said without delay: it saves two thirds of the work.
        world.links.weather.delay_s = 0.0
        await trio.sleep(outage_s)
        world.links.weather.calm()
        assert world.height == height - 1, "decided without a quorum"
        assert len(world.accepted) == 2 * len(clients), "the network takes payments all the time"
        for node in world.up:
            machine = node.node.engine.machine
            assert machine.height == height
            assert machine.round <= round_before + 1

        back_s = trio.current_time()
        for name in sorted(world.down):
            assert await world.begin(name) is not None
        await until(lambda: not lacking(world), 120)
        print(f"{outage_s / HOUR_S:g} h without quorum, {trio.current_time() - back_s:.1f} s to go")
        first = world.first_decision(height)
        assert first is not None
        assert first.certificate.round <= round_before + faults + 2
        client = Client(world, world.bob, 5)
        client.hand_in(world.up[-1])
        await until(lambda: client.open is None and not lacking(world), 60)
        world.check_end()

    run_world(scenario, seed, count, checkers=checkers())


def test_minutes_without_a_quorum_cost_minutes() -> None:
    quorum_lost(4, 600, seed=4)


@pytest.mark.full
def test_three_of_seven_down_for_ten_hours_then_back() -> None:
    quorum_lost(7, 10 * HOUR_S, seed=1)
