"""Networks in memory behave like TCP where it matters, and nodes on them live through faults."""

from __future__ import annotations

import random

import pytest
import trio

from clawpurse.p2p.address import Endpoint
from clawpurse.p2p.memory import MemoryBudget
from clawpurse.p2p.transport import PIPE_BYTES_MAX, MemoryNetwork
from tests.p2p.peers import World, host_of, linked, until

MINUTE_S = 60.0


async def pair(
    network: MemoryNetwork, nursery: trio.Nursery, port: int = 1
) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    found: list[trio.abc.Stream] = []

    async def accept(stream: trio.abc.Stream, _endpoint: Endpoint) -> None:
        found.append(stream)

    network.listen("b", port, accept, nursery)
    near = await network.connect("a", "b", port)
    await until(lambda: bool(found), 5)
    network.unlisten("b", port)
    return near, found[0]


async def test_bytes_arrive_late_in_order_and_whole(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    chance = random.Random(1)
    near, far = await pair(MemoryNetwork(lambda _s, _t: chance.random()), nursery)
    began = trio.current_time()
    sent = b"".join(bytes([n]) * 10 for n in range(100))
    for place in range(0, len(sent), 50):
        await near.send_all(sent[place : place + 50])
    await near.aclose()
    got = b""
    while data := await far.receive_some(7):
        got += data
    assert got == sent
    assert 0.5 < trio.current_time() - began <= 1
    with pytest.raises(trio.BrokenResourceError):
        await far.send_all(b"x")


async def test_a_slow_reader_holds_up_the_writer(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """Simulated links must not hide what fills up on real ones."""
    near, far = await pair(MemoryNetwork(), nursery)
    with trio.move_on_after(10) as scope:
        for _ in range(10):
            await near.send_all(bytes(PIPE_BYTES_MAX // 2))
    assert scope.cancelled_caught
    assert len(await far.receive_some(10**9)) == PIPE_BYTES_MAX // 2
    with trio.fail_after(1):
        await near.send_all(b"x")


async def test_a_cut_link_delays_and_a_reset_breaks(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    network = MemoryNetwork()
    near, far = await pair(network, nursery)
    network.cut("a", "b")
    await near.send_all(b"late")
    with trio.move_on_after(100) as scope:
        await far.receive_some(10)
    assert scope.cancelled_caught
    with trio.move_on_after(100) as scope:
        await network.connect("a", "b", 1)
    assert scope.cancelled_caught
    network.heal("a", "b")
    assert await far.receive_some(10) == b"late"
    with pytest.raises(ConnectionRefusedError):
        await network.connect("a", "b", 1)
    network.reset("b")
    for end in (near, far):
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            await end.receive_some(10)


async def test_a_taken_port_is_refused(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    network = MemoryNetwork()

    async def accept(_stream: trio.abc.Stream, _endpoint: Endpoint) -> None:
        return

    first = await nursery.start(network.transport("a").serve, "a", 0, accept)
    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        async with trio.open_nursery() as inner:
            await inner.start(network.transport("a").serve, "a", first, accept)
    nursery.cancel_scope.cancel()


async def test_the_network_survives_the_node_that_everyone_joined_by(
    autojump_clock: trio.abc.Clock, nursery: trio.Nursery
) -> None:
    """When the bootstrap node is gone, the others still know each other, cuts included."""
    world = World(nursery)
    first = await world.peer(1)
    others = [await world.peer(number, first) for number in range(2, 6)]
    await until(lambda: linked(first, *others), MINUTE_S)
    await world.stop(first)
    await until(lambda: linked(*others), MINUTE_S)
    world.net.cut(host_of(2), host_of(3))
    await until(lambda: others[0].id not in others[1].pool.ids(), 2 * MINUTE_S)
    await trio.sleep(10 * MINUTE_S)
    world.net.heal(host_of(2), host_of(3))
    await until(lambda: linked(*others), 20 * MINUTE_S)
    nursery.cancel_scope.cancel()


async def test_a_mesh_stays_as_it_is(autojump_clock: trio.abc.Clock, nursery: trio.Nursery) -> None:
    """No pair of nodes keeps replacing its connection, whatever the delays."""
    world = World(nursery)
    chance = random.Random(7)
    world.net._delay_s = lambda _source, _to: 0.2 * chance.random()
    first = await world.peer(1)
    peers = [first] + [await world.peer(number, first) for number in range(2, 8)]
    await until(lambda: linked(*peers), MINUTE_S)
    await trio.sleep(MINUTE_S)
    counts = [len(peer.heard.events) for peer in peers]
    since = [peer.connection(first).since_s for peer in peers[1:]]
    await trio.sleep(10 * MINUTE_S)
    assert [len(peer.heard.events) for peer in peers] == counts
    assert [peer.connection(first).since_s for peer in peers[1:]] == since
    nursery.cancel_scope.cancel()


def test_the_one_who_holds_most_is_given_up() -> None:
    """An honest peer with a vote in its queue does not pay for a hoarder."""
    given_up: list[str] = []
    budget: MemoryBudget[str] = MemoryBudget(given_up.append, 100)
    budget.hold("honest", 10)
    budget.hold("hoarder", 85)
    assert given_up == []
    budget.hold("honest", 20)
    assert given_up == ["hoarder"]
    assert budget.total == 20
    budget.hold("hoarder", 0)
    budget.hold("honest", 0)
    assert budget.total == 0
