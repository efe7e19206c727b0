"""Subscriptions: each final event once and in order, whatever is cut, restarted or replaced."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from clawpurse.ledger.transactions import Role
from clawpurse.modules.kit.web.client import Subscription
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.wallet.builder import sign_body, transfer_action
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import NodeWorld, Running, hexed, prune, run_world, text_of, until

BEGINNING = "0.0"


async def take(events: Subscription, count: int) -> list[Any]:
    """The next events, which must come within a minute."""
    found = []
    with trio.fail_after(60):
        for _ in range(count):
            found.append(await events.__anext__())
    return found


async def nothing_comes(events: Subscription, seconds: float = 2.0) -> bool:
    with trio.move_on_after(seconds):
        await events.__anext__()
        return False
    return True


async def test_blocks_are_pushed_as_they_become_final(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A dashboard shows each block when it is final, and only then."""
    await world.final(node, world.pay(world.alice))
    async with node.client().subscribe("blocks") as events:
        seen: list[Any] = []

        async def listen() -> None:
            seen.extend(await take(events, 2))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.sleep(1)
            await world.final(node, world.pay(world.alice))
            await world.final(node, world.pay(world.alice))
        assert [(event.cursor, event.final, event.gap) for event in seen] == [
            ("2.0", True, False),
            ("3.0", True, False),
        ]
        block = await node.call("chain_getBlock", height=2)
        assert seen[0].data == {
            "header": block["header"],
            "height": 2,
            "hash": block["header"]["hash"],
            "time": block["header"]["time"],
            "transactionCount": 1,
        }


async def test_transactions_with_receipts_and_by_account(
    autojump_clock: MockClock,
    make_world: Callable[..., NodeWorld],
) -> None:
    """A shop hears of payments that it takes part in, as receiver, sender or sponsor."""
    world = make_world(interval_ms=2_000)
    node = await world.node()
    to_carol = world.pay(world.alice)
    to_bob = world.pay(world.alice, target=world.bob.account)
    body = world.body(world.alice, fee=1, payer=world.bob.account)
    sponsored = sign_body(body, [(Role.SENDER, world.alice), (Role.PAYER, world.bob)])
    failing = world.pay(world.bob, amount=10**12)
    await world.final(node, to_carol, to_bob, sponsored, failing)
    async with node.client().subscribe("transactions", from_cursor=BEGINNING) as events:
        everything = await take(events, 4)
    assert [event.cursor for event in everything] == ["1.0", "1.1", "1.2", "1.3"]
    for event in everything:
        asked = await node.call("tx_get", txId=event.data["txId"])
        del asked["status"]
        assert event.data == asked
    wanted = [
        (world.carol, [to_carol, sponsored]),
        (world.bob, [to_bob, sponsored, failing]),
        (world.alice, [to_carol, to_bob, sponsored]),
        (SigningKey(b"\x42" * 32), []),
    ]
    for key, paid in wanted:
        matching = {"account": text_of(key)}
        async with node.client().subscribe("transactions", matching, BEGINNING) as events:
            found = await take(events, len(paid))
            assert {event.data["txId"] for event in found} == {hexed(one.tx_id) for one in paid}
            assert await nothing_comes(events)


