"""payment_*: what is set apart, for whom, until when, as people and programs ask a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from trio.testing import MockClock

from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.node.rpc.payment_methods import parse_object
from clawpurse.node.rpc.values import text_or_none
from clawpurse.wallet.builder import sign_body
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import HOUR_MS, START_MS, NodeWorld, Running, node_world, text_of

DAY_MS = 24 * HOUR_MS


async def done(
    world: NodeWorld, node: Running, sender: SigningKey, name: str, *values: Any
) -> dict[str, Any]:
    """Final, with its events by kind."""
    body = world.body(sender, RawAction(f"payments.{name}", list(values)))
    transaction = sign_body(body, [(Role.SENDER, sender)])
    await world.final(node, transaction)
    receipt = await node.call("tx_getReceipt", txId=f"0x{transaction.tx_id.hex()}")
    assert receipt["code"] == "ok", receipt
    return {event["kind"]: event["data"] for event in receipt["events"]}


def times(*offsets_ms: int) -> Sequence[int]:
    return [START_MS + offset for offset in offsets_ms]


async def test_what_is_promised_is_shown_with_its_particulars(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await world.node()
        alice, bob = text_of(world.alice), text_of(world.bob)
        finish, cancel = times(HOUR_MS, DAY_MS)
        terms = ["CLAW", world.bob.account, 300, finish, cancel, None, None, b"order 7", None]
        made = await done(world, node, world.alice, "createEscrow", *terms)
        escrow_id = made["payments.escrowCreated"]["escrowId"]
        escrow = await node.call("payment_getEscrow", escrow=escrow_id)
        assert (escrow["asset"], escrow["amount"], escrow["paidByItself"]) == ("CLAW", "300", True)
        assert (escrow["payer"], escrow["payee"], escrow["arbiter"]) == (alice, bob, None)
        assert escrow["finishAfter"] == time_text(finish)
        assert escrow["cancelAfter"] == time_text(cancel)
        assert (escrow["reference"], escrow["referenceText"]) == ("0x6f726465722037", "order 7")
        hold = await node.call("payment_getHold", hold=escrow_id)
        assert (hold["purpose"], hold["officers"], hold["votes"]) == ("escrow", None, [])

        made = await done(
            world, node, world.alice, "schedule", "CLAW", world.bob.account, 5, cancel, b"\xff",
            b"t" * 32,
        )  # fmt: skip
        scheduled_id = made["payments.scheduled"]["scheduledId"]
        scheduled = await node.call("payment_getScheduled", scheduled=scheduled_id)
        assert (scheduled["time"], scheduled["referenceText"]) == (time_text(cancel), None)
        assert scheduled["travelHash"] == "0x" + "74" * 32

        pay = ["EUR", world.bob.account, 80, b"INV", None, 30, []]
        made = await done(world, node, world.alice, "pay", *pay)
        payment_id = made["payments.payment"]["paymentId"]
        raw_id = bytes.fromhex(payment_id[2:])
        await done(world, node, world.bob, "refund", raw_id, 30, b"broken")
        payment = await node.call("payment_getRefunds", payment=payment_id)
        assert (payment["amount"], payment["refunded"], payment["left"]) == ("80", "30", "50")
        assert payment["refunds"][0]["referenceText"] == "broken" and not payment["held"]

        page = await node.call("payment_listObjects", account=bob, limit=2)
        assert [one["kind"] for one in page["objects"]] == ["escrow", "payment"]
        rest = await node.call("payment_listObjects", account=bob, cursor=page["nextCursor"])
        assert [one["id"] for one in rest["objects"]] == [scheduled_id]
        assert rest["objects"][0]["amount"] == "5" and rest["nextCursor"] is None
        only = await node.call("payment_listObjects", account=bob, kind="payment")
        assert [one["left"] for one in only["objects"]] == ["50"]


async def test_a_placed_hold_shows_who_voted_how(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await world.node()
        alice, bob = text_of(world.alice), text_of(world.bob)
        releasers = sorted([world.bob.account, b"\x01" * 32])
        await world.final(
            node,
            sign_body(
                world.body(world.alice, RawAction("accounts.open", [b"\x01" * 32])),
                [(Role.SENDER, world.alice)],
            ),
        )
        (expires,) = times(DAY_MS)
        placed = [
            "CLAW",
            world.carol.account,
            70,
            "deposit",
            expires,
            1,
            0,
            releasers,
            2,
            b"",
            None,
        ]
        made = await done(world, node, world.alice, "placeHold", *placed)
        hold_id = made["payments.holdPlaced"]["holdId"]
        await done(world, node, world.bob, "voteHold", bytes.fromhex(hold_id[2:]), 0, "no.goods")
        hold = await node.call("payment_getHold", hold=hold_id)
        assert (hold["purpose"], hold["needed"], hold["atExpiry"]) == ("placed", 2, "release")
        assert hold["placed"]["reason"] == "deposit" and len(hold["placed"]["releasers"]) == 2
        (vote,) = hold["votes"]
        assert (vote["voter"], vote["release"], vote["reason"]) == (bob, False, "no.goods")
        assert vote["entitled"]
        for account in (alice, text_of(world.carol)):
            listed = await node.call("payment_listHolds", account=account)
            assert [one["holdId"] for one in listed["holds"]] == [hold_id]
        assert (await node.call("payment_listHolds"))["holds"] == []


async def test_lists_of_holds_are_read_in_pages(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await world.node()
        (when,) = times(DAY_MS)
        for amount in (1, 2, 3):
            terms = ["CLAW", world.bob.account, amount, when, b"", None]
            await done(world, node, world.alice, "schedule", *terms)
        found: list[str] = []
        cursor = None
        for _ in range(3):
            more: dict[str, Any] = {} if cursor is None else {"cursor": cursor}
            page = await node.call(
                "payment_listHolds", account=text_of(world.alice), limit=1, **more
            )
            found += [one["amount"] for one in page["holds"]]
            cursor = page["nextCursor"]
        assert sorted(found) == ["1", "2", "3"] and cursor is None


async def test_what_is_not_there_or_not_asked_rightly_is_refused(
    autojump_clock: MockClock,
) -> None:
    async with node_world() as world:
        node = await world.node()
        nothing = "0x" + "00" * 32
        for method, name in (
            ("payment_getHold", "hold"),
            ("payment_getEscrow", "escrow"),
            ("payment_getScheduled", "scheduled"),
            ("payment_getRefunds", "payment"),
        ):
            assert (await node.refusal(method, **{name: nothing})).code == NOT_FOUND
            await node.refusal(method, **{name: "0x12"})
        account = text_of(world.alice)
        await node.refusal("payment_listObjects", account=account, kind="nothing")
        await node.refusal("payment_listObjects", account=account, cursor="escrow.0x12")
        await node.refusal("payment_listHolds", officers="No Role")
        assert (await node.call("payment_listObjects", account=account))["objects"] == []


@pytest.mark.parametrize(
    "cursor", ["", "escrow", "escrow." + "0" * 64, "thing.0x" + "0" * 64, "hold.0x" + "x" * 64]
)
def test_a_cursor_that_we_never_gave_is_refused(cursor: str) -> None:
    with pytest.raises(Malformed):
        parse_object(cursor)


def test_references_are_shown_as_text_only_when_they_are_plain() -> None:
    assert text_or_none(b"INV 9") == "INV 9"
    assert text_or_none(b"\x1b[2J") is None and text_or_none(b"\xc3\xa9") is None
