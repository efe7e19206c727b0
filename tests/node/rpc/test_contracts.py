"""payment_*: batches, invoices, channels and vouchers, as people and programs ask a node."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.ledger.vouchers import Terms
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.modules.payments.batches import Contents, Leg
from clawpurse.modules.payments.invoices import Terms as InvoiceTerms
from clawpurse.node.rpc.contract_methods import EMPTY, NO_SIGNATURE, PAID
from clawpurse.wallet.builder import sign_body
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.vouchers import make
from tests.node.rpc.nodeworld import HOUR_MS, START_MS, NodeWorld, Running, node_world, text_of

EXPIRES = START_MS + 24 * HOUR_MS
NOTHING = "0x" + "00" * 32


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


async def endow(world: NodeWorld, node: Running) -> None:
    """Give Carol an account with something to pay fees of."""
    action = RawAction("assets.transfer", ["CLAW", world.carol.account, 100])
    await world.final(
        node, sign_body(world.body(world.alice, action), [(Role.SENDER, world.alice)])
    )


def raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


async def test_a_batch_is_shown_to_those_who_approve_it(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await world.node()
        await endow(world, node)
        approvers = sorted([world.bob.account, world.carol.account])
        legs: list[Any] = [[world.bob.account, 5, b"may"], [world.carol.account, 7, b"\xff"]]
        terms = ["CLAW", legs, 2, approvers, EXPIRES, b"payroll", None]
        made = await done(world, node, world.alice, "proposeBatch", *terms)
        text = made["payments.batchProposed"]["batchId"]
        batch = await node.call("payment_getBatch", batch=text)
        assert (batch["amount"], batch["legCount"], batch["needed"]) == ("12", 2, 2)
        assert (batch["approvals"], batch["executable"]) == (0, False)
        assert [leg["referenceText"] for leg in batch["legs"]] == ["may", None]
        contents = Contents(
            raw(batch["salt"]),
            world.alice.account,
            "CLAW",
            tuple([Leg(*leg) for leg in legs]),
            2,
            tuple(approvers),
            EXPIRES,
            b"payroll",
            None,
        )
        assert f"0x{contents.id.hex()}" == text, "what is shown is what is approved"
        await done(world, node, world.bob, "approveBatch", raw(text), START_MS + HOUR_MS)
        await done(world, node, world.carol, "approveBatch", raw(text), None)
        for account in (world.alice, world.bob):
            page = await node.call("payment_listBatches", account=text_of(account))
            (shown,) = page["batches"]
            assert (shown["batchId"], shown["approvals"], shown["executable"]) == (text, 2, True)
            assert "legs" not in shown and page["nextCursor"] is None
        by = {one["account"]: one for one in shown["approvers"]}
        assert by[text_of(world.bob)]["until"] == time_text(START_MS + HOUR_MS)
        assert by[text_of(world.carol)]["approved"] and not by[text_of(world.carol)]["rejected"]


async def test_open_batches_are_read_in_pages(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await world.node()
        await endow(world, node)
        for amount in (1, 2, 3):
            legs = [[world.bob.account, amount, b""]]
            terms = ["CLAW", legs, 1, [world.carol.account], EXPIRES, b"", None]
            await done(world, node, world.alice, "proposeBatch", *terms)
        found: list[str] = []
        more: dict[str, Any] = {}
        for _ in range(3):
            page = await node.call(
                "payment_listBatches", account=text_of(world.carol), limit=1, **more
            )
            found += [one["amount"] for one in page["batches"]]
            more = {"cursor": page["nextCursor"]}
        assert sorted(found) == ["1", "2", "3"] and more == {"cursor": None}


async def test_an_invoice_shows_its_terms_and_its_state(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await world.node()
        terms = ["CLAW", 40, None, b"h" * 32, b"order 7", EXPIRES, 1]
        made = await done(world, node, world.bob, "createInvoice", *terms)
        text = made["payments.invoiceCreated"]["invoiceId"]
        shown = await node.call("payment_getInvoice", invoice=text)
        assert (shown["state"], shown["redeemedBy"], shown["paidBy"]) == ("open", "preimage", None)
        assert (shown["amount"], shown["purposeText"]) == ("40", "order 7")
        stated = InvoiceTerms(
            raw(shown["salt"]),
            world.bob.account,
            "CLAW",
            40,
            None,
            b"h" * 32,
            b"order 7",
            shown["expiresMs"],
        )
        assert f"0x{stated.id.hex()}" == text
        await done(world, node, world.alice, "payInvoice", raw(text), 40, None)
        shown = await node.call("payment_getInvoice", invoice=text)
        assert (shown["state"], shown["paidBy"]) == ("paid", text_of(world.alice))
        assert shown["ended"] is not None and shown["holdId"] is None


async def test_a_voucher_is_judged_as_the_ledger_will(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await world.node()
        await endow(world, node)
        terms = ["CLAW", world.bob.account, 100, 1_000, 1, EXPIRES, None, b"api", None]
        made = await done(world, node, world.alice, "openChannel", *terms)
        text = made["payments.channelOpened"]["channelId"]
        shown = await node.call("payment_getChannel", channel=text)
        assert (shown["left"], shown["paid"], shown["closing"]) == ("100", "0", None)
        assert shown["voucherKey"] == f"0x{world.alice.public_key.hex()}"
        promise = Terms(raw(shown["genesisHash"]), raw(text), "CLAW", world.bob.account)

        async def judged(key: SigningKey, amount: int) -> tuple[bool, str, str | None]:
            signature = f"0x{make(key, promise, amount).signature.hex()}"
            answer = await node.call(
                "payment_verifyVoucher", channel=text, amount=str(amount), signature=signature
            )
            return answer["valid"], answer["pays"], answer["reason"]

        assert await judged(world.alice, 60) == (True, "60", None)
        assert await judged(world.alice, 5_000) == (True, "100", None)
        assert await judged(world.bob, 60) == (False, "0", NO_SIGNATURE)
        signature = make(world.alice, promise, 60).signature
        await done(world, node, world.carol, "claimChannel", raw(text), 60, signature)
        assert await judged(world.alice, 60) == (True, "0", PAID)
        assert await judged(world.alice, 61) == (True, "1", None)
        signature = make(world.alice, promise, 100).signature
        await done(world, node, world.bob, "claimChannel", raw(text), 100, signature)
        assert await judged(world.alice, 101) == (True, "0", EMPTY)
        await done(world, node, world.alice, "closeChannel", raw(text))
        shown = await node.call("payment_getChannel", channel=text)
        assert shown["closing"]["finalHeight"] > 1 and shown["paid"] == "100"


@pytest.mark.parametrize("amount", ["0", "-1", "1.5", "x", "99999999999999999999", 5])
async def test_what_is_not_there_or_not_asked_rightly_is_refused(
    autojump_clock: MockClock, amount: Any
) -> None:
    async with node_world() as world:
        node = await world.node()
        for method, name in (
            ("payment_getBatch", "batch"),
            ("payment_getInvoice", "invoice"),
            ("payment_getChannel", "channel"),
        ):
            assert (await node.refusal(method, **{name: NOTHING})).code == NOT_FOUND
            await node.refusal(method, **{name: "0x12"})
        signature = "0x" + "00" * 64
        voucher = {"channel": NOTHING, "amount": "1", "signature": signature}
        assert (await node.refusal("payment_verifyVoucher", **voucher)).code == NOT_FOUND
        wrong = await node.refusal("payment_verifyVoucher", **{**voucher, "amount": amount})
        assert wrong.code != NOT_FOUND
        wrong = await node.refusal("payment_verifyVoucher", **{**voucher, "signature": "0x12"})
        assert wrong.code != NOT_FOUND
