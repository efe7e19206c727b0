"""A caller who does not know whether it paid asks again with the same key, and pays once."""

from __future__ import annotations

import pytest

from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.records import EXPIRY_PREFIX, expiring_record, queue_time_ms
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.transactions import decode_transaction
from clawpurse.ledger.transition import EXPIRIES_PER_TRANSACTION, find_idempotency
from tests.ledger.sandbox import ALICE, BOB, CAROL, START_MS, Key, Sandbox, transfer

DAY_MS = 86_400_000
KEY = b"order 17"


def keys_of(chain: Sandbox) -> list[bytes]:
    """State keys of the idempotency records and of the queue that ends them."""
    return sorted(key for tree, key in chain.state.records if tree == KERNEL and key[:1] in b"ie")


def count(chain: Sandbox, key: Key) -> int:
    return chain.account(key).idempotency_count


def test_the_record_names_transaction_height_and_outcome() -> None:
    chain = Sandbox()
    chain.block()
    raw = chain.tx(ALICE, transfer(BOB, 5), idempotency_key=KEY)
    chain.block(raw)
    found = find_idempotency(chain.state, ALICE.account, KEY)
    assert found is not None
    assert found == (decode_transaction(raw).tx_id, 2, 0)
    assert find_idempotency(chain.state, BOB.account, KEY) is None
    assert find_idempotency(chain.state, ALICE.account, KEY + b"0") is None
    assert count(chain, ALICE) == 1


def test_a_second_body_with_the_key_fails_names_the_first_and_leaves_its_record() -> None:
    chain = Sandbox()
    first = chain.tx(ALICE, transfer(BOB, 5), idempotency_key=KEY)
    chain.block(first)
    before = keys_of(chain)
    receipt = chain.pay(ALICE, transfer(BOB, 5), idempotency_key=KEY).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "kernel.duplicateKey")
    assert receipt.facts == (decode_transaction(first).tx_id, 1)
    assert chain.balance(BOB) == 1_005 and chain.sequence(ALICE) == 2
    assert keys_of(chain) == before and count(chain, ALICE) == 1
    found = find_idempotency(chain.state, ALICE.account, KEY)
    assert found is not None and found.tx_id == receipt.facts[0]


def test_two_bodies_with_one_key_in_one_block_pay_once() -> None:
    chain = Sandbox()
    raws = [chain.tx(ALICE, transfer(BOB, 5), idempotency_key=KEY, lane=lane) for lane in (0, 1, 2)]
    result = chain.block(*raws)
    assert [receipt.code for receipt in result.receipts] == [0, 16, 16]
    assert chain.balance(BOB) == 1_005 and count(chain, ALICE) == 1


def test_a_key_belongs_to_its_sender() -> None:
    chain = Sandbox()
    result = chain.block(
        chain.tx(ALICE, transfer(CAROL, 1), idempotency_key=KEY),
        chain.tx(BOB, transfer(CAROL, 1), idempotency_key=KEY),
    )
    assert [receipt.code for receipt in result.receipts] == [0, 0]


def test_a_failed_payment_keeps_its_key_with_its_code() -> None:
    """The caller learns that the first try failed; it does not pay by asking again."""
    chain = Sandbox()
    chain.pay(BOB, transfer(CAROL, 5_000), idempotency_key=KEY)
    found = find_idempotency(chain.state, BOB.account, KEY)
    assert found is not None and found.code == Code.INSUFFICIENT_FUNDS
    again = chain.pay(BOB, transfer(CAROL, 5), idempotency_key=KEY).receipts[0]
    assert again.code == Code.DUPLICATE and chain.balance(CAROL) == 0


def test_a_refused_transaction_uses_up_no_key() -> None:
    chain = Sandbox()
    chain.refusal(chain.tx(ALICE, idempotency_key=KEY, sequence=5))
    assert find_idempotency(chain.state, ALICE.account, KEY) is None
    assert chain.pay(ALICE, idempotency_key=KEY).receipts[0].code == 0


@pytest.mark.parametrize("valid_for_ms", [1_000, DAY_MS])
def test_a_key_is_kept_for_a_day_of_block_time_whatever_the_validity(valid_for_ms: int) -> None:
    chain = Sandbox()
    made = START_MS + 1_000
    chain.pay(ALICE, idempotency_key=KEY, valid_until_ms=START_MS + valid_for_ms)
    expiry, record = keys_of(chain)
    assert expiry[:1] == EXPIRY_PREFIX and queue_time_ms(expiry) == made + DAY_MS
    assert expiring_record(expiry) == (ALICE.account, record)
    chain.block(after_ms=DAY_MS - 1)
    assert find_idempotency(chain.state, ALICE.account, KEY) is not None
    result = chain.block(after_ms=1)
    assert result.events == () and len(result.changes) == 3
    assert keys_of(chain) == [] and count(chain, ALICE) == 0


def test_an_expired_key_can_be_used_in_the_very_block_that_forgets_it() -> None:
    chain = Sandbox()
    chain.pay(ALICE, transfer(BOB, 5), idempotency_key=KEY)
    raw = chain.tx(
        ALICE, transfer(BOB, 5), idempotency_key=KEY, valid_until_ms=chain.time_ms + DAY_MS
    )
    assert chain.block(raw, after_ms=DAY_MS).receipts[0].code == 0
    assert chain.balance(BOB) == 1_010 and count(chain, ALICE) == 1


def test_a_full_table_refuses_and_evicts_nothing() -> None:
    """Eviction would let a sender forget its own key early, and pay twice by accident."""
    chain = Sandbox(params={"idempotency_per_sender_max": 2})
    for key in (b"1", b"2"):
        chain.pay(ALICE, idempotency_key=key)
    before = keys_of(chain)
    receipt = chain.pay(ALICE, transfer(BOB, 5), idempotency_key=b"3").receipts[0]
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "kernel.keysFull")
    assert receipt.facts == (ALICE.account, 2)
    assert keys_of(chain) == before
    duplicate = chain.pay(ALICE, idempotency_key=b"1").receipts[0]
    assert duplicate.code == Code.DUPLICATE
    assert chain.pay(ALICE, transfer(BOB, 5)).receipts[0].code == 0
    assert chain.pay(BOB, transfer(CAROL, 1), idempotency_key=b"3").receipts[0].code == 0
    chain.block(after_ms=DAY_MS)
    assert chain.pay(ALICE, transfer(BOB, 5), idempotency_key=b"3").receipts[0].code == 0


def test_a_network_may_keep_no_keys_at_all() -> None:
    chain = Sandbox(params={"idempotency_per_sender_max": 0})
    assert chain.pay(ALICE, idempotency_key=KEY).receipts[0].rule == "kernel.keysFull"
    assert chain.pay(ALICE).receipts[0].code == 0


def test_keys_expire_faster_than_blocks_can_make_them() -> None:
    """However many were made a day ago, none piles up, and none keeps due work waiting."""
    chain = Sandbox(params={"block_transactions_max": 2})
    for number in range(9):
        chain.pay(ALICE, idempotency_key=bytes([number]))
    left = []
    for _ in range(4):
        chain.block(after_ms=DAY_MS)
        left.append(count(chain, ALICE))
    per_block = 2 * EXPIRIES_PER_TRANSACTION
    assert left == [9 - per_block, 9 - 2 * per_block, 0, 0]
    assert keys_of(chain) == []
