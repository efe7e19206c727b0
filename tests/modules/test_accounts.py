"""Opening accounts and changing keys: a slip here hands an account to nobody, or to another."""

from __future__ import annotations

import pytest

from clawpurse.ledger.errors import BadSignature, Code
from clawpurse.ledger.kernel.records import FEE_ACCOUNT, module_account, new_account
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.transactions import Role, encode_transaction
from clawpurse.ledger.transition import prepare
from tests.ledger.sandbox import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    ERIN,
    FRANK,
    Key,
    Sandbox,
    change_key,
    open_account,
    sign,
    transfer,
)

WORDS = Words(account=lambda account: account.hex()[:8], amount=lambda asset, n: f"{n} {asset}")


def test_an_opened_account_is_its_id_s_key_and_empty() -> None:
    chain = Sandbox()
    result = chain.pay(ALICE, open_account(ERIN))
    assert result.receipts[0].code == 0
    assert chain.account(ERIN) == new_account(ERIN.public)
    assert result.events == ((0, "accounts.opened", (ERIN.account, ALICE.account), (0,)),)
    assert chain.pay(ERIN, open_account(FRANK)).receipts[0].code == 0


def test_a_payment_opens_its_recipient() -> None:
    chain = Sandbox()
    result = chain.pay(ALICE, transfer(ERIN, 5))
    assert [event.kind for event in result.events] == ["accounts.opened", "assets.transferred"]
    assert chain.account(ERIN) == new_account(ERIN.public).with_balance(5)
    assert chain.pay(ERIN, transfer(BOB, 5)).receipts[0].code == 0


@pytest.mark.parametrize("key", [ALICE, BOB])
def test_an_account_is_never_opened_twice(key: Key) -> None:
    """Accounts are never replaced: their sequences would start again, and old payments too."""
    chain = Sandbox()
    before = chain.account(BOB)
    receipt = chain.pay(ALICE, open_account(key)).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "kernel.accountExists")
    assert receipt.facts == (key.account,) and chain.account(BOB) == before


def test_opening_costs_the_deposit_and_the_opener_pays_it() -> None:
    chain = Sandbox(params={"opening_deposit": 25})
    result = chain.pay(ALICE, open_account(ERIN), transfer(FRANK, 1))
    assert chain.balance(ALICE) == 1_000_000 - 51 and chain.balance(FEE_ACCOUNT) == 50
    assert [e.data for e in result.events if e.kind == "accounts.opened"] == [(25,), (25,)]
    assert chain.books.supply("CLAW") == 1_001_000


def test_who_cannot_pay_the_deposit_opens_nothing() -> None:
    chain = Sandbox(params={"opening_deposit": 25})
    for action in (open_account(ERIN), transfer(ERIN, 1, "EUR")):
        receipt = chain.pay(CAROL, action).receipts[0]
        assert (receipt.code, receipt.rule) == (Code.INSUFFICIENT_FUNDS, "kernel.balance")
        assert receipt.facts == (CAROL.account, 0, 25, "CLAW")
    assert chain.books.account(ERIN.account) is None


def test_a_sponsor_pays_the_fee_but_not_the_deposit() -> None:
    chain = Sandbox(params={"opening_deposit": 25, "fee_min": 2})
    chain.pay(BOB, open_account(ERIN), payer=ALICE)
    assert chain.balance(ALICE) == 999_998 and chain.balance(BOB) == 975


def test_deposit_and_payment_must_both_fit() -> None:
    chain = Sandbox(params={"opening_deposit": 25})
    assert chain.pay(BOB, transfer(ERIN, 976)).receipts[0].code == Code.INSUFFICIENT_FUNDS
    assert chain.pay(BOB, transfer(ERIN, 975)).receipts[0].code == 0


def test_genesis_accounts_pay_no_deposit() -> None:
    chain = Sandbox(params={"opening_deposit": 25})
    assert chain.balance(DAVE) == 0 and chain.balance(FEE_ACCOUNT) == 0


def test_nobody_gets_the_key_of_an_account_that_belongs_to_a_module() -> None:
    chain = Sandbox()
    for name in ("assets", "accounts"):
        chain.pay(ALICE, transfer(module_account(name), 5))
        assert chain.account(module_account(name)).key is None
        assert chain.balance(module_account(name)) == 5


# -- keys


