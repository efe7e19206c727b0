"""Submitting: what is accepted is kept, what is refused says why under a code of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from trio.testing import MockClock

from clawpurse.ledger import codec
from clawpurse.ledger.transactions import (
    RawAction,
    Role,
    Transaction,
    WitnessEntry,
    encode_transaction,
)
from clawpurse.modules.kit.web.errors import ERROR_KINDS, RpcError
from clawpurse.node.rpc.server import node_methods
from clawpurse.node.sync import Progress
from clawpurse.wallet.builder import change_key_action, sign_body, transfer_action
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import HOUR_MS, NodeWorld, Running, hexed, octets, text_of, until


async def test_accepted_means_journalled(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A wallet that was told "accepted" forgets the payment; a crash must not."""
    paid = world.pay(world.alice)
    answer = await node.call("tx_submit", tx=hexed(paid.raw))
    assert answer == {"txId": hexed(paid.tx_id), "status": "accepted", "duplicate": False}
    assert b"".join(node.disk.journal.contents.values()).count(paid.raw) == 1


async def test_who_does_not_wait_is_not_promised_anything(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """`none` is for whoever cares about the answer's speed: checked and pooled, not on disk."""
    paid = world.pay(world.alice)
    answer = await node.call("tx_submit", hexed(paid.raw), "none")
    assert answer == {"txId": hexed(paid.tx_id), "status": "pending", "duplicate": False}
    assert paid.raw not in b"".join(node.disk.journal.contents.values())
    error = await node.refusal("tx_submit", tx=hexed(_forged(world)), wait="none")
    assert error.message == "badSignature"
    assert (await node.call("tx_wait", hexed(paid.tx_id)))["status"] == "final"


async def test_waiting_for_finality_brings_place_and_receipt(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """The commonest call of a wallet: one round trip until the payment is certain."""
    paid = world.pay(world.alice, amount=250)
    answer = await node.call("tx_submit", tx=hexed(paid.raw), wait="final")
    assert (answer["status"], answer["height"], answer["index"]) == ("final", node.height, 0)
    receipt = answer["receipt"]
    assert receipt == await node.call("tx_getReceipt", txId=hexed(paid.tx_id))
    assert (receipt["code"], receipt["reason"], receipt["fee"]) == ("ok", None, "0")
    transferred = receipt["events"][-1]
    assert transferred["data"] == {"asset": "CLAW", "amount": "250"}


async def test_the_same_bytes_again_are_a_duplicate_before_and_after_finality(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A retry after a time-out must neither pay twice nor look like a failure."""
    paid = world.pay(world.alice)
    tx = hexed(paid.raw)
    assert not (await node.call("tx_submit", tx=tx))["duplicate"]
    assert (await node.call("tx_submit", tx=tx))["duplicate"]
    assert (await node.call("tx_wait", txId=hexed(paid.tx_id)))["status"] == "final"
    again = await node.call("tx_submit", tx=tx, wait="final")
    assert again["duplicate"]
    assert again["status"] == "final"
    balances = (await node.call("account_getBalances", account=text_of(world.carol)))["balances"]
    assert balances[0]["amount"] == "1"


async def test_a_batch_answers_for_each_transaction(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """One bad payment of a thousand costs nobody else theirs."""
    good, second = world.pay(world.alice), world.pay(world.bob)
    forged = good.raw[:-1] + bytes([good.raw[-1] ^ 1])
    txs = [hexed(raw) for raw in (good.raw, b"\x92junk", forged, second.raw, good.raw)]
    results = (await node.call("tx_submitBatch", txs))["results"]
    assert [entry.get("status") for entry in results] == [
        "accepted", None, None, "accepted", "accepted",
    ]  # fmt: skip
    assert [entry["error"]["code"] for entry in results if "error" in entry] == [-32010, -32011]
    assert results[0]["txId"] == results[4]["txId"] == hexed(good.tx_id)
    assert (await node.call("tx_submitBatch", txs=[]))["results"] == []
    error = await node.refusal("tx_submitBatch", txs=["0x00"] * 1001)
    assert error.code == -32602


# -- every code that submitting can end in


def _refit(paid: Transaction, **entry: Any) -> bytes:
    """The transaction with its sender's witness entry changed."""
    first = paid.witness[0]._replace(**entry)
    return encode_transaction(paid.body_bytes, [WitnessEntry(*first)])


def _forged(world: NodeWorld) -> bytes:
    return _refit(world.pay(world.alice), signature=bytes(64))


def _unsigned(world: NodeWorld) -> bytes:
    return encode_transaction(world.pay(world.alice).body_bytes, [])


def _other_key(world: NodeWorld) -> bytes:
    body = world.body(world.alice)
    thief = SigningKey(b"\x77" * 32, world.alice.account)
    return sign_body(body, [(Role.SENDER, thief)]).raw


def _truncated(world: NodeWorld) -> bytes:
    return world.pay(world.alice).raw[:-20]


def _unknown_action(world: NodeWorld) -> bytes:
    body = world.body(world.alice, RawAction("assets.conjure", ["CLAW", 1]))
    return sign_body(body, [(Role.SENDER, world.alice)]).raw


def _too_long_valid(world: NodeWorld) -> bytes:
    return world.pay(world.alice, valid_until_ms=world.clock.now_ms() + 25 * HOUR_MS).raw


def _oversize(world: NodeWorld) -> bytes:
    return codec.pack([bytes(70_000), []])


REFUSED: dict[str, tuple[str, Callable[[NodeWorld], bytes]]] = {
    "cut off": ("malformed", _truncated),
    "too large": ("malformed", _oversize),
    "no action of this chain": ("malformed", _unknown_action),
    "valid for more than a day": ("malformed", _too_long_valid),
    "forged": ("badSignature", _forged),
    "not signed": ("badSignature", _unsigned),
    "expired by time": ("expired", lambda w: w.pay(w.alice, valid_until_ms=w.clock.now_ms()).raw),
    "unknown sender": ("notFound", lambda w: w.pay(SigningKey(b"\x99" * 32)).raw),
    "sequence far ahead": ("sequenceGap", lambda w: w.pay(w.alice, sequence=9_999).raw),
    "another chain": ("wrongChain", lambda w: w.pay(w.alice, chain_id="other").raw),
    "another genesis": ("wrongChain", lambda w: w.pay(w.alice, genesis_hash=b"\1" * 32).raw),
    "a stranger's key": ("notAuthorised", _other_key),
    "no money for the fee": ("insufficientFunds", lambda w: w.pay(w.alice, fee=10**12).raw),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_refusal_has_its_own_code(
    autojump_clock: MockClock, case: str, world: NodeWorld, node: Running
) -> None:
    """Programs decide by the code whether to mend, to wait, or to tell a person."""
    name, build = REFUSED[case]
    await world.final(node, world.pay(world.bob))
    error = await node.refusal("tx_submit", tx=hexed(build(world)))
    kind = ERROR_KINDS[error.code]
    assert (error.message, kind.message) == (name, name)
    assert (error.error_class, error.retryable) == (kind.error_class, kind.retryable)
    assert "tx_submit" in {method.name for method in _declaring(node, error.code)}


def _declaring(node: Running, code: int) -> list[Any]:
    return [method for method in node_methods(node.node.services) if code in method.errors]


async def test_a_used_sequence_is_low(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Two wallets with one key: the slower one learns which sequence is next."""
    await world.final(node, world.pay(world.alice))
    error = await node.refusal(
        "tx_submit", tx=hexed(world.pay(world.alice, sequence=0, amount=7).raw)
    )
    assert (error.code, error.facts["rule"]) == (-32012, "kernel.sequenceLow")
    assert error.facts["facts"] == [0, 1]


async def test_a_height_that_passed_is_expired(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A bound by height holds as one by time does."""
    await world.final(node, world.pay(world.bob))
    error = await node.refusal("tx_submit", tx=hexed(world.pay(world.alice, height_max=1).raw))
    assert error.code == -32014


async def test_an_idempotency_key_names_what_it_was_used_for(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A shop that sends an order's payment again, freshly signed, learns of the first one."""
    key = b"order-1"
    first = world.pay(world.alice, key=key)
    await node.call("tx_submit", tx=hexed(first.raw))
    pooled = await node.refusal("tx_submit", tx=hexed(world.pay(world.alice, lane=1, key=key).raw))
    assert pooled.code == -32016
    assert pooled.facts["facts"][0] == hexed(first.tx_id)
    await node.call("tx_wait", txId=hexed(first.tx_id))
    final = await node.refusal("tx_submit", tx=hexed(world.pay(world.alice, lane=2, key=key).raw))
    assert final.code == -32016
    assert final.facts["facts"][0] == hexed(first.tx_id)


async def test_a_taken_place_in_the_pool_is_a_duplicate(
    autojump_clock: MockClock,
    make_world: Callable[..., NodeWorld],
) -> None:
    """Another payment on the same sequence does not push the first out unless it pays more."""
    world = make_world(interval_ms=5_000)
    node = await world.node()
    await world.final(node, world.pay(world.bob))
    first = world.pay(world.alice)
    await node.call("tx_submit", tx=hexed(first.raw))
    error = await node.refusal(
        "tx_submit", tx=hexed(world.pay(world.alice, sequence=0, amount=9).raw)
    )
    assert (error.code, error.facts["rule"]) == (-32016, "pool.duplicate")
    dearer = world.pay(world.alice, sequence=0, amount=9, fee=5)
    assert (await node.call("tx_submit", tx=hexed(dearer.raw)))["status"] == "accepted"
    assert (await node.call("tx_wait", txId=hexed(first.tx_id)))["status"] == "replaced"


async def test_a_full_pool_asks_to_try_again(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """One sender cannot fill the pool, and is told that waiting helps."""
    world = make_world(interval_ms=5_000)
    node = await world.node(mempool_per_sender_max=2)
    await world.final(node, world.pay(world.bob))
    for _ in range(2):
        await node.call("tx_submit", tx=hexed(world.pay(world.alice).raw))
    error = await node.refusal("tx_submit", tx=hexed(world.pay(world.alice).raw))
    assert (error.code, error.error_class, error.retryable) == (-32017, "retry", True)


async def test_a_spent_quota_says_so(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """A runaway script is stopped by its own quota, not by everybody's block space."""
    world = make_world(quota_cost_max=500)
    node = await world.node()
    await world.final(node, world.pay(world.alice), world.pay(world.alice))
    error = await node.refusal("tx_submit", tx=hexed(world.pay(world.alice).raw))
    assert (error.code, error.retryable) == (-32023, True)


async def test_a_transaction_that_no_block_can_hold_is_over_a_limit(
    autojump_clock: MockClock,
    make_world: Callable[..., NodeWorld],
) -> None:
    """It must not wait in the pool until it expires."""
    world = make_world(block_cost_max=300)
    node = await world.node()
    actions = [transfer_action("CLAW", world.carol.account, 1)] * 3
    raw = sign_body(world.body(world.alice, *actions), [(Role.SENDER, world.alice)]).raw
    assert (await node.refusal("tx_submit", tx=hexed(raw))).code == -32004


async def test_a_transaction_that_breaks_a_node_is_not_taken_again(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """What made execution fail once is put away, and its sender is told, not left waiting."""
    paid = world.pay(world.alice)
    node.node.pool.quarantine(paid.tx_id, "for the test")
    error = await node.refusal("tx_submit", tx=hexed(paid.raw))
    assert error.message == "policyRejected"


async def test_failed_payments_are_final_with_the_same_names(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A receipt's failure code is the error's name, with the sentence that people read."""
    (outcome,) = await world.final(node, world.pay(world.alice, amount=10**12))
    receipt = outcome["receipt"]
    assert (receipt["code"], receipt["rule"]) == ("insufficientFunds", "kernel.balance")
    assert "has 1,000,000.00 CLAW, needs 10,000,000,000.00" in receipt["reason"]
    assert receipt["events"] == []
    (outcome,) = await world.final(
        node, world.pay(world.alice, asset="NONE", target=world.bob.account)
    )
    assert outcome["receipt"]["code"] == "notFound"


# -- a node that misses blocks


def _behind(node: Running, monkeypatch: pytest.MonkeyPatch, best: int) -> None:
    progress = Progress(node.height, best, 0.0)
    monkeypatch.setattr(type(node.node.sync), "progress", property(lambda _self: progress))


async def test_a_node_far_behind_takes_no_payments(
    autojump_clock: MockClock, world: NodeWorld, node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would judge by old balances, and what it accepts might be impossible already."""
    await world.final(node, world.pay(world.bob))
    world.clock.offset_ms += HOUR_MS
    _behind(node, monkeypatch, 100)
    for method, params in (
        ("tx_submit", {"tx": hexed(world.pay(world.alice).raw)}),
        ("tx_submitBatch", {"txs": []}),
        ("faucet_request", {"account": text_of(world.carol)}),
    ):
        error = await node.refusal(method, **params)
        assert (error.code, error.message, error.retryable) == (-32003, "syncing", True)
        assert error.facts == {"height": 1, "best": 100, "behind": 99}
        assert error.reason == "syncing 1/100 (99 behind)"


async def test_a_liar_about_heights_stops_no_payment(
    autojump_clock: MockClock, world: NodeWorld, node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any peer can claim a height; a node whose newest block is fresh goes on."""
    await world.final(node, world.pay(world.bob))
    _behind(node, monkeypatch, 10**9)
    paid = world.pay(world.alice)
    assert (await node.call("tx_submit", tx=hexed(paid.raw)))["status"] == "accepted"


async def test_what_a_missing_block_may_change_is_not_refused_for_good(
    autojump_clock: MockClock, world: NodeWorld, node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account funded in a block that this node lacks is not "unknown", only not seen yet."""
    await world.final(node, world.pay(world.bob))
    _behind(node, monkeypatch, 10)
    stranger = hexed(world.pay(SigningKey(b"\x99" * 32)).raw)
    error = await node.refusal("tx_submit", tx=stranger)
    assert error.code == -32003
    assert error.facts["refusal"]["code"] == -32001
    (entry,) = (await node.call("tx_submitBatch", txs=[stranger]))["results"]
    assert entry["error"]["code"] == -32003
    # What no block can mend is said at once.
    forged = await node.refusal("tx_submit", tx=hexed(_forged(world)))
    assert forged.code == -32011


async def test_a_key_change_moves_who_may_sign(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """After the change the old key is refused with notAuthorised, and the new one pays."""
    new = SigningKey(b"\x55" * 32, world.alice.account)
    body = world.body(world.alice, change_key_action(new.public_key))
    both = [(Role.SENDER, world.alice), (Role.APPROVER, new)]
    await world.final(node, sign_body(body, both))
    old = await node.refusal("tx_submit", tx=hexed(world.pay(world.alice, sequence=1).raw))
    assert old.code == -32019
    paid = sign_body(world.body(new, sequence=1), [(Role.SENDER, new)])
    (outcome,) = await world.final(node, paid)
    assert outcome["receipt"]["code"] == "ok"
    shown = await node.call("account_get", account=text_of(world.alice))
    assert octets(shown["key"]) == new.public_key


async def test_an_error_of_every_transaction_code_is_documented(
    autojump_clock: MockClock,
) -> None:
    """The table of codes is complete: -32010…-32023, each with class and hint."""
    for code in range(-32023, -32009):
        kind = ERROR_KINDS[code]
        assert kind.message
        assert kind.hint
        assert RpcError(code, "x").as_object()["message"] == kind.message


async def test_what_one_node_accepts_reaches_the_others(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A follower takes payments for the authorities that it is connected to."""
    follower = await world.node("follower", node)
    await until(lambda: follower.node.services.network.count == 1)
    paid = world.pay(world.alice)
    answer = await follower.call("tx_submit", tx=hexed(paid.raw), wait="final")
    assert answer["status"] == "final"
    assert (await node.call("tx_get", txId=hexed(paid.tx_id)))["height"] == answer["height"]
