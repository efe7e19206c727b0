"""What audit bundles are made of: parts of blocks with their paths, in bounded answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from trio.testing import MockClock

from clawpurse.ledger.crypto import list_root
from clawpurse.node.rpc import audit_methods
from tests.node.rpc.nodeworld import NodeWorld, Running, octets, prune, text_of


async def test_events_are_found_page_by_page(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """More events than one answer looks at are found by asking on; none twice, none missing."""
    expected = []
    for number in range(1, 4):
        asset = "EUR" if number == 2 else "CLAW"
        paid = world.pay(world.alice, target=world.bob.account, asset=asset, amount=number)
        await world.final(node, paid)
        expected.append({"height": number, "index": 0, "transaction": 0})
    found: list[Any] = []
    cursor: str | None = None
    while True:
        more: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
        answer = await node.call("chain_findEvents", account=text_of(world.bob), **more)
        found += answer["places"]
        cursor = answer["nextCursor"]
        if cursor is None:
            break
    assert found == expected
    euros = await node.call("chain_findEvents", asset="EUR")
    assert euros == {"places": expected[1:2], "nextCursor": None}
    assert (await node.call("chain_findEvents", account=text_of(world.alice), dueOnly=True))[
        "places"
    ] == []
    late = await node.call("chain_findEvents", asset="CLAW", fromHeight=2, toHeight=3)
    assert late["places"] == expected[2:]


async def test_a_large_block_comes_in_several_answers(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole block is whole however many answers it takes."""
    world = make_world(interval_ms=2_000)
    node = await world.node()
    many = [world.pay(world.alice, amount=1 + n, lane=n) for n in range(40)]
    await world.final(node, *many)
    height = node.height
    monkeypatch.setattr(audit_methods, "WHOLE_BYTES_MAX", 2_000)
    transactions: list[Any] = []
    start: int | None = 0
    answers = 0
    while start is not None:
        answer = await node.call("chain_getInclusion", height=height, start=start)
        transactions += answer["transactions"]
        start = answer["nextStart"]
        answers += 1
    assert answers > 3
    view = node.node.chain.view(height)
    assert [octets(one["signed"]) for one in transactions] == list(view.block.transactions)
    receipts = [octets(one["receipt"]) for one in transactions]
    assert list_root(receipts) == view.block.header.receipts_root


async def test_what_is_not_there_is_refused(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    await world.final(node, world.pay(world.alice))
    await world.final(node, world.pay(world.alice))
    for params, code in (
        ({"height": 3}, -32001),
        ({"height": 0}, -32001),
        ({"height": 1, "transactions": [1]}, -32001),
        ({"height": 1, "transactions": [0], "events": [0]}, -32001),
        ({"height": 1, "transactions": [-1]}, -32602),
        ({"height": 1, "transactions": [0, 0]}, -32602),
        ({"height": 1, "transactions": list(range(257))}, -32602),
    ):
        assert (await node.refusal("chain_getInclusion", **params)).code == code, params
    assert (await node.refusal("chain_findEvents", cursor="x")).code == -32602
    prune(node, 2)
    assert (await node.refusal("chain_findEvents")).code == -32002
    assert (await node.refusal("chain_getInclusion", height=1)).code == -32002
    assert await node.call("chain_getAuthorityChanges") == {"changes": [], "nextAfter": None}
