"""Signers: who signs in place of a key, up to which threshold, and who never counts twice.

If these failed, one person could act for two, or an account could go to keys that nobody has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.codec import pack
from clawpurse.ledger.errors import BadSignature, Code, Malformed
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.entitlements import SIGNERS_MAX, WEIGHT_MAX, Signers
from clawpurse.ledger.kernel.records import FEE_ACCOUNT, TREE, new_account, subject_key
from clawpurse.ledger.kernel.witness import weight_of_keys
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.overlay import EmptyState, Overlay
from clawpurse.ledger.transactions import RawAction, Role, encode_transaction
from clawpurse.ledger.transition import prepare
from clawpurse.modules.accounts.signers import get_counted
from tests.ledger.sandbox import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    ERIN,
    FRANK,
    Key,
    change_key,
    open_account,
    sign,
    transfer,
)
from tests.modules.multisig import (
    SALT,
    Account,
    Firm,
    account_id,
    create,
    pairs,
    say,
    set_signers,
)

WORDS = Words(account=lambda account: account.hex()[:4], amount=lambda asset, n: f"{n} {asset}")
Member = Key | tuple[Key, int]


# -- an account of signers


def test_the_account_s_id_is_the_hash_of_its_policy_and_no_key_belongs_to_it() -> None:
    chain = Firm(founded=False)
    result = chain.pay(DAVE, create(2, CAROL, ALICE, BOB))
    assert result.receipts[0].code == 0
    assert chain.account(chain.firm.account).key is None
    signers = Signers(2, tuple(sorted(pairs([ALICE, BOB, CAROL]))))
    assert chain.signers() == signers
    assert chain.account(chain.firm.account).policy == signers.hash
    made = [event for event in result.events if event.kind == "accounts.signersSet"]
    members = tuple(account for account, _ in signers.members)
    assert made[0][2:] == ((chain.firm.account, *members), (2, signers.hash))


def test_other_members_weights_thresholds_and_salts_are_other_accounts() -> None:
    ids = {
        account_id(2, ALICE, BOB, CAROL),
        account_id(1, ALICE, BOB, CAROL),
        account_id(2, ALICE, BOB),
        account_id(2, (ALICE, 2), BOB, CAROL),
        account_id(2, ALICE, BOB, CAROL, salt=b"\x08" * 32),
    }
    assert len(ids) == 5 and account_id(2, BOB, ALICE, CAROL) in ids


def test_who_creates_it_pays_its_deposit() -> None:
    chain = Firm(founded=False, params={"opening_deposit": 25})
    assert chain.pay(BOB, create(2, ALICE, BOB)).receipts[0].code == 0
    assert chain.balance(BOB) == 975
    receipt = chain.pay(CAROL, create(2, ALICE, CAROL)).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.INSUFFICIENT_FUNDS, "kernel.balance")
    assert chain.books.account(account_id(2, ALICE, CAROL)) is None


def test_a_payment_ahead_of_time_is_not_lost() -> None:
    """Whoever pays an account before it is created must not keep its signers from it."""
    chain = Firm(founded=False)
    chain.pay(ALICE, transfer(chain.firm.account, 900))
    assert chain.pay(ALICE, create(2, ALICE, BOB, CAROL)).receipts[0].code == 0
    assert chain.account(chain.firm.account).key is None
    assert chain.balance(chain.firm.account) == 900
    assert chain.block(chain.signed(ALICE, BOB)).receipts[0].code == 0


def test_an_account_is_created_once_and_its_first_policy_never_comes_back() -> None:
    chain = Firm()
    receipt = chain.pay(DAVE, create(2, ALICE, BOB, CAROL)).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "accounts.multisigExists")
    assert chain.replace([ALICE, BOB], 1, DAVE).code == 0
    receipt = chain.pay(ALICE, create(2, ALICE, BOB, CAROL)).receipts[0]
    assert receipt.rule == "accounts.multisigExists"
    raw = chain.signed(DAVE, actions=[change_key(ERIN)], approvers=[(ERIN, chain.firm.account)])
    assert chain.block(raw).receipts[0].code == 0
    receipt = chain.pay(ALICE, create(2, ALICE, BOB, CAROL)).receipts[0]
    assert receipt.rule == "accounts.multisigExists"
    assert chain.account(chain.firm.account).key == ERIN.public


# -- policies that are none


def one_key(chain: Firm) -> None:
    """Dave's account comes to have Carol's key."""
    raw = chain.tx(DAVE, change_key(CAROL), approvers=[(CAROL, DAVE.account)])
    assert chain.block(raw).receipts[0].code == 0


def one_subject(chain: Firm) -> None:
    """Carol and Dave are one person."""
    result = chain.pay(ALICE, say(CAROL, b"\x01" * 32), say(DAVE, b"\x01" * 32))
    assert result.receipts[0].code == 0


def nested(chain: Firm) -> None:
    """Dave's account has signers."""
    assert chain.replace([DAVE], 1, BOB, of=DAVE).code == 0


