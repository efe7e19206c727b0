"""Proofs: what a node says can be checked by somebody who trusts only the genesis hash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from trio.testing import MockClock

from clawpurse.ledger.address import account_text
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.crypto import verify
from clawpurse.ledger.kernel.records import Account, account_key
from clawpurse.ledger.statetree.state_proof import verify_state_proof
from clawpurse.modules.assets.records import asset_key
from clawpurse.wallet.receipts import verify_payment
from clawpurse.wallet.verdicts import verify_document
from tests.node.rpc.nodeworld import REGISTRY, NodeWorld, Running, hexed, octets

ABSENT = account_key(b"\x13" * 32)


def check(world: NodeWorld, answer: Any) -> tuple[Header, bytes | None]:
    """Verify an answer of chain_getProof as a stranger would; returns header and value."""
    header = Header.unpack(octets(answer["header"]["raw"]))
    certificate = Certificate.unpack(octets(answer["certificate"]["raw"]))
    certificate.verify(_domain(world), AuthoritySet(world.genesis.authorities), verify)
    assert certificate.block_id == header.block_id
    assert hexed(header.block_id) == answer["header"]["hash"]
    value = None if answer["value"] is None else octets(answer["value"])
    proof, key = octets(answer["proof"]), octets(answer["key"])
    assert verify_state_proof(header.state_root, answer["module"], key, value, proof)
    # The same proof shows nothing else.
    assert not verify_state_proof(header.state_root, answer["module"], key, b"other", proof)
    assert not verify_state_proof(header.parent_id, answer["module"], key, value, proof)
    return header, value


def _domain(world: NodeWorld) -> Domain:
    return Domain(world.genesis.chain_id, world.genesis.hash, 0)


async def test_state_is_proven_at_the_tip_and_in_the_past(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Values that are there and values that are not, now and after each kept block."""
    for _ in range(6):
        await world.final(node, world.pay(world.alice))
    key = account_key(world.alice.account)
    for at in (1, 3, 5, 6, None):
        more = {} if at is None else {"atHeight": at}
        header, value = check(world, await node.call("chain_getProof", key=hexed(key), **more))
        assert value is not None
        assert Account.unpack(value).sequence(0) == header.height == (at or 6)
        _, nothing = check(world, await node.call("chain_getProof", key=hexed(ABSENT), **more))
        assert nothing is None
        asset = hexed(asset_key("CLAW"))
        answer = await node.call("chain_getProof", module="assets", path=asset, **more)
        _, record = check(world, answer)
        assert record is not None


