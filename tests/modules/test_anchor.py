"""Anchors: documents that were there, logs that only grow, and the one way back.

If these failed, somebody could rewrite a log that others rely on and the ledger would vouch for
it; or a log restored from a backup could never go on; or one officer could break any log alone.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.overlay import Overlay
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rfc6962 import (
    EMPTY_ROOT,
    SIZE_MAX,
    consistency_proof,
    consistency_ranges,
    root_of,
)
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.accounts.sessions import GRANT
from clawpurse.modules.anchor import chain as anchor
from clawpurse.modules.anchor.actions import ACTIONS, BREAKERS_MAX, REASON_CHARS_MAX
from clawpurse.modules.anchor.records import (
    Break,
    Document,
    Log,
    Owned,
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
from tests.modules.archive_world import (
    COMMITMENT,
    LEAVES,
    LOG,
    OTHER,
    REWRITTEN,
    Archive,
    anchored,
    behind,
    broken,
    document,
    grow,
    open_log,
    set_writer,
    tree_of,
)
from tests.modules.council import event, grant, kinds, revoke

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
    terms: list[Any] = [
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