def same_as_account(chain: Firm) -> None:
    """Dave's subject is what Carol's account is called."""
    assert chain.pay(ALICE, say(DAVE, CAROL.account)).receipts[0].code == 0


BAD: Sequence[tuple[Callable[[Firm], None] | None, int, Sequence[Member], Code, str]] = (
    (None, 4, (ALICE, CAROL, DAVE), Code.MALFORMED, "accounts.threshold"),
    (None, 12, ((ALICE, 5), (CAROL, 6)), Code.MALFORMED, "accounts.threshold"),
    (None, 1, (ALICE, CAROL, ALICE), Code.DUPLICATE, "accounts.memberTwice"),
    (None, 1, (ALICE, (ALICE, 2)), Code.DUPLICATE, "accounts.memberTwice"),
    (None, 1, (ALICE, ERIN), Code.NOT_FOUND, "kernel.sender"),
    (one_key, 1, (CAROL, DAVE), Code.DUPLICATE, "accounts.memberKeyTwice"),
    (one_subject, 1, (CAROL, DAVE), Code.DUPLICATE, "accounts.memberSubjectTwice"),
    (same_as_account, 1, (CAROL, DAVE), Code.DUPLICATE, "accounts.memberSubjectTwice"),
    (nested, 1, (CAROL, DAVE), Code.NOT_AUTHORISED, "accounts.memberNested"),
)


@pytest.mark.parametrize(("before", "threshold", "members", "code", "rule"), BAD)
def test_no_account_is_created_for(
    before: Callable[[Firm], None] | None,
    threshold: int,
    members: Sequence[Member],
    code: Code,
    rule: str,
) -> None:
    chain = Firm()
    if before is not None:
        before(chain)
    receipt = chain.pay(BOB, create(threshold, *members)).receipts[0]
    assert (receipt.code, receipt.rule) == (code, rule)
    assert chain.books.account(account_id(threshold, *members)) is None


@pytest.mark.parametrize(("before", "threshold", "members", "code", "rule"), BAD)
def test_no_account_is_given_to(
    before: Callable[[Firm], None] | None,
    threshold: int,
    members: Sequence[Member],
    code: Code,
    rule: str,
) -> None:
    chain = Firm()
    if before is not None:
        before(chain)
    action = set_signers(threshold, *members)
    keys = {
        one[0] if isinstance(one, tuple) else one for one in members
    }  # A key signs once, however often it is named.
    if rule == "accounts.memberKeyTwice":
        action.fields[1][1][1] = CAROL.public  # type: ignore[index]
    approvers = [
        (CAROL if rule == "accounts.memberKeyTwice" else key, key.account)
        for key in sorted(keys, key=lambda key: key.account)
    ]
    held = dict(chain.state.records)
    receipt = chain.block(chain.tx(BOB, action, approvers=approvers)).receipts[0]
    expected = "accounts.memberKey" if rule == "accounts.memberNested" else rule
    assert (receipt.code, receipt.rule) == (code, expected)
    changed = [place for place in chain.state.records if chain.state.records[place] != held[place]]
    assert chain.signers(BOB.account) is None and len(changed) == 1  # Its sequence.


