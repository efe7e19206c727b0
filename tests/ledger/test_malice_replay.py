"""What was signed for one network, once, is good for that and nothing else.

If these failed, a payment could be taken twice: again, on a test network of the same name, or by
a voucher that was meant for another channel.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Refused
from clawpurse.ledger.transactions import Role, encode_transaction
from clawpurse.ledger.transition import prepare
from clawpurse.ledger.vouchers import Terms, voucher_bytes
from tests.ledger.malice_world import DAY_MS, HOUR_MS, MOST, Realm, first, raw
from tests.ledger.sandbox import ALICE, BOB, CAROL, START_MS, Key, sign, transfer

SIGNER = Key("voucher signer")


@pytest.fixture
def realm() -> Realm:
    return Realm()


@pytest.fixture
def twin() -> Realm:
    """Another network of the same name: only its genesis is later."""
    made = Realm(time_ms=START_MS + 1)
    made.time_ms = START_MS
    return made


def opened(realm: Realm, payee: Key = BOB, asset: str = "CLAW") -> bytes:
    fields = [asset, payee, 1_000, HOUR_MS, 1, realm.time_ms + DAY_MS, SIGNER.public, b"", None]
    made = first(realm.do(ALICE, "payments.openChannel", *fields), "payments.channelOpened")
    return made.data[2]  # type: ignore[return-value]


def voucher(
    realm: Realm, channel: bytes, amount: int, payee: Key = BOB, asset: str = "CLAW"
) -> bytes:
    promise = Terms(realm.genesis.hash, channel, asset, payee.account)
    return crypto.sign(SIGNER.seed, voucher_bytes(promise, amount))


def test_a_transaction_is_good_on_no_network_of_the_same_name(realm: Realm, twin: Realm) -> None:
    assert realm.genesis.chain_id == twin.genesis.chain_id
    assert realm.genesis.hash != twin.genesis.hash
    for actions in ((transfer(BOB, 5),), (raw("accounts.open", Key("new")),)):
        twin.barred(realm.tx(ALICE, *actions), "kernel.chain")


def test_a_signature_is_good_for_no_other_genesis(realm: Realm, twin: Realm) -> None:
    """Who puts the other network's genesis into the body needs another signature."""
    body = realm.body(ALICE, transfer(BOB, 5))
    entry = sign(ALICE.seed, body, Role.SENDER, ALICE.account)
    moved = body._replace(genesis_hash=twin.genesis.hash)
    prepared = prepare(encode_transaction(moved.pack(), [entry]), twin.registry)
    assert [crypto.verify(*one) for one in prepared.transaction.signatures] == [False]
    renamed = body._replace(chain_id="sandbox-2")
    twin.barred(
        encode_transaction(renamed.pack(), [sign(ALICE.seed, renamed, Role.SENDER, ALICE.account)]),
        "kernel.chain",
    )


def test_a_voucher_is_good_for_one_network_channel_payee_and_asset(
    realm: Realm, twin: Realm
) -> None:
    mine, there = opened(realm), opened(twin)
    assert mine != there
    other = opened(realm, CAROL)
    good = voucher(realm, mine, 10)
    for channel, signature in (
        (mine, voucher(twin, mine, 10)),
        (mine, voucher(realm, other, 10)),
        (mine, voucher(realm, mine, 10, CAROL)),
        (mine, voucher(realm, mine, 10, asset="EUR")),
        (mine, voucher(realm, mine, 11)),
        (mine, bytes(64)),
    ):
        claim = realm.tx(BOB, raw("payments.claimChannel", channel, 10, signature))
        realm.refused(claim, "payments.voucher")
    # Whoever brings it, it pays its payee.
    before = realm.balance(BOB), realm.balance(CAROL)
    realm.done(realm.tx(CAROL, raw("payments.claimChannel", mine, 10, good), fee=3))
    assert (realm.balance(BOB), realm.balance(CAROL)) == (before[0] + 10, before[1] - 3)
    moved = twin.tx(BOB, raw("payments.claimChannel", there, 10, good))
    twin.refused(moved, "payments.voucher")


def test_a_voucher_pays_once(realm: Realm) -> None:
    channel = opened(realm)
    realm.do(BOB, "payments.claimChannel", channel, 10, voucher(realm, channel, 10))
    for amount in (10, 9, 1):
        again = raw("payments.claimChannel", channel, amount, voucher(realm, channel, amount))
        realm.refused(realm.tx(BOB, again), "payments.voucherPaid")


def test_a_transaction_takes_effect_once(realm: Realm) -> None:
    paid = realm.tx(ALICE, transfer(BOB, 5))
    realm.done(paid)
    realm.barred(paid, "kernel.sequenceLow")
    same = realm.tx(ALICE, transfer(BOB, 5), sequence=realm.sequence(ALICE) - 1, lane=0)
    realm.barred(same, "kernel.sequenceLow")
    ahead = realm.tx(ALICE, transfer(BOB, 5), sequence=realm.sequence(ALICE) + 1)
    realm.barred(ahead, "kernel.sequenceGap")
    late = realm.tx(ALICE, transfer(BOB, 5))
    realm.barred(late, "kernel.expired", after_ms=2 * HOUR_MS)


def test_an_idempotency_key_is_good_once_for_one_sender(realm: Realm) -> None:
    realm.done(realm.tx(ALICE, transfer(BOB, 5), idempotency_key=b"order 7"))
    for lane in (0, 1):
        again = realm.tx(ALICE, transfer(BOB, 5), idempotency_key=b"order 7", lane=lane)
        realm.refused(again, "kernel.duplicateKey")
    realm.done(realm.tx(BOB, transfer(CAROL, 5), idempotency_key=b"order 7"))


def test_a_failed_transactions_key_is_used_too(realm: Realm) -> None:
    poor = realm.tx(ALICE, transfer(BOB, MOST), idempotency_key=b"order 8")
    realm.refused(poor, "kernel.balance")
    again = realm.tx(ALICE, transfer(BOB, 5), idempotency_key=b"order 8")
    realm.refused(again, "kernel.duplicateKey")


def test_a_transaction_of_two_lanes_of_one_block_is_no_third(realm: Realm) -> None:
    execution = realm.execution()
    one = realm.tx(ALICE, transfer(BOB, 5), lane=1)
    execution.apply(prepare(one, realm.registry))
    with pytest.raises(Refused) as caught:
        execution.apply(prepare(one, realm.registry))
    assert caught.value.rule == "kernel.sequenceLow"


def forged(realm: Realm, **fields: Any) -> bytes:
    body = realm.body(ALICE, transfer(CAROL, 5), **fields)
    return encode_transaction(body.pack(), [sign(BOB.seed, body, Role.SENDER, ALICE.account)])


def test_a_strangers_key_signs_for_nobody(realm: Realm) -> None:
    realm.barred(forged(realm), "kernel.key")
    realm.barred(forged(realm, lane=63), "kernel.key")
