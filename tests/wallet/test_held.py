"""What holds a held amount, told by a whole node: nothing of it is left unexplained."""

from __future__ import annotations

from typing import Any

from trio.testing import MockClock

from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.wallet.builder import sign_body
from clawpurse.wallet.client import Balance, NodeClient
from clawpurse.wallet.held import held_of, unexplained
from clawpurse.wallet.home import Network
from tests.node.rpc.nodeworld import HOUR_MS, START_MS, NodeWorld, Running, node_world, text_of

DAY_MS = 24 * HOUR_MS


async def _promise(world: NodeWorld, node: Running, name: str, *values: Any) -> dict[str, Any]:
    """Done by alice and final; the data of its events."""
    body = world.body(world.alice, RawAction(f"payments.{name}", list(values)))
    transaction = sign_body(body, [(Role.SENDER, world.alice)])
    await world.final(node, transaction)
    receipt = await node.call("tx_getReceipt", txId=f"0x{transaction.tx_id.hex()}")
    assert receipt["code"] == "ok", receipt
    told: dict[str, Any] = {}
    for event in receipt["events"]:
        told |= event["data"]
    return told


async def test_all_that_is_held_is_explained_and_can_be_ended(autojump_clock: MockClock) -> None:
    """Who sees less than they had asks why, until when, and what to type."""
    async with node_world() as world:
        node = await world.node()
        bob, soon, later = world.bob.account, START_MS + HOUR_MS, START_MS + DAY_MS

        terms = ["CLAW", bob, 300, None, later, b"\x07" * 32, None, b"", None]
        made = await _promise(world, node, "createEscrow", *terms)
        escrow = made["escrowId"]
        made = await _promise(world, node, "schedule", "CLAW", bob, 20, soon, b"", None)
        scheduled = made["scheduledId"]
        made = await _promise(world, node, "placeHold", "CLAW", bob, 7, "deposit", soon + 1_000,
                              1, 1, [], 0, b"", None)  # fmt: skip
        placed = made["holdId"]
        terms = ["CLAW", bob, 50, HOUR_MS, 1, later + 1_000, None, b"", None]
        channel = (await _promise(world, node, "openChannel", *terms))["channelId"]

        network = Network("test", ("http://localhost",))
        opened: Any = lambda url: node.client()  # noqa: E731
        async with NodeClient(network, open_client=opened) as client:
            held = await held_of(client, world.alice.account)
            balances = await client.balances(world.alice.account)
            assert await held_of(client, bob) == ()
        assert unexplained(balances, held) == {}
        assert [(one.kind, one.amount, one.then, one.until) for one in held] == [
            ("scheduled", 20, "paid", time_text(soon)),
            ("placed", 7, "paid", time_text(soon + 1_000)),
            ("escrow", 300, "returned", time_text(later)),
            ("channel", 50, "returned", time_text(later + 1_000)),
        ]
        assert [one.command.text for one in held] == [
            f"clawpurse schedule cancel {scheduled}",
            f"clawpurse hold show {placed}",
            f"clawpurse escrow finish {escrow}",
            f"clawpurse channel close {channel}",
        ]
        assert {one.payee for one in held} == {text_of(world.bob)}
        assert held[0].document()["amount"] == "20"
        (claw,) = [one for one in balances if one.asset == "CLAW"]
        assert unexplained([claw], held[1:]) == {"CLAW": 20}
        assert unexplained([Balance("EUR", 5, 0, 2)], held) == {}
