"""The sentence that opens every screen: each case in words, and nobody accused without cause.

Whoever reads only that sentence decides by it whether to get up at night, and whom to call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clawpurse.node.explanation import (
    AuthorityFacts,
    Facts,
    SigningFacts,
    Standing,
    State,
    age_text,
    explain,
    standing,
)

BERLIN, MILAN, ROME, OSLO = (bytes((n,)) * 32 for n in range(1, 5))
NAMES = {BERLIN: "Berlin", MILAN: "Milan", ROME: "Rome", OSLO: "Oslo"}


def signs(key: bytes, **changes: Any) -> AuthorityFacts:
    """An authority that is heard all the time."""
    heard = {"vote_height": 131, "vote_age_ms": 400, "life_age_ms": 200, "follows": 132}
    own = {"is_self": key == BERLIN}
    return AuthorityFacts(key, NAMES.get(key, "New"), **{**heard, **own, **changes})


def silent(key: bytes, seconds: float, **changes: Any) -> AuthorityFacts:
    age_ms = round(seconds * 1000)
    return signs(key, **{"vote_age_ms": age_ms, "life_age_ms": age_ms, **changes})


ALL = (signs(BERLIN), signs(MILAN), signs(ROME), signs(OSLO))
IDLE = Facts(
    height=132,
    tip=131,
    tip_age_ms=4_200,
    round=0,
    step="propose",
    waiting=True,
    round_age_ms=4_000,
    busy_age_ms=4_000,
    vote_due_ms=1_000,
    authorities=ALL,
    quorum=3,
    proposer=MILAN,
    has_proposal=False,
    peers=3,
    up_ms=3_600_000,
    signing=SigningFacts(),
)
BUSY = replace(IDLE, waiting=False, round_age_ms=300, busy_age_ms=300, tip_age_ms=500)
MILAN_GONE = (signs(BERLIN), silent(MILAN, 14), signs(ROME), signs(OSLO))
TWO_GONE = (signs(BERLIN), silent(MILAN, 14), silent(ROME, 120), signs(OSLO))
FOLLOWER = replace(
    IDLE,
    waiting=False,
    authorities=tuple(
        AuthorityFacts(key, name, certified=131 if key != MILAN else None)
        for key, name in NAMES.items()
    ),
    signing=SigningFacts("follower"),
)
LISTENING = SigningFacts(
    "listening", "it listens first, and asks 2 peers what its key signed before", passing=True
)
FORGOT = SigningFacts("observing", "it observes", passing=True, from_height=134)
LOST = SigningFacts("away", "its signer cannot be asked (no answer)", "clawpurse doctor")

CASES: list[tuple[str, Facts, State, str, str]] = [
    (
        "idle",
        IDLE,
        State.IDLE,
        "All is well: block 131 is final, 4.2 s old; the network waits for nothing.",
        "nothing",
    ),
    (
        "no block yet",
        replace(IDLE, tip=0, height=1),
        State.IDLE,
        "Ready. No block yet: the first payment makes one.",
        "nothing",
    ),
    (
        "just started, some not heard yet",
        replace(
            IDLE,
            up_ms=5_000,
            authorities=(*ALL[:2], AuthorityFacts(ROME, "Rome"), AuthorityFacts(OSLO, "Oslo")),
        ),
        State.IDLE,
        "All is well: block 131 is final, 4.2 s old; the network waits for nothing. Not heard "
        "since this node started 5.0 s ago: Rome, Oslo.",
        "nothing",
    ),
    (
        "waits for a proposal",
        BUSY,
        State.DECIDING,
        "All is well: block 131 is final, 0.5 s old; block 132 waits for the proposal of Milan.",
        "proposal",
    ),
    (
        "executes a proposal",
        replace(BUSY, has_proposal=True),
        State.DECIDING,
        "All is well: block 131 is final, 0.5 s old; block 132 waits for its votes.",
        "execution",
    ),
    (
        "waits for votes",
        replace(BUSY, step="prevote"),
        State.DECIDING,
        "All is well: block 131 is final, 0.5 s old; block 132 waits for prevotes.",
        "prevotes",
    ),
    (
        "the first block is under way",
        replace(BUSY, tip=0, height=1, step="precommit"),
        State.DECIDING,
        "All is well: the first block waits for precommits.",
        "precommits",
    ),
    (
        "one of four is silent",
        replace(IDLE, authorities=MILAN_GONE),
        State.DEGRADED,
        "3 of 4 authorities sign. Milan silent 14 s. Payments continue; one more loss stops them.",
        "nothing",
    ),
    (
        "one of four is silent and it is its turn: one failed round is no alarm",
        replace(BUSY, authorities=MILAN_GONE, round=1),
        State.DEGRADED,
        "3 of 4 authorities sign. Milan silent 14 s. Payments continue; one more loss stops them.",
        "proposal",
    ),
    (
        "one of seven is silent",
        replace(
            IDLE,
            quorum=5,
            authorities=(*MILAN_GONE, *(signs(bytes((n,)) * 32) for n in (5, 6, 7))),
        ),
        State.DEGRADED,
        "6 of 7 authorities sign. Milan silent 14 s. Payments continue; 2 more losses stop them.",
        "nothing",
    ),
    (
        "connected, follows, and does not vote",
        replace(
            IDLE,
            authorities=(*ALL[:3], signs(OSLO, vote_age_ms=25_000, passed_age_ms=9_000)),
        ),
        State.DEGRADED,
        "3 of 4 authorities sign. Oslo follows without signing for 25 s. Payments continue; one "
        "more loss stops them.",
        "nothing",
    ),
    (
        "never heard while others went on",
        replace(
            IDLE,
            up_ms=60_000,
            authorities=(*ALL[:3], AuthorityFacts(OSLO, "Oslo", passed_age_ms=9_000)),
        ),
        State.DEGRADED,
        "3 of 4 authorities sign. Oslo silent 60 s. Payments continue; one more loss stops them.",
        "nothing",
    ),
    (
        "two of four are gone, those longest gone first",
        replace(BUSY, authorities=TWO_GONE, round_age_ms=600_000, busy_age_ms=600_000),
        State.NO_QUORUM,
        "2 of 4 authorities sign, 3 are needed. Rome silent 2 min, Milan silent 14 s. Payments "
        "wait, nothing is lost.",
        "quorum",
    ),
    (
        "a crowd is gone",
        replace(
            BUSY,
            quorum=7,
            authorities=(
                *ALL[:3],
                *(silent(bytes((n,)) * 32, 100 - n, vote_height=9) for n in range(10, 17)),
            ),
        ),
        State.NO_QUORUM,
        "3 of 10 authorities sign, 7 are needed. New silent 90 s, New silent 89 s, New silent "
        "88 s, New silent 87 s and 3 more. Payments wait, nothing is lost.",
        "quorum",
    ),
    (
        "no peer",
        replace(BUSY, peers=0, authorities=TWO_GONE),
        State.ALONE,
        "Alone: no peer is connected, so nothing new arrives here. Payments wait here, nothing "
        "is lost.",
        "peers",
    ),
    (
        "behind",
        replace(IDLE, tip=10, best=100, behind=90, rate=45.0),
        State.SYNCING,
        "Syncing 10/100 (90 behind). 45 blocks/s, about 2.0 s left.",
        "blocks",
    ),
    (
        "behind, pace unknown",
        replace(IDLE, tip=10, best=100, behind=90),
        State.SYNCING,
        "Syncing 10/100 (90 behind).",
        "blocks",
    ),
    (
        "this node listens before it signs",
        replace(IDLE, signing=LISTENING),
        State.NOT_SIGNING,
        "This node does not sign: it listens first, and asks 2 peers what its key signed before. "
        "The others go on: 3 of 4 sign, 3 are needed.",
        "signing",
    ),
    (
        "this node observes, and another is gone: that is the network's trouble",
        replace(IDLE, signing=LOST, authorities=MILAN_GONE),
        State.NO_QUORUM,
        "2 of 4 authorities sign, 3 are needed. Milan silent 14 s, this node follows without "
        "signing for 0.4 s. Payments wait, nothing is lost.",
        "quorum",
    ),
    (
        "rounds fail and everybody is there",
        replace(BUSY, round=3, round_age_ms=2_000, busy_age_ms=15_000, has_proposal=True),
        State.ROUNDS,
        "Round 3 of block 132 since 2.0 s, 15 s in all: votes do not meet in time, as over slow "
        "or broken links. Payments wait, nothing is lost.",
        "execution",
    ),
    (
        "rounds fail and the proposer says nothing",
        replace(BUSY, round=3, round_age_ms=2_000, busy_age_ms=15_000),
        State.ROUNDS,
        "Round 3 of block 132 since 2.0 s, 15 s in all: nothing has come from its proposer Milan. "
        "Payments wait, nothing is lost.",
        "proposal",
    ),
    (
        "rounds fail and the proposer is missing",
        replace(BUSY, authorities=MILAN_GONE, round=3, round_age_ms=2_000, busy_age_ms=15_000),
        State.ROUNDS,
        "Round 3 of block 132 since 2.0 s, 15 s in all: its proposer Milan silent 14 s. Payments "
        "wait, nothing is lost.",
        "proposal",
    ),
    (
        "rounds fail and somebody else is missing",
        replace(
            BUSY,
            authorities=MILAN_GONE,
            proposer=ROME,
            has_proposal=True,
            round=3,
            round_age_ms=2_000,
            busy_age_ms=15_000,
        ),
        State.ROUNDS,
        "Round 3 of block 132 since 2.0 s, 15 s in all: Milan silent 14 s. Payments wait, nothing "
        "is lost.",
        "execution",
    ),
    (
        "this node refuses the block",
        replace(BUSY, round=1, busy_age_ms=4_000, refusal=(0, "the state root differs")),
        State.ROUNDS,
        "Round 1 of block 132 since 0.3 s, 4.0 s in all: this node refused the block of round 0 "
        "(the state root differs). Payments wait, nothing is lost.",
        "proposal",
    ),
    (
        "rounds fail because this clock is wrong",
        replace(BUSY, round=3, busy_age_ms=4_000, skew_ms=-900),
        State.ROUNDS,
        "Round 3 of block 132 since 0.3 s, 4.0 s in all: this node's clock is wrong. Payments "
        "wait, nothing is lost.",
        "proposal",
    ),
    (
        "clock behind",
        replace(IDLE, skew_ms=-800),
        State.SKEW,
        "This node's clock is 0.8 s behind the others'. Beyond 0.5 s it refuses their blocks and "
        "they refuse its own.",
        "nothing",
    ),
    (
        "clock ahead",
        replace(IDLE, skew_ms=300),
        State.SKEW,
        "This node's clock seems 0.3 s ahead of the others'. Beyond 0.5 s it refuses their blocks "
        "and they refuse its own.",
        "nothing",
    ),
    (
        "halted",
        replace(BUSY, halt="a quorum decided 0x0102…, invalid here (root of assets)"),
        State.HALTED,
        "Halted at block 132: a quorum decided 0x0102…, invalid here (root of assets). This node "
        "decides nothing more.",
        "operator",
    ),
    (
        "an amendment that this version does not know",
        replace(IDLE, amendment=("fees-v2", 500)),
        State.AMENDMENT,
        "Block 500 activates fees-v2, which this software does not know: this node stops before "
        "it, 369 blocks from now.",
        "operator",
    ),
    (
        "more than f follow without signing, this one because it forgot votes",
        replace(
            IDLE,
            signing=FORGOT,
            authorities=(
                signs(BERLIN),
                signs(MILAN, vote_age_ms=60_000, passed_age_ms=60_000),
                *ALL[2:],
            ),
        ),
        State.CEREMONY,
        "2 of 4 authorities follow without signing, 1 may. This node has forgotten votes and signs "
        "again from block 134, which cannot come if the others wait alike: a lower floor could "
        "fork, so then only the recovery ceremony goes on. Payments wait, nothing is lost.",
        "recovery",
    ),
    (
        "up to f of them wait, and the others go on",
        replace(IDLE, signing=FORGOT),
        State.NOT_SIGNING,
        "This node does not sign: it observes. The others go on: 3 of 4 sign, 3 are needed.",
        "signing",
    ),
    (
        "an authority signed twice",
        replace(IDLE, double_signs=((MILAN, 120),)),
        State.EVIDENCE,
        "Milan signed two different things at height 120. Payments continue; its removal is a "
        "vote of the others.",
        "nothing",
    ),
    (
        "somebody who is no authority any more signed twice",
        replace(IDLE, double_signs=((b"\xee" * 32, 120),)),
        State.EVIDENCE,
        "0xeeeeeeeeeeee… signed two different things at height 120. Payments continue; its "
        "removal is a vote of the others.",
        "nothing",
    ),
    (
        "a follower knows certificates only, and accuses nobody",
        FOLLOWER,
        State.IDLE,
        "All is well: block 131 is final, 4.2 s old; the network waits for nothing.",
        "nothing",
    ),
    (
        "a follower sees that a block is under way",
        replace(FOLLOWER, work_age_ms=300),
        State.DECIDING,
        "All is well: block 131 is final, 4.2 s old; block 132 waits for its votes.",
        "block",
    ),
    (
        "a follower sees that none comes",
        replace(FOLLOWER, work_age_ms=12_000, tip_age_ms=60_000),
        State.OVERDUE,
        "Block 132 is overdue: payments wait for 12 s. This node follows and hears no votes; an "
        "authority knows who is missing.",
        "block",
    ),
    (
        "a follower without peers",
        replace(FOLLOWER, peers=0),
        State.ALONE,
        "Alone: no peer is connected, so nothing new arrives here.",
        "peers",
    ),
    (
        "the key of this node is no authority",
        replace(
            FOLLOWER, signing=SigningFacts("outside", "its key is no authority of this height")
        ),
        State.NOT_SIGNING,
        "This node does not sign: its key is no authority of this height.",
        "signing",
    ),
    (
        "one authority alone needs no peer",
        replace(IDLE, authorities=ALL[:1], quorum=1, peers=0),
        State.IDLE,
        "All is well: block 131 is final, 4.2 s old; the network waits for nothing.",
        "nothing",
    ),
]


@pytest.mark.parametrize(
    ("facts", "state", "sentence", "waiting_for"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_each_case_has_its_sentence(
    facts: Facts, state: State, sentence: str, waiting_for: str
) -> None:
    found = explain(facts)
    assert (found.sentence, found.state, found.waiting_for) == (sentence, state, waiting_for)
    assert found.well == (state in (State.IDLE, State.DECIDING))
    # Whoever is told of trouble is told what to type, or what to do.
    assert found.well or found.command or found.hint


def test_every_state_is_met() -> None:
    assert {case[2] for case in CASES} == set(State)


def test_a_test_network_is_mended_by_one_command() -> None:
    """On a real network the command runs where the missing authority runs."""
    gone = replace(IDLE, authorities=MILAN_GONE)
    assert explain(replace(gone, test_network=True)).command == "clawpurse testnet start"
    assert explain(gone).command == "clawpurse doctor"
    assert "machine of whoever is missing" in explain(gone).hint


def test_lesser_trouble_is_told_as_well_and_well_being_is_not() -> None:
    """One sentence must not hide that also the clock is wrong."""
    both = replace(
        IDLE,
        skew_ms=-800,
        authorities=MILAN_GONE,
        double_signs=((ROME, 7),),
        signing=SigningFacts(),
    )
    found = explain(both)
    assert found.state is State.SKEW
    assert [sentence.split(".")[0] for sentence in found.also] == [
        "3 of 4 authorities sign",
        "Rome signed two different things at height 7",
    ]
    assert explain(IDLE).also == ()


def test_missing_ones_come_with_figures() -> None:
    found = explain(replace(BUSY, authorities=TWO_GONE))
    assert [(one.name, one.age_ms, one.height) for one in found.missing] == [
        ("Milan", 14_000, 131),
        ("Rome", 120_000, 131),
    ]
    assert (found.have, found.need) == (2, 3)


@pytest.mark.parametrize(
    ("one", "facts", "expected"),
    [
        # Idle: nobody votes, and the connection says that it is there.
        (signs(MILAN, vote_age_ms=29_000, life_age_ms=900), IDLE, Standing.SIGNING),
        (signs(MILAN, vote_age_ms=29_000, life_age_ms=3_100), IDLE, Standing.SILENT),
        # Left out of certificates for an hour, and yet it votes a moment late each time.
        (signs(MILAN, vote_height=130, passed_age_ms=1_000), IDLE, Standing.SIGNING),
        # One height missed is chance; several heights for seconds are not.
        (signs(MILAN, vote_height=129, vote_age_ms=2_900, passed_age_ms=2_800), IDLE,
         Standing.SIGNING),
        (signs(MILAN, vote_height=129, vote_age_ms=5_000, passed_age_ms=3_200), IDLE,
         Standing.FOLLOWING),
        # A round that is due without its vote, though its connection speaks.
        (signs(MILAN, vote_age_ms=9_000), replace(BUSY, round_age_ms=4_100), Standing.FOLLOWING),
        (signs(MILAN, vote_age_ms=9_000), replace(BUSY, round_age_ms=3_900), Standing.SIGNING),
        # Its vote of this round is here: the round does not wait for it.
        (signs(MILAN, vote_age_ms=9_000, voted=True), replace(BUSY, round_age_ms=9_000),
         Standing.SIGNING),
        # … unless it died after voting, which those who wait for the next round must know.
        (silent(MILAN, 9, voted=True), replace(BUSY, round_age_ms=9_000), Standing.SILENT),
        # Nothing heard since the start: no accusation before something was due.
        (AuthorityFacts(MILAN, "Milan"), IDLE, Standing.UNKNOWN),
        (AuthorityFacts(MILAN, "Milan"), replace(BUSY, round_age_ms=3_000), Standing.UNKNOWN),
        (AuthorityFacts(MILAN, "Milan"), replace(BUSY, round_age_ms=4_100), Standing.SILENT),
        # A certificate that a peer showed holds its vote: that is not it being alive, nor dead.
        (AuthorityFacts(MILAN, "Milan", voted=True), replace(BUSY, round_age_ms=9_000),
         Standing.UNKNOWN),
        (signs(BERLIN), replace(IDLE, signing=LOST), Standing.FOLLOWING),
        (AuthorityFacts(MILAN, "Milan", certified=3), FOLLOWER, Standing.SIGNING),
        (AuthorityFacts(MILAN, "Milan"), FOLLOWER, Standing.UNKNOWN),
    ],
)  # fmt: skip
def test_nobody_is_called_silent_without_cause(
    one: AuthorityFacts, facts: Facts, expected: Standing
) -> None:
    assert standing(one, facts) is expected


@pytest.mark.parametrize(
    ("ms", "text"),
    [(-5, "0.0 s"), (840, "0.8 s"), (12_400, "12 s"), (150_000, "2 min"), (119_000, "119 s"),
     (9_000_000, "2 h"), (200_000_000, "2 d")],
)  # fmt: skip
def test_spans_are_read_at_a_glance(ms: int, text: str) -> None:
    """A clock that differs a little must not show negative ages."""
    assert age_text(ms) == text