def rekey(chain: Sandbox) -> bytes:
    return chain.tx(ALICE, change_key(ERIN), approvers=[(ERIN, ALICE.account)])


def test_after_a_key_change_only_the_new_key_signs() -> None:
    chain = Sandbox()
    stale = chain.tx(ALICE, transfer(BOB, 1), sequence=1)
    result = chain.block(rekey(chain))
    assert result.receipts[0].code == 0
    assert result.events == ((0, "accounts.keyChanged", (ALICE.account,), (ERIN.public,)),)
    assert chain.account(ALICE).key == ERIN.public
    assert chain.refusal(stale).rule == "kernel.key"
    assert chain.pay(ALICE, transfer(BOB, 1), signer=ERIN).receipts[0].code == 0
    assert chain.balance(BOB) == 1_001 and chain.sequence(ALICE) == 2


def test_a_key_change_holds_from_the_next_transaction_of_the_same_block() -> None:
    chain = Sandbox()
    execution = chain.execution()
    execution.apply(prepare(rekey(chain), chain.registry))
    with pytest.raises(Exception, match="may not sign"):
        execution.apply(prepare(chain.tx(ALICE, sequence=1), chain.registry))
    execution.apply(prepare(chain.tx(ALICE, sequence=1, signer=ERIN), chain.registry))


def test_the_new_key_must_approve_or_an_account_could_go_to_a_key_that_nobody_has() -> None:
    chain = Sandbox()
    with pytest.raises(BadSignature, match="approvers"):
        prepare(chain.tx(ALICE, change_key(ERIN)), chain.registry)
    body = chain.body(ALICE, change_key(ERIN))
    approval = sign(ERIN.seed, body, Role.APPROVER, ERIN.account)
    sender = sign(ALICE.seed, body, Role.SENDER, ALICE.account)
    with pytest.raises(BadSignature, match="approvers"):
        prepare(encode_transaction(body.pack(), [sender, approval]), chain.registry)


def test_two_key_changes_need_both_approvals_and_the_last_one_stays() -> None:
    chain = Sandbox()
    raw = chain.tx(
        ALICE, change_key(ERIN), change_key(FRANK),
        approvers=[(ERIN, ALICE.account), (FRANK, ALICE.account)],
    )  # fmt: skip
    assert chain.block(raw).receipts[0].code == 0
    assert chain.account(ALICE).key == FRANK.public


def test_changing_to_the_same_key_fails() -> None:
    chain = Sandbox()
    raw = chain.tx(ALICE, change_key(ALICE), approvers=[(ALICE, ALICE.account)])
    receipt = chain.block(raw).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "accounts.sameKey")


def test_a_failed_transaction_changes_no_key() -> None:
    chain = Sandbox()
    raw = chain.tx(ALICE, change_key(ERIN), transfer(BOB, 2**60), approvers=[(ERIN, ALICE.account)])
    assert chain.block(raw).receipts[0].code == Code.INSUFFICIENT_FUNDS
    assert chain.account(ALICE).key == ALICE.public


def test_one_key_may_serve_two_accounts_and_signatures_do_not_cross() -> None:
    chain = Sandbox()
    chain.block(chain.tx(ALICE, change_key(BOB), approvers=[(BOB, ALICE.account)]))
    assert chain.pay(ALICE, transfer(CAROL, 1), signer=BOB).receipts[0].code == 0
    assert chain.pay(BOB, transfer(CAROL, 1)).receipts[0].code == 0
    body = chain.body(ALICE, transfer(CAROL, 1))
    crossed = sign(BOB.seed, body, Role.SENDER, BOB.account)
    with pytest.raises(BadSignature):
        prepare(encode_transaction(body.pack(), [crossed]), chain.registry)


def test_the_account_keeps_its_id_and_is_paid_as_before() -> None:
    chain = Sandbox()
    chain.block(rekey(chain))
    chain.pay(BOB, transfer(ALICE, 10))
    assert chain.balance(ALICE) == 1_000_010
    assert chain.books.account(ERIN.account) is None


def test_every_action_says_in_words_what_it_does() -> None:
    actions = Sandbox().registry.actions
    opens, changes = actions["accounts.open"], actions["accounts.changeKey"]
    assert opens.words(opens.named((b"\x01" * 32,)), WORDS) == "Open the account 01010101."
    assert "only the key 0x" + "02" * 32 in changes.words(changes.named((b"\x02" * 32,)), WORDS)
