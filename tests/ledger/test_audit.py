"""Money that a slip in the kernel would invent or lose stops the block before it is anybody's.

The audit is shown to catch what it is for: each test breaks one line of the books on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clawpurse.ledger.errors import Bug
from clawpurse.ledger.kernel import books as books_module
from clawpurse.ledger.kernel.books import Audit, Books
from clawpurse.ledger.kernel.records import (
    FEE_ACCOUNT,
    Balance,
    Hold,
    account_key,
    balance_key,
    hold_key,
    new_account,
    pack_supply,
    supply_key,
)
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import Overlay
from clawpurse.ledger.transition import Execution, prepare
from tests.ledger.sandbox import ALICE, BOB, Sandbox, transfer
from tests.ledger.test_due_and_hooks import DESK, HELD_THEN_RELEASED, desk

Slip = Callable[..., Any]


def forgets_debit(self: Books, asset: str, account: bytes, amount: int) -> None:
    return None


def credits_one_more(real: Slip) -> Slip:
    return lambda self, asset, account, amount: real(self, asset, account, amount + 1)


def holds_without_taking(self: Books, asset: str, account: bytes, amount: int) -> None:
    balance = self.balance(asset, account)
    if asset == "CLAW":
        record = self.account(account)
        assert record is not None
        self.set_account(account, record._replace(held=record.held + amount))
    else:
        self._set_balance(asset, account, balance._replace(held=balance.held + amount))


def mints_without_supply(self: Books, asset: str, target: bytes, amount: int) -> None:
    self._credit(asset, target, amount)


def burns_without_supply(self: Books, asset: str, source: bytes, amount: int) -> None:
    self._debit(asset, source, amount)


def forgets_the_hold(self: Books, hold_id: bytes, hold: Hold) -> None:
    self._shift(hold.asset, hold.source, hold.amount)


SLIPS: dict[str, tuple[str, Slip, Any]] = {
    "a debit forgotten": ("_debit", forgets_debit, transfer(BOB, 5)),
    "a debit forgotten in another asset": ("_debit", forgets_debit, transfer(BOB, 5, "EUR")),
    "one unit too much": ("_credit", credits_one_more(Books._credit), transfer(BOB, 5)),
    "one unit too much of another": (
        "_credit",
        credits_one_more(Books._credit),
        transfer(BOB, 5, "EUR"),
    ),
    "held but not taken": ("_shift", holds_without_taking, transfer(BOB, HELD_THEN_RELEASED)),
    "held amount without a hold": ("hold", forgets_the_hold, transfer(BOB, HELD_THEN_RELEASED)),
    "a mint without supply": ("mint", mints_without_supply, desk("supply", BOB.account, 5)),
    "a burn without supply": ("burn", burns_without_supply, desk("supply", BOB.account, 5)),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_planted_slip_stops_the_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, slip, action = SLIPS[name]
    chain = Sandbox(DESK)
    chain.pay(ALICE, action)
    execution = chain.execution()
    monkeypatch.setattr(books_module.Books, method, slip)
    execution.apply(prepare(chain.tx(ALICE, action), chain.registry))
    with pytest.raises(Bug, match=r"changed by"):
        execution.finish()


def test_a_fee_that_is_taken_and_not_booked_stops_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = Sandbox()
    real = Books.set_account

    def slip(self: Books, account: bytes, record: Any) -> None:
        if account != FEE_ACCOUNT:
            real(self, account, record)

    monkeypatch.setattr(books_module.Books, "set_account", slip)
    execution = chain.execution()
    execution.apply(prepare(chain.tx(ALICE, fee=5), chain.registry))
    with pytest.raises(Bug, match="balances of CLAW changed by -5, its supply by 0"):
        execution.finish()


def test_genesis_is_audited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books_module.Books, "mint", mints_without_supply)
    with pytest.raises(Bug, match="its supply by"):
        Sandbox()


def test_a_slip_between_two_assets_is_not_averaged_away() -> None:
    audit = Audit()
    for asset, amount in (("AAA", 5), ("BBB", -5)):
        before = Balance(10, 0, 0).pack()
        after = Balance(10 + amount, 0, 0).pack()
        audit.add((KERNEL, balance_key(ALICE.account, asset)), before, after)
    with pytest.raises(Bug, match="AAA"):
        audit.close()


def test_balanced_books_pass_and_other_trees_do_not_matter() -> None:
    audit = Audit()
    account = new_account(None)._replace(balance=3, held=4)
    audit.add((KERNEL, account_key(ALICE.account)), None, account.pack())
    audit.add((KERNEL, supply_key("CLAW")), pack_supply(0), pack_supply(7))
    hold = Hold("CLAW", ALICE.account, BOB.account, 4, "", 0, 0, 0)
    audit.add((KERNEL, hold_key(bytes(32))), None, hold.pack())
    audit.add(("assets", b"a" + bytes(32)), None, b"\x91\x05")
    audit.close()


def test_execution_cannot_finish_twice_into_two_truths() -> None:
    chain = Sandbox()
    execution = chain.execution()
    execution.apply(prepare(chain.tx(ALICE), chain.registry))
    assert execution.finish() == execution.finish()


# -- what the books say of a point between two transactions


def test_queries_see_what_the_transaction_has_done_so_far() -> None:
    """Accounts are kept decoded while a block runs; a rule that reads them reads no old ones."""
    chain = Sandbox()
    books = chain.books
    books.move("CLAW", ALICE.account, BOB.account, 10)
    books.move("EUR", ALICE.account, BOB.account, 10)
    for key in (account_key(BOB.account), balance_key(BOB.account, "EUR")):
        assert books.get(KERNEL, key) != books.overlay.get(KERNEL, key)
    changed = books.account(BOB.account)
    assert changed is not None
    assert books.get(KERNEL, account_key(BOB.account)) == changed.pack()
    assert books.get(KERNEL, balance_key(BOB.account, "EUR")) == Balance(10, 0, 0).pack()
    assert books.get(KERNEL, account_key(bytes(32))) is None
    assert books.get(KERNEL, balance_key(bytes(32), "EUR")) is None
    assert books.get(KERNEL, supply_key("EUR")) == pack_supply(50_007)
    assert books.ordered(KERNEL, b"d", 5) == []


def test_state_without_a_network_record_executes_nothing() -> None:
    chain = Sandbox()
    del chain.state.records[KERNEL, b"n"]
    with pytest.raises(Bug, match="which network"):
        chain.execution().apply(prepare(chain.tx(ALICE), chain.registry))


def test_value_never_goes_to_an_account_that_nobody_opened() -> None:
    books = Books(Overlay(Sandbox().state))
    with pytest.raises(Bug, match="never opened"):
        books.move("CLAW", ALICE.account, bytes(32), 1)
    with pytest.raises(Exception, match="not an account yet"):
        books.move("CLAW", bytes(32), ALICE.account, 1)


def test_more_cannot_be_returned_from_holds_than_was_held() -> None:
    books = Sandbox().books
    with pytest.raises(Bug, match="more is returned"):
        books._shift("CLAW", ALICE.account, -1)
    with pytest.raises(Exception, match="no hold"):
        books.take(bytes(32), 1)


def test_an_execution_that_was_begun_can_be_thrown_away() -> None:
    chain = Sandbox()
    before = dict(chain.state.records)
    execution = Execution(chain.state, chain.registry, chain.execution()._env)
    execution.begin()
    execution.apply(prepare(chain.tx(ALICE, transfer(BOB, 9)), chain.registry))
    assert chain.state.records == before