@pytest.mark.parametrize(
    "action",
    [
        RawAction("accounts.createMultisig", [0, [[ALICE.account, 1]], SALT]),
        RawAction("accounts.createMultisig", [1, [[ALICE.account, 0]], SALT]),
        RawAction("accounts.createMultisig", [1, [[ALICE.account, WEIGHT_MAX + 1]], SALT]),
        RawAction("accounts.createMultisig", [32_001, [[ALICE.account, 1]], SALT]),
        RawAction("accounts.createMultisig", [1, [], SALT]),
        RawAction("accounts.createMultisig", [1, [[bytes([n]) * 32, 1] for n in range(33)], SALT]),
        RawAction("accounts.createMultisig", [1, [[ALICE.account, 1]], SALT[:31]]),
        RawAction("accounts.createMultisig", [1, [[ALICE.account]], SALT]),
        RawAction("accounts.createMultisig", [1, [[ALICE.account, True]], SALT]),
        RawAction("accounts.createMultisig", [2**64 - 1, [[ALICE.account, 2**63]], SALT]),
        RawAction("accounts.setSigners", [0, [[ALICE.account, ALICE.public, 1]]]),
        RawAction("accounts.setSigners", [1, [[ALICE.account, ALICE.public, 0]]]),
        RawAction("accounts.setSigners", [1, []]),
        RawAction("accounts.setSigners", [1, [[ALICE.account, 1]]]),
    ],
)  # fmt: skip
def test_what_is_no_policy_at_all_is_not_read(action: RawAction) -> None:
    with pytest.raises(Malformed):
        Firm(founded=False).registry.read_action(action)


def test_an_account_that_no_key_can_sign_for_is_no_signer() -> None:
    chain = Firm()
    action = RawAction("accounts.createMultisig", [1, [[FEE_ACCOUNT, 1]], SALT])
    receipt = chain.pay(ALICE, action).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "accounts.memberNoKey")
    receipt = chain.pay(ALICE, create(1, chain.firm)).receipts[0]  # type: ignore[arg-type]
    assert receipt.rule == "accounts.memberNested"


def test_thirty_two_signers_fit_and_sign_together() -> None:
    chain, people = Firm(), [Key(f"partner {number}") for number in range(SIGNERS_MAX)]
    for start in (0, 16):
        chain.pay(ALICE, *(open_account(key) for key in people[start : start + 16]))
    assert chain.pay(ALICE, create(SIGNERS_MAX, *people)).receipts[0].code == 0
    all_of_us = Account(account_id(SIGNERS_MAX, *people))
    chain.pay(ALICE, transfer(all_of_us.account, 5))
    raw = chain.signed(*people, account=all_of_us)
    assert chain.block(raw).receipts[0].code == 0
    few = chain.refusal(chain.signed(*people[1:], account=all_of_us))
    assert few.rule == "kernel.threshold" and few.wire_facts[1:] == (31, 32)


# -- signatures of several members, judged by the kernel


@pytest.mark.parametrize("keys", [(ALICE, BOB), (BOB, CAROL), (ALICE, BOB, CAROL)])
def test_enough_members_sign_for_the_account(keys: Sequence[Key]) -> None:
    chain = Firm()
    assert chain.block(chain.signed(*keys, actions=[transfer(DAVE, 7)])).receipts[0].code == 0
    assert chain.balance(DAVE) == 7


@pytest.mark.parametrize(
    ("keys", "rule"),
    [
        ((ALICE,), "kernel.threshold"),
        ((DAVE,), "kernel.key"),
        ((ALICE, DAVE), "kernel.key"),
        ((ALICE, BOB, DAVE), "kernel.key"),
    ],
    ids=["one of two", "a stranger", "one and a stranger", "a superfluous stranger"],
)
def test_too_few_or_strangers_do_not(keys: Sequence[Key], rule: str) -> None:
    chain = Firm()
    assert chain.refusal(chain.signed(*keys)).rule == rule


