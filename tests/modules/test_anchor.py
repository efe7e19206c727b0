"""Anchors: documents that were there, logs that only grow, and the one way back.

If these failed, somebody could rewrite a log that others rely on and the ledger would vouch for
it; or a log restored from a backup could never go on; or one officer could break any log alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.overlay import Overlay
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rfc6962 import (
    EMPTY_ROOT,
    SIZE_MAX,
    consistency_proof,
    consistency_ranges,
    leaf_hash,
    root_of,
)
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.accounts.sessions import GRANT
from clawpurse.modules.anchor import breaks
from clawpurse.modules.anchor import chain as anchor
from clawpurse.modules.anchor.actions import ACTIONS, BREAKERS_MAX, REASON_CHARS_MAX
from clawpurse.modules.anchor.breaks import SPAN_MS_MAX
from clawpurse.modules.anchor.records import (
    Break,
    Document,
    Log,
    Owned,
    Proposal,
    break_key,
    count_key,
    document_key,
    log_id,
    log_key,
    name_key,
    owned_key,
    pack,
    place_key,
    proposal_key,
)
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, START_MS, Key
from tests.modules.council import Council, event, grant, kinds, revoke
from tests.modules.multisig import DESK

HOUR_MS = 3_600_000
COMMITMENT, OTHER = message_hash_of(b"commitment"), message_hash_of(b"other")
OFFICERS = tuple(Key(f"officer-{number}") for number in range(1, 5))
ONE, TWO, THREE, FOUR = OFFICERS
OPENING: dict[Key, dict[str, int]] = {
    ALICE: {"CLAW": 1_000_000},
    BOB: {"CLAW": 1_000},
    CAROL: {"CLAW": 1_000},
    DAVE: {},
    **{officer: {} for officer in OFFICERS},
}
LEAVES = [leaf_hash(b"entry %d" % number) for number in range(64)]
REWRITTEN = [leaf_hash(b"never so"), *LEAVES[1:]]
LOG = log_id(BOB.account, "audit")


class Archive(Council):
    """Alice is the administrator; three officers; Bob's log `audit` is written by Carol."""

    def __init__(self, *, opened: bool = True, **settings: Any) -> None:
        roles = [GenesisRole("admin", ALICE.account)]
        roles += [GenesisRole("compliance", one.account) for one in OFFICERS[:3]]
        settings.setdefault("opening", OPENING)
        super().__init__(DESK, anchor.MODULE, roles=tuple(sorted(roles)), **settings)
        if opened:
            self.do(BOB, open_log())

    def do(self, by: Key, action: RawAction, **fields: Any) -> Receipt:
        receipt = self.pay(by, action, **fields).receipts[0]
        assert receipt.code == 0, receipt
        return receipt

    def rule(self, by: Key, action: RawAction) -> str:
        return self.pay(by, action).receipts[0].rule

    def log(self, identity: bytes = LOG) -> Log:
        found: Log | None = self.query("anchor.log", identity)
        assert found is not None
        return found

    def grown(self, *sizes: int) -> None:
        """Anchor the log at these sizes, one after the other."""
        for size in sizes:
            self.do(CAROL, grow(self, size))

    def proposals(self) -> dict[bytes, Proposal]:
        return dict(self.query("anchor.proposals", LOG, 10))

    def same_person(self, *accounts: Key) -> None:
        for account in accounts:
            self.pay(ALICE, RawAction("desk.say", [account.account, bytes([9]) * 32]))


def document(commitment: bytes = COMMITMENT, kind: str = "invoice") -> RawAction:
    return RawAction("anchor.document", [commitment, kind])


def open_log(
    name: str = "audit",
    writer: bytes | None = CAROL.account,
    role: str | None = None,
    breakers: int = 2,
) -> RawAction:
    return RawAction("anchor.openLog", [name, writer, role, breakers])


def set_writer(writer: Key | None, role: str | None = None, log: bytes = LOG) -> RawAction:
    return RawAction("anchor.setWriter", [log, None if writer is None else writer.account, role])


def anchored(size: int, root: bytes, proof: Sequence[bytes] = (), log: bytes = LOG) -> RawAction:
    return RawAction("anchor.log", [log, size, root, list(proof)])


def grow(chain: Archive, size: int, leaves: Sequence[bytes] = LEAVES) -> RawAction:
    """The anchor of a log that is `leaves` up to `size`, from what is anchored now."""
    proof = consistency_proof(leaves[:size], chain.log().size)
    return anchored(size, root_of(leaves[:size]), proof)


