"""Which transactions a block may hold, and what is left of one that fails.

A block with a transaction that may not be in it is invalid; one that fails costs its sender the
fee and nothing else. Whoever could cross that line could spend twice, or for others.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.records import FEE_ACCOUNT, Account, account_key
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.transactions import LANE_COUNT, SEQUENCE_MAX, Role, encode_transaction
from clawpurse.ledger.transition import prepare
from tests.ledger.sandbox import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    ERIN,
    FRANK,
    MINUTE_MS,
    START_MS,
    Key,
    Sandbox,
    open_account,
    sign,
    transfer,
)


def native(balance: int) -> dict[str, int]:
    return {"CLAW": balance}


def set_account(chain: Sandbox, key: Key, **fields: Any) -> None:
    """Write an account's record as no transaction could."""
    record = chain.account(key)._replace(**fields)
    chain.state.records[KERNEL, account_key(key.account)] = record.pack()


# -- what may not be in a block: (rule, code, how to make it)

NOW = START_MS + 1_000
DAY_MS = 86_400_000


def refused_cases() -> dict[str, tuple[str, Code, dict[str, Any]]]:
    """Name → (rule, code, body fields) for transactions of Alice in the first block."""
    return {
        "another network's genesis": (
            "kernel.chain",
            Code.WRONG_CHAIN,
            {"genesis_hash": bytes(32)},
        ),
        "another network's name": ("kernel.chain", Code.WRONG_CHAIN, {"chain_id": "sandbox-2"}),
        "a millisecond too late": ("kernel.expired", Code.EXPIRED, {"valid_until_ms": NOW - 1}),
        "never valid": ("kernel.expired", Code.EXPIRED, {"valid_until_ms": 0}),
        "valid for too long": (
            "kernel.validity",
            Code.MALFORMED,
            {"valid_until_ms": NOW + DAY_MS + 1},
        ),
        "valid for ever": ("kernel.validity", Code.MALFORMED, {"valid_until_ms": 2**64 - 1}),
        "sequence ahead": ("kernel.sequenceGap", Code.SEQUENCE_GAP, {"sequence": 1}),
        "last sequence": ("kernel.sequenceGap", Code.SEQUENCE_GAP, {"sequence": SEQUENCE_MAX}),
        "gap in another lane": (
            "kernel.sequenceGap",
            Code.SEQUENCE_GAP,
            {"lane": 5, "sequence": 3},
        ),
        "fee below the minimum": ("kernel.fee", Code.INSUFFICIENT_FUNDS, {"fee": 1}),
        "fee above the balance": ("kernel.feeFunds", Code.INSUFFICIENT_FUNDS, {"fee": 1_000_001}),
        "fee of all there is": ("kernel.feeFunds", Code.INSUFFICIENT_FUNDS, {"fee": 2**64 - 1}),
    }


@pytest.mark.parametrize("name", refused_cases())
def test_a_block_cannot_hold(name: str) -> None:
    rule, code, fields = refused_cases()[name]
    chain = Sandbox(params={"fee_min": 2})
    error = chain.refusal(chain.tx(ALICE, **fields))
    assert (error.rule, error.code) == (rule, code)
    chain.block(chain.tx(ALICE))


def test_a_height_bound_is_inclusive() -> None:
    chain = Sandbox()
    chain.block(chain.tx(ALICE, height_max=1))
    assert chain.refusal(chain.tx(ALICE, height_max=1)).rule == "kernel.height"
    chain.block(chain.tx(ALICE, height_max=2))


def test_validity_is_judged_by_block_time_and_both_ends_are_inclusive() -> None:
    chain = Sandbox(params={"valid_for_max_ms": 10_000})
    chain.block(chain.tx(ALICE, valid_until_ms=NOW))
    chain.block(chain.tx(ALICE, valid_until_ms=NOW + 1_000 + 10_000))
    late = chain.tx(ALICE, valid_until_ms=chain.time_ms + 5_000)
    assert chain.refusal(late, after_ms=5_001).rule == "kernel.expired"
    chain.block(late, after_ms=5_000)


