"""Deposit authorisation: who may pay an account that says so, and what was promised before.

If these failed, a firm would take money that it must not take, or lose what it is owed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.kernel.records import ACCOUNT_DEPOSIT_AUTH, FEE_ACCOUNT
from clawpurse.ledger.module_api import ActionType, Context, Field, FieldType, Module, Words
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.accounts import deposits
from clawpurse.modules.accounts.deposits import PAYERS_MAX
from clawpurse.modules.accounts.objects import Listed
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, Key, Sandbox, open_account, transfer
from tests.modules.multisig import Firm


def only(on: int = 1) -> RawAction:
    return RawAction("accounts.setDepositAuth", [on])


def name(payer: Key | bytes) -> RawAction:
    account = payer if isinstance(payer, bytes) else payer.account
    return RawAction("accounts.preauthorise", [account])


def forget(payer: Key) -> RawAction:
    return RawAction("accounts.withdrawPreauthorisation", [payer.account])


def closed(*modules: Module) -> Firm:
    """Bob takes payments only from whom he named, and named nobody yet."""
    chain = Firm(*modules)
    assert chain.pay(BOB, only()).receipts[0].code == 0
    return chain


def test_an_account_takes_payments_only_from_whom_it_named() -> None:
    chain = closed()
    receipt = chain.pay(ALICE, transfer(BOB, 5)).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "accounts.depositAuth")
    assert receipt.facts == (BOB.account, ALICE.account)
    assert receipt.trace == (("accounts.depositAuth", 1, 2),)
    result = chain.pay(BOB, name(ALICE))
    assert result.events[0][1:] == ("accounts.preauthorised", (BOB.account, ALICE.account), ())
    receipt = chain.pay(ALICE, transfer(BOB, 5)).receipts[0]
    assert receipt.code == 0 and receipt.trace == (("accounts.depositAuth", 1, 0),)
    assert chain.pay(CAROL, transfer(BOB, 1, "EUR")).receipts[0].code == Code.NOT_AUTHORISED
    assert chain.balance(BOB) == 1_005 and chain.balance(BOB, "EUR") == 0


def test_it_is_for_all_assets_and_says_so_in_its_record() -> None:
    chain = Firm()
    result = chain.pay(BOB, only())
    assert result.events[0][1:] == ("accounts.depositAuthSet", (BOB.account,), (1,))
    assert chain.account(BOB).flags == ACCOUNT_DEPOSIT_AUTH
    chain.pay(BOB, only(0))
    assert chain.account(BOB).flags == 0
    assert chain.pay(ALICE, transfer(BOB, 5), transfer(BOB, 5, "EUR")).receipts[0].code == 0


def test_it_can_still_pay_and_pays_itself() -> None:
    chain = closed()
    assert chain.pay(BOB, transfer(ALICE, 5), transfer(BOB, 7)).receipts[0].code == 0


def test_who_is_no_longer_named_pays_no_more() -> None:
    chain = closed()
    chain.pay(BOB, name(ALICE), name(CAROL))
    result = chain.pay(BOB, forget(ALICE))
    assert result.events[0][1:] == (
        "accounts.preauthorisationWithdrawn",
        (BOB.account, ALICE.account),
        (),
    )
    assert chain.pay(ALICE, transfer(BOB, 1)).receipts[0].code == Code.NOT_AUTHORISED
    assert chain.pay(CAROL, transfer(BOB, 1, "EUR")).receipts[0].code == 0
    assert chain.query("accounts.payers", BOB.account, 10) == [CAROL.account]
    chain.pay(BOB, forget(CAROL))
    left = (b"xd", b"d" + BOB.account)
    assert not [key for _, key in chain.state.records if key.startswith(left)]


def test_names_can_be_given_first_so_that_no_payment_is_missed_between() -> None:
    chain = Firm()
    chain.pay(BOB, name(ALICE), only())
    assert chain.pay(ALICE, transfer(BOB, 1)).receipts[0].code == 0


@pytest.mark.parametrize(
    ("actions", "code", "rule"),
    [
        ([only(0)], Code.DUPLICATE, "accounts.sameDepositAuth"),
        ([only(), only()], Code.DUPLICATE, "accounts.sameDepositAuth"),
        ([name(BOB)], Code.MALFORMED, "accounts.payerSelf"),
        ([name(ERIN)], Code.NOT_FOUND, "kernel.sender"),
        ([name(ALICE), name(ALICE)], Code.DUPLICATE, "accounts.payerNamed"),
        ([forget(ALICE)], Code.NOT_FOUND, "accounts.payerNotNamed"),
        ([name(ALICE), forget(ALICE), forget(ALICE)], Code.NOT_FOUND, "accounts.payerNotNamed"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_nothing(
    actions: Sequence[RawAction], code: Code, rule: str
) -> None:
    chain = Firm()
    before = dict(chain.state.records)
    receipt = chain.pay(BOB, *actions).receipts[0]
    assert (receipt.code, receipt.rule) == (code, rule)
    changed = {p for p, value in chain.state.records.items() if before.get(p) != value}
    assert changed == {("kernel", b"a" + BOB.account)} and len(before) == len(chain.state.records)


@pytest.mark.parametrize("field", [2, -1, True, None])
def test_on_is_one_or_nothing(field: Any) -> None:
    with pytest.raises(Malformed):
        Firm(founded=False).registry.read_action(RawAction("accounts.setDepositAuth", [field]))


def test_an_account_names_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deposits, "PAYERS_MAX", 2)
    chain = Firm()
    assert chain.pay(BOB, name(ALICE), name(CAROL)).receipts[0].code == 0
    receipt = chain.pay(BOB, name(DAVE)).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "accounts.payersFull")
    assert chain.pay(BOB, forget(ALICE), name(DAVE)).receipts[0].code == 0
    assert PAYERS_MAX == 1_024


def test_payers_are_listed_in_pages() -> None:
    chain = Firm()
    chain.pay(BOB, name(ALICE), name(CAROL), name(DAVE), name(FEE_ACCOUNT))
    named = sorted([ALICE.account, CAROL.account, DAVE.account, FEE_ACCOUNT])
    assert chain.query("accounts.payers", BOB.account, 3) == named[:3]
    assert chain.query("accounts.payers", BOB.account, 3, named[2]) == named[3:]
    found = chain.query("accounts.objects", BOB.account, None, 4)
    assert found == [Listed("preauthorisation", one) for one in named]
    more = chain.query("accounts.objects", BOB.account, found[-1], 10)
    assert more == [Listed("multisig", chain.firm.account)]


# -- what was promised before


_ID = Field("id", FieldType.HASH, "which")


def _promise(context: Context, values: Sequence[Any]) -> None:
    hold_id = context.set_apart("CLAW", context.sender, values[0], 40, rule="till.promise")
    context.emit("till.promised", (context.sender,), hold_id)


def _keep(context: Context, values: Sequence[Any]) -> None:
    context.pay_apart(values[0], 40)


TILL = Module(
    name="till",
    version=1,
    actions=(
        ActionType(
            "till.promise",
            (Field("to", FieldType.ACCOUNT, "whom"),),
            10,
            lambda values, words: "promise",
        ),
        ActionType("till.keep", (_ID,), 10, lambda values, words: "keep"),
    ),
    handlers={"till.promise": _promise, "till.keep": _keep},
    events={"till.promised": ("holdId",)},
)


def test_what_was_set_apart_before_still_reaches_it_and_nothing_new_is() -> None:
    """An escrow that was taken is paid out, whatever the payee says of later payments."""
    chain = Firm(TILL)
    result = chain.pay(ALICE, RawAction("till.promise", [BOB.account]))
    hold_id = next(event.data[0] for event in result.events if event.kind == "till.promised")
    chain.pay(BOB, only())
    receipt = chain.pay(ALICE, RawAction("till.promise", [BOB.account])).receipts[0]
    assert receipt.rule == "accounts.depositAuth"
    assert chain.pay(ALICE, RawAction("till.keep", [hold_id])).receipts[0].code == 0
    assert chain.balance(BOB) == 1_040


def test_a_firm_s_proposal_is_judged_like_any_payment() -> None:
    chain = closed()
    proposal_id = chain.propose(ALICE, transfer(BOB, 5))
    chain.do(CAROL, "approve", proposal_id)
    assert chain.do(CAROL, "execute", proposal_id, 300).rule == "accounts.depositAuth"
    chain.pay(BOB, name(chain.firm.account))
    assert chain.do(CAROL, "execute", proposal_id, 300).code == 0


def test_accounts_without_it_cost_no_look_at_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every payment asks: a look at state each would be a tenth of what a payment takes."""
    chain = Sandbox()
    chain.pay(ALICE, open_account(ERIN))
    looked: list[bytes] = []
    read = chain.state.get

    def watched(tree: str, key: bytes) -> bytes | None:
        if tree == "accounts":
            looked.append(key)
        return read(tree, key)

    monkeypatch.setattr(chain.state, "get", watched)
    assert chain.pay(ALICE, transfer(ERIN, 1)).receipts[0].code == 0
    assert looked == []


def test_every_action_says_in_words_what_it_does() -> None:
    actions = Firm(founded=False).registry.actions
    words = Words(account=lambda account: account.hex()[:4], amount=lambda asset, n: str(n))
    said = [
        (only(), "Take payments only from accounts that this account has named."),
        (only(0), "Take payments from everybody again."),
        (name(b"\x02" * 32), "Let 0202 pay this account."),
        (forget(ALICE), f"No longer let {ALICE.account.hex()[:4]} pay this account."),
    ]
    for action, sentence in said:
        found = actions[action.name]
        assert found.words(found.named(found.read(action.fields)), words) == sentence