def broken(chain: Archive, size: int = 3, **fields: Any) -> RawAction:
    root = fields.get("root", root_of(LEAVES[:size]))
    reason, for_ms = fields.get("reason", "restored from backup"), fields.get("for_ms", HOUR_MS)
    log = fields.get("log", LOG)
    return RawAction("anchor.break", [log, size, root, reason, chain.time_ms + 1_000 + for_ms])


def approved(number: int = 1, size: int = 3, by: Key = CAROL, **fields: Any) -> RawAction:
    root, log = fields.get("root", root_of(LEAVES[:size])), fields.get("log", LOG)
    return RawAction("anchor.approveBreak", [log, by.account, number, size, root])


def tree_of(chain: Council) -> dict[Any, bytes]:
    return {place: value for place, value in chain.state.records.items() if place[0] == "anchor"}


# -- documents


def test_who_anchored_a_document_and_when_is_kept_and_the_first_is_known() -> None:
    chain = Archive()
    assert chain.query("anchor.anchorers", COMMITMENT, 0, 10) == []
    result = chain.pay(BOB, document())
    assert event(result, "anchor.documented")[2:] == (
        (BOB.account,),
        (COMMITMENT, "invoice", 0),
    )
    chain.pay(CAROL, document(kind="copy"))
    chain.pay(BOB, document(OTHER))
    first, second = chain.query("anchor.anchorers", COMMITMENT, 0, 10)
    assert first == (BOB.account, Document("invoice", 2, START_MS + 2_000, 0))
    assert second == (CAROL.account, Document("copy", 3, START_MS + 3_000, 1))
    assert chain.query("anchor.anchorers", COMMITMENT, 1, 1) == [second]
    assert chain.query("anchor.document", BOB.account, COMMITMENT) == first[1]
    assert chain.query("anchor.document", DAVE.account, COMMITMENT) is None
    assert chain.state.get("anchor", document_key(BOB.account, COMMITMENT)) == first[1].pack()


def test_the_first_of_one_block_is_the_one_that_stands_first_in_it() -> None:
    chain = Archive()
    chain.block(chain.tx(CAROL, document()), chain.tx(BOB, document()))
    assert [who for who, _ in chain.query("anchor.anchorers", COMMITMENT, 0, 10)] == [
        CAROL.account,
        BOB.account,
    ]


def test_nobody_anchors_one_commitment_twice_or_dates_it_anew() -> None:
    chain = Archive()
    chain.do(BOB, document())
    before = tree_of(chain)
    receipt = chain.pay(BOB, document(kind="contract")).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "anchor.documentKnown")
    assert receipt.facts == (BOB.account, COMMITMENT, 2)
    assert tree_of(chain) == before


@pytest.mark.parametrize(
    ("bound", "action", "rule"),
    [
        ("DOCUMENTS_MAX", document(OTHER), "anchor.documentsFull"),
        ("LOGS_MAX", open_log("second"), "anchor.logsFull"),
    ],
)
def test_what_one_account_piles_up_is_bounded(
    bound: str, action: RawAction, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anchor, bound, 1)
    chain = Archive()
    chain.do(BOB, document())
    receipt = chain.pay(BOB, action).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, rule)
    chain.do(CAROL, action)


# -- logs that only grow


def test_a_log_grows_with_proofs_from_anchor_to_anchor() -> None:
    chain = Archive()
    assert (chain.log().size, chain.log().root, chain.log().anchors) == (0, EMPTY_ROOT, 0)
    chain.grown(5, 6, 6, 33, 64)
    log = chain.log()
    assert (log.size, log.root, log.anchors) == (64, root_of(LEAVES), 5)
    assert (log.height, log.time_ms, log.opened_height) == (chain.height, chain.time_ms, 1)
    # The same size again says that nothing was added until now, and is told like any other.
    result = chain.pay(CAROL, grow(chain, 64))
    told = event(result, "anchor.logged")
    assert set(told[2]) == {BOB.account, CAROL.account}
    assert told[3] == (LOG, 64, root_of(LEAVES))


def test_an_empty_log_can_be_anchored_and_anything_follows() -> None:
    chain = Archive()
    chain.do(CAROL, anchored(0, EMPTY_ROOT))
    assert chain.rule(CAROL, anchored(0, OTHER)) == "anchor.otherRoot"
    chain.grown(7)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 64), min_size=1, max_size=6), st.integers(0, 5))
