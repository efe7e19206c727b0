"""What a wallet shows before it signs is what the ledger would do, and a way to cancel after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from clawpurse.ledger.transactions import (
    Body,
    Role,
    Transaction,
    decode_body,
    encode_transaction,
)
from clawpurse.wallet.builder import change_key_action, open_action, sign_body, transfer_action
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import NodeWorld, Running, hexed, octets, run_world, text_of

NOTHING = "0x" + "00" * 32


@pytest.fixture
async def slow_node(make_world: Callable[..., NodeWorld]) -> tuple[NodeWorld, Running]:
    """A node that makes a block every five seconds, so that something is pending."""
    world = make_world(interval_ms=5_000)
    return world, await world.node()


async def simulate(node: Running, data: bytes) -> Any:
    return await node.call("tx_simulate", tx=hexed(data))


async def test_a_simulation_is_the_receipt(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Signed or not, the same outcome; and afterwards the real receipt says the same."""
    paid = world.pay(world.alice, amount=125, fee=3)
    unsigned = await simulate(node, paid.body_bytes)
    signed = await simulate(node, paid.raw)
    assert signed == unsigned
    assert (signed["code"], signed["fee"], signed["feeMin"]) == ("ok", "3", "0")
    assert signed["events"][-1]["data"] == {"asset": "CLAW", "amount": "125"}
    (outcome,) = await world.final(node, paid)
    receipt = outcome["receipt"]
    for name in ("txId", "code", "reason", "rule", "fee", "cost", "events", "trace"):
        assert receipt[name] == signed[name], name


