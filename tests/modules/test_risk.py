"""Scores of risk: which oracles are heard, for how long, and what comes of what they say.

If these failed, one oracle could decide alone who is suspicious, or a score of last year, of an
oracle that was dismissed, or of one person with two keys would stop or let through a payment.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.overlay import Overlay
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.accounts.sessions import GRANT
from clawpurse.modules.risk import chain as risk
from clawpurse.modules.risk.actions import ACTIONS
from clawpurse.modules.risk.chain import VALID_MS_MAX
from clawpurse.modules.risk.records import (
    NO_ORACLES,
    ORACLES_MAX,
    SET_KEY,
    OracleSet,
    Report,
    Standing,
    Weight,
    pack_reports,
    reports_key,
    standing_of,
)
from tests.ledger.sandbox import ALICE, BOB, CAROL, ERIN, START_MS, Key
from tests.modules.council import Council, event, kinds
from tests.modules.multisig import DESK

HOUR_MS = 3_600_000
MODEL = message_hash_of(b"a model")
ORACLES = tuple(
    sorted((Key(f"oracle-{n}") for n in range(1, ORACLES_MAX + 2)), key=lambda key: key.account)
)
ONE, TWO, THREE, FOUR = ORACLES[:4]
OPENING: dict[Key, dict[str, int]] = {
    ALICE: {"CLAW": 1_000_000},
    BOB: {"CLAW": 1_000},
    CAROL: {"CLAW": 1_000},
    **{oracle: {} for oracle in ORACLES},
}


class Watch(Council):
    """Alice is the administrator; oracles report of Bob and Carol."""

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("opening", OPENING)
        super().__init__(DESK, risk.MODULE, **settings)

    def report(self, oracle: Key, score: int, about: Key = BOB, **fields: Any) -> Receipt:
        return self.pay(oracle, report(self, score, about, **fields)).receipts[0]

    def heard(self, needed: int, *oracles: Key) -> None:
        receipt = self.pay(ALICE, set_oracles(needed, *oracles)).receipts[0]
        assert receipt.code == 0, receipt

    def score(self, about: Key = BOB, time_ms: int | None = None) -> int | None:
        score: int | None = self.query("risk.score", about.account, time_ms or self.time_ms)
        return score

    def standing(self, about: Key = BOB) -> Standing:
        found: Standing = self.query("risk.standing", about.account, self.time_ms)
        return found

    def weights(self, about: Key = BOB) -> dict[bytes, str]:
        return {one.oracle: weight.label for one, weight in self.standing(about).reports}

    def same_person(self, *accounts: Key) -> None:
        for account in accounts:
            self.pay(ALICE, RawAction("desk.say", [account.account, bytes([9]) * 32]))


def set_oracles(needed: int, *oracles: Key) -> RawAction:
    return RawAction("risk.setOracles", [[one.account for one in oracles], needed])


def report(chain: Council, score: int, about: Key = BOB, **fields: Any) -> RawAction:
    until = fields.get("for_ms", HOUR_MS)
    model, features = fields.get("model", MODEL), fields.get("features", 3)
    # A block of `pay` is a second later than the newest.
    return RawAction(
        "risk.report", [about.account, score, model, features, chain.time_ms + 1_000 + until]
    )


def withdraw(about: Key = BOB) -> RawAction:
    return RawAction("risk.withdraw", [about.account])


# -- what makes a score


def test_a_score_is_there_when_enough_oracles_report() -> None:
    chain = Watch()
    assert chain.score() is None
    chain.heard(2, ONE, TWO, THREE)
    assert chain.report(ONE, 900).code == 0
    assert chain.score() is None
    result = chain.pay(TWO, report(chain, 100))
    assert event(result, "risk.reported")[2:] == (
        (BOB.account, TWO.account),
        (100, MODEL, 3, chain.time_ms + HOUR_MS),
    )
    assert chain.score() == 100  # The lower of two.
    chain.report(THREE, 700)
    assert chain.score() == 700
    standing = chain.standing()
    assert (standing.counted, standing.needed) == (3, 2)
    first = standing.reports[0][0]
    assert first == Report(
        ONE.account, 900, MODEL, 3, START_MS + 2_000 + HOUR_MS, 2, START_MS + 2_000, 1
    )
    assert standing.expires_ms == first.expires_ms
    assert chain.score(CAROL) is None


def test_an_oracle_s_newest_report_replaces_its_last() -> None:
    chain = Watch()
    chain.heard(1, ONE)
    chain.report(ONE, 900)
    chain.report(ONE, 20)
    assert chain.score() == 20
    assert len(chain.standing().reports) == 1


@pytest.mark.parametrize(
    ("scores", "median"),
    [([5], 5), ([1, 9], 1), ([9, 1], 1), ([1, 5, 9], 5), ([0, 0, 1000, 1000], 0), ([7] * 5, 7)],
)
def test_the_score_is_the_lower_median(scores: Sequence[int], median: int) -> None:
    chain = Watch()
    oracles = ORACLES[: len(scores)]
    chain.heard(len(scores), *oracles)
    chain.block(*(chain.tx(o, report(chain, s)) for o, s in zip(oracles, scores, strict=True)))
    assert chain.score() == median


@given(
    scores=st.lists(st.integers(0, 1_000), min_size=1, max_size=ORACLES_MAX),
    needed=st.integers(1, ORACLES_MAX),
    lasts=st.lists(st.integers(0, 3), min_size=ORACLES_MAX, max_size=ORACLES_MAX),
    people=st.lists(st.integers(0, 4), min_size=ORACLES_MAX, max_size=ORACLES_MAX),
)
def test_a_score_against_a_naive_count(
    scores: list[int], needed: int, lasts: list[int], people: list[int]
) -> None:
    """Whoever is one subject counts once, with the highest; what is over does not count."""
    accounts = [bytes([number]) * 32 for number in range(len(scores))]
    members = tuple((account, 1) for account in accounts)
    reports = [
        Report(account, score, MODEL, 1, last, 1, 0, 1)
        for account, score, last in zip(accounts, scores, lasts, strict=False)
    ]
    records = {SET_KEY: OracleSet(1, min(needed, len(scores)), members).pack()}
    records[reports_key(BOB.account)] = pack_reports(reports)

    def person(account: bytes) -> bytes:
        return account if account == BOB.account else bytes([people[account[0]]])

    found = standing_of(records.get, person, BOB.account, 1)
    best: dict[int, int] = {}
    for number, score in enumerate(scores):
        if lasts[number] > 1:
            best[people[number]] = max(best.get(people[number], 0), score)
    ordered = sorted(best.values())
    enough = len(ordered) >= min(needed, len(scores))
    assert found.counted == len(ordered)
    assert found.score == (ordered[(len(ordered) - 1) // 2] if enough else None)
    counting = [one for one, weight in found.reports if weight is Weight.COUNTS]
    assert sorted(one.score for one in counting) == ordered


# -- what stops counting, and when


def test_a_report_counts_until_its_time_and_not_a_millisecond_longer() -> None:
    chain = Watch()
    chain.heard(1, ONE, TWO)
    chain.report(ONE, 300, for_ms=HOUR_MS)
    chain.report(TWO, 500, for_ms=2 * HOUR_MS)
    ends = chain.standing().expires_ms
    assert ends == START_MS + 2_000 + HOUR_MS
    assert chain.score(time_ms=ends - 1) == 300
    assert chain.score(time_ms=ends) == 500
    assert chain.score(time_ms=ends + HOUR_MS + 1_000) is None
    chain.block(after_ms=2 * HOUR_MS)
    assert chain.weights() == {ONE.account: "expired", TWO.account: "expired"}


def test_whoever_is_removed_counts_no_more_at_once_and_does_not_come_back_with_old_reports() -> (
    None
):
    chain = Watch()
    chain.heard(1, ONE, TWO)
    chain.report(ONE, 300)
    chain.report(TWO, 500)
    result = chain.pay(ALICE, set_oracles(1, TWO))
    told = event(result, "risk.oraclesSet")
    assert told[3] == (2, 1, 1)
    assert set(told[2]) == {ALICE.account, ONE.account, TWO.account}
    assert (chain.score(), chain.weights()[ONE.account]) == (500, "removed")
    chain.heard(1, ONE, TWO)
    assert (chain.score(), chain.weights()[ONE.account]) == (500, "removed")
    chain.report(ONE, 100)
    assert chain.score() == 100


def test_in_one_block_too_what_was_reported_before_a_removal_does_not_come_back() -> None:
    chain = Watch()
    chain.heard(1, ONE, TWO)
    admin = chain.sequence(ALICE)
    chain.block(
        chain.tx(ONE, report(chain, 800)),
        chain.tx(ALICE, set_oracles(1, TWO), sequence=admin),
        chain.tx(ALICE, set_oracles(1, ONE, TWO), sequence=admin + 1),
    )
    assert (chain.score(), chain.weights()) == (None, {ONE.account: "removed"})
    chain.block(chain.tx(ONE, report(chain, 800)), chain.tx(ALICE, set_oracles(2, ONE, TWO, THREE)))
    assert chain.weights() == {ONE.account: "counts"}


def test_no_oracles_no_scores() -> None:
    chain = Watch()
    chain.heard(1, ONE)
    chain.report(ONE, 300)
    chain.heard(0)
    assert chain.query("risk.oracles") == OracleSet(2, 0, ())
    assert chain.score() is None
    assert chain.report(ONE, 300).rule == "risk.notOracle"


def test_more_are_needed_from_the_next_action_on() -> None:
    chain = Watch()
    chain.heard(1, ONE, TWO)
    chain.report(ONE, 300)
    assert chain.score() == 300
    chain.heard(2, ONE, TWO)
    assert chain.score() is None
    chain.report(TWO, 300)
    assert chain.score() == 300


def test_a_report_is_withdrawn_by_its_oracle_even_after_it_was_removed() -> None:
    chain = Watch()
    chain.heard(1, ONE, TWO)
    chain.report(ONE, 300)
    chain.report(TWO, 500)
    result = chain.pay(ONE, withdraw())
    assert event(result, "risk.withdrawn")[2:] == ((BOB.account, ONE.account), ())
    assert chain.score() == 500
    chain.heard(1, ONE)
    assert chain.pay(TWO, withdraw()).receipts[0].code == 0
    assert chain.state.get("risk", reports_key(BOB.account)) is None
    assert chain.pay(TWO, withdraw()).receipts[0].rule == "risk.noReport"


def test_two_oracles_of_one_subject_count_once_with_the_higher_report() -> None:
    chain = Watch()
    chain.heard(2, ONE, TWO, THREE)
    chain.report(ONE, 700)
    chain.report(TWO, 200)
    assert chain.score() == 200
    chain.same_person(ONE, TWO)
    assert chain.score() is None
    assert chain.weights() == {ONE.account: "counts", TWO.account: "sameSubject"}
    chain.report(THREE, 900)
    assert chain.score() == 700
    chain.report(TWO, 950)
    assert chain.weights()[ONE.account] == "sameSubject"
    assert chain.score() == 900


def test_nobody_counts_for_a_score_of_its_own() -> None:
    chain = Watch()
    chain.heard(1, ONE, TWO)
    chain.report(ONE, 0)
    chain.same_person(ONE, BOB)
    assert (chain.score(), chain.weights()) == (None, {ONE.account: "ownSubject"})


def test_a_record_holds_at_most_one_report_for_each_member_of_the_set() -> None:
    """Sets that follow each other pile up nothing: each report drops what cannot count again."""
    chain = Watch()
    for start in (0, 1):
        oracles = ORACLES[start : start + ORACLES_MAX]
        chain.heard(1, *oracles)
        for half in (oracles[:8], oracles[8:]):
            chain.block(*(chain.tx(one, report(chain, 1)) for one in half))
    assert len(chain.standing().reports) == ORACLES_MAX
    chain.block(after_ms=2 * HOUR_MS)
    chain.report(ORACLES[1], 5)
    assert [one.oracle for one, _ in chain.standing().reports] == [ORACLES[1].account]


# -- what is refused


def ready() -> Watch:
    chain = Watch()
    chain.heard(2, ONE, TWO)
    chain.report(ONE, 300)
    return chain


@pytest.mark.parametrize(
    ("by", "action", "code", "rule"),
    [
        (BOB, lambda c: set_oracles(1, ONE), Code.NOT_AUTHORISED, "kernel.role"),
        (ONE, lambda c: set_oracles(1, ONE), Code.NOT_AUTHORISED, "kernel.role"),
        (ALICE, lambda c: set_oracles(1, TWO, ONE), Code.MALFORMED, "risk.order"),
        (ALICE, lambda c: set_oracles(1, ONE, ONE), Code.MALFORMED, "risk.order"),
        (ALICE, lambda c: set_oracles(0, ONE), Code.MALFORMED, "risk.needed"),
        (ALICE, lambda c: set_oracles(2, ONE), Code.MALFORMED, "risk.needed"),
        (ALICE, lambda c: set_oracles(1), Code.MALFORMED, "risk.needed"),
        (ALICE, lambda c: set_oracles(2, ONE, TWO), Code.DUPLICATE, "risk.unchanged"),
        (ALICE, lambda c: set_oracles(1, ERIN), Code.NOT_FOUND, "kernel.sender"),
        (THREE, lambda c: report(c, 1), Code.NOT_AUTHORISED, "risk.notOracle"),
        (ALICE, lambda c: report(c, 1), Code.NOT_AUTHORISED, "risk.notOracle"),
        (ONE, lambda c: report(c, 1, ERIN), Code.NOT_FOUND, "kernel.sender"),
        (ONE, lambda c: report(c, 1, ONE), Code.NOT_AUTHORISED, "risk.own"),
        (ONE, lambda c: report(c, 1, for_ms=0), Code.MALFORMED, "risk.expiry"),
        (ONE, lambda c: report(c, 1, for_ms=-HOUR_MS), Code.MALFORMED, "risk.expiry"),
        (ONE, lambda c: report(c, 1, for_ms=VALID_MS_MAX + 1), Code.MALFORMED, "risk.expiry"),
        (TWO, lambda c: withdraw(), Code.NOT_FOUND, "risk.noReport"),
        (ONE, lambda c: withdraw(CAROL), Code.NOT_FOUND, "risk.noReport"),
    ],
)
def test_what_is_refused_leaves_nothing(by: Key, action: Any, code: Code, rule: str) -> None:
    chain = ready()
    before = {place: v for place, v in chain.state.records.items() if place[0] == "risk"}
    result = chain.pay(by, action(chain))
    receipt = result.receipts[0]
    assert (receipt.code, receipt.rule) == (code, rule)
    assert {p: v for p, v in chain.state.records.items() if p[0] == "risk"} == before
    assert kinds(result) == []


def test_the_longest_time_is_taken() -> None:
    assert ready().report(ONE, 1_000, for_ms=VALID_MS_MAX).code == 0


def test_two_accounts_of_one_subject_are_not_made_oracles() -> None:
    chain = Watch()
    chain.same_person(ONE, THREE)
    receipt = chain.pay(ALICE, set_oracles(2, ONE, TWO, THREE)).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "risk.oneSubject")
    assert receipt.facts == (ONE.account, THREE.account)
    assert chain.query("risk.oracles") == NO_ORACLES


def test_an_oracle_of_the_same_subject_cannot_report() -> None:
    chain = ready()
    chain.same_person(TWO, BOB)
    assert chain.report(TWO, 0).rule == "risk.own"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("risk.setOracles", [[bytes(32)] * (ORACLES_MAX + 1), 1]),
        ("risk.setOracles", [[bytes(31)], 1]),
        ("risk.setOracles", [[bytes(32)], ORACLES_MAX + 1]),
        ("risk.setOracles", [[bytes(32)]]),
        ("risk.report", [bytes(32), 1_001, MODEL, 1, 1]),
        ("risk.report", [bytes(32), -1, MODEL, 1, 1]),
        ("risk.report", [bytes(32), 1, MODEL[1:], 1, 1]),
        ("risk.report", [bytes(32), 1, MODEL, 2**32, 1]),
        ("risk.report", [bytes(32), 1, MODEL, 1]),
        ("risk.withdraw", []),
        ("risk.withdraw", [bytes(31)]),
    ],
)
def test_malformed_actions(name: str, fields: list[Any]) -> None:
    with pytest.raises(Malformed):
        Watch().registry.read_action(RawAction(name, fields))


# -- session keys, words, invariants


def test_an_oracle_s_sidecar_reports_with_a_session_key() -> None:
    chain, sidecar = Watch(opening={**OPENING, ONE: {"CLAW": 1_000}}), Key("sidecar")
    chain.heard(1, ONE)
    terms: list[Any] = [
        sidecar.public, "scores", chain.time_ms + HOUR_MS, [1], ["risk.report", "risk.withdraw"],
        [["CLAW", 10, 100]], [], b"", 0,
    ]  # fmt: skip
    assert (
        chain.pay(ONE, RawAction(GRANT.name, terms), approvers=[(sidecar, ONE.account)])
        .receipts[0]
        .code
        == 0
    )
    done = chain.pay(ONE, report(chain, 250), signer=sidecar, lane=1)
    assert (done.receipts[0].code, chain.score()) == (0, 250)
    assert chain.pay(ONE, withdraw(), signer=sidecar, lane=1).receipts[0].code == 0
    assert [one.session for one in ACTIONS] == [False, True, True]


def test_every_action_says_what_it_does() -> None:
    words = Words(lambda account: f"#{account[0]}", lambda asset, amount: f"{amount} {asset}")
    oracles = [bytes([number]) * 32 for number in (1, 2, 3)]
    wanted: dict[str, tuple[list[Any], str]] = {
        "risk.setOracles": (
            [oracles, 2],
            "From now on scores of risk come from #1, #2, #3; 2 of 3 must report. Reports of "
            "everybody else stop counting.",
        ),
        "risk.report": (
            [oracles[0], 700, bytes(32), 4, START_MS],
            "Report a risk of 700 of 1000 for #1, until 2027-01-15T08:00:00.000Z, found by model "
            f"0x{'00' * 32} with features of version 4.",
        ),
        "risk.withdraw": ([oracles[0]], "Withdraw what you reported of the risk of #1."),
    }
    for action in ACTIONS:
        fields, said = wanted[action.name]
        assert action.words(action.named(action.read(fields)), words) == said
    nobody = ACTIONS[0].words({"members": (), "needed": 0}, words)
    assert nobody == "Let nobody report risk any more: no account has a score from now on."


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (SET_KEY, OracleSet(1, 0, ((ONE.account, 1),)).pack()),
        (SET_KEY, OracleSet(1, 2, ((ONE.account, 1),)).pack()),
        (SET_KEY, OracleSet(1, 1, ((ONE.account, 2),)).pack()),
        (SET_KEY, OracleSet(1, 1, ((TWO.account, 1), (ONE.account, 1))).pack()),
        (reports_key(BOB.account), pack_reports([])),
        (reports_key(BOB.account), pack_reports([Report(b"x", 1_001, MODEL, 1, 9, 1, 1, 1)])),
        (reports_key(BOB.account), pack_reports([Report(b"x", 1, MODEL, 1, 9, 1, 1, 2)])),
        (reports_key(BOB.account), pack_reports([Report(b"x", 1, MODEL, 1, 9, 1, 9, 1)])),
        (reports_key(BOB.account), pack_reports([Report(b"x", 1, MODEL, 1, 9, 1, 1, 1)] * 2)),
    ],
)
def test_a_damaged_record_is_found(key: bytes, value: bytes) -> None:
    chain = ready()
    assert [one(chain.state) for one in risk.MODULE.invariants] == [None, None]
    overlay = Overlay(chain.state)
    overlay.put("risk", key, value)
    assert [one(overlay) for one in risk.MODULE.invariants].count(None) == 1


def test_other_modules_are_answered_under_the_name_by_which_they_ask() -> None:
    chain = ready()
    chain.report(TWO, 650)
    assert chain.registry.answers("risk.score")
    assert chain.registry.query(chain.state, "risk.score", BOB.account, chain.time_ms) == 300


def test_roles_of_genesis_do_not_make_oracles() -> None:
    chain = Watch(
        roles=(GenesisRole("admin", ALICE.account), GenesisRole("compliance", BOB.account))
    )
    assert chain.pay(BOB, set_oracles(1, ONE)).receipts[0].rule == "kernel.role"
