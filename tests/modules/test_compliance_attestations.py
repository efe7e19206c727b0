"""Attestations, lists and officers: who is known as what, and who may say so.

If these failed, somebody could vouch without the right to, become another person, or one officer
could do alone what takes two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.params import MS_MAX
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.compliance import attesting, lists
from clawpurse.modules.compliance import chain as compliance
from clawpurse.modules.compliance.attestations import Issuer
from clawpurse.modules.compliance.lists import Change, NamedList
from clawpurse.modules.compliance.officers import BALLOT_MS
from tests.ledger.sandbox import ALICE, BOB, CAROL, ERIN, Key, transfer
from tests.modules.council import event, grant, kinds, revoke
from tests.modules.officers_world import (
    ADMIN,
    DAY_MS,
    ISSUER,
    OFFICERS,
    OTHER_ISSUER,
    OTHER_SUBJECT,
    SUBJECT,
    Desk,
    accept,
    add,
    attest,
    remove,
    remove_issuer,
    revoke_attestation,
    set_issuer,
    set_list,
    set_quorum,
    set_subject,
)

ONE, TWO, THREE, FOUR = OFFICERS


def level(chain: Desk, account: Key = ALICE, topic: str = "kyc") -> int | None:
    found: int | None = chain.query("compliance.level", account.account, topic, chain.time_ms)
    return found


# -- issuers


def test_an_issuer_is_registered_with_its_topics_and_removed_with_a_reason() -> None:
    chain = Desk()
    result = chain.pay(ADMIN, set_issuer(ISSUER, "kyc", "accredited"))
    assert event(result, "compliance.issuerSet")[2:] == (
        (ISSUER.account, ADMIN.account),
        (["kyc", "accredited"],),
    )
    assert chain.query("compliance.issuer", ISSUER.account) == Issuer(
        ("kyc", "accredited"), 1, 1, ADMIN.account, ""
    )
    chain.do(ADMIN, set_issuer(ISSUER, "kyc"))
    result = chain.pay(ADMIN, remove_issuer())
    assert event(result, "compliance.issuerRemoved")[3] == ("licence lost",)
    removed = chain.query("compliance.issuer", ISSUER.account)
    assert (removed.active, removed.reason, removed.height) == (0, "licence lost", 3)
    chain.do(ADMIN, set_issuer(ISSUER, "kyc"))
    chain.do(ADMIN, set_issuer(OTHER_ISSUER, "kyc"))
    pages = chain.query("compliance.issuers", 1)
    assert chain.query("compliance.issuers", 5, pages[0][0])[0][0] != pages[0][0]
    assert len(chain.query("compliance.issuers", 5)) == 2


@pytest.mark.parametrize(
    ("by", "action", "rule"),
    [
        (ALICE, set_issuer(ISSUER, "kyc"), "kernel.role"),
        (ONE, set_issuer(ISSUER, "kyc"), "kernel.role"),
        (ALICE, remove_issuer(), "kernel.role"),
        (ADMIN, remove_issuer(), "compliance.noIssuer"),
        (ADMIN, set_issuer(ISSUER, "kyc", "aml", "kyc"), "compliance.topicTwice"),
        (ADMIN, set_issuer(ERIN, "kyc"), "kernel.sender"),
    ],
)
def test_who_cannot_register_an_issuer(by: Key, action: RawAction, rule: str) -> None:
    chain = Desk()
    assert chain.pay(by, action).receipts[0].rule == rule
    assert chain.query("compliance.issuers", 5) == []


def test_issuers_are_bounded_and_nothing_is_registered_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attesting, "ISSUERS_MAX", 1)
    chain = Desk()
    chain.issuer("kyc")
    assert chain.pay(ADMIN, set_issuer(ISSUER, "kyc")).receipts[0].rule == "compliance.sameIssuer"
    receipt = chain.pay(ADMIN, set_issuer(OTHER_ISSUER, "kyc")).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "compliance.issuersFull")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("setIssuer", [bytes(32), []]),
        ("setIssuer", [bytes(32), ["Kyc"]]),
        ("setIssuer", [bytes(32), [f"t{n}" for n in range(33)]]),
        ("setIssuer", [bytes(31), ["kyc"]]),
        ("removeIssuer", [bytes(32), "x" * 129]),
        ("attest", [bytes(32), bytes(31), "kyc", 1, 1, bytes(32)]),
        ("attest", [bytes(32), bytes(32), "kyc", 256, 1, bytes(32)]),
        ("attest", [bytes(32), bytes(32), "kyc", 1, 1, b"short"]),
        ("attest", [bytes(32), bytes(32), "kyc", 1, 1]),
        ("accept", [bytes(32), "KYC"]),
        ("revokeAttestation", [bytes(32), "kyc", None, "A sentence."]),
        ("setSubject", [bytes(32), b"x", ""]),
        ("setQuorum", [0, 0]),
        ("setQuorum", [17, 0]),
        ("setQuorum", [2, 90 * DAY_MS + 1]),
        ("setList", ["a", "", 1]),
        ("setList", ["a", "title", 0]),
        ("setList", ["A", "title", 1]),
        ("addToList", ["a", [], ""]),
        ("addToList", ["a", [bytes(32)] * 101, ""]),
        ("removeFromList", ["a", [bytes(31)], ""]),
    ],
)
def test_malformed_actions(name: str, fields: list[Any]) -> None:
    with pytest.raises(Malformed):
        Desk().registry.read_action(RawAction(f"compliance.{name}", fields))


# -- attestations


def test_an_attestation_counts_once_its_holder_has_accepted_it() -> None:
    chain = Desk()
    chain.issuer("kyc")
    result = chain.pay(ISSUER, attest(chain, ALICE, level=3, subject=SUBJECT))
    told = event(result, "compliance.attested")
    assert told[2] == (ALICE.account, ISSUER.account) and told[3][:2] == ("kyc", 3)
    assert level(chain) is None
    assert chain.query("compliance.subject", ALICE.account) == ALICE.account
    chain.do(ALICE, accept())
    assert level(chain) == 3
    assert chain.query("compliance.subject", ALICE.account) == SUBJECT
    (one,) = chain.query("compliance.attestations", ALICE.account)
    assert (one.topic, one.issuer, one.status, one.subject) == ("kyc", ISSUER.account, 1, SUBJECT)


def test_it_counts_until_it_expires_or_is_revoked_or_its_issuer_is_removed() -> None:
    chain = Desk()
    chain.issuer("kyc")
    chain.attested(ALICE, expires_ms=chain.time_ms + 10_000)
    assert level(chain) == 1
    one = chain.query("compliance.attestations", ALICE.account)[0]
    ask = chain.query
    assert ask("compliance.level", ALICE.account, "kyc", one.expires_ms - 1) == 1
    assert ask("compliance.level", ALICE.account, "kyc", one.expires_ms) is None
    chain.attested(BOB)
    result = chain.pay(ISSUER, revoke_attestation(BOB))
    assert event(result, "compliance.revoked")[3] == ("kyc", "lapsed")
    assert level(chain, BOB) is None
    chain.attested(CAROL)
    chain.do(ADMIN, remove_issuer())
    assert level(chain, CAROL) is None
    chain.issuer("kyc")
    assert level(chain, CAROL) == 1  # A right that comes back lets what it said count again.


def test_the_highest_of_several_issuers_counts() -> None:
    chain = Desk()
    chain.issuer("kyc")
    chain.issuer("kyc", issuer=OTHER_ISSUER)
    chain.attested(ALICE, level=1)
    chain.attested(ALICE, level=4, issuer=OTHER_ISSUER)
    assert level(chain) == 4
    chain.do(OTHER_ISSUER, revoke_attestation(ALICE))
    assert level(chain) == 1


def test_a_level_of_zero_is_an_attestation_too() -> None:
    chain = Desk()
    chain.issuer("kyc")
    chain.attested(ALICE, level=0)
    assert level(chain) == 0 and level(chain, BOB) is None


def test_renewing_keeps_what_was_accepted_and_a_revoked_one_is_accepted_anew() -> None:
    chain = Desk()
    chain.issuer("kyc")
    chain.attested(ALICE, level=1)
    chain.do(ISSUER, attest(chain, ALICE, level=2))
    assert level(chain) == 2
    chain.do(ISSUER, revoke_attestation(ALICE))
    chain.do(ISSUER, attest(chain, ALICE, level=2))
    assert level(chain) is None
    chain.do(ALICE, accept())
    assert level(chain) == 2
    assert len(chain.query("compliance.attestations", ALICE.account)) == 1


Act = Callable[[Desk], RawAction]


@pytest.mark.parametrize(
    ("by", "act", "rule"),
    [
        (BOB, lambda c: attest(c, ALICE), "compliance.mayNotAttest"),
        (ISSUER, lambda c: attest(c, ALICE, "aml"), "compliance.mayNotAttest"),
        (ISSUER, lambda c: attest(c, ERIN), "kernel.sender"),
        (ISSUER, lambda c: attest(c, ALICE, expires_ms=c.time_ms + 1_000), "compliance.expiry"),
        (
            ISSUER,
            lambda c: attest(c, ALICE, expires_ms=c.time_ms + 1_001 + MS_MAX),
            "compliance.expiry",
        ),
        (ISSUER, lambda c: attest(c, CAROL, subject=OTHER_SUBJECT), "compliance.otherSubject"),
        (ALICE, lambda c: accept(), "compliance.noAttestation"),
        (BOB, lambda c: accept("aml"), "compliance.noAttestation"),
        (BOB, lambda c: accept(issuer=OTHER_ISSUER), "compliance.noAttestation"),
        (CAROL, lambda c: accept(), "compliance.notOffered"),
        (OTHER_ISSUER, lambda c: revoke_attestation(CAROL), "compliance.noAttestation"),
        (ALICE, lambda c: revoke_attestation(CAROL, issuer=ISSUER), "compliance.mayNotRevoke"),
        (CAROL, lambda c: revoke_attestation(CAROL, issuer=ISSUER), "compliance.mayNotRevoke"),
        (ISSUER, lambda c: revoke_attestation(ALICE), "compliance.noAttestation"),
    ],
)
def test_who_cannot_attest_accept_or_revoke(by: Key, act: Act, rule: str) -> None:
    """Carol has accepted, Bob was offered, Alice has nothing."""
    chain = Desk()
    chain.issuer("kyc")
    chain.attested(CAROL, subject=SUBJECT)
    chain.do(ISSUER, attest(chain, BOB))
    before = {p: v for p, v in chain.state.records.items() if p[0] == "compliance"}
    assert chain.pay(by, act(chain)).receipts[0].rule == rule
    assert {p: v for p, v in chain.state.records.items() if p[0] == "compliance"} == before


def test_an_offer_that_expired_or_whose_issuer_left_cannot_be_accepted() -> None:
    chain = Desk()
    chain.issuer("kyc")
    chain.do(ISSUER, attest(chain, ALICE, expires_ms=chain.time_ms + 3_000))
    chain.do(ISSUER, attest(chain, BOB))
    chain.block(after_ms=1_000)
    assert chain.pay(ALICE, accept()).receipts[0].rule == "compliance.attestationLate"
    chain.do(ADMIN, remove_issuer())
    assert chain.pay(BOB, accept()).receipts[0].rule == "compliance.mayNotAttest"


def test_an_officer_revokes_what_a_removed_issuer_left_behind() -> None:
    chain = Desk()
    chain.issuer("kyc")
    chain.attested(ALICE)
    chain.do(ADMIN, remove_issuer())
    chain.do(ONE, revoke_attestation(ALICE, issuer=ISSUER, reason="fraud"))
    (one,) = chain.query("compliance.attestations", ALICE.account)
    assert (one.status, one.reason, one.by) == (2, "fraud", ONE.account)
    again = chain.pay(ONE, revoke_attestation(ALICE, issuer=ISSUER)).receipts[0]
    assert again.rule == "compliance.notOffered"


def test_attestations_of_an_account_are_bounded_and_dead_ones_make_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attesting, "ATTESTATIONS_MAX", 2)
    chain = Desk()
    chain.issuer("a", "b", "c")
    for topic in ("a", "b"):
        chain.attested(ALICE, topic)
    full = chain.pay(ISSUER, attest(chain, ALICE, "c")).receipts[0]
    assert (full.code, full.rule) == (Code.LIMIT_EXCEEDED, "compliance.attestationsFull")
    chain.do(ISSUER, revoke_attestation(ALICE, "a"))
    chain.attested(ALICE, "c")
    found = chain.query("compliance.attestations", ALICE.account)
    assert [one.topic for one in found] == ["b", "c"]


# -- subjects


def test_a_subject_is_bound_by_the_first_accepted_attestation_and_changed_by_officers() -> None:
    chain = Desk()
    chain.issuer("kyc")
    chain.attested(ALICE, subject=SUBJECT)

    def bound() -> bytes:
        found: bytes = chain.query("compliance.subject", ALICE.account)
        return found

    chain.do(ISSUER, revoke_attestation(ALICE))
    assert bound() == SUBJECT  # Nobody becomes nobody by losing an attestation.
    chain.do(ONE, set_subject(ALICE, OTHER_SUBJECT))
    assert bound() == SUBJECT
    result = chain.pay(TWO, set_subject(ALICE, OTHER_SUBJECT, "mistaken identity"))
    assert event(result, "compliance.subjectSet")[3] == ("mistaken identity",)
    assert bound() == OTHER_SUBJECT
    chain.agree(set_subject(ALICE, None))
    assert bound() == ALICE.account


def test_an_offer_made_before_the_account_became_known_as_another_is_refused() -> None:
    chain = Desk()
    chain.issuer("kyc", "aml")
    chain.do(ISSUER, attest(chain, ALICE, "kyc", subject=SUBJECT))
    chain.do(ISSUER, attest(chain, ALICE, "aml", subject=OTHER_SUBJECT))
    chain.do(ALICE, accept("aml"))
    assert chain.pay(ALICE, accept("kyc")).receipts[0].rule == "compliance.otherSubject"


@pytest.mark.parametrize(
    ("by", "action", "rule"),
    [
        (ALICE, set_subject(ALICE, SUBJECT), "kernel.role"),
        (ADMIN, set_subject(ALICE, SUBJECT), "kernel.role"),
        (ONE, set_subject(ALICE, None), "compliance.sameSubject"),
        (ONE, set_subject(ERIN, SUBJECT), "kernel.sender"),
    ],
)
def test_who_cannot_set_a_subject(by: Key, action: RawAction, rule: str) -> None:
    assert Desk().pay(by, action).receipts[0].rule == rule


# -- officers


def test_one_officer_decides_while_there_is_one_and_two_from_then_on() -> None:
    chain = Desk(officers=1)
    chain.do(ONE, set_list("a"))
    assert chain.query("compliance.list", "a") is not None
    chain.do(ADMIN, grant("compliance", TWO))
    result = chain.pay(ONE, set_list("b"))
    assert event(result, "compliance.supported")[3][0] == "compliance.setList"
    assert event(result, "compliance.supported")[3][2:] == (1, 2)
    assert chain.query("compliance.list", "b") is None
    assert [b.action for _, b in chain.query("compliance.ballots", 5)] == ["compliance.setList"]
    chain.do(TWO, set_list("b"))
    assert chain.query("compliance.list", "b") is not None
    assert chain.query("compliance.ballots", 5) == []
    assert chain.account(ONE).due_count == 0


def test_two_accounts_of_one_person_are_one_officer() -> None:
    chain = Desk(officers=3)
    chain.agree(set_subject(ONE, SUBJECT), (TWO, THREE))
    chain.agree(set_subject(TWO, SUBJECT), (ONE, THREE))
    chain.do(ONE, set_list("a"))
    receipt = chain.pay(TWO, set_list("a")).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "compliance.samePerson")
    assert chain.pay(ONE, set_list("a")).receipts[0].rule == "compliance.agreed"
    chain.do(THREE, set_list("a"))
    assert chain.query("compliance.list", "a") is not None
    # Three accounts, two people: three cannot be asked for.
    assert chain.pay(ONE, set_quorum(3)).receipts[0].rule == "compliance.tooFewOfficers"


def test_who_is_no_officer_any_more_has_no_voice() -> None:
    chain = Desk(officers=3)
    chain.do(ONE, set_list("a"))
    chain.do(ADMIN, revoke("compliance", ONE))
    chain.do(TWO, set_list("a"))
    assert chain.query("compliance.list", "a") is None
    chain.do(THREE, set_list("a"))
    assert chain.query("compliance.list", "a") is not None


def test_the_quorum_is_changed_by_as_many_as_it_asks_for_now() -> None:
    chain = Desk(officers=4)
    assert chain.query("compliance.quorum") is None
    result = chain.agree(set_quorum(3, 60_000), (ONE, TWO))
    assert event(result, "compliance.quorumSet")[3] == (3, 60_000)
    chain.agree(set_quorum(1, 0), (ONE, TWO))
    assert chain.query("compliance.quorum") == (3, 60_000)
    chain.do(THREE, set_quorum(1, 0))
    assert chain.query("compliance.quorum") == (1, 0)
    assert chain.pay(ONE, set_quorum(5, 0)).receipts[0].rule == "compliance.tooFewOfficers"
    assert chain.pay(ALICE, set_quorum(1, 0)).receipts[0].rule == "kernel.role"


def test_officers_who_leave_do_not_make_the_rest_enough() -> None:
    chain = Desk(officers=3)
    chain.agree(set_quorum(2))
    for gone in (TWO, THREE):
        chain.do(ADMIN, revoke("compliance", gone))
    chain.do(ONE, set_list("a"))
    assert chain.query("compliance.list", "a") is None
    chain.do(ADMIN, grant("compliance", FOUR))
    chain.do(FOUR, set_list("a"))
    assert chain.query("compliance.list", "a") is not None


def test_what_nobody_joins_in_time_is_forgotten() -> None:
    chain = Desk()
    chain.do(ONE, set_list("a"))
    result = chain.block(after_ms=BALLOT_MS)
    assert "compliance.ballotExpired" in kinds(result)
    assert chain.query("compliance.ballots", 5) == []
    chain.do(TWO, set_list("a"))
    assert chain.query("compliance.list", "a") is None
    chain.do(ONE, set_list("a"))
    assert chain.query("compliance.list", "a") is not None


def test_a_voice_that_is_late_does_not_count_though_the_queue_is() -> None:
    chain = Desk(params={"due_per_block_max": 1})
    chain.do(ONE, set_list("other"))
    chain.do(ONE, set_list("a"))
    chain.time_ms += BALLOT_MS
    chain.do(TWO, set_list("a"))
    assert chain.query("compliance.list", "a") is None
    chain.do(ONE, set_list("a"))
    assert chain.query("compliance.list", "a") is not None


# -- lists


def test_a_list_has_versions_that_tell_who_changed_what_and_why() -> None:
    chain = Desk()
    result = chain.agree(set_list("blocked", title="Not to be paid"))
    assert event(result, "compliance.listSet")[3] == ("blocked", "Not to be paid", 1)
    result = chain.pay(ONE, add("blocked", ALICE, SUBJECT, reason="case 7"))
    told = event(result, "compliance.listChanged")
    assert told[3] == ("blocked", 1, 1, 2, "case 7") and ALICE.account in told[2]
    chain.do(TWO, remove("blocked", ALICE, reason="cleared"))
    assert chain.query("compliance.list", "blocked") == NamedList("Not to be paid", 1, 2, 1)
    assert chain.query("compliance.entries", "blocked", 5) == [(SUBJECT, 1)]
    assert chain.query("compliance.listed", "blocked", SUBJECT)
    assert not chain.query("compliance.listed", "blocked", ALICE.account)
    first, second = (chain.query("compliance.change", "blocked", n) for n in (1, 2))
    assert first == Change(
        1, tuple(sorted((ALICE.account, SUBJECT))), ONE.account, 3, first.time_ms, "case 7"
    )
    assert (second.added, second.entries, second.by) == (0, (ALICE.account,), TWO.account)
    assert chain.query("compliance.change", "blocked", 3) is None
    chain.agree(set_list("allowed"))
    assert [name for name, _ in chain.query("compliance.lists", 5)] == ["allowed", "blocked"]
    assert [name for name, _ in chain.query("compliance.lists", 5, "allowed")] == ["blocked"]


def test_a_list_that_asks_for_two_officers_is_not_changed_by_one() -> None:
    chain = Desk()
    chain.agree(set_list("trusted", officers=2))
    chain.do(ONE, add("trusted", ALICE, reason="one"))
    assert not chain.query("compliance.listed", "trusted", ALICE.account)
    chain.do(TWO, add("trusted", ALICE, reason="in other words"))
    assert chain.query("compliance.listed", "trusted", ALICE.account)
    chain.do(ONE, remove("trusted", ALICE))
    assert chain.query("compliance.listed", "trusted", ALICE.account)


@pytest.mark.parametrize(
    ("by", "action", "rule"),
    [
        (ALICE, set_list("b"), "kernel.role"),
        (ALICE, add("a", BOB), "kernel.role"),
        (ALICE, remove("a", ALICE), "kernel.role"),
        (ONE, set_list("a"), "compliance.sameList"),
        (ONE, set_list("b", officers=3), "compliance.tooFewOfficers"),
        (ONE, add("b", BOB), "compliance.unknownList"),
        (ONE, remove("b", BOB), "compliance.unknownList"),
        (ONE, add("a", ALICE), "compliance.inList"),
        (ONE, remove("a", BOB), "compliance.notInList"),
        (ONE, add("a", BOB, BOB), "compliance.entriesOrder"),
        (ONE, remove("a", ALICE, ALICE), "compliance.entriesOrder"),
    ],
)
def test_who_cannot_change_a_list(by: Key, action: RawAction, rule: str) -> None:
    chain = Desk()
    chain.agree(set_list("a"))
    chain.do(ONE, add("a", ALICE))
    before = {p: v for p, v in chain.state.records.items() if p[0] == "compliance"}
    assert chain.pay(by, action).receipts[0].rule == rule
    assert {p: v for p, v in chain.state.records.items() if p[0] == "compliance"} == before


def test_lists_and_their_entries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compliance, "LISTS_MAX", 1)
    monkeypatch.setattr(lists, "ENTRIES_MAX", 2)
    chain = Desk()
    chain.agree(set_list("a"))
    assert chain.pay(ONE, set_list("b")).receipts[0].rule == "compliance.listsFull"
    receipt = chain.pay(ONE, add("a", ALICE, BOB, CAROL)).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "compliance.listFull")
    chain.do(ONE, add("a", ALICE, BOB))
    chain.do(ONE, remove("a", ALICE))
    chain.do(ONE, add("a", CAROL))
    # The other list stays as it is when its title changes.
    chain.agree(set_list("a", title="Another title"))
    assert chain.query("compliance.list", "a") == NamedList("Another title", 1, 3, 2)


def test_a_failed_transaction_leaves_nothing_of_compliance_behind() -> None:
    chain = Desk(officers=1)
    before = {p: v for p, v in chain.state.records.items() if p[0] == "compliance"}
    receipt = chain.pay(ONE, set_list("a"), transfer(BOB, 10**12)).receipts[0]
    assert receipt.rule == "kernel.balance"
    assert {p: v for p, v in chain.state.records.items() if p[0] == "compliance"} == before