async def test_an_accounts_events(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Every event that touches an account, with the transaction that made it."""
    first = world.pay(world.alice, amount=5)
    await world.final(node, first)
    second = world.pay(world.alice, amount=7)
    await world.final(node, second)
    matching = {"account": text_of(world.carol)}
    async with node.client().subscribe("account", matching, BEGINNING) as events:
        found = await take(events, 3)
    assert [(event.data["kind"], event.data["txId"]) for event in found] == [
        ("accounts.opened", hexed(first.tx_id)),
        ("assets.transferred", hexed(first.tx_id)),
        ("assets.transferred", hexed(second.tx_id)),
    ]
    assert [event.cursor for event in found] == ["1.0", "1.1", "2.0"]
    assert found[2].data["data"] == {"asset": "CLAW", "amount": "7"}


@settings(max_examples=6)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=2, max_size=6),
    cuts=st.lists(st.integers(1, 3), min_size=1, max_size=8),
    topic=st.sampled_from(["blocks", "transactions", "account"]),
)
def test_resuming_at_a_cursor_gives_each_event_once(
    sizes: list[int], cuts: list[int], topic: str
) -> None:
    """Whoever reads a few, goes away and comes back at the cursor reads the whole log."""

    async def scenario(world: NodeWorld) -> None:
        node = await world.node()
        for size in sizes:
            await world.final(node, *[world.pay(world.alice, lane=lane) for lane in range(size)])
        account = {"account": text_of(world.alice)}
        matching = None if topic == "blocks" else account
        total = {"blocks": node.height, "transactions": sum(sizes)}.get(topic)
        if total is None:
            # Carol's account is opened once; each payment is one event more.
            total = sum(sizes) + 1
        read: list[str] = []
        cursor, turn = BEGINNING, 0
        while len(read) < total:
            count = min(cuts[turn % len(cuts)], total - len(read))
            async with node.client().subscribe(topic, matching, cursor) as events:
                part = await take(events, count)
            read += [event.cursor for event in part]
            cursor, turn = read[-1], turn + 1
        async with node.client().subscribe(topic, matching, BEGINNING) as events:
            whole = [event.cursor for event in await take(events, total)]
            assert await nothing_comes(events)
        assert read == whole
        places = [tuple(map(int, one.split("."))) for one in whole]
        assert places == sorted(set(places))

    run_world(scenario)


async def test_a_cursor_outlives_a_restart_and_means_the_same_elsewhere(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A shop moves to another node, or its node restarts, and misses and repeats nothing."""
    follower = await world.node("follower", node)
    for _ in range(4):
        await world.final(node, world.pay(world.alice), world.pay(world.bob))
    await until(lambda: follower.height == node.height)
    async with node.client().subscribe("transactions", {}, BEGINNING) as events:
        whole = await take(events, 8)
    cursor = whole[2].cursor
    async with follower.client().subscribe("transactions", {}, cursor) as events:
        assert await take(events, 5) == whole[3:]
    disk = await world.stop(node)
    again = await world.node(disk=disk)
    async with again.client().subscribe("transactions", {}, cursor) as events:
        assert await take(events, 5) == whole[3:]
        await world.final(again, world.pay(world.alice))
        (fresh,) = await take(events, 1)
    assert fresh.cursor == f"{again.height}.0"


async def test_a_node_that_is_behind_the_cursor_waits_for_its_blocks(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Moving to a slower node gives no error and no repetition, only patience."""
    async with node.client().subscribe("blocks", None, "2.0") as events:
        assert await nothing_comes(events)
        got: list[Any] = []

        async def listen() -> None:
            got.extend(await take(events, 1))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            for _ in range(3):
                await world.final(node, world.pay(world.alice))
        assert got[0].cursor == "3.0"


async def test_an_open_subscription_survives_the_node(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """The client reconnects by itself and goes on at its cursor."""
    client = node.client()
    await world.final(node, world.pay(world.alice))
    running = node
    seen: list[str] = []

    async def listen(events: Subscription) -> None:
        while len(seen) < 4:
            seen.append((await events.__anext__()).cursor or "")

    async def moved(*_: Any) -> trio.abc.Stream:
        if running.node.stopped.is_set():
            raise ConnectionRefusedError("the node is down")
        return await running.stream()

    client._connect = moved
    async with (
        client.subscribe("blocks", None, BEGINNING) as events,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(listen, events)
        await until(lambda: len(seen) == 1)
        await world.final(node, world.pay(world.alice))
        disk = await world.stop(node)
        await trio.sleep(3)
        running = await world.node(disk=disk)
        await world.final(running, world.pay(world.alice))
        await world.final(running, world.pay(world.alice))
    assert seen == ["1.0", "2.0", "3.0", "4.0"]


async def test_a_slow_reader_is_told_where_to_go_on(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A client that does not read gets `sub_lagged` with a cursor: never a silent loss."""
    for _ in range(4):
        await world.final(node, *[world.pay(world.alice) for _ in range(120)])
    client = node.client()
    client._connect = lambda: node.stream(pair=trio.testing.lockstep_stream_pair)
    socket = await client.open_socket()
    request = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "sub_subscribe",
        "params": {"topic": "transactions", "fromCursor": BEGINNING},
    }
    await socket.send(json.dumps(request))
    await trio.sleep(20)
    cursors, lagged = [], None
    with trio.fail_after(60):
        while lagged is None:
            message = json.loads(await socket.receive(60_000))
            if message.get("method") == "sub_event":
                cursors.append(message["params"]["cursor"])
            elif message.get("method") == "sub_lagged":
                lagged = message["params"]["cursor"]
    assert lagged == cursors[-1]
    assert len(cursors) < 480
    async with node.client().subscribe("transactions", {}, lagged) as events:
        rest = await take(events, 480 - len(cursors))
    places = cursors + [event.cursor for event in rest]
    assert len(set(places)) == 480


async def test_a_pruned_cursor_is_said_to_be_pruned(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """The subscriber learns that events are missing here, instead of a silent gap."""
    for _ in range(4):
        await world.final(node, world.pay(world.alice))
    prune(node, below=3)
    async with node.client().subscribe("blocks", None, "1.0") as events:
        with pytest.raises(RpcError) as caught:
            await take(events, 1)
    assert (caught.value.code, caught.value.facts["floor"]) == (-32002, 3)
    async with node.client().subscribe("blocks", None, f"2.{2**32 - 1}") as events:
        assert [event.cursor for event in await take(events, 2)] == ["3.0", "4.0"]


async def test_bad_subscriptions_are_refused(
    autojump_clock: MockClock, node: Running, world: NodeWorld
) -> None:
    """An unknown topic, a foreign cursor or a filter with a mistake is an answer, not silence."""
    carol = text_of(world.carol)
    for topic, matching, cursor, code in (
        ("weather", None, None, -32001),
        ("blocks", None, "x", -32602),
        ("blocks", None, "1.0.0", -32602),
        ("blocks", {"account": carol}, None, -32602),
        ("account", None, None, -32602),
        ("account", {"account": carol[:-1]}, None, -32602),
        ("events", {"direction": "in"}, None, -32602),
        ("alerts", None, "1.0", -32602),
        ("mempool", {"account": carol[:-1]}, None, -32602),
        ("transactions", {"acount": carol}, None, -32602),
    ):
        async with node.client().subscribe(topic, matching, cursor) as events:
            with pytest.raises(RpcError) as caught:
                await take(events, 1)
        assert caught.value.code == code
    over_http = await node.refusal("sub_subscribe", topic="blocks")
    assert over_http.message == "methodDisabled"
    listed = await node.call("sub_listTopics")
    assert [(one["name"], one["final"]) for one in listed] == [
        ("blocks", True),
        ("transactions", True),
        ("events", True),
        ("account", True),
        ("asset", True),
        ("compliance", True),
        ("consensus", False),
        ("mempool", False),
        ("peers", False),
        ("alerts", False),
    ]


async def test_a_large_block_is_read_in_parts(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """More events in one block than are read in one go: none is lost at the seam."""
    world = make_world(interval_ms=2_000)
    node = await world.node()
    action = transfer_action("CLAW", world.carol.account, 1)
    bodies = [world.body(world.alice, *[action] * 16) for _ in range(20)]
    paid = [sign_body(body, [(Role.SENDER, world.alice)]) for body in bodies]
    await world.final(node, *paid)
    async with node.client().subscribe(
        "account", {"account": text_of(world.carol)}, BEGINNING
    ) as events:
        found = await take(events, 321)
        assert await nothing_comes(events)
    assert [event.cursor for event in found] == [f"1.{index}" for index in range(321)]
