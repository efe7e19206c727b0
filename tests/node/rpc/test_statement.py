"""Statements: opening + what happened = closing, page by page, as far back as history is kept."""

from __future__ import annotations

from trio.testing import MockClock

from tests.node.rpc.nodeworld import NodeWorld, Running, text_of


async def test_a_statement_adds_up_over_its_pages(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """An accountant books what each page lists, and ends at the balance that the node shows."""
    alice, carol = text_of(world.alice), text_of(world.carol)
    for amount in (5, 7, 11, 13):
        await world.final(node, world.pay(world.alice, amount=amount))
    await world.final(node, world.pay(world.bob, asset="EUR", target=world.carol.account))
    terms = {"account": carol, "fromHeight": 2, "toHeight": 4, "limit": 2}
    first = await node.call("account_getStatement", **terms)
    assert first["balances"] == [
        {
            "asset": "CLAW",
            "decimals": 2,
            "opening": "5",
            "openingHeld": "0",
            "closing": "36",
            "closingHeld": "0",
        }
    ]
    second = await node.call("account_getStatement", **terms, cursor=first["nextCursor"])
    assert second["nextCursor"] is None
    assert second["balances"] == first["balances"]
    entries = [*first["entries"], *second["entries"]]
    assert [entry["height"] for entry in entries] == [2, 3, 4]
    amounts = [int(entry["actions"][0]["fields"]["amount"]) for entry in entries]
    assert 5 + sum(amounts) == 36
    whole = await node.call("account_getStatement", account=carol, fromHeight=1)
    assert (whole["fromHeight"], whole["toHeight"]) == (1, node.height)
    closing = {one["asset"]: one["closing"] for one in whole["balances"]}
    assert closing == {"CLAW": "36", "EUR": "1"}
    assert {one["opening"] for one in whole["balances"]} == {"0"}
    hers = await node.call("account_getStatement", account=alice, fromHeight=node.height + 0)
    assert hers["entries"] == []


async def test_a_statement_of_blocks_that_are_not_there_is_refused(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A wrong range, or a cursor of another one, would give a statement that does not add up."""
    await world.final(node, world.pay(world.alice))
    alice = text_of(world.alice)
    for code, params in (
        (-32001, {"fromHeight": 1, "toHeight": 99}),
        (-32602, {"fromHeight": 0}),
        (-32602, {"fromHeight": 1, "toHeight": 1, "cursor": "2.0"}),
        (-32602, {"fromHeight": 1, "cursor": "x"}),
        (-32602, {"fromHeight": 2, "toHeight": 1}),
    ):
        refusal = await node.refusal("account_getStatement", account=alice, **params)
        assert refusal.code == code, params