def test_whatever_the_sizes_only_growth_is_taken(sizes: list[int], rewritten_at: int) -> None:
    """Against what a reader would say: is the old log the beginning of the new one?"""
    chain, known = Archive(), list[bytes]()
    for number, size in enumerate(sizes):
        leaves = (REWRITTEN if number == rewritten_at else LEAVES)[:size]
        honest = leaves[: len(known)] == known
        proof = consistency_proof(leaves, len(known)) if len(known) <= size else []
        receipt = chain.pay(CAROL, anchored(size, root_of(leaves), proof)).receipts[0]
        assert (receipt.code == 0) == honest, receipt
        if honest:
            known = leaves
        assert (chain.log().size, chain.log().root) == (len(known), root_of(known))


@pytest.mark.parametrize(
    ("action", "rule"),
    [
        (anchored(4, root_of(LEAVES[:4])), "anchor.falls"),
        (anchored(0, EMPTY_ROOT), "anchor.falls"),
        (anchored(5, root_of(REWRITTEN[:5])), "anchor.otherRoot"),
        (anchored(5, root_of(LEAVES[:5]), [OTHER]), "anchor.inconsistent"),
        (anchored(8, root_of(LEAVES[:8])), "anchor.inconsistent"),
        (
            anchored(8, root_of(REWRITTEN[:8]), consistency_proof(REWRITTEN[:8], 5)),
            "anchor.inconsistent",
        ),
        (
            anchored(8, root_of(LEAVES[:8]), consistency_proof(LEAVES[:8], 4)),
            "anchor.inconsistent",
        ),
        (
            anchored(8, root_of(LEAVES[:8]), consistency_proof(LEAVES[:8], 5)[::-1]),
            "anchor.inconsistent",
        ),
        (
            anchored(8, root_of(LEAVES[:8]), [*consistency_proof(LEAVES[:8], 5), OTHER]),
            "anchor.inconsistent",
        ),
        (
            anchored(8, root_of(LEAVES[:8]), consistency_proof(LEAVES[:8], 5)[:-1]),
            "anchor.inconsistent",
        ),
        (
            anchored(9, root_of(LEAVES[:8]), consistency_proof(LEAVES[:8], 5)),
            "anchor.inconsistent",
        ),
        (anchored(SIZE_MAX, OTHER, [OTHER] * 64), "anchor.inconsistent"),
        (anchored(5, root_of(LEAVES[:5]), log=OTHER), "anchor.unknown"),
    ],
)
def test_a_rewritten_log_is_refused(action: RawAction, rule: str) -> None:
    chain = Archive()
    chain.grown(5)
    before = tree_of(chain)
    result = chain.pay(CAROL, action)
    assert result.receipts[0].rule == rule
    assert result.receipts[0].code in (Code.POLICY_REJECTED, Code.NOT_FOUND)
    assert tree_of(chain) == before and kinds(result) == []


def test_the_longest_proof_that_there_is_fits() -> None:
    assert max(len(consistency_ranges(2**k + 1, SIZE_MAX)) for k in range(1, 62)) <= 64
    action = anchored(SIZE_MAX, OTHER, [OTHER] * 64)
    found, values = Archive().registry.read_action(action)
    assert found.cost_with(values) == found.cost + 64 * 5


def test_only_the_writer_anchors_and_only_the_owner_says_who_that_is() -> None:
    chain = Archive()
    assert chain.rule(BOB, grow(chain, 5)) == "anchor.notWriter"
    assert chain.rule(CAROL, set_writer(DAVE)) == "anchor.notOwner"
    result = chain.pay(BOB, set_writer(DAVE))
    assert set(event(result, "anchor.writerSet")[2]) == {
        BOB.account,
        CAROL.account,
        DAVE.account,
    }
    assert chain.rule(CAROL, grow(chain, 5)) == "anchor.notWriter"
    chain.do(DAVE, grow(chain, 5))
    assert chain.rule(BOB, set_writer(DAVE)) == "anchor.writerKnown"
    chain.do(BOB, set_writer(None, "archivist"))
    assert chain.rule(DAVE, grow(chain, 6)) == "anchor.notWriter"
    chain.do(ALICE, grant("archivist", CAROL))
    chain.do(CAROL, grow(chain, 6))
    chain.do(ALICE, revoke("archivist", CAROL))
    assert chain.rule(CAROL, grow(chain, 7)) == "anchor.notWriter"
    assert chain.rule(BOB, set_writer(None, "archivist")) == "anchor.writerKnown"


