"""The ledger against a naive one: random payments, plain dictionaries, the same books.

The model below was written from the protocol's description and shares no code with the ledger.
Where the two disagree, one of them would have taken or given somebody's money.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.errors import Refused
from clawpurse.ledger.kernel.records import FEE_ACCOUNT
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import find_idempotency, prepare
from tests.ledger.sandbox import (
    ALICE,
    BOB,
    CAROL,
    ERIN,
    FRANK,
    START_MS,
    Key,
    Sandbox,
    change_key,
    open_account,
    transfer,
)

FEE_MIN, DEPOSIT, QUOTA, WINDOW_MS = 2, 5, 1_500, 10_000
KEEP_MS, KEYS_MAX, VALID_MAX_MS, BLOCK_COST = 15_000, 1, 30_000, 1_600
PARAMS = {
    "fee_min": FEE_MIN,
    "opening_deposit": DEPOSIT,
    "quota_cost_max": QUOTA,
    "quota_window_ms": WINDOW_MS,
    "idempotency_keep_ms": KEEP_MS,
    "idempotency_per_sender_max": KEYS_MAX,
    "valid_for_max_ms": VALID_MAX_MS,
    "block_cost_max": BLOCK_COST,
}
OPENING = {ALICE: {"CLAW": 300, "EUR": 90}, BOB: {"CLAW": 40, "EUR": 10}, CAROL: {}}
PEOPLE = (ALICE, BOB, CAROL, ERIN, FRANK)
ACTION_COST = {"pay": 100, "open": 60, "key": 60}


class Act(NamedTuple):
    """One action: pay (asset, to, amount), open (whom), key (new key)."""

    verb: str
    whom: Key
    asset: str = "CLAW"
    amount: int = 0


class Order(NamedTuple):
    """One transaction that somebody tries; `skew` is how far its sequence is off."""

    sender: Key
    acts: tuple[Act, ...]
    lane: int
    skew: int
    fee: int
    payer: Key | None
    signer: Key | None
    valid_for_ms: int
    height_off: int | None
    key: bytes | None


@dataclass
class Person:
    signer: Key
    money: dict[str, int] = field(default_factory=lambda: {"CLAW": 0, "EUR": 0})
    next: dict[int, int] = field(default_factory=dict)
    window: int = 0
    used: int = 0


@dataclass
class Naive:
    """The whole ledger as a child would write it down."""

    people: dict[Key, Person] = field(default_factory=dict)
    fees: int = 0
    keys: dict[tuple[Key, bytes], tuple[int, int, int]] = field(default_factory=dict)
    height: int = 0
    now_ms: int = START_MS
    block_cost: int = 0

    def begin(self, after_ms: int) -> None:
        self.height += 1
        self.now_ms += after_ms
        self.block_cost = 0
        gone = [place for place, (_, _, until) in self.keys.items() if until <= self.now_ms]
        for place in gone:
            del self.keys[place]

    def refuses(self, order: Order, cost: int, sequence: int) -> str | None:
        """Why it may not be in the block, or None."""
        if self.block_cost + cost > BLOCK_COST:
            return "kernel.blockFull"
        if order.valid_for_ms < 0:
            return "kernel.expired"
        if order.height_off is not None and max(1, self.height + order.height_off) < self.height:
            return "kernel.height"
        if order.valid_for_ms > VALID_MAX_MS:
            return "kernel.validity"
        if order.sender not in self.people or (order.payer and order.payer not in self.people):
            return "kernel.sender"
        sender = self.people[order.sender]
        payer = self.people[order.payer] if order.payer else sender
        if sender.signer is not (order.signer or order.sender):
            return "kernel.key"
        if order.payer and payer.signer is not order.payer:
            return "kernel.key"
        if sequence != sender.next.get(order.lane, 0):
            low = sequence < sender.next.get(order.lane, 0)
            return "kernel.sequenceLow" if low else "kernel.sequenceGap"
        window = self.now_ms // WINDOW_MS
        if (sender.used if sender.window == window else 0) + cost > QUOTA:
            return "kernel.quota"
        if order.fee < FEE_MIN:
            return "kernel.fee"
        if payer.money["CLAW"] < order.fee:
            return "kernel.feeFunds"
        return None

    def apply(self, order: Order, cost: int) -> str:
        """Perform it; the rule that failed it, or nothing."""
        self.block_cost += cost
        sender = self.people[order.sender]
        sender.next[order.lane] = sender.next.get(order.lane, 0) + 1
        window = self.now_ms // WINDOW_MS
        sender.used = (sender.used if sender.window == window else 0) + cost
        sender.window = window
        (self.people[order.payer] if order.payer else sender).money["CLAW"] -= order.fee
        self.fees += order.fee
        place = (order.sender, order.key)
        if order.key is not None:
            if place in self.keys:
                return "kernel.duplicateKey"
            if len([1 for who, _ in self.keys if who is order.sender]) >= KEYS_MAX:
                return "kernel.keysFull"
        before = {who: (dict(person.money), person.signer) for who, person in self.people.items()}
        fees, problem = self.fees, ""
        for act in order.acts:
            problem = self.act(order.sender, act)
            if problem:
                self.fees = fees
                for who in [who for who in self.people if who not in before]:
                    del self.people[who]
                for who, (money, signer) in before.items():
                    self.people[who].money, self.people[who].signer = money, signer
                break
        if order.key is not None:
            code = {"": 0, "kernel.balance": 15}.get(problem, 16)
            self.keys[order.sender, order.key] = (self.height, code, self.now_ms + KEEP_MS)
        return problem

    def act(self, who: Key, act: Act) -> str:
        sender = self.people[who]
        if act.verb == "key":
            if sender.signer is act.whom:
                return "accounts.sameKey"
            sender.signer = act.whom
            return ""
        if act.verb == "open" and act.whom in self.people:
            return "kernel.accountExists"
        if act.whom not in self.people:
            if sender.money["CLAW"] < DEPOSIT:
                return "kernel.balance"
            sender.money["CLAW"] -= DEPOSIT
            self.fees += DEPOSIT
            self.people[act.whom] = Person(act.whom)
        if act.verb == "pay":
            if sender.money[act.asset] < act.amount:
                return "kernel.balance"
            sender.money[act.asset] -= act.amount
            self.people[act.whom].money[act.asset] += act.amount
        return ""


people = st.sampled_from(PEOPLE)
senders = st.sampled_from((ALICE, ALICE, BOB, CAROL, ERIN))
pays = st.builds(Act, st.just("pay"), people, st.sampled_from(["CLAW", "EUR"]), st.integers(1, 60))
acts = pays | pays | pays | st.builds(Act, st.sampled_from(["open", "key"]), people)
orders = st.builds(
    Order,
    senders,
    st.lists(acts, min_size=1, max_size=3).map(tuple),
    st.sampled_from([0, 0, 0, 1, 63]),
    st.sampled_from([0] * 12 + [-1, 1, 5]),
    st.sampled_from([2] * 8 + [0, 1, 30, 400]),
    st.sampled_from([None] * 6 + [ALICE, BOB, FRANK]),
    st.sampled_from([None] * 10 + [ALICE, BOB]),
    st.sampled_from([20_000] * 10 + [0, -1, VALID_MAX_MS, VALID_MAX_MS + 1]),
    st.sampled_from([None] * 6 + [0, 1, -1]),
    st.sampled_from([None] * 4 + [b"k1", b"k2", b"k3"]),
)  # fmt: skip
blocks = st.lists(
    st.tuples(st.sampled_from([1, 1_000, 9_000, 14_999, 15_000]), st.lists(orders, max_size=7)),
    max_size=6,
)


def raw_action(act: Act) -> RawAction:
    match act.verb:
        case "pay":
            return transfer(act.whom, act.amount, act.asset)
        case "open":
            return open_account(act.whom)
        case _:
            return change_key(act.whom)


def signed(chain: Sandbox, model: Naive, order: Order) -> tuple[bytes, int]:
    """The signed bytes and their sequence."""
    known = model.people.get(order.sender)
    sequence = max(0, (known.next.get(order.lane, 0) if known else 0) + order.skew)
    fields: dict[str, Any] = {
        "sequence": sequence,
        "lane": order.lane,
        "fee": order.fee,
        "valid_until_ms": model.now_ms + order.valid_for_ms,
        "idempotency_key": order.key,
    }
    if order.height_off is not None:
        fields["height_max"] = max(1, model.height + order.height_off)
    new_keys = sorted({act.whom for act in order.acts if act.verb == "key"}, key=lambda k: k.name)
    raw = chain.tx(
        order.sender,
        *map(raw_action, order.acts),
        payer=order.payer,
        signer=order.signer,
        approvers=[(key, order.sender.account) for key in new_keys],
        **fields,
    )
    return raw, sequence


def cost_of(raw: bytes, order: Order) -> int:
    signatures = 1 + (order.payer is not None)
    signatures += len({act.whom for act in order.acts if act.verb == "key"})
    return 40 + len(raw) // 16 + 60 * signatures + sum(ACTION_COST[a.verb] for a in order.acts)


def compare(chain: Sandbox, model: Naive) -> None:
    for asset in ("CLAW", "EUR"):
        total = model.fees if asset == "CLAW" else 0
        for key in PEOPLE:
            person = model.people.get(key)
            assert (person is not None) == (chain.books.account(key.account) is not None)
            assert chain.balance(key, asset) == (person.money[asset] if person else 0)
            total += chain.balance(key, asset)
        assert total == chain.books.supply(asset) == {"CLAW": 340, "EUR": 100}[asset]
    assert chain.balance(FEE_ACCOUNT) == model.fees
    for key, person in model.people.items():
        account = chain.account(key)
        assert account.key == person.signer.public and account.held == account.due_count == 0
        assert (account.quota_window, account.quota_used) == (person.window, person.used)
        assert {n: account.sequence(n) for n in range(64) if account.sequence(n)} == person.next
        assert account.idempotency_count == len([1 for who, _ in model.keys if who is key])
    for (who, name), (height, code, _) in model.keys.items():
        record = find_idempotency(chain.state, who.account, name)
        assert record is not None and (record.height, record.code) == (height, code)
    kept = [key for tree, key in chain.state.records if tree == "kernel" and key[:1] == b"i"]
    assert len(kept) == len(model.keys)


def run(steps: list[tuple[int, list[Order]]]) -> None:
    chain, model = Sandbox(params=PARAMS, opening=OPENING), Naive()
    for key, money in OPENING.items():
        model.people[key] = Person(key, {"CLAW": 0, "EUR": 0, **money})
    for after_ms, tried in steps:
        model.begin(after_ms)
        execution = chain.execution(after_ms)
        expected = []
        for order in tried:
            if order.payer is order.sender:
                continue
            raw, sequence = signed(chain, model, order)
            prepared = prepare(raw, chain.registry)
            cost = cost_of(raw, order)
            assert prepared.cost == cost
            refusal = model.refuses(order, cost, sequence)
            try:
                receipt = execution.apply(prepared)
            except Refused as err:
                assert err.rule == refusal
                continue
            assert refusal is None
            rule = model.apply(order, cost)
            assert receipt.rule == rule
            assert (receipt.code == 0) == (rule == "") and receipt.fee == order.fee
            expected.append((receipt, cost))
        result = execution.finish()
        assert [(receipt, receipt.cost) for receipt in result.receipts] == expected
        assert result.cost_used == model.block_cost
        assert len(result.events) == sum(receipt.event_count for receipt in result.receipts)
        chain.state.apply(result.changes)
        chain.height, chain.time_ms = chain.height + 1, chain.time_ms + after_ms
        compare(chain, model)


@given(blocks)
@settings(max_examples=120)
def test_any_sequence_of_payments_leaves_the_books_of_the_naive_ledger(
    steps: list[tuple[int, list[Order]]],
) -> None:
    run(steps)


@pytest.mark.full
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 5_000, 15_000]), st.lists(orders, max_size=12)), max_size=12
    )
)
@settings(max_examples=1_500)
def test_long_sequences_do_too(steps: list[tuple[int, list[Order]]]) -> None:
    run(steps)