def test_no_key_is_counted_twice() -> None:
    chain = Firm()
    body = chain.body(chain.firm)  # type: ignore[arg-type]
    once = sign(ALICE.seed, body, Role.SENDER, body.sender)
    with pytest.raises(BadSignature, match="ascending"):
        prepare(encode_transaction(body.pack(), [once, once]), chain.registry)


def test_signatures_for_another_account_or_in_another_role_do_not_count() -> None:
    chain = Firm()
    body = chain.body(chain.firm)  # type: ignore[arg-type]
    mine = sign(ALICE.seed, body, Role.SENDER, body.sender)
    for other in (
        sign(BOB.seed, body, Role.SENDER, BOB.account),
        sign(BOB.seed, body, Role.APPROVER, body.sender),
        sign(BOB.seed, body, Role.PAYER, body.sender),
    ):
        with pytest.raises(BadSignature):
            prepare(encode_transaction(body.pack(), [mine, other]), chain.registry)


def test_a_sponsor_s_signature_is_no_approval() -> None:
    """Bob pays the fee, and is a signer: as payer he has not signed for the firm."""
    chain = Firm()
    raw = chain.signed(ALICE, payers=[BOB], payer=BOB.account)
    assert chain.refusal(raw).rule == "kernel.threshold"
    raw = chain.signed(ALICE, BOB, payers=[BOB], payer=BOB.account)
    assert chain.block(raw).receipts[0].code == 0


def test_the_firm_pays_fees_of_others_when_its_signers_sign_as_payer() -> None:
    chain = Firm(params={"fee_min": 3})
    body = chain.body(DAVE, open_account(ERIN), payer=chain.firm.account)
    entries = [sign(DAVE.seed, body, Role.SENDER, DAVE.account)]
    entries += [sign(key.seed, body, Role.PAYER, body.payer or b"") for key in (ALICE, CAROL)]
    assert chain.refusal(encode_transaction(body.pack(), entries[:2])).rule == "kernel.threshold"
    before = chain.balance(chain.firm.account)
    assert chain.block(encode_transaction(body.pack(), entries)).receipts[0].code == 0
    assert chain.balance(chain.firm.account) == before - 3


def test_a_member_who_changes_its_key_stays_the_same_member() -> None:
    chain = Firm()
    assert chain.block(
        chain.tx(BOB, change_key(ERIN), approvers=[(ERIN, BOB.account)])
    ).receipts[0].code == 0  # fmt: skip
    assert chain.refusal(chain.signed(ALICE, BOB)).rule == "kernel.key"
    assert chain.refusal(chain.signed(ALICE, BOB, ERIN)).rule == "kernel.key"
    assert chain.block(chain.signed(ALICE, ERIN)).receipts[0].code == 0


def test_two_members_who_come_to_one_key_are_one_signature() -> None:
    chain = Firm()
    chain.block(chain.tx(BOB, change_key(CAROL), approvers=[(CAROL, BOB.account)]))
    few = chain.refusal(chain.signed(CAROL))
    assert few.rule == "kernel.threshold" and few.wire_facts[1:] == (1, 2)
    assert chain.block(chain.signed(ALICE, CAROL)).receipts[0].code == 0


def test_two_members_who_come_to_be_one_subject_count_once() -> None:
    chain = Firm()
    chain.pay(ALICE, say(BOB, b"\x05" * 32), say(CAROL, b"\x05" * 32))
    few = chain.refusal(chain.signed(BOB, CAROL))
    assert few.rule == "kernel.threshold" and few.wire_facts[1:] == (1, 2)
    assert chain.block(chain.signed(ALICE, BOB, CAROL)).receipts[0].code == 0


