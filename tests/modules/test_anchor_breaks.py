"""Breaks: how a log that was restored behind its anchor goes on, and who decides that.

If these failed, a log restored from a backup could never go on, one officer could break any log
alone, or a break could be hidden.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.errors import Code
from clawpurse.ledger.rfc6962 import (
    EMPTY_ROOT,
    root_of,
)
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.anchor import breaks
from clawpurse.modules.anchor.breaks import SPAN_MS_MAX
from clawpurse.modules.anchor.records import (
    Break,
)
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, START_MS, Key
from tests.modules.archive_world import (
    FOUR,
    HOUR_MS,
    LEAVES,
    LOG,
    ONE,
    OTHER,
    REWRITTEN,
    THREE,
    TWO,
    Archive,
    approved,
    behind,
    broken,
    grow,
    open_log,
    tree_of,
)
from tests.modules.council import event, grant, revoke

# -- breaks


def test_officers_let_a_restored_log_go_on_and_that_stays_visible() -> None:
    chain = behind()
    result = chain.pay(CAROL, broken(chain))
    assert event(result, "anchor.breakProposed")[3][:4] == (LOG, 1, 3, root_of(LEAVES[:3]))
    result = chain.pay(ONE, approved())
    assert event(result, "anchor.breakApproved")[3] == (LOG, 1, 1, 2)
    assert chain.log().size == 8
    result = chain.pay(TWO, approved())
    told = event(result, "anchor.broken")
    assert told[3] == (LOG, 1, 8, 3, root_of(LEAVES[:3]), "restored from backup")
    assert set(told[2]) == {BOB.account, CAROL.account, ONE.account, TWO.account}
    log = chain.log()
    assert (log.size, log.root, log.breaks) == (3, root_of(LEAVES[:3]), 1)
    assert chain.proposals() == {}
    # Another log from there on: what followed the third entry is gone.
    other = [*LEAVES[:3], *REWRITTEN[:1], *LEAVES[3:9]]
    chain.do(CAROL, grow(chain, 9, other))
    assert chain.rule(CAROL, grow(chain, 12, LEAVES)) == "anchor.inconsistent"
    approvals = tuple(sorted((ONE.account, TWO.account)))
    kept = Break(
        8, root_of(LEAVES[:8]), 3, root_of(LEAVES[:3]), "restored from backup", CAROL.account,
        approvals, 6, START_MS + 6_000,
    )  # fmt: skip
    assert chain.query("anchor.breaks", LOG, 0, 10) == [kept]
    chain.do(CAROL, broken(chain, 0, root=EMPTY_ROOT, reason="lost it all"))
    for officer in (THREE, ONE):
        chain.do(officer, approved(2, 0, root=EMPTY_ROOT))
    assert [one.reason for one in chain.query("anchor.breaks", LOG, 0, 10)] == [
        "restored from backup",
        "lost it all",
    ]
    assert [one.reason for one in chain.query("anchor.breaks", LOG, 1, 10)] == ["lost it all"]
    assert (chain.log().size, chain.log().root) == (0, EMPTY_ROOT)


@pytest.mark.parametrize("proposer", [BOB, CAROL, ONE])
def test_owner_writer_and_officers_propose(proposer: Key) -> None:
    chain = behind()
    chain.do(proposer, broken(chain))
    for officer in (TWO, THREE):
        chain.do(officer, approved(by=proposer))
    assert chain.log().size == 3


@pytest.mark.parametrize(
    ("by", "fields", "code", "rule"),
    [
        (DAVE, {}, Code.NOT_AUTHORISED, "kernel.role"),
        (ALICE, {}, Code.NOT_AUTHORISED, "kernel.role"),
        (CAROL, {"log": OTHER}, Code.NOT_FOUND, "anchor.unknown"),
        (CAROL, {"size": 8}, Code.MALFORMED, "anchor.notBehind"),
        (CAROL, {"size": 9}, Code.MALFORMED, "anchor.notBehind"),
        (CAROL, {"size": 0, "root": OTHER}, Code.MALFORMED, "anchor.emptyRoot"),
        (CAROL, {"for_ms": 0}, Code.MALFORMED, "anchor.span"),
        (CAROL, {"for_ms": SPAN_MS_MAX + 1}, Code.MALFORMED, "anchor.span"),
    ],
)
def test_a_proposal_is_refused(by: Key, fields: dict[str, Any], code: Code, rule: str) -> None:
    chain = behind()
    before = tree_of(chain)
    receipt = chain.pay(by, broken(chain, **fields)).receipts[0]
    assert (receipt.code, receipt.rule) == (code, rule)
    assert tree_of(chain) == before


def test_a_log_is_broken_only_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaks, "BREAKS_MAX", 1)
    chain = behind()
    chain.do(CAROL, broken(chain))
    for officer in (ONE, TWO):
        chain.do(officer, approved())
    assert chain.rule(CAROL, broken(chain, 2)) == "anchor.breaksFull"


@pytest.mark.parametrize(
    ("by", "action", "rule"),
    [
        (DAVE, approved(), "kernel.role"),
        (BOB, approved(), "kernel.role"),
        (ONE, approved(log=OTHER), "anchor.unknown"),
        (ONE, approved(2), "anchor.noProposal"),
        (ONE, approved(size=4), "anchor.noProposal"),
        (ONE, approved(root=OTHER), "anchor.noProposal"),
        (ONE, approved(by=BOB), "anchor.noProposal"),
        (TWO, approved(), "anchor.approved"),
    ],
)
def test_an_approval_is_refused(by: Key, action: RawAction, rule: str) -> None:
    chain = behind()
    chain.do(CAROL, broken(chain))
    chain.do(TWO, approved())
    before = tree_of(chain)
    assert chain.rule(by, action) == rule
    assert tree_of(chain) == before


def test_an_officer_does_not_approve_what_it_proposed_itself() -> None:
    chain = behind()
    chain.do(ONE, broken(chain))
    assert chain.rule(ONE, approved(by=ONE)) == "anchor.ownProposal"
    chain.same_person(ONE, TWO)
    assert chain.rule(TWO, approved(by=ONE)) == "anchor.ownProposal"


def test_two_keys_of_one_person_approve_once() -> None:
    chain = behind()
    chain.same_person(ONE, TWO)
    chain.do(CAROL, broken(chain))
    chain.do(ONE, approved())
    assert chain.rule(TWO, approved()) == "anchor.samePerson"
    chain.do(THREE, approved())
    assert chain.log().size == 3


def test_who_became_one_person_or_no_officer_since_counts_no_more_when_it_is_decided() -> None:
    for change in ("person", "role"):
        chain = behind()
        chain.do(BOB, open_log("b"))
        chain.do(CAROL, broken(chain))
        chain.do(ONE, approved())
        if change == "person":
            chain.same_person(ONE, CAROL)
        else:
            chain.do(ALICE, revoke("compliance", ONE))
        chain.do(TWO, approved())
        assert chain.log().size == 8
        chain.do(THREE, approved())
        assert chain.log().size == 3
        assert ONE.account not in chain.query("anchor.breaks", LOG, 0, 1)[0].approvals


def test_an_approval_again_counts_again_when_others_are_officers_once_more() -> None:
    chain = behind()
    chain.do(CAROL, broken(chain))
    chain.do(ONE, approved())
    chain.do(ALICE, revoke("compliance", ONE))
    chain.do(TWO, approved())
    assert chain.rule(TWO, approved()) == "anchor.approved"
    chain.do(ALICE, grant("compliance", ONE))
    chain.do(TWO, approved())
    assert chain.log().size == 3


def test_a_proposal_ends_at_its_time() -> None:
    chain = behind()
    chain.do(CAROL, broken(chain, for_ms=HOUR_MS))
    chain.do(ONE, approved())
    chain.block(after_ms=HOUR_MS)
    assert chain.rule(TWO, approved()) == "anchor.late"


def test_a_proposal_is_void_when_the_log_went_on() -> None:
    chain = behind()
    chain.do(CAROL, broken(chain))
    chain.do(ONE, approved())
    chain.grown(8)  # Nothing new.
    chain.grown(9)
    assert chain.rule(TWO, approved()) == "anchor.moved"
    assert not chain.proposals()[CAROL.account].live(chain.log(), chain.time_ms)


def test_another_proposal_replaces_one_s_own_and_takes_no_approvals_along() -> None:
    chain = behind()
    chain.do(CAROL, broken(chain, 3))
    chain.do(ONE, approved())
    chain.do(CAROL, broken(chain, 3, reason="another reason"))
    assert chain.rule(TWO, approved(1)) == "anchor.noProposal"
    chain.do(TWO, approved(2))
    assert chain.log().size == 8
    chain.do(BOB, broken(chain, 4))
    assert {one: p.number for one, p in chain.proposals().items()} == {
        CAROL.account: 2,
        BOB.account: 3,
    }
    chain.do(ONE, approved(2))
    assert chain.log().size == 3
    assert chain.rule(ONE, approved(3, 4, by=BOB)) == "anchor.moved"


def test_as_many_officers_as_the_log_asks_for() -> None:
    chain = Archive(opened=False)
    chain.do(BOB, open_log(breakers=3))
    chain.do(ALICE, grant("compliance", FOUR))
    chain.grown(8)
    chain.do(CAROL, broken(chain))
    for officer, size in ((ONE, 8), (TWO, 8), (FOUR, 3)):
        chain.do(officer, approved())
        assert chain.log().size == size


def test_approvals_that_count_no_more_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaks, "APPROVALS_MAX", 1)
    chain = behind()
    chain.do(CAROL, broken(chain))
    chain.do(ONE, approved())
    assert chain.rule(TWO, approved()) == "anchor.approvalsFull"


def test_a_break_voids_other_proposals_even_when_the_log_is_anchored_as_before_again() -> None:
    """An approval given before a break would otherwise cut the log a second time."""
    chain = behind()
    chain.do(CAROL, broken(chain))
    chain.do(ONE, approved())
    chain.do(BOB, broken(chain, 5))
    for officer in (ONE, TWO):
        chain.do(officer, approved(2, 5, BOB))
    assert chain.log().size == 5
    chain.do(CAROL, grow(chain, 8))
    assert chain.rule(TWO, approved()) == "anchor.moved"
    assert chain.log().size == 8