async def test_a_failure_is_foretold_with_its_sentence(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A person reads why before anything is signed or charged."""
    outcome = await simulate(node, world.body(world.alice, amount=10**12).pack())
    assert (outcome["code"], outcome["rule"]) == ("insufficientFunds", "kernel.balance")
    assert "needs 10,000,000,000.00" in outcome["reason"]
    assert node.height == 0, "a simulation changed the chain"


async def test_the_next_payment_is_simulated_while_the_first_waits(
    autojump_clock: MockClock,
    slow_node: tuple[NodeWorld, Running],
) -> None:
    """Two payments in a row: the second is judged by what the first will leave."""
    world, node = slow_node
    first = world.pay(world.alice, amount=90_000_000)
    await node.call("tx_submit", tx=hexed(first.raw))
    asked = await node.call("account_getSequence", account=text_of(world.alice))
    assert (asked["sequence"], asked["finalSequence"]) == (1, 0)
    small = await simulate(node, world.body(world.alice, amount=10_000_000).pack())
    assert small["code"] == "ok"
    large = await simulate(node, world.body(world.alice, sequence=1, amount=10_000_001).pack())
    assert large["code"] == "insufficientFunds"
    gap = await node.refusal("tx_simulate", tx=hexed(world.body(world.alice, sequence=7).pack()))
    assert gap.message == "sequenceGap"


async def test_a_long_queue_is_no_reason_to_refuse(
    autojump_clock: MockClock,
    make_world: Callable[..., NodeWorld],
) -> None:
    """Behind more payments than are simulated, the answer is still about this one."""
    world = make_world(interval_ms=5_000)
    node = await world.node()
    txs = [hexed(world.pay(world.alice).raw) for _ in range(40)]
    await node.call("tx_submitBatch", txs=txs)
    body = world.body(world.alice)
    outcome = await simulate(node, body.pack())
    assert (outcome["code"], outcome["txId"]) == ("ok", outcome["txId"])
    assert body.sequence == 40


async def test_bodies_that_need_more_signatures_are_judged_as_if_all_had_signed(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A sponsor or a new key is asked for a signature only for something that would work."""
    sponsored = world.body(world.alice, fee=5, payer=world.bob.account)
    assert (await simulate(node, sponsored.pack()))["code"] == "ok"
    change = world.body(world.alice, change_key_action(b"\x44" * 32), sequence=0)
    assert (await simulate(node, change.pack()))["code"] == "ok"
    forged = sign_body(sponsored, [(Role.SENDER, world.alice), (Role.PAYER, world.bob)])
    wrong = [entry._replace(signature=bytes(64)) for entry in forged.witness]
    bad = encode_transaction(forged.body_bytes, wrong)
    assert (await node.refusal("tx_simulate", tx=hexed(bad))).message == "badSignature"


async def test_simulating_refuses_with_the_codes_of_submitting(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """What could never be included has no receipt, so it is an error here too."""
    body = world.body(world.alice)
    cases: list[tuple[Body, str]] = [
        (body._replace(chain_id="other"), "wrongChain"),
        (body._replace(valid_until_ms=1), "expired"),
        (body._replace(sender=b"\x13" * 32), "notFound"),
        (body._replace(fee=10**12), "insufficientFunds"),
        (body._replace(sequence=10_000), "sequenceGap"),
    ]
    for wrong, name in cases:
        assert (await node.refusal("tx_simulate", tx=hexed(wrong.pack()))).message == name
    for junk in (b"", b"\x92", b"\x9e\x01", b"junk", bytes(70_000)):
        error = await node.refusal("tx_simulate", tx=hexed(junk))
        assert (error.code, error.message) == (-32010, "malformed")


async def test_decoding_says_everything_in_words(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """What a hardware device or a co-signer shows must be all there is."""
    paid = world.pay(world.alice, amount=1250, memo="für Brot".encode(), key=b"k", height_max=9)
    shown = await node.call("tx_decode", tx=hexed(paid.raw))
    assert shown["signed"]
    assert (shown["txId"], shown["wtxId"]) == (hexed(paid.tx_id), hexed(paid.wtx_id))
    assert shown["sender"] == text_of(world.alice)
    assert shown["actions"] == [
        {
            "name": "assets.transfer",
            "fields": {"asset": "CLAW", "recipient": text_of(world.carol), "amount": "1250"},
        }
    ]
    assert (shown["memoText"], shown["idempotencyKey"]) == ("für Brot", hexed(b"k"))
    assert (shown["fee"], shown["heightMax"], shown["lane"]) == ("0", 9, 0)
    assert shown["witness"][0]["role"] == "sender"
    words = " ".join(line["text"] for line in shown["words"])
    assert "Pay 12.50 CLAW to " + text_of(world.carol) in words
    unsigned = await node.call("tx_decode", tx=hexed(paid.body_bytes))
    assert not unsigned["signed"]
    assert "witness" not in unsigned
    assert (unsigned["txId"], unsigned["words"]) == (shown["txId"], shown["words"])
    hidden = await node.call("tx_decode", tx=hexed(world.pay(world.alice, memo=b"\x1b[2J").raw))
    assert hidden["memoText"] is None


async def test_an_action_that_nobody_knows_is_shown_raw(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A transaction of another version is not hidden: its bytes are."""
    action = open_action(world.carol.account)._replace(name="accounts.unheard")
    body = world.body(world.alice, action)
    shown = await node.call("tx_decode", tx=hexed(body.pack()))
    assert shown["actions"] == [
        {"name": "accounts.unheard", "fields": None, "raw": [hexed(world.carol.account)]}
    ]


# -- cancelling


def sign_as(key: SigningKey, answer: Any) -> Transaction:
    return sign_body(decode_body(octets(answer["body"])), [(Role.SENDER, key)])


async def test_a_cancelled_payment_never_moves_money(
    autojump_clock: MockClock,
    slow_node: tuple[NodeWorld, Running],
) -> None:
    """The body that a node offers, signed by the sender, takes the payment's place."""
    world, node = slow_node
    paid = world.pay(world.alice, amount=500, key=b"order-3")
    tx_id = hexed(paid.tx_id)
    await node.call("tx_submit", tx=hexed(paid.raw))
    answer = await node.call("tx_cancel", txId=tx_id)
    assert (answer["status"], answer["fee"], answer["attempt"]) == ("pending", "0", 1)
    assert any("to " + text_of(world.alice) in line["text"] for line in answer["words"])
    cancelling = sign_as(world.alice, answer)
    final = await node.call("tx_submit", tx=hexed(cancelling.raw), wait="final")
    assert final["receipt"]["code"] == "ok"
    assert (await node.call("tx_wait", txId=tx_id))["replacedBy"] == hexed(cancelling.tx_id)
    carol = await node.call("account_getBalances", account=text_of(world.carol))
    assert carol["balances"][0]["amount"] == "0"
    alice = await node.call("account_getBalances", account=text_of(world.alice))
    assert alice["balances"][0]["amount"] == "100000000"
    # Nothing is left to cancel, and the answer says what became of it instead.
    late = await node.call("tx_cancel", txId=tx_id)
    assert (late["status"], "body" in late) == ("replaced", False)
    assert (await node.call("tx_cancel", txId=hexed(cancelling.tx_id)))["status"] == "final"


async def test_cancelling_works_after_the_last_attempt_and_for_sponsored_payments(
    autojump_clock: MockClock,
    slow_node: tuple[NodeWorld, Running],
) -> None:
    """Ten attempts used up cost a fee, not the possibility."""
    world, node = slow_node
    body = world.body(world.alice, attempt=9, fee=2, payer=world.bob.account)
    paid = sign_body(body, [(Role.SENDER, world.alice), (Role.PAYER, world.bob)])
    await node.call("tx_submit", tx=hexed(paid.raw))
    answer = await node.call("tx_cancel", txId=hexed(paid.tx_id))
    assert (answer["fee"], answer["attempt"]) == ("3", 9)
    cancelling = sign_as(world.alice, answer)
    final = await node.call("tx_submit", tx=hexed(cancelling.raw), wait="final")
    assert (final["status"], final["receipt"]["fee"]) == ("final", "3")


async def test_what_nobody_saw_cannot_be_cancelled_here(
    autojump_clock: MockClock, node: Running
) -> None:
    """Unknown is said with its status: it may still arrive."""
    error = await node.refusal("tx_cancel", txId=NOTHING)
    assert (error.code, error.facts["status"]) == (-32001, "unknown")


@settings(max_examples=8)
@given(
    payments=st.lists(
        st.tuples(
            st.sampled_from(["alice", "bob"]),
            st.integers(1, 60_000_000),
            st.sampled_from(["CLAW", "EUR", "GONE"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_simulations_come_true(payments: list[tuple[str, int, str, bool]]) -> None:
    """Whatever waits before it, a payment's simulated outcome is the one that it gets."""

    async def scenario(world: NodeWorld) -> None:
        node = await world.node()
        foretold = []
        for name, amount, asset, settle in payments:
            key = getattr(world, name)
            action = transfer_action(asset, world.carol.account, amount)
            body = world.body(key, action)
            outcome = await simulate(node, body.pack())
            paid = sign_body(body, [(Role.SENDER, key)])
            await node.call("tx_submit", tx=hexed(paid.raw))
            foretold.append((hexed(paid.tx_id), outcome["code"]))
            if settle:
                await node.call("tx_wait", txId=hexed(paid.tx_id))
        for tx_id, code in foretold:
            ended = await node.call("tx_wait", txId=tx_id)
            assert ended["receipt"]["code"] == code

    run_world(scenario, interval_ms=5_000)