@pytest.mark.parametrize(
    ("action", "code", "rule"),
    [
        (open_log(), Code.DUPLICATE, "anchor.logKnown"),
        (open_log("b", None, None), Code.MALFORMED, "anchor.oneWriter"),
        (open_log("b", CAROL.account, "role"), Code.MALFORMED, "anchor.oneWriter"),
        (open_log("b", ERIN.account), Code.NOT_FOUND, "kernel.sender"),
        (set_writer(None), Code.MALFORMED, "anchor.oneWriter"),
        (set_writer(CAROL, "role"), Code.MALFORMED, "anchor.oneWriter"),
        (set_writer(ERIN), Code.NOT_FOUND, "kernel.sender"),
        (set_writer(CAROL), Code.DUPLICATE, "anchor.writerKnown"),
        (set_writer(DAVE, log=OTHER), Code.NOT_FOUND, "anchor.unknown"),
    ],
)
def test_what_is_refused_of_logs_and_writers(action: RawAction, code: Code, rule: str) -> None:
    chain = Archive()
    before = tree_of(chain)
    receipt = chain.pay(BOB, action).receipts[0]
    assert (receipt.code, receipt.rule) == (code, rule)
    assert tree_of(chain) == before


def test_logs_are_listed_all_and_by_owner() -> None:
    chain = Archive()
    chain.do(BOB, open_log("a.first", None, "archivist", 3))
    chain.do(CAROL, open_log())
    mine = chain.query("anchor.logsOf", BOB.account, 10)
    assert [(identity, log.name) for identity, log in mine] == [
        (log_id(BOB.account, "a.first"), "a.first"),
        (LOG, "audit"),
    ]
    assert [log.name for _, log in chain.query("anchor.logsOf", BOB.account, 1, "a.first")] == [
        "audit"
    ]
    every = [identity for identity, _ in chain.query("anchor.logs", 10)]
    assert every == sorted(every) and len(every) == 3
    assert [one for one, _ in chain.query("anchor.logs", 10, every[0])] == every[1:]
    assert (mine[0][1].writer_role, mine[0][1].breakers) == ("archivist", 3)
    assert chain.query("anchor.logsOf", DAVE.account, 10) == []


# -- breaks


def behind() -> Archive:
    """A log that is anchored at eight entries, and was restored to less."""
    chain = Archive()
    chain.grown(5, 8)
    return chain


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


# -- forms, words, invariants


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("anchor.document", [bytes(31), "a"]),
        ("anchor.document", [bytes(33), "a"]),
        ("anchor.document", [bytes(32), ""]),
        ("anchor.document", [bytes(32), "Invoice"]),
        ("anchor.document", [bytes(32)]),
        ("anchor.openLog", ["a b", None, "x", 2]),
        ("anchor.openLog", ["a", None, "X", 2]),
        ("anchor.openLog", ["a", bytes(31), None, 2]),
        ("anchor.openLog", ["a", None, "x", 1]),
        ("anchor.openLog", ["a", None, "x", BREAKERS_MAX + 1]),
        ("anchor.setWriter", [bytes(32), None]),
        ("anchor.log", [bytes(32), SIZE_MAX + 1, bytes(32), []]),
        ("anchor.log", [bytes(32), -1, bytes(32), []]),
        ("anchor.log", [bytes(32), 1, bytes(31), []]),
        ("anchor.log", [bytes(32), 1, bytes(32), [bytes(31)]]),
        ("anchor.log", [bytes(32), 1, bytes(32), [bytes(32)] * 65]),
        ("anchor.log", [bytes(32), 1, bytes(32), None]),
        ("anchor.break", [bytes(32), 1, bytes(32), "", 1]),
        ("anchor.break", [bytes(32), 1, bytes(32), "r" * (REASON_CHARS_MAX + 1), 1]),
        ("anchor.break", [bytes(32), 1, bytes(32), "a\n", 1]),
        ("anchor.approveBreak", [bytes(32), bytes(32), 0, 1, bytes(32)]),
    ],
)
def test_malformed_actions(name: str, fields: list[Any]) -> None:
    with pytest.raises(Malformed):
        Archive().registry.read_action(RawAction(name, fields))