def test_weights_are_added() -> None:
    chain = Firm()
    assert chain.replace([ALICE, BOB], 5, (ALICE, 3), (BOB, 2), (DAVE, 2)).code == 0
    assert chain.refusal(chain.signed(BOB, DAVE)).wire_facts[1:] == (4, 5)
    assert chain.block(chain.signed(ALICE, BOB)).receipts[0].code == 0
    assert chain.block(chain.signed(ALICE, DAVE)).receipts[0].code == 0


def test_a_former_member_signs_no_more_and_a_new_one_does() -> None:
    chain = Firm()
    assert chain.replace([ALICE, BOB], 2, ALICE, DAVE).code == 0
    assert chain.refusal(chain.signed(ALICE, BOB)).rule == "kernel.key"
    assert chain.block(chain.signed(ALICE, DAVE)).receipts[0].code == 0


def test_a_member_that_gets_signers_itself_no_longer_counts() -> None:
    """Its old key signs for nobody any more, not for itself and not for the firm."""
    chain = Firm()
    assert chain.replace([BOB], 1, DAVE, of=BOB).code == 0
    assert chain.account(BOB).key is None
    for keys in ((ALICE, BOB), (ALICE, DAVE)):
        assert chain.refusal(chain.signed(*keys)).rule == "kernel.key"
    assert chain.refusal(chain.tx(BOB)).rule == "kernel.key"
    assert chain.block(chain.signed(DAVE, account=BOB)).receipts[0].code == 0


def test_what_signers_sign_is_bound_to_the_network_and_the_sequence() -> None:
    chain = Firm()
    raw = chain.signed(ALICE, BOB)
    assert chain.block(raw).receipts[0].code == 0
    assert chain.refusal(raw).rule == "kernel.sequenceLow"
    other = chain.signed(ALICE, BOB, genesis_hash=b"\x09" * 32)
    assert chain.refusal(other).rule == "kernel.chain"


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 3), st.booleans()),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=60, deadline=None)
def test_signing_together_and_one_by_one_count_the_same(
    people: list[tuple[int, int, int, bool]],
) -> None:
    """Whatever keys and subjects members have by now, and whoever of them signs.

    A key signs for all whose key it is, so all of them have approved, or none.
    """
    members = [(bytes([n]) * 32, weight) for n, (_, _, weight, _) in enumerate(people)]
    # Key 0 is none: that member's account has signers itself.
    keys = [None if key == 0 else bytes([0x80 + key]) * 32 for key, _, _, _ in people]
    signing = {key for key, (_, _, _, signs) in zip(keys, people, strict=True) if signs and key}
    books, signers = Books(Overlay(EmptyState())), Signers(1, tuple(members))
    for (account, _), key, (_, subject, _, _) in zip(members, keys, people, strict=True):
        books.set_account(account, new_account(key))
        record = pack([1, bytes([0x40 + subject]) * 32])
        books.overlay.put(TREE, subject_key(account), record)
    approvals = [one for (one, _), key in zip(members, keys, strict=True) if key in signing]
    found = get_counted(books, signers, approvals)
    assert sum(signers.weight_of(one) for one in found) == weight_of_keys(books, signers, signing)


# -- replacing keys and signers


def test_an_account_with_a_key_gets_signers_and_keeps_all_it_has() -> None:
    chain = Firm()
    assert chain.replace([ALICE], 2, BOB, DAVE, of=ALICE).code == 0
    assert chain.account(ALICE).key is None and chain.balance(ALICE) == 990_000
    assert chain.refusal(chain.tx(ALICE)).rule == "kernel.key"
    assert chain.refusal(chain.signed(BOB, account=ALICE)).rule == "kernel.threshold"
    assert chain.block(chain.signed(BOB, DAVE, account=ALICE)).receipts[0].code == 0


def test_new_signers_must_sign_or_an_account_could_go_to_keys_that_nobody_has() -> None:
    chain = Firm()
    action = set_signers(1, BOB, DAVE)
    for approvers in ([], [(BOB, BOB.account)], [(BOB, ALICE.account), (DAVE, ALICE.account)]):
        with pytest.raises(BadSignature, match="approvers"):
            prepare(chain.tx(ALICE, action, approvers=approvers), chain.registry)


