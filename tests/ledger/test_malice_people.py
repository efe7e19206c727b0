"""One person is one voice: by whatever keys, accounts, and roles of a signature.

If these failed, somebody with two accounts, two keys or a sponsor could approve alone what takes
two people.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.errors import BadSignature, Malformed
from clawpurse.ledger.rfc6962 import leaf_hash, root_of
from clawpurse.ledger.transactions import Role, WitnessEntry, encode_transaction
from clawpurse.ledger.transition import prepare
from tests.ledger.malice_world import (
    ADMIN,
    DAY_MS,
    HOUR_MS,
    OFFICERS,
    SPONSOR,
    Realm,
    ascending,
    first,
    raw,
)
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, Key, sign, transfer
from tests.modules.officers_world import deny, hold, propose, set_list, when

ONE, TWO, THREE = OFFICERS


@pytest.fixture
def realm() -> Realm:
    return Realm()


def policy(realm: Realm, *rules: list[Any]) -> None:
    made = realm.pay(ONE, propose(*rules))
    assert made.receipts[0].code == 0, made.receipts[0]
    realm.do(TWO, "compliance.approvePolicy", first(made, "compliance.policyProposed").data[0])
    realm.block(after_ms=20_000)


def batch(realm: Realm, needed: int, *approvers: Key) -> bytes:
    fields = ["EUR", [[CAROL.account, 5, b""]], needed, ascending(*approvers)]
    fields += [realm.time_ms + HOUR_MS, b"", None]
    made = realm.do(ALICE, "payments.proposeBatch", *fields)
    return first(made, "payments.batchProposed").data[2]  # type: ignore[return-value]


def execute(batch_id: bytes) -> Any:
    return raw("payments.executeBatch", batch_id, 1)


# -- batches


def test_two_accounts_of_one_person_are_one_approval_of_a_batch(realm: Realm) -> None:
    batch_id = batch(realm, 2, BOB, DAVE, ERIN)
    realm.person(7, BOB, DAVE)
    realm.do(BOB, "payments.approveBatch", batch_id, None)
    second = realm.tx(DAVE, raw("payments.approveBatch", batch_id, None))
    realm.refused(second, "payments.batchApprovedAlready")
    realm.refused(realm.tx(ALICE, execute(batch_id)), "payments.batchApprovals")
    realm.do(ERIN, "payments.approveBatch", batch_id, None)
    realm.do(ALICE, "payments.executeBatch", batch_id, 1)


def test_approvals_that_turn_out_to_be_one_persons_count_once(realm: Realm) -> None:
    batch_id = batch(realm, 2, BOB, DAVE)
    realm.do(BOB, "payments.approveBatch", batch_id, None)
    realm.do(DAVE, "payments.approveBatch", batch_id, None)
    realm.person(7, BOB, DAVE)
    realm.refused(realm.tx(ALICE, execute(batch_id)), "payments.batchApprovals")


def test_a_payer_approves_nothing_by_another_account(realm: Realm) -> None:
    batch_id = batch(realm, 1, BOB)
    realm.person(7, ALICE, BOB)
    approve = realm.tx(BOB, raw("payments.approveBatch", batch_id, None))
    realm.refused(approve, "payments.batchPayer")
    fields = ["EUR", [[CAROL.account, 5, b""]], 1, ascending(BOB), realm.time_ms + HOUR_MS]
    again = realm.tx(ALICE, raw("payments.proposeBatch", *fields, b"", None))
    realm.refused(again, "payments.batchPayer")


def test_a_new_key_is_no_second_approver(realm: Realm) -> None:
    batch_id = batch(realm, 2, BOB, DAVE)
    realm.do(BOB, "payments.approveBatch", batch_id, None)
    new = Key("bob's new key")
    change = raw("accounts.changeKey", new.public)
    realm.done(realm.tx(BOB, change, approvers=[(new, BOB.account)]))
    again = realm.tx(BOB, raw("payments.approveBatch", batch_id, None), signer=new)
    realm.refused(again, "payments.batchApprovedAlready")
    old = realm.tx(BOB, raw("payments.approveBatch", batch_id, None))
    realm.barred(old, "kernel.key")


def test_an_approval_that_ended_counts_no_more(realm: Realm) -> None:
    batch_id = batch(realm, 1, BOB)
    realm.do(BOB, "payments.approveBatch", batch_id, realm.time_ms + 5_000)
    late = realm.tx(ALICE, execute(batch_id))
    realm.refused(late, "payments.batchApprovals", after_ms=6_000)
    over = realm.tx(BOB, raw("payments.approveBatch", batch_id, realm.time_ms))
    realm.refused(over, "payments.span")


# -- holds and roles


def held(realm: Realm) -> bytes:
    policy(realm, hold("large", when("amount-at-least", number=500), needed=2))
    made = realm.do(ALICE, "assets.transfer", "EUR", BOB, 500)
    return first(made, "kernel.held").data[2]  # type: ignore[return-value]


def vote(hold_id: bytes, release: int = 1) -> Any:
    return raw("payments.voteHold", hold_id, release, "seen")


def test_two_officers_of_one_person_release_nothing(realm: Realm) -> None:
    hold_id = held(realm)
    realm.person(9, ONE, TWO)
    realm.done(realm.tx(ONE, vote(hold_id)))
    realm.done(realm.tx(TWO, vote(hold_id)))
    assert realm.balance(BOB, "EUR") == 1_000_000
    again = realm.tx(TWO, vote(hold_id))
    realm.refused(again, "payments.voted")
    realm.done(realm.tx(THREE, vote(hold_id)))
    assert realm.balance(BOB, "EUR") == 1_000_500


def test_whoever_a_held_payment_is_about_has_no_vote(realm: Realm) -> None:
    hold_id = held(realm)
    realm.person(9, ONE, ALICE)
    realm.person(8, TWO, BOB)
    for officer in (ONE, TWO):
        realm.refused(realm.tx(officer, vote(hold_id)), "payments.ownHold")
    realm.refused(realm.tx(CAROL, vote(hold_id)), "kernel.role")


def test_a_vote_of_who_lost_the_role_counts_no_more(realm: Realm) -> None:
    hold_id = held(realm)
    realm.done(realm.tx(ONE, vote(hold_id)))
    realm.do(ADMIN, "roles.revoke", "compliance", ONE, "")
    realm.done(realm.tx(TWO, vote(hold_id)))
    assert realm.balance(BOB, "EUR") == 1_000_000
    realm.refused(realm.tx(ONE, vote(hold_id)), "kernel.role")


def test_releasers_that_are_one_person_are_too_few(realm: Realm) -> None:
    realm.person(7, CAROL, DAVE)
    fields = ["EUR", BOB, 5, "deposit", realm.time_ms + HOUR_MS, 0, 0, ascending(CAROL, DAVE), 2]
    action = raw("payments.placeHold", *fields, b"", None)
    realm.refused(realm.tx(ALICE, action), "payments.releasersFew")
    realm.person(6, ERIN, ALICE)
    fields[7], fields[8] = ascending(CAROL, ERIN), 1
    action = raw("payments.placeHold", *fields, b"", None)
    realm.refused(realm.tx(ALICE, action), "payments.releaserParty")


# -- officers, oracles, breaks of logs


def test_officers_of_one_person_agree_with_nobody(realm: Realm) -> None:
    realm.person(9, ONE, TWO)
    realm.done(realm.tx(ONE, set_list("names")))
    realm.refused(realm.tx(TWO, set_list("names")), "compliance.samePerson")
    realm.refused(realm.tx(ONE, set_list("names")), "compliance.agreed")
    made = realm.pay(ONE, propose(deny("all", when("amount-at-least", number=1))))
    proposed = first(made, "compliance.policyProposed").data[0]
    approve = realm.tx(TWO, raw("compliance.approvePolicy", proposed))
    realm.refused(approve, "compliance.samePerson")


def test_what_officers_began_to_agree_on_is_forgotten(realm: Realm) -> None:
    realm.done(realm.tx(ONE, set_list("names")))
    realm.block(after_ms=8 * DAY_MS)
    made = realm.done(realm.tx(TWO, set_list("names")))
    assert first(made, "compliance.supported").data[2] == 1


def test_oracles_that_are_one_person_are_one_oracle(realm: Realm) -> None:
    realm.person(7, CAROL, DAVE)
    action = raw("risk.setOracles", ascending(CAROL, DAVE, ERIN), 2)
    realm.refused(realm.tx(ADMIN, action), "risk.oneSubject")
    realm.do(ADMIN, "risk.setOracles", ascending(CAROL, ERIN), 2)
    ends = realm.time_ms + DAY_MS
    for oracle in (CAROL, ERIN):
        realm.do(oracle, "risk.report", BOB, 900, b"m" * 32, 1, ends)
    assert realm.query("risk.score", BOB.account, realm.time_ms) == 900
    realm.person(5, ERIN)
    assert realm.query("risk.score", BOB.account, realm.time_ms) == 900
    # They turn out to be one: too few report now.
    for officer in OFFICERS[:2]:
        realm.do(officer, "compliance.setSubject", ERIN, bytes([7]) * 32, "")
    assert realm.query("risk.score", BOB.account, realm.time_ms) is None
    own = realm.tx(CAROL, raw("risk.report", DAVE, 0, b"m" * 32, 1, ends))
    realm.refused(own, "risk.own")


def test_a_log_is_broken_by_people_not_by_accounts(realm: Realm) -> None:
    opened = realm.do(ALICE, "anchor.openLog", "audit", ALICE, None, 2)
    identity = first(opened, "anchor.logOpened").data[0]
    leaves = [leaf_hash(b"%d" % n) for n in range(4)]
    realm.do(ALICE, "anchor.log", identity, 4, root_of(leaves), [])
    ends = realm.time_ms + HOUR_MS
    behind = root_of(leaves[:3])
    made = realm.do(ALICE, "anchor.break", identity, 3, behind, "restored", ends)
    number = first(made, "anchor.breakProposed").data[1]
    realm.person(9, ONE, TWO)
    approve = raw("anchor.approveBreak", identity, ALICE, number, 3, behind)
    realm.done(realm.tx(ONE, approve))
    realm.refused(realm.tx(TWO, approve), "anchor.samePerson")
    realm.refused(realm.tx(BOB, approve), "kernel.role")
    late = realm.tx(THREE, approve, valid_until_ms=realm.time_ms + 2 * HOUR_MS)
    realm.refused(late, "anchor.late", after_ms=HOUR_MS)


# -- signers of an account


def firm(realm: Realm, threshold: int, *members: Key) -> bytes:
    rows = [[one.account, 1] for one in members]
    made = realm.do(ALICE, "accounts.createMultisig", threshold, rows, b"s" * 32)
    account: bytes = first(made, "accounts.opened").accounts[0]
    realm.do(ALICE, "assets.transfer", "CLAW", account, 1_000)
    return account


def proposed(realm: Realm, account: bytes, *actions: Any, by: Key = BOB) -> bytes:
    wire = [[one.name, one.fields] for one in actions]
    made = realm.do(by, "accounts.propose", account, realm.time_ms + HOUR_MS, wire, b"")
    return first(made, "accounts.proposed").data[0]  # type: ignore[return-value]


def test_signers_that_turn_out_to_be_one_person_weigh_once(realm: Realm) -> None:
    account = firm(realm, 2, BOB, CAROL, DAVE)
    proposal = proposed(realm, account, transfer(ERIN, 5))
    realm.do(CAROL, "accounts.approve", proposal)
    realm.person(7, BOB, CAROL)
    run = realm.tx(BOB, raw("accounts.execute", proposal, 500))
    realm.refused(run, "accounts.approvals")
    realm.refused(realm.tx(BOB, raw("accounts.approve", proposal)), "accounts.approvedAlready")
    realm.refused(realm.tx(ERIN, raw("accounts.approve", proposal)), "accounts.notSigner")
    late = realm.tx(
        DAVE, raw("accounts.approve", proposal), valid_until_ms=realm.time_ms + 2 * HOUR_MS
    )
    ended = realm.block(late, after_ms=HOUR_MS).receipts[0]
    assert ended.rule in ("accounts.proposalUnknown", "accounts.proposalLate")


@pytest.mark.parametrize(
    ("members", "rule"),
    [
        ((BOB, BOB), "accounts.memberTwice"),
        ((BOB, CAROL), "accounts.memberSubjectTwice"),
    ],
)
def test_nobody_is_a_signer_twice(realm: Realm, members: tuple[Key, ...], rule: str) -> None:
    realm.person(7, BOB, CAROL)
    rows = [[one.account, 1] for one in members]
    action = raw("accounts.createMultisig", 1, rows, b"s" * 32)
    realm.refused(realm.tx(ALICE, action), rule)


def test_one_key_of_two_accounts_is_one_signer(realm: Realm) -> None:
    new = Key("one key")
    for one in (BOB, CAROL):
        change = raw("accounts.changeKey", new.public)
        realm.done(realm.tx(one, change, approvers=[(new, one.account)]))
    rows = [[BOB.account, 1], [CAROL.account, 1]]
    action = raw("accounts.createMultisig", 2, rows, b"s" * 32)
    realm.refused(realm.tx(ALICE, action), "accounts.memberKeyTwice")


# -- signatures and their roles


def four_eyes(realm: Realm) -> None:
    policy(realm, deny("eyes", when("approvals-below", name="compliance", number=1)))


def test_a_sponsors_signature_is_no_approval(realm: Realm) -> None:
    four_eyes(realm)
    pay = raw("payments.pay", "EUR", BOB, 5, b"", None, 0, [])
    sponsored = realm.tx(ALICE, pay, payer=ONE)
    realm.refused(sponsored, "compliance.approvals")
    named = raw("payments.pay", "EUR", BOB, 5, b"", None, 0, [[ONE.account, ONE.public]])
    with pytest.raises(BadSignature):
        prepare(realm.tx(ALICE, named, payer=ONE), realm.registry)
    both = realm.tx(ALICE, named, payer=SPONSOR, approvers=[(ONE, ONE.account)])
    realm.done(both)


def test_a_payers_signature_is_none_of_an_approver_by_another_role(realm: Realm) -> None:
    """The role is signed: an entry moved from one role to another does not verify."""
    from clawpurse.ledger import crypto

    named = raw("payments.pay", "EUR", BOB, 5, b"", None, 0, [[ONE.account, ONE.public]])
    body = realm.body(ALICE, named, payer=ONE.account)
    as_payer = sign(ONE.seed, body, Role.PAYER, ONE.account)
    moved = WitnessEntry(Role.APPROVER, *as_payer[1:])
    entries = [sign(ALICE.seed, body, Role.SENDER, ALICE.account), as_payer, moved]
    prepared = prepare(encode_transaction(body.pack(), entries), realm.registry)
    checks = [crypto.verify(*signature) for signature in prepared.transaction.signatures]
    assert checks == [True, True, False]


def test_ones_own_approval_is_none(realm: Realm) -> None:
    four_eyes(realm)
    realm.do(ADMIN, "roles.grant", "compliance", ALICE)
    realm.person(7, ALICE, ONE)
    for approver in (ALICE, ONE):
        pairs = [[approver.account, approver.public]]
        pay = raw("payments.pay", "EUR", BOB, 5, b"", None, 0, pairs)
        mine = realm.tx(ALICE, pay, approvers=[(approver, approver.account)])
        realm.refused(mine, "compliance.approvals")
    stale = Key("not the key of two")
    pay = raw("payments.pay", "EUR", BOB, 5, b"", None, 0, [[TWO.account, stale.public]])
    forged = realm.tx(ALICE, pay, approvers=[(stale, TWO.account)])
    rule = realm.block(forged).receipts[0].rule
    assert rule in ("payments.approverKey", "compliance.approvals", "kernel.key"), rule


def test_signatures_stand_once_each(realm: Realm) -> None:
    body = realm.body(ALICE)
    entry = sign(ALICE.seed, body, Role.SENDER, ALICE.account)
    with pytest.raises((BadSignature, Malformed)):
        prepare(encode_transaction(body.pack(), [entry, entry]), realm.registry)
    extra = sign(BOB.seed, body, Role.APPROVER, BOB.account)
    with pytest.raises(BadSignature):
        prepare(encode_transaction(body.pack(), [entry, extra]), realm.registry)
    pairs = [[ONE.account, ONE.public]] * 2
    pay = raw("payments.pay", "EUR", BOB, 5, b"", None, 0, pairs)
    with pytest.raises(Malformed):
        prepare(realm.tx(ALICE, pay, approvers=[(ONE, ONE.account)]), realm.registry)