def test_a_sidecar_anchors_with_a_session_key_and_does_no_more() -> None:
    chain, sidecar = Archive(), Key("sidecar")
    chain.grown(5)
    terms = [
        sidecar.public, "audit", chain.time_ms + DAY_MS, [1], ["anchor.document", "anchor.log"],
        [["CLAW", 10, 100]], [], b"", 0,
    ]  # fmt: skip
    chain.do(CAROL, RawAction(GRANT.name, terms), approvers=[(sidecar, CAROL.account)])
    chain.do(CAROL, grow(chain, 9), signer=sidecar, lane=1)
    chain.do(CAROL, document(), signer=sidecar, lane=1)
    assert {one.name: one.session for one in ACTIONS} == {
        "anchor.document": True,
        "anchor.openLog": False,
        "anchor.setWriter": False,
        "anchor.log": True,
        "anchor.break": False,
        "anchor.approveBreak": False,
    }


def test_every_action_says_what_it_does() -> None:
    words = Words(lambda account: "bob", lambda asset, amount: f"{amount} {asset}")
    ones, zeros = "0x" + "01" * 32, "0x" + "00" * 32
    one, zero = bytes([1]) * 32, bytes(32)
    wanted: dict[str, tuple[list[Any], str]] = {
        "anchor.document": ([one, "lease"], f"Anchor the commitment {ones} (lease) for ever."),
        "anchor.openLog": (
            ["audit", None, "archivist", 2],
            "Open the log audit, written by holders of the role archivist; 2 officers can let it "
            "go on from behind what is anchored.",
        ),
        "anchor.setWriter": ([one, zero, None], f"Let bob write the log {ones}."),
        "anchor.log": (
            [one, 7, zero, []],
            f"Anchor the log {ones} at 7 entries with the root {zeros}.",
        ),
        "anchor.break": (
            [one, 7, zero, "a fire", START_MS],
            f"Propose that the log {ones} goes on from 7 entries with the root {zeros}, though "
            "more were anchored. Reason: a fire. Officers decide until 2027-01-15T08:00:00.000Z.",
        ),
        "anchor.approveBreak": (
            [one, zero, 3, 7, zero],
            f"Approve proposal 3 of bob: the log {ones} goes on from 7 entries with the root "
            f"{zeros}, though more were anchored.",
        ),
    }
    for action in ACTIONS:
        fields, said = wanted[action.name]
        assert action.words(action.named(action.read(fields)), words) == said


def _damages() -> list[tuple[str, bytes, bytes]]:
    log = Log(BOB.account, "audit", CAROL.account, "", 2, 1, 1, 1, 8, OTHER, 1, 1, 0, 1)
    done = Break(8, OTHER, 3, OTHER, "r", BOB.account, (), 1, 1)
    listed = pack(DAVE.account)
    return [
        ("another id", log_key(OTHER), log.pack()),
        ("another name", log_key(LOG), log._replace(name="b").pack()),
        ("two writers", log_key(LOG), log._replace(writer_role="a").pack()),
        ("no writer", log_key(LOG), log._replace(writer=None).pack()),
        ("empty root", log_key(LOG), log._replace(size=0).pack()),
        ("never anchored", log_key(LOG), log._replace(anchors=0).pack()),
        ("lost break", log_key(LOG), log._replace(breaks=1).pack()),
        ("more breaks than proposals", log_key(LOG), log._replace(breaks=2).pack()),
        ("secret break", break_key(LOG, 0), done.pack()),
        ("name of none", name_key(BOB.account, "c"), pack(OTHER)),
        ("second name", name_key(BOB.account, "c"), pack(LOG)),
        ("listed, not anchored", place_key(COMMITMENT, 1), listed),
        ("other number", document_key(BOB.account, COMMITMENT), Document("a", 1, 1, 3).pack()),
        ("counts less", count_key(COMMITMENT), pack(0)),
    ]


@pytest.mark.parametrize(("key", "value"), [one[1:] for one in _damages()],
                         ids=[one[0] for one in _damages()])  # fmt: skip
def test_a_damaged_record_is_found(key: bytes, value: bytes) -> None:
    chain = behind()
    chain.do(BOB, document())
    chain.do(CAROL, broken(chain))
    assert chain.state.get("anchor", proposal_key(LOG, CAROL.account)) is not None
    assert chain.state.get("anchor", owned_key(BOB.account)) == Owned(1, 1).pack()
    assert [one(chain.state) for one in anchor.MODULE.invariants] == [None, None]
    overlay = Overlay(chain.state)
    overlay.put("anchor", key, value)
    assert [one(overlay) for one in anchor.MODULE.invariants].count(None) == 1
