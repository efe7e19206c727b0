"""A watch over several nodes: every event once and in order, whatever is killed and restarted."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.wallet.watching import Watch, watch
from tests.node.lab import Lab, run_lab

EVENTS = 160
KILLS = 6


def clients_of(lab: Lab) -> list[Any]:
    """A client of each authority, as it runs at the moment, or refuses while it is down."""

    def client(number: int) -> Any:
        name = f"authority-{number}"

        async def connect() -> trio.abc.Stream:
            if name not in lab.nodes:
                await trio.lowlevel.checkpoint()
                raise OSError("down")
            return await lab.nodes[name].stream()

        return RpcClient(f"http://localhost:{number}", connect=connect, jitter=lambda: 0.0)

    return [client(number) for number in range(1, lab.count + 1)]


def test_a_subscriber_killed_again_and_again_sees_each_event_once() -> None:
    """A shop that keeps its cursor books each payment once, whoever restarts meanwhile."""

    async def scenario(lab: Lab) -> None:
        await lab.authorities()
        clients, chance = clients_of(lab), random.Random(7)
        seen: list[tuple[str, Any]] = []
        cursor = "beginning"
        done = trio.Event()

        async def pay() -> None:
            for _ in range(EVENTS // 20):
                node = lab.nodes["authority-1"]
                await lab.final(node, *[lab.pay(lab.alice) for _ in range(20)])

        async def restart() -> None:
            for number in (4, 3):
                name = f"authority-{number}"
                await trio.sleep(0.5)
                disk = await lab.crash(lab.nodes[name])
                await trio.sleep(1)
                await lab.start(name, disk)
            done.set()

        async def subscribe() -> None:
            nonlocal cursor
            lives = 0
            while len(seen) < EVENTS + 1:
                lives += 1
                stop = EVENTS + 1 if lives > KILLS else len(seen) + chance.randrange(1, 60)
                order = chance.sample(clients, len(clients))
                followed = watch(order, "events", {"kind": "a"}, cursor, jitter=lambda: 0.0)
                async with followed:
                    async for event in followed:
                        cursor = event.cursor or cursor
                        seen.append((cursor, event.data))
                        if len(seen) >= stop:
                            break
            assert lives > KILLS

        with trio.fail_after(600):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pay)
                nursery.start_soon(restart)
                nursery.start_soon(subscribe)
        await done.wait()
        places = [tuple(map(int, place.split("."))) for place, _ in seen]
        assert places == sorted(set(places))
        answer = await clients[0].call("events_get", {"fromCursor": "beginning", "limit": 500})
        whole = [(event["cursor"], event["data"]) for event in answer["events"]]
        assert seen == whole
        assert len(whole) == EVENTS + 1

    run_lab(scenario, interval_ms=50)


def test_a_node_that_is_silent_or_behind_is_left_for_another() -> None:
    """News does not stop because the node that one listens to does."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(1)
        left = nodes[3]
        lab.split([left], nodes[:3])
        for _ in range(3):
            await lab.final(nodes[0], lab.pay(lab.alice))
        clients = clients_of(lab)
        followed = watch([clients[3], clients[0]], "blocks", None, "3.0", jitter=lambda: 0.0)
        async with followed:
            with trio.fail_after(30):
                event = await followed.__anext__()
        assert event.cursor == "4.0"
        assert followed.url.endswith(":1")
        lab.heal_all()
        await lab.reach(4)

    run_lab(scenario)


def test_a_mistake_is_told_once_every_node_has_refused_it() -> None:
    async def scenario(lab: Lab) -> None:
        await lab.authorities()
        for topic, matching in (("weather", None), ("account", {"account": "bob"})):
            followed = watch(clients_of(lab), topic, matching)
            with pytest.raises(RpcError):
                await followed.__anext__()
            await followed.aclose()
        assert isinstance(followed, Watch)

    run_lab(scenario, authorities=1)