def test_only_who_has_an_account_can_send_or_sponsor() -> None:
    chain = Sandbox()
    assert chain.refusal(chain.tx(ERIN)).rule == "kernel.sender"
    error = chain.refusal(chain.tx(ALICE, payer=ERIN))
    assert error.rule == "kernel.sender" and error.wire_facts == (ERIN.account,)


def test_only_the_account_s_own_key_signs_for_it() -> None:
    chain = Sandbox()
    assert chain.refusal(chain.tx(ALICE, signer=BOB)).rule == "kernel.key"
    body = chain.body(ALICE, payer=CAROL.account)
    witness = [
        sign(ALICE.seed, body, Role.SENDER, ALICE.account),
        sign(BOB.seed, body, Role.PAYER, CAROL.account),
    ]
    error = chain.refusal(encode_transaction(body.pack(), witness))
    assert error.rule == "kernel.key" and error.wire_facts == (CAROL.account,)


def test_who_did_not_sign_pays_no_fee_unless_it_said_so_before() -> None:
    chain = Sandbox()
    body = chain.body(ALICE, payer=CAROL.account)
    witness = [sign(ALICE.seed, body, Role.SENDER, ALICE.account)]
    error = chain.refusal(encode_transaction(body.pack(), witness))
    assert error.rule == "kernel.sponsor" and error.wire_facts == (CAROL.account, ALICE.account)


def test_two_keys_for_one_role_are_refused_since_one_of_them_is_not_the_account_s() -> None:
    chain = Sandbox()
    body = chain.body(ALICE)
    witness = [sign(key.seed, body, Role.SENDER, ALICE.account) for key in (ALICE, BOB)]
    assert chain.refusal(encode_transaction(body.pack(), witness)).rule == "kernel.key"


def test_nobody_signs_for_the_fee_account_or_a_module() -> None:
    chain = Sandbox()
    fees = chain.account(FEE_ACCOUNT)
    assert fees.key is None
    body = chain.body(ALICE)._replace(sender=FEE_ACCOUNT)
    raw = encode_transaction(body.pack(), [sign(ALICE.seed, body, Role.SENDER, FEE_ACCOUNT)])
    assert chain.refusal(raw).rule == "kernel.key"


def test_a_payment_cannot_be_repeated() -> None:
    chain = Sandbox()
    raw = chain.tx(ALICE, transfer(BOB, 5))
    execution = chain.execution()
    execution.apply(prepare(raw, chain.registry))
    chain.block(raw)
    error = chain.refusal(raw)
    assert (error.rule, error.code, error.wire_facts) == (
        "kernel.sequenceLow",
        Code.SEQUENCE_LOW,
        (0, 1),
    )
    assert chain.balance(BOB) == 1_005


def test_a_payment_signed_for_one_network_is_nothing_on_its_twin() -> None:
    """Same name, keys and balances: only the genesis hash differs, by a millisecond."""
    here, twin = Sandbox(), Sandbox(time_ms=START_MS + 1)
    raw = here.tx(ALICE, transfer(BOB, 5))
    assert twin.refusal(raw).rule == "kernel.chain"
    here.block(raw)


def test_a_refused_transaction_leaves_the_block_as_it_was() -> None:
    chain, other = Sandbox(), Sandbox()
    good = [chain.tx(ALICE, transfer(BOB, 1)), chain.tx(BOB, transfer(CAROL, 2))]
    execution = chain.execution()
    execution.apply(prepare(good[0], chain.registry))
    for name, (_, _, fields) in refused_cases().items():
        if name.startswith("fee below"):
            continue
        with pytest.raises(Exception, match=":"):
            execution.apply(prepare(chain.tx(CAROL, transfer(BOB, 7), **fields), chain.registry))
    execution.apply(prepare(good[1], chain.registry))
    assert execution.finish() == other.block(*good)


# -- lanes and sequences


