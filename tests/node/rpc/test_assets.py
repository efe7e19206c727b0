"""asset_*: an issued asset as holders, issuers and auditors see it from a real node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trio.testing import MockClock

from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.modules.assets.records import (
    AUTHORISATION_REQUIRED,
    CLAWBACK,
    FREEZABLE,
    RESERVE,
    TRANSFERABLE,
)
from clawpurse.wallet.builder import sign_body
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import HOUR_MS, START_MS, NodeWorld, Running, node_world, text_of

FLAGS = AUTHORISATION_REQUIRED | FREEZABLE | CLAWBACK | TRANSFERABLE | RESERVE
DOCUMENT = bytes(range(32))


async def done(
    world: NodeWorld, node: Running, sender: SigningKey, verb: str, *values: Any
) -> None:
    body = world.body(sender, RawAction(f"assets.{verb}", list(values)))
    transaction = sign_body(body, [(Role.SENDER, sender)])
    await world.final(node, transaction)
    receipt = await node.call("tx_getReceipt", txId=f"0x{transaction.tx_id.hex()}")
    assert receipt["code"] == "ok", receipt


async def issued(world: NodeWorld) -> Running:
    """Alice issues EURX, Bob has 500 of it, holds the duty `reserve`, and is frozen."""
    world.genesis = replace(world.genesis, roles=(GenesisRole("issuer", world.alice.account),))
    node = await world.node()
    alice, bob = world.alice, world.bob.account
    terms = ["EURX", 2, "Euro X", FLAGS, 10_000, "https://eurx.example", DOCUMENT]
    await done(world, node, alice, "create", *terms)
    await done(world, node, alice, "appoint", "EURX", "reserve", bob)
    report = ["EURX", 900, START_MS - HOUR_MS, DOCUMENT, START_MS + HOUR_MS]
    await done(world, node, world.bob, "attestReserve", *report)
    await done(world, node, alice, "authorise", "EURX", bob, 2)
    await done(world, node, alice, "mint", "EURX", bob, 500)
    await done(world, node, alice, "freeze", "EURX", bob, 1, "court-order")
    return node


async def test_an_asset_says_who_issues_it_and_what_backs_it(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await issued(world)
        bob = text_of(world.bob)
        shown = {
            "asset": "EURX",
            "decimals": 2,
            "title": "Euro X",
            "supply": "500",
            "issuer": text_of(world.alice),
            "flags": ["authorisationRequired", "freezable", "clawback", "transferable", "reserve"],
            "cap": "10000",
            "frozen": False,
            "issued": True,
            "metadata": "https://eurx.example",
            "metadataHash": f"0x{DOCUMENT.hex()}",
        }
        assert await node.call("asset_get", asset="EURX") == {
            **shown,
            "agents": [{"duty": "reserve", "accounts": [bob]}],
            "reserve": {
                "amount": "900",
                "asOf": time_text(START_MS - HOUR_MS),
                "documentHash": f"0x{DOCUMENT.hex()}",
                "validUntil": time_text(START_MS + HOUR_MS),
                "by": bob,
                "height": 3,
                "valid": True,
            },
        }
        mine = await node.call("asset_list", issuer=text_of(world.alice))
        assert mine == {"assets": [shown], "nextCursor": None}
        assert (await node.call("asset_list", issuer=bob))["assets"] == []


async def test_holders_are_listed_with_what_they_may_do(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await issued(world)
        bob, carol = text_of(world.bob), text_of(world.carol)
        frozen = {"height": 6, "by": text_of(world.alice), "reason": "court-order"}
        holder = {
            "account": bob,
            "amount": "500",
            "held": "0",
            "freeze": "freeze",
            "authorisation": "full",
            "frozenBy": frozen,
        }
        listed = await node.call("asset_getHolders", asset="EURX")
        assert listed == {
            "asset": "EURX", "decimals": 2, "holders": [holder], "nextCursor": None,
        }  # fmt: skip
        assert await node.call("asset_getHolders", asset="EURX", frozen=True) == listed
        assert (await node.call("asset_getHolders", asset="EUR", frozen=True))["holders"] == []
        holding = await node.call("asset_getHolding", asset="EURX", account=bob)
        assert holding == {"asset": "EURX", "decimals": 2, "height": 6, **holder}
        before = await node.call("asset_getHolding", asset="EURX", account=bob, atHeight=5)
        assert (before["freeze"], before["frozenBy"]) == ("none", None)
        nobody = await node.call("asset_getHolding", asset="EURX", account=carol)
        assert (nobody["amount"], nobody["authorisation"]) == ("0", "none")


async def test_holders_come_in_pages_and_balances_of_every_asset(
    autojump_clock: MockClock,
) -> None:
    async with node_world() as world:
        node = await issued(world)
        found, cursor, more = [], None, True
        while more:
            named: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
            page = await node.call("asset_getHolders", asset="EUR", limit=1, **named)
            found += [one["account"] for one in page["holders"]]
            cursor = page["nextCursor"]
            more = cursor is not None
        assert len(found) == len(set(found)) == 3
        assert {text_of(world.alice), text_of(world.bob)} < set(found)
        balances = await node.call("account_getBalances", account=text_of(world.bob))
        assert [one["asset"] for one in balances["balances"]] == ["CLAW", "EUR", "EURX"]
        past = await node.call("account_getBalances", account=text_of(world.bob), atHeight=4)
        assert [one["asset"] for one in past["balances"]] == ["CLAW", "EUR"]


async def test_what_cannot_be_asked_of_holders(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await world.node()
        for method in ("asset_getHolders", "asset_getHolding"):
            named = {"account": text_of(world.bob)} if method == "asset_getHolding" else {}
            assert (await node.refusal(method, asset="NONE", **named)).code == -32001
            native = await node.refusal(method, asset="CLAW", **named)
            assert native.code == -32602
        assert (await node.refusal("asset_getHolders", asset="EUR", cursor="x")).code == -32602
