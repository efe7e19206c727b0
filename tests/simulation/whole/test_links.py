"""What links do to whole nodes, one at a time: lost, late, twice, bent, one way.

A user's payment must come through all of it, and no honest node may be banned for its cable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import trio

from clawpurse.p2p.channels import Channel
from tests.node.rpc.nodeworld import until
from tests.simulation.whole.checkers import checkers
from tests.simulation.whole.clients import Client, clients_of, lacking
from tests.simulation.whole.links import Message, Weather
from tests.simulation.whole.world import FOLLOWER, World, run_world

Harm = Callable[[World], None]


class Deaf:
    """Loses every message of one channel."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.is_on = True

    def passes(self, message: Message) -> Sequence[tuple[float, bytes]] | None:
        return [] if self.is_on and message.channel is self.channel else None


def weather(**values: object) -> Harm:
    def harm(world: World) -> None:
        for name, value in values.items():
            assert hasattr(world.links.weather, name)
            setattr(world.links.weather, name, value)

    return harm


def corrupt_everything(world: World) -> None:
    for one in world.all_names:
        for other in world.all_names:
            if one != other:
                world.links.corrupt(one, other)


def cut_in_a_ring(world: World) -> None:
    """Nobody hears the one before it: every message takes a way round."""
    for place, name in enumerate(world.names):
        world.links.cut_one_way(name, world.names[(place + 1) % len(world.names)])


HARMS: dict[str, Harm] = {
    "a third is lost": weather(lost=33),
    "all arrives twice": weather(repeated=100, held_s=1.0),
    "out of order": weather(held=60, held_s=1.0),
    "everything at once": weather(lost=15, repeated=30, held=30, held_s=0.5, delay_s=0.3),
    "slow links": weather(delay_s=0.4),
    "one slow node": weather(slow={"authority-2": 1.0}),
    "bent bytes": corrupt_everything,
    "one-way cuts": cut_in_a_ring,
}


@pytest.mark.parametrize("harm", HARMS)
def test_payments_come_through(harm: str) -> None:
    async def scenario(world: World) -> None:
        await world.begin_all(world.all_names)
        signers = [world.nodes[name] for name in world.names]
        await until(lambda: all(node.node.engine.may_sign for node in signers), 60)
        HARMS[harm](world)
        clients = clients_of(world)
        for turn in range(3):
            for client in clients:
                client.hand_in(world.up[turn % len(world.up)])
            await until(lambda: not any(client.open for client in clients), 60)
            await trio.sleep(2)
        await until(lambda: not lacking(world), 240)
        world.links.heal_everything()
        for node in world.up:
            assert node.node.peers.standing.bans() == []
        await until(lambda: all(len(node.node.peers.ids()) >= 3 for node in world.up), 120)
        world.check_step()
        world.check_end()

    run_world(scenario, 9, 4, checkers())


def test_a_payment_that_only_a_follower_heard_of_becomes_final() -> None:
    """Accepted where nobody proposes, and what was said of it is lost: it is said again."""

    async def scenario(world: World) -> None:
        await world.begin_all(world.all_names)
        await until(
            lambda: all(node.node.engine.may_sign for node in world.up if node.name != FOLLOWER), 60
        )
        deaf = Deaf(Channel.TRANSACTIONS)
        world.links.taps.append(deaf)
        client = Client(world, world.alice, 0)
        client.hand_in(world.nodes[FOLLOWER])
        await until(lambda: client.open is None, 10)
        await trio.sleep(3)
        deaf.is_on = False
        await until(lambda: not lacking(world), 60)
        world.check_end()

    run_world(scenario, 10, 4, checkers())


def test_fair_weather_is_fair() -> None:
    """Calm means calm: nothing of a storm goes on after it."""
    rough = Weather(lost=5, repeated=5, held=5, sieve={}, slow={"a": 1.0}, extra_s={("a", "b"): 1})
    rough.calm()
    assert rough == Weather(held_s=rough.held_s)