def test_each_lane_counts_for_itself() -> None:
    """So that one stuck payment blocks nothing else."""
    chain = Sandbox()
    lanes = [0, 63, 7, 7, 63, 0]
    seen = [0] * LANE_COUNT
    raws = []
    for lane in lanes:
        raws.append(chain.tx(ALICE, transfer(BOB, 1), lane=lane, sequence=seen[lane]))
        seen[lane] += 1
    chain.block(*raws)
    assert [chain.sequence(ALICE, lane) for lane in range(LANE_COUNT)] == seen
    assert len(chain.account(ALICE).lanes) == 8 * 64 and chain.balance(BOB) == 1_006


def test_unused_lanes_take_no_room() -> None:
    chain = Sandbox()
    chain.pay(ALICE, lane=2)
    assert chain.account(ALICE).lanes == bytes(23) + b"\x01"


def test_a_block_takes_a_sender_s_transactions_only_in_order() -> None:
    chain = Sandbox()
    first, second = (chain.tx(ALICE, sequence=number) for number in (0, 1))
    assert chain.refusal(second).rule == "kernel.sequenceGap"
    chain.block(first, second)


def test_of_two_attempts_at_one_sequence_one_takes_effect() -> None:
    chain = Sandbox()
    first = chain.tx(ALICE, transfer(BOB, 1))
    second = chain.tx(ALICE, transfer(CAROL, 1), attempt=1)
    chain.block(second)
    assert chain.refusal(first).rule == "kernel.sequenceLow"
    assert (chain.balance(BOB), chain.balance(CAROL)) == (1_000, 1)


def test_the_last_sequence_of_a_lane_is_used_and_then_the_lane_is_closed() -> None:
    chain = Sandbox()
    set_account(chain, ALICE, lanes=SEQUENCE_MAX.to_bytes(8, "big"))
    chain.pay(ALICE, sequence=SEQUENCE_MAX)
    assert chain.sequence(ALICE) == 2**64 - 1
    assert chain.refusal(chain.tx(ALICE, sequence=SEQUENCE_MAX)).rule == "kernel.sequenceLow"
    chain.pay(ALICE, lane=1)


# -- fees


def test_a_fee_goes_to_the_fee_account_and_stays_in_supply() -> None:
    chain = Sandbox(params={"fee_min": 3})
    receipt = chain.pay(ALICE, transfer(BOB, 10), fee=5).receipts[0]
    assert (receipt.code, receipt.fee) == (0, 5)
    assert chain.balance(ALICE) == 1_000_000 - 15
    assert chain.balance(FEE_ACCOUNT) == 5
    assert chain.books.supply("CLAW") == 1_001_000


def test_a_payer_pays_the_fee_and_the_sender_everything_else() -> None:
    chain = Sandbox(params={"fee_min": 3})
    chain.pay(CAROL, transfer(DAVE, 2, "EUR"), payer=ALICE)
    assert chain.balance(ALICE) == 999_997 and chain.balance(CAROL, "EUR") == 5
    assert chain.account(ALICE).quota_used == 0 and chain.account(CAROL).quota_used > 0
    assert (chain.sequence(ALICE), chain.sequence(CAROL)) == (0, 1)


def test_a_payer_who_cannot_pay_keeps_the_transaction_out() -> None:
    chain = Sandbox(params={"fee_min": 3})
    error = chain.refusal(chain.tx(ALICE, payer=DAVE))
    assert error.rule == "kernel.feeFunds"
    assert error.wire_facts == (DAVE.account, 0, 3, "CLAW")


def test_the_fee_is_taken_before_the_payment_so_both_must_fit() -> None:
    chain = Sandbox(opening={ALICE: native(100), BOB: {}})
    assert chain.pay(ALICE, transfer(BOB, 96), fee=5).receipts[0].code == Code.INSUFFICIENT_FUNDS
    assert chain.pay(ALICE, transfer(BOB, 90), fee=5).receipts[0].code == 0
    assert (chain.balance(ALICE), chain.balance(BOB)) == (0, 90)


def test_a_fee_can_take_the_last_unit() -> None:
    chain = Sandbox(opening={ALICE: native(7), BOB: {}})
    assert chain.pay(ALICE, open_account(ERIN), fee=7).receipts[0].code == 0
    assert (chain.balance(ALICE), chain.balance(FEE_ACCOUNT)) == (0, 7)


