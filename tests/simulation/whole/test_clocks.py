"""Clocks that are wrong: a little, too much, jumping, standing still.

A user would wait, or see a block with a time that was never, if one wrong clock could stop the
network or set its time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from tests.node.rpc.nodeworld import START_MS, until
from tests.simulation.whole.checkers import checkers
from tests.simulation.whole.clients import Client, lacking
from tests.simulation.whole.clocks import BadClock
from tests.simulation.whole.storm import PRECISION_MS
from tests.simulation.whole.world import World, run_world

VICTIM = "authority-1"
HEIGHTS = 9
#: A block's time may be so much older than its receipt: what its message took.
MESSAGE_MS = 2_000

Wrong = Callable[[BadClock], None]


def pays_with(wrong: Wrong, who: tuple[str, ...] = (VICTIM,)) -> World:
    """Pay a few times while clocks are wrong; return what happened."""
    worlds: list[World] = []

    async def scenario(world: World) -> None:
        worlds.append(world)
        await world.begin_all(world.names)
        await until(lambda: all(node.node.engine.may_sign for node in world.up), 60)
        # Links without delay: the precision is met to the millisecond.
        world.links.weather.delay_s = 0.0
        for name in who:
            wrong(world.clocks[name])
        client = Client(world, world.alice, 0)
        for turn in range(HEIGHTS):
            client.hand_in(world.up[turn % 4])
            await until(lambda: client.open is None, 30)
            await until(lambda: not lacking(world), 60)
            await trio.sleep(0.3)
        for height in range(1, world.height + 1):
            decision = world.first_decision(height)
            assert decision is not None
            true_ms = START_MS + decision.time_s * 1000
            # Whoever is right decides what time it is.
            assert decision.header.time_ms <= true_ms + 2 * PRECISION_MS
        world.check_step()
        world.check_end()

    run_world(scenario, seed=8, checkers=checkers())
    return worlds[0]


def proposed_first(world: World, name: str) -> list[int]:
    """The heights that were decided for what a node proposed in round 0."""
    keys = sorted(world.key_names)
    found = []
    for height in range(1, world.height + 1):
        decision = world.first_decision(height)
        assert decision is not None
        mine = world.key_names[keys[(height - 1) % len(keys)]] == name
        if mine and decision.header.first_round == 0:
            found.append(height)
    return found


@pytest.mark.parametrize(
    "skew_ms", [-100, 100, PRECISION_MS - 1, PRECISION_MS, -PRECISION_MS, -MESSAGE_MS]
)
def test_a_clock_within_the_precision_proposes_as_any_other(skew_ms: int) -> None:
    world = pays_with(lambda clock: clock.correct(skew_ms))
    assert proposed_first(world, VICTIM)


@pytest.mark.parametrize("skew_ms", [PRECISION_MS + 1, 2 * PRECISION_MS, 10_000])
def test_a_clock_that_is_too_fast_fails_its_rounds_and_not_the_chain(skew_ms: int) -> None:
    world = pays_with(lambda clock: clock.correct(skew_ms))
    assert proposed_first(world, VICTIM) == []
    assert world.lines["P26:untimely"]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda clock: clock.correct(-10_000),
        lambda clock: clock.jump(10_000),
        lambda clock: clock.jump(-10_000),
        lambda clock: clock.freeze(),
    ],
    ids=["ten seconds slow", "jumps forward", "jumps back", "stands still"],
)
def test_one_wrong_clock_stops_nobody(wrong: Wrong) -> None:
    pays_with(wrong)


def test_all_clocks_wrong_by_less_than_the_precision_stop_nobody() -> None:
    """Half of them a little slow, half a little fast: as far apart as R20 bears."""

    def wrong(clock: BadClock) -> None:
        clock.correct(PRECISION_MS // 2 - 30 if len(seen) % 2 else -PRECISION_MS // 2 + 30)
        seen.append(clock)

    seen: list[BadClock] = []
    pays_with(wrong, tuple(f"authority-{number}" for number in range(1, 5)))
