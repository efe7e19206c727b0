"""Events by long polling, and filters: the same events for everyone, none lost between calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from clawpurse.ledger.transactions import Role
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.wallet.builder import sign_body, transfer_action
from tests.node.rpc.nodeworld import NodeWorld, Running, prune, run_world, text_of

TOPICS = ("blocks", "transactions", "events", "account", "asset", "compliance")


async def everything(node: Running, limit: int = 500, **asked: Any) -> list[dict[str, Any]]:
    """All that a topic holds, page by page."""
    found: list[dict[str, Any]] = []
    cursor = asked.pop("fromCursor", "beginning")
    while True:
        page = await node.call("events_get", fromCursor=cursor, limit=limit, **asked)
        assert len(page["events"]) <= limit
        found += page["events"]
        if cursor == page["nextCursor"]:
            return found
        cursor = page["nextCursor"]


async def busy(world: NodeWorld, node: Running) -> None:
    """Some blocks with payments of two assets that succeed, and some that fail."""
    for _ in range(2):
        await world.final(
            node,
            world.pay(world.alice, target=world.bob.account, amount=3),
            world.pay(world.bob, target=world.alice.account, asset="EUR"),
            world.pay(world.bob, amount=10**12),
        )
        both = [
            transfer_action("EUR", world.carol.account, 2),
            transfer_action("CLAW", world.bob.account, 5),
        ]
        body = world.body(world.alice, *both, fee=1, payer=world.bob.account)
        await world.final(
            node, sign_body(body, [(Role.SENDER, world.alice), (Role.PAYER, world.bob)])
        )


async def test_a_poll_waits_for_the_next_event_and_no_longer(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A program without a WebSocket hears of a payment when it is final, not at its next round."""
    await world.final(node, world.pay(world.alice))
    now = await node.call("events_get")
    assert now["events"] == []
    assert now["height"] == 1
    answers: list[Any] = []

    async def poll() -> None:
        answers.append(await node.call("events_get", fromCursor=now["nextCursor"], waitMs=20_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await trio.sleep(5)
        assert answers == []
        await world.final(node, world.pay(world.alice))
    (answer,) = answers
    assert [event["data"]["kind"] for event in answer["events"]] == ["assets.transferred"]
    assert answer["events"][0]["topic"] == "events"
    assert answer["events"][0]["final"] is True
    began = trio.current_time()
    nothing = await node.call("events_get", fromCursor=answer["nextCursor"], waitMs=3_000)
    assert nothing["events"] == []
    assert nothing["nextCursor"] == answer["nextCursor"]
    assert 3 <= trio.current_time() - began < 4


async def test_pages_subscriptions_and_any_page_size_give_the_same_stream(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """What is replayed is what was pushed, however it is cut into pages."""
    world = make_world(interval_ms=500)
    node = await world.node()
    live: dict[str, list[Any]] = {topic: [] for topic in TOPICS}
    asked = {
        "account": {"account": text_of(world.alice)},
        "asset": {"asset": "EUR"},
    }

    async def listen(topic: str) -> None:
        async with node.client().subscribe(topic, asked.get(topic)) as events:
            async for event in events:
                live[topic].append((event.cursor, event.data))

    async with trio.open_nursery() as nursery:
        for topic in TOPICS:
            nursery.start_soon(listen, topic)
        await trio.sleep(1)
        await busy(world, node)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    for topic in TOPICS:
        whole = await everything(node, topic=topic, filter=asked.get(topic) or {})
        told = [(event["cursor"], event["data"]) for event in whole]
        assert told == live[topic]
        assert await everything(node, 1, topic=topic, filter=asked.get(topic) or {}) == whole
        places = [tuple(map(int, cursor.split("."))) for cursor, _ in told]
        assert places == sorted(set(places)), "cursors rise"
    assert live["account"]
    assert live["asset"]
    # Every event was encoded once, whoever asked for it.
    events = len(await everything(node, topic="events"))
    blocks = len(live["blocks"]) + len(live["transactions"])
    assert node.node.services.events.encoded == events + blocks


def _event_matches(matching: dict[str, Any], data: dict[str, Any]) -> bool:
    """The filter of events in other words: over the JSON that everybody sees."""
    about = data["data"].get("asset")
    account, direction = matching.get("account"), matching.get("direction")
    moved = {
        "assets.transferred": data["accounts"][:2],
        "assets.minted": [None, *data["accounts"]],
        "assets.burned": [*data["accounts"], None],
    }.get(data["kind"], [None, None])
    return (
        data["kind"].startswith(matching.get("kind", ""))
        and matching.get("asset", about) == about
        and (account is None or account in data["accounts"])
        and (direction is None or moved[direction == "in"] == account)
    )


def _transaction_matches(matching: dict[str, Any], data: dict[str, Any]) -> bool:
    receipt = data["receipt"]
    account = matching.get("account")
    pays = account in (data["sender"], data["payer"])
    touched = any(account in event["accounts"] for event in receipt["events"])
    side = {"out": pays, "in": touched and not pays, None: pays or touched}
    assets = [event["data"].get("asset") for event in receipt["events"]]
    kinds = [event["kind"] for event in receipt["events"]]
    return (
        (account is None or side[matching.get("direction")])
        and ("asset" not in matching or matching["asset"] in assets)
        and ("kind" not in matching or any(k.startswith(matching["kind"]) for k in kinds))
        and (
            "action" not in matching
            or any(one["name"].startswith(matching["action"]) for one in data["actions"])
        )
        and matching.get("failed", receipt["code"] != "ok") == (receipt["code"] != "ok")
        and matching.get("code", receipt["code"]) == receipt["code"]
    )


FILTER = st.fixed_dictionaries(
    {},
    optional={
        "who": st.sampled_from(["alice", "bob", "carol"]),
        "direction": st.sampled_from(["in", "out"]),
        "asset": st.sampled_from(["CLAW", "EUR", "NONE"]),
        "kind": st.sampled_from(["assets.", "accounts.opened", "assets.transferred", "kernel."]),
        "action": st.sampled_from(["assets.", "assets.transfer", "roles."]),
        "failed": st.booleans(),
        "code": st.sampled_from(["ok", "insufficientFunds"]),
    },
)


@settings(max_examples=4)
@given(examples=st.lists(FILTER, min_size=10, max_size=20))
def test_a_filter_leaves_out_and_changes_nothing(examples: list[dict[str, Any]]) -> None:
    """Whoever filters on the node gets what filtering all events oneself would give."""

    async def scenario(world: NodeWorld) -> None:
        node = await world.node()
        await busy(world, node)
        streams = {name: await everything(node, topic=name) for name in ("events", "transactions")}
        for example in examples:
            matching = dict(example)
            who = matching.pop("who", None)
            if who is None:
                matching.pop("direction", None)
            else:
                matching["account"] = text_of(getattr(world, who))
            for topic, matches, fields in (
                ("events", _event_matches, {"account", "direction", "asset", "kind"}),
                ("transactions", _transaction_matches, set(matching)),
            ):
                asked = {name: value for name, value in matching.items() if name in fields}
                wanted = [event for event in streams[topic] if matches(asked, event["data"])]
                assert await everything(node, topic=topic, filter=asked) == wanted
        blocks = await everything(node, topic="blocks")
        full = [event for event in blocks if event["data"]["transactionCount"]]
        assert await everything(node, topic="blocks", filter={"nonEmpty": True}) == full

    run_world(scenario, interval_ms=300)


async def test_what_cannot_be_polled_says_why(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A mistake, or what was pruned, is an answer with the way out; the oldest kept is a word."""
    for _ in range(3):
        await world.final(node, world.pay(world.alice))
    for asked, code in (
        ({"topic": "weather"}, -32001),
        ({"fromCursor": "x"}, -32602),
        ({"filter": {"acount": "x"}}, -32602),
        ({"waitMs": 10**6}, -32602),
        ({"limit": 0}, -32602),
    ):
        with pytest.raises(RpcError) as caught:
            await node.call("events_get", **asked)
        assert caught.value.code == code, asked
    prune(node, 3)
    with pytest.raises(RpcError) as caught:
        await node.call("events_get", fromCursor="0.0")
    assert caught.value.code == -32002
    kept = await everything(node, topic="blocks")
    assert [event["cursor"] for event in kept] == ["3.0"]