def test_a_payer_can_be_paid_by_the_payment_it_sponsors() -> None:
    chain = Sandbox()
    chain.pay(ALICE, transfer(BOB, 10), payer=BOB, fee=1_000)
    assert (chain.balance(BOB), chain.balance(FEE_ACCOUNT)) == (10, 1_000)


# -- what a failed transaction leaves


def test_a_failed_transaction_changes_only_fee_sequence_quota_and_key_record() -> None:
    chain = Sandbox(params={"fee_min": 2})
    before = dict(chain.state.records)
    raw = chain.tx(
        ALICE, transfer(ERIN, 10), transfer(BOB, 5), transfer(CAROL, 2_000_000), lane=3,
        payer=BOB, idempotency_key=b"once",
    )  # fmt: skip
    result = chain.block(raw)
    (receipt,) = result.receipts
    assert receipt.code == Code.INSUFFICIENT_FUNDS and receipt.rule == "kernel.balance"
    assert receipt.facts == (ALICE.account, 999_985, 2_000_000, "CLAW")
    assert receipt.event_count == 0 and result.events == ()
    changed = {place: value for place, value in chain.state.records.items()
               if before.get(place) != value}  # fmt: skip
    assert sorted(key[:1] for _, key in changed) == [b"a", b"a", b"a", b"e", b"i"]
    alice, cost = chain.account(ALICE), prepare(raw, chain.registry).cost
    was = Account.unpack(before[KERNEL, account_key(ALICE.account)])
    assert alice == was._replace(
        lanes=bytes(31) + b"\x01",
        quota_window=chain.time_ms // MINUTE_MS,
        quota_used=cost,
        idempotency_count=1,
    )
    bob_was = Account.unpack(before[KERNEL, account_key(BOB.account)])
    assert chain.account(BOB) == bob_was.with_balance(998)
    assert chain.balance(FEE_ACCOUNT) == 2
    assert chain.books.account(ERIN.account) is None


def test_actions_of_a_transaction_happen_all_or_not_at_all() -> None:
    chain = Sandbox(opening={ALICE: native(10), BOB: {}})
    assert chain.pay(ALICE, transfer(BOB, 6), transfer(BOB, 5)).receipts[0].code != 0
    assert (chain.balance(ALICE), chain.balance(BOB)) == (10, 0)
    assert chain.pay(ALICE, transfer(BOB, 6), transfer(BOB, 4)).receipts[0].code == 0
    assert (chain.balance(ALICE), chain.balance(BOB)) == (0, 10)


def test_a_failure_does_not_reach_the_transactions_around_it() -> None:
    chain = Sandbox(opening={ALICE: native(10), BOB: {}, CAROL: {}})
    result = chain.block(
        chain.tx(ALICE, transfer(BOB, 4)),
        chain.tx(ALICE, transfer(CAROL, 7), sequence=1),
        chain.tx(ALICE, transfer(CAROL, 6), sequence=2),
        chain.tx(BOB, transfer(CAROL, 1)),
    )
    assert [receipt.code for receipt in result.receipts] == [0, 15, 0, 0]
    assert [chain.balance(key) for key in (ALICE, BOB, CAROL)] == [0, 3, 7]


def test_receipts_say_where_their_events_are() -> None:
    chain = Sandbox(opening={ALICE: native(100), BOB: {}})
    result = chain.block(
        chain.tx(ALICE, transfer(ERIN, 1)),
        chain.tx(ALICE, transfer(BOB, 1_000), sequence=1),
        chain.tx(ALICE, transfer(BOB, 1), transfer(ERIN, 1), sequence=2),
    )
    assert [(r.first_event, r.event_count) for r in result.receipts] == [(0, 2), (2, 0), (2, 2)]
    assert [(event.transaction, event.kind) for event in result.events] == [
        (0, "accounts.opened"),
        (0, "assets.transferred"),
        (2, "assets.transferred"),
        (2, "assets.transferred"),
    ]
    assert result.events[1].accounts == (ALICE.account, ERIN.account)
    assert result.events[1].data == ("CLAW", 1)
    assert result.cost_used == sum(receipt.cost for receipt in result.receipts)