async def test_an_account_that_was_opened_later_was_not_there(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Absence in the past stays provable after the account exists."""
    await world.final(node, world.pay(world.alice, target=world.bob.account))
    await world.final(node, world.pay(world.alice))
    key = hexed(account_key(world.carol.account))
    _, before = check(world, await node.call("chain_getProof", key=key, atHeight=1))
    _, after = check(world, await node.call("chain_getProof", key=key, atHeight=2))
    assert before is None
    assert after is not None


async def test_what_cannot_be_proven_is_refused(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """No proof before block 1, of an unknown module, or for a key of no length or too much."""
    key = hexed(ABSENT)
    assert (await node.refusal("chain_getProof", key=key)).code == -32001
    await world.final(node, world.pay(world.alice))
    assert (await node.refusal("chain_getProof", key=key, atHeight=0)).code == -32001
    assert (await node.refusal("chain_getProof", key=key, atHeight=2)).code == -32001
    assert (await node.refusal("chain_getProof", module="none", path=key)).code == -32001
    for params in (
        {},
        {"key": key, "path": key},
        {"path": key},
        {"key": "0x"},
        {"key": "0x" + "00" * 257},
        {"key": "0xabc"},
        {"key": "zz"},
    ):
        assert (await node.refusal("chain_getProof", **params)).code == -32602


async def test_a_payment_is_proven_offline_from_the_genesis_hash(
    autojump_clock: MockClock,
    make_world: Callable[..., NodeWorld],
) -> None:
    """The proof that a receipt comes with convinces somebody without a node."""
    world = make_world(interval_ms=2_000)
    node = await world.node()
    paid = [world.pay(world.alice, amount=1000 + lane, lane=lane) for lane in range(5)]
    failing = world.pay(world.bob, amount=10**12)
    await world.final(node, *paid, failing)
    for one in paid:
        answer = await node.call("tx_getReceipt", txId=hexed(one.tx_id), prove=True)
        verdict = verify_payment(answer["proof"], world.genesis.hash, REGISTRY)
        assert verdict.valid, verdict
        assert (verdict.tx_id, verdict.height) == (one.tx_id, answer["height"])
        elsewhere = verify_payment(answer["proof"], b"\1" * 32, REGISTRY)
        assert not elsewhere.valid
        del answer["proof"]
        assert answer == await node.call("tx_getReceipt", txId=hexed(one.tx_id))
    failed = await node.call("tx_getReceipt", txId=hexed(failing.tx_id), prove=True)
    verdict = verify_payment(failed["proof"], world.genesis.hash, REGISTRY)
    assert (verdict.valid, verdict.step) == (False, "outcome")


async def test_a_follower_proves_what_the_authority_decided(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Any node's proof is as good as any other's."""
    paid = world.pay(world.alice)
    follower = await world.node("follower", node)
    await follower.call("tx_submit", tx=hexed(paid.raw), wait="final")
    theirs = await follower.call("tx_getReceipt", txId=hexed(paid.tx_id), prove=True)
    ours = await node.call("tx_getReceipt", txId=hexed(paid.tx_id), prove=True)
    assert theirs == ours
    key = hexed(account_key(world.alice.account))
    proven = await follower.call("chain_getProof", key=key)
    assert proven == await node.call("chain_getProof", key=key)
    check(world, proven)


@pytest.mark.parametrize("count", [1, 2, 3, 300])
async def test_blocks_of_any_size_prove_each_receipt(
    autojump_clock: MockClock, count: int, make_world: Callable[..., NodeWorld]
) -> None:
    """The last of an odd number has no neighbour, and a crowd has deep paths."""
    world = make_world(interval_ms=2_000)
    node = await world.node()
    await world.final(node, world.pay(world.bob, target=world.carol.account))
    paid = [world.pay(world.alice) for _ in range(count)]
    await world.final(node, *paid)
    for one in (paid[0], paid[count // 2], paid[-1]):
        answer = await node.call("tx_getReceipt", txId=hexed(one.tx_id), prove=True)
        assert verify_payment(answer["proof"], world.genesis.hash, REGISTRY).valid


# -- everything that `prove` gives


async def test_accounts_and_balances_are_proven_from_the_genesis_hash_alone(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Now and in the past, by answers as they come: no authority, no node is asked again."""
    for _ in range(4):
        await world.final(node, world.pay(world.alice, target=world.carol.account))
    alice = account_text(world.alice.account)
    key, absent = hexed(account_key(world.alice.account)), hexed(ABSENT)
    for at in (2, 4, None):
        more = {} if at is None else {"atHeight": at}
        for kind, method, params in (
            ("account", "account_get", {"account": alice, **more}),
            ("balances", "account_getBalances", {"account": alice, **more}),
            ("state", "chain_getProof", {"key": key, **more}),
            ("state", "chain_getProof", {"key": absent, **more}),
            ("state", "chain_getProof", {"module": "assets", "path": hexed(asset_key("EUR"))}),
        ):
            answer = await node.call(method, **params, prove=True)
            verdict = verify_document(answer, world.genesis.hash, REGISTRY)
            assert verdict.valid and verdict.kind == kind, (method, verdict)
            plain = await node.call(method, **params)
            assert plain == {name: answer[name] for name in plain}, "prove changes nothing else"
            assert set(answer) - set(plain) <= {"proof", "bundle"}
            assert not verify_document(plain, world.genesis.hash, REGISTRY).valid
            if at is not None and "atHeight" in params:
                assert verdict.height == at
    lied = await node.call("account_getBalances", account=alice, prove=True)
    lied["balances"][0]["amount"] += "0"
    assert verify_document(lied, world.genesis.hash, REGISTRY).step == "document"


async def test_both_ends_of_a_statement_are_proven(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """The range that begins with block 1 opens with the genesis; what was had then is known."""
    for number in range(5):
        asset = ("CLAW", "EUR")[number % 2]
        await world.final(node, world.pay(world.alice, target=world.carol.account, asset=asset))
    for who in (world.alice, world.carol):
        for first, last in ((1, 5), (1, 1), (2, 4), (5, 5), (3, None)):
            more = {} if last is None else {"toHeight": last}
            params = {"account": account_text(who.account), "fromHeight": first, **more}
            answer = await node.call("account_getStatement", **params, prove=True)
            assert len(answer["proof"]["blocks"]) == (1 if first == 1 else 2)
            verdict = verify_document(answer, world.genesis.hash, REGISTRY)
            assert verdict.valid and verdict.kind == "statement", verdict.reason
            plain = await node.call("account_getStatement", **params)
            assert plain == {name: answer[name] for name in plain}


async def test_proofs_need_a_block_that_somebody_decided(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Before the first block nobody decided anything; a height that is not there has no proof."""
    alice = account_text(world.alice.account)
    await world.final(node, world.pay(world.alice))
    for method in ("account_get", "account_getBalances"):
        for height in (0, 2):
            refused = await node.refusal(method, account=alice, atHeight=height, prove=True)
            assert refused.code == -32001
    nobody = account_text(ABSENT[1:])
    assert (await node.refusal("account_get", account=nobody, prove=True)).code == -32001
    shown = await node.call("account_getBalances", account=nobody, prove=True)
    verdict = verify_document(shown, world.genesis.hash, REGISTRY)
    assert verdict.valid and "0.00 CLAW" in verdict.proved[0]


async def test_the_answer_of_a_receipt_is_proven_as_it_came(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A node that answers a failed code as `ok`, or other events, is found out."""
    tx = world.pay(world.alice)
    await world.final(node, tx)
    answer = await node.call("tx_getReceipt", txId=hexed(tx.tx_id), prove=True)
    assert verify_document(answer, world.genesis.hash, REGISTRY).valid
    for name, value in (
        ("code", "notFound"),
        ("events", []),
        ("fee", "7"),
        ("height", 2),
        ("index", 1),
        ("time", "2020-01-01T00:00:00.000Z"),
        ("cost", 1.0),
        ("trace", None),
    ):
        verdict = verify_document({**answer, name: value}, world.genesis.hash, REGISTRY)
        assert (verdict.valid, verdict.kind, verdict.step) == (False, "payment", "document"), name