def test_the_key_that_is_named_must_be_the_member_s() -> None:
    chain = Firm()
    wire: list[list[bytes | int]] = [[BOB.account, ERIN.public, 1]]
    action = RawAction("accounts.setSigners", [1, wire])  # type: ignore[list-item]
    receipt = chain.block(chain.tx(ALICE, action, approvers=[(ERIN, BOB.account)])).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "accounts.memberKey")


def test_an_account_is_not_its_own_signer() -> None:
    chain = Firm()
    receipt = chain.replace([BOB], 1, BOB, DAVE, of=BOB)
    assert (receipt.code, receipt.rule) == (Code.MALFORMED, "accounts.memberSelf")


def test_setting_the_same_signers_again_fails() -> None:
    chain = Firm()
    receipt = chain.replace([ALICE, BOB], 2, ALICE, BOB, CAROL)
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "accounts.sameSigners")
    assert chain.replace([ALICE, BOB], 3, ALICE, BOB, CAROL).code == 0


def test_signers_can_let_one_key_sign_again() -> None:
    chain = Firm()
    raw = chain.signed(
        ALICE, BOB, actions=[change_key(ERIN)], approvers=[(ERIN, chain.firm.account)]
    )
    assert chain.block(raw).receipts[0].code == 0
    assert chain.signers() is None and chain.account(chain.firm.account).key == ERIN.public
    assert chain.refusal(chain.signed(ALICE, BOB)).rule == "kernel.key"
    assert chain.block(chain.signed(ERIN)).receipts[0].code == 0
    assert chain.query("accounts.objects", ALICE.account, None, 10) == []


def test_a_replaced_policy_is_forgotten_by_its_members_lists() -> None:
    chain = Firm()
    assert chain.query("accounts.objects", CAROL.account, None, 10) == [
        ("multisig", chain.firm.account)
    ]
    assert chain.replace([ALICE, BOB], 1, ALICE, DAVE).code == 0
    assert chain.query("accounts.objects", CAROL.account, None, 10) == []
    assert chain.query("accounts.objects", DAVE.account, None, 10) == [
        ("multisig", chain.firm.account)
    ]


def test_a_failed_transaction_changes_no_signers() -> None:
    chain = Firm()
    raw = chain.signed(
        ALICE,
        BOB,
        actions=[set_signers(1, DAVE), transfer(BOB, 2**60)],
        approvers=[(DAVE, DAVE.account)],
    )
    before = chain.signers()
    assert chain.block(raw).receipts[0].code == Code.INSUFFICIENT_FUNDS
    assert chain.signers() == before and chain.account(chain.firm.account).key is None
    assert chain.query("accounts.objects", DAVE.account, None, 10) == []


def test_signers_hold_from_the_next_transaction_of_the_same_block() -> None:
    chain = Firm()
    given = chain.signed(
        ALICE, BOB, actions=[set_signers(1, DAVE)], approvers=[(DAVE, DAVE.account)]
    )
    late = chain.signed(ALICE, BOB, sequence=1)
    execution = chain.execution()
    execution.apply(prepare(given, chain.registry))
    with pytest.raises(Exception, match="may not sign"):
        execution.apply(prepare(late, chain.registry))
    execution.apply(prepare(chain.signed(DAVE, sequence=1), chain.registry))


def test_every_action_says_in_words_what_it_does() -> None:
    actions = Firm(founded=False).registry.actions
    made = create(2, ALICE, BOB, CAROL)
    found = actions[made.name]
    said = found.words(found.named(found.read(made.fields)), WORDS)
    assert said.startswith("Create an account without a key, for which 2 of 3 sign: ")
    given = set_signers(5, (ALICE, 3), (FRANK, 2))
    found = actions[given.name]
    said = found.words(found.named(found.read(given.fields)), WORDS)
    assert said.startswith("From now on 5 of a weight of 5 sign for this account")
    assert f"{ALICE.account.hex()[:4]} (3)" in said