# -- quota and block cost


def test_a_sender_spends_its_quota_and_gets_a_new_one_with_the_window() -> None:
    """A free network is no free-for-all, and nobody is locked out for longer than a window."""
    probe = Sandbox()
    cost = prepare(probe.tx(ALICE), probe.registry).cost
    chain = Sandbox(params={"quota_cost_max": 2 * cost + 1, "quota_window_ms": 10_000})
    assert chain.time_ms % 10_000 == 0
    chain.block(chain.tx(ALICE), chain.tx(ALICE, sequence=1))
    error = chain.refusal(chain.tx(ALICE), after_ms=8_999)
    assert (error.rule, error.code) == ("kernel.quota", Code.QUOTA_EXCEEDED)
    assert error.wire_facts == (cost, 1)
    chain.pay(BOB, transfer(CAROL, 1))
    chain.block(chain.tx(ALICE), after_ms=8_000)
    assert chain.account(ALICE).quota_used == cost
    assert chain.account(ALICE).quota_window == chain.time_ms // 10_000


def test_failed_transactions_spend_quota_too() -> None:
    chain = Sandbox()
    raw = chain.tx(ALICE, transfer(BOB, 2**63))
    assert chain.block(raw).receipts[0].code != 0
    assert chain.account(ALICE).quota_used == prepare(raw, chain.registry).cost


def test_the_quota_is_the_sender_s_whatever_lane_it_uses() -> None:
    probe = Sandbox()
    cost = prepare(probe.tx(ALICE), probe.registry).cost
    chain = Sandbox(params={"quota_cost_max": cost})
    chain.pay(ALICE)
    assert chain.refusal(chain.tx(ALICE, lane=9)).rule == "kernel.quota"


def test_a_block_never_costs_more_than_it_may() -> None:
    probe = Sandbox()
    cost = prepare(probe.tx(ALICE), probe.registry).cost
    chain = Sandbox(params={"block_cost_max": 2 * cost + cost - 1})
    execution = chain.execution()
    for number in range(2):
        execution.apply(prepare(chain.tx(ALICE, sequence=number), chain.registry))
    with pytest.raises(Exception, match="left in this block") as caught:
        execution.apply(prepare(chain.tx(BOB, transfer(CAROL, 1)), chain.registry))
    assert caught.value.rule == "kernel.blockFull"  # type: ignore[attr-defined]
    assert caught.value.wire_facts == (cost, cost - 1)  # type: ignore[attr-defined]
    assert execution.cost_used == 2 * cost and execution.count == 2


def test_what_no_block_can_hold_is_told_apart_from_what_waits_for_the_next() -> None:
    chain = Sandbox(params={"block_cost_max": 100})
    assert chain.refusal(chain.tx(ALICE)).rule == "kernel.cost"


# -- empty blocks


def test_a_block_with_no_transaction_and_nothing_due_changes_nothing() -> None:
    """Or an idle network would grow for ever, and its root would never stand still."""
    chain = Sandbox()
    chain.pay(ALICE, idempotency_key=b"pending for a day")
    for after_ms in (1, 1_000, 23 * 3_600_000):
        result = chain.block(after_ms=after_ms)
        assert result.changes == {} and result.receipts == () and result.events == ()
        assert result.cost_used == 0


def test_what_ends_as_it_began_is_not_a_change() -> None:
    chain = Sandbox()
    result = chain.block(
        chain.tx(ALICE, transfer(BOB, 5)), chain.tx(BOB, transfer(ALICE, 5), payer=CAROL)
    )
    changed = {key[1:] for tree, key in result.changes if tree == KERNEL}
    assert changed == {ALICE.account, BOB.account}


def test_opened_accounts_that_nobody_has_yet_are_reported_once() -> None:
    chain = Sandbox()
    result = chain.pay(ALICE, open_account(ERIN), open_account(FRANK))
    assert [event.kind for event in result.events] == ["accounts.opened"] * 2
